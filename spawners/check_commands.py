"""`nbfed site check`: whether a batch site does what the federation needs, before people are sent there."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import click

from federation.checks import Check, State, described, summary
from federation.commands import operator, plain
from federation.settings import BatchSite
from spawners.gateway.conformance import Connection, SiteCheck, looked_at
from spawners.gateway.conformance_job import ProbeJob, job_looked_at
from vetting import sites
from vetting.site_commands import SitesShop, find_site
from vetting.sites import Event

__all__ = ["CheckShop", "check"]

_WIDTH = 24


class CheckShop(SitesShop, Protocol):
    """A shop that can put together what is checked."""

    def site_check(self, name: str, folder: Path, account: str | None) -> SiteCheck:
        """What is checked of a batch site; `folder` is for this check alone. Where each account signs in for itself, it is
        checked as this one.
        """

    def probe_jobs(
        self, name: str, account: str, *, environments: Sequence[str], wait_seconds: float, say: Callable[[str], None]
    ) -> list[ProbeJob]:
        """A job for each of these environments, or for all that batch sites can have."""


@click.command()
@click.argument("name")
@click.option("--account", help="the account at the site that the check's jobs run as; without it no job is started")
@click.option("--environment", "environments", multiple=True, help="only this one; may be given several times")
@click.option("--wait", "minutes", type=click.IntRange(1, 1440), default=15, show_default=True, help="for each job")
@click.pass_context
def check(ctx: click.Context, name: str, account: str | None, environments: tuple[str, ...], minutes: int) -> None:
    """Go the whole way of a session at the batch site NAME, step by step, and say what is to be mended.

    The service has to run, the gateway need not. For each environment one job of one core is submitted, and cancelled
    when it has answered. A site that passes all of it can be certified; else nothing is recorded. Exit code 1 if
    something failed.
    """
    shop: CheckShop = ctx.obj
    settings = find_site(shop.sites, name)
    if not isinstance(settings, BatchSite):
        raise click.ClickException(f"{name} is no batch site: there is no check of it.")
    if settings.by_account and account is None:
        raise click.ClickException(f"At {name} each account signs in for itself: name one with --account.")
    jobs = (
        shop.probe_jobs(name, account, environments=environments, wait_seconds=60.0 * minutes, say=_progress)
        if account is not None
        else []
    )
    found = asyncio.run(_look(shop, name, account, jobs))
    click.echo(f"\n{summary(found)}")
    if any(each.state is not State.OK for each in found):
        ctx.exit(1)
    if account is None or environments:
        what = "no job was started: name an account" if account is None else "not all environments were looked at"
        click.echo(f"Nothing is recorded, because {what}.")
        return
    with shop.database.write() as connection:
        after = sites.change(
            connection, name, settings, event=Event.PASS, by=operator(), reason=_passed(found), now=shop.clock()
        )
    click.echo(f"{name} passed, and is {after.certification}.")


async def _look(shop: CheckShop, name: str, account: str | None, jobs: Sequence[ProbeJob]) -> list[Check]:
    """Walk all steps; jobs are submitted only where all that comes before was well."""
    # A short name: sockets have to fit in.
    with tempfile.TemporaryDirectory(prefix="nbfed-", dir="/tmp") as folder:
        subject = shop.site_check(name, Path(folder), account)
        connection = Connection(subject)
        try:
            found = [_shown(each) async for each in looked_at(subject, connection)]
            if all(each.state is State.OK for each in found):
                for job in jobs:
                    found += [_shown(each) async for each in job_looked_at(job, connection)]
        finally:
            await connection.close()
    return found


def _shown(found: Check) -> Check:
    click.echo(described(found, _WIDTH))
    return found


def _progress(text: str) -> None:
    click.echo(plain(text), err=True)


def _passed(found: Sequence[Check]) -> str:
    """What the audit trail keeps of a check that passed."""
    return "; ".join(f"{each.name}: {each.text}" for each in found)[:2000]
