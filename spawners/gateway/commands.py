"""`nbfed gateway`: run it, and ask it how the sites are."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import click
from fastapi import FastAPI

from federation.commands import Shop, plain, table
from spawners.gateway.answers import GatewayAway, SiteHealth
from spawners.gateway.ca_commands import AuthorityShop
from spawners.gateway.client import GatewayClient
from spawners.gateway.door import Door
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.masters import Master
from spawners.gateway.server import AlreadyRunning, serve, sole_gateway

__all__ = ["GatewayShop", "gateway"]

_STATUS_SECONDS = 5.0


class GatewayShop(Shop, AuthorityShop, Protocol):
    """A shop that can make the gateway."""

    @property
    def logins(self) -> Sequence[Link]:
        """All that there may be connections for."""

    @property
    def gateway_folder(self) -> Path: ...

    @property
    def gateway_door(self) -> Door: ...

    @property
    def gateway_application(self) -> Callable[[], FastAPI]:
        """Makes it; call it in the loop that it runs in."""


@click.group(invoke_without_command=True)
@click.pass_context
def gateway(ctx: click.Context) -> None:
    """Reach the batch sites: the one process that holds their keys. It runs until Ctrl-C.

    Connections and forwards go on when it ends, and the next one finds them.
    """
    if ctx.invoked_subcommand is not None:
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for chatty in ("alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    shop: GatewayShop = ctx.obj
    make = shop.gateway_application

    async def run() -> None:
        await serve(make(), shop.gateway_door)

    try:
        with sole_gateway(shop.gateway_folder):
            asyncio.run(run())
    except AlreadyRunning as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{shop.gateway_door} cannot be opened: {error}") from error


@gateway.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show how each batch site is. Exit code 1 if one of them does not answer."""
    shop: GatewayShop = ctx.obj
    try:
        sites = GatewayClient(shop.gateway_door, timeout_seconds=_STATUS_SECONDS).sites()
    except GatewayAway as error:
        raise click.ClickException(
            f"No gateway answers at {shop.gateway_door}: {error}. Start it with `nbfed gateway`; sessions that run at "
            "batch sites go on without it."
        ) from error
    if not sites:
        click.echo("There are no batch sites in federation.yaml.")
        return
    header = ("SITE", "STATE", "ANSWERED", "MASTERS", "FORWARDS", "LAST ERROR")
    click.echo(table(header, [_row(name, health) for name, health in sorted(sites.items())]))
    if any(health.state not in ("ok", "drained") for health in sites.values()):
        ctx.exit(1)


@gateway.command()
@click.pass_obj
def disconnect(shop: GatewayShop) -> None:
    """End the connections to all batch sites, which otherwise outlive the gateway. Nobody reaches sessions there then.

    Stop the gateway first: one that runs makes them anew.
    """

    async def end() -> None:
        for link in shop.logins:
            for kind in MasterKind:
                master = Master(link, kind, shop.credentials(link))
                if await master.find():
                    await master.end()
                    of = f" of {link.account}" if link.account else ""
                    click.echo(f"{link.site}: the {kind} connection{of} is ended.")

    try:
        with sole_gateway(shop.gateway_folder):
            asyncio.run(end())
    except AlreadyRunning as error:
        raise click.ClickException(f"{error} Stop it first.") from error


def _row(name: str, health: SiteHealth) -> tuple[str, ...]:
    ago = "" if health.last_answer_at is None else f"{max(0.0, time.time() - health.last_answer_at):.0f} s ago"
    return name, health.state, ago, str(health.masters), str(health.forwards), plain(health.last_error)[:200]
