"""Sites on the command line: how far each is on its way into the federation, and when it is away."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

import click

from federation.commands import MOMENT, MOMENT_END, Shop, necessary_text, operator, plain, table, when
from federation.settings import Site
from vetting import sites
from vetting.sites import Announcement, Event, SiteError

__all__ = ["SitesShop", "find_site", "site"]

_REASON = click.option("--reason", required=True, callback=necessary_text(2000), help="why; auditors read it")


class SitesShop(Shop, Protocol):
    """A shop that knows the sites of federation.yaml."""

    @property
    def sites(self) -> Mapping[str, Site]: ...


@click.group()
def site() -> None:
    """Sites: what they install, whether they work, how far they are on their way, and when they are away."""


@site.command("list")
@click.pass_obj
def list_sites(shop: SitesShop) -> None:
    """Show every site: its state, the last check that it passed, and whether it is away now or will be next."""
    now = shop.clock()
    with shop.database.read() as connection:
        records = {name: sites.site_record(connection, name, each) for name, each in shop.sites.items()}
        announced = sites.downtimes(connection, since=now)
    header = ("SITE", "KIND", "STATE", "SINCE", "BY", "CHECKED", "AWAY", "REASON")
    rows = [
        (name, shop.sites[name].kind, known.certification, when(known.changed_at), known.changed_by,
         when(known.checked_at), _next_away([one for one in announced if one.site == name], now), known.reason)
        for name, known in records.items()
    ]  # fmt: skip
    click.echo(table(header, rows))


@site.command()
@click.argument("name")
@_REASON
@click.pass_obj
def certify(shop: SitesShop, name: str, reason: str) -> None:
    """Let the site NAME take sessions. A batch site has to have passed its check in the last 30 days."""
    _change(shop, name, Event.CERTIFY, reason)
    click.echo(f"{name} is certified: it takes sessions from now on.")


@site.command()
@click.argument("name")
@_REASON
@click.pass_obj
def suspend(shop: SitesShop, name: str, reason: str) -> None:
    """Let the site NAME take no new sessions until it is certified again. What runs or waits there goes on."""
    _change(shop, name, Event.SUSPEND, reason)
    click.echo(f"{name} is suspended: nothing new is started there. What runs or waits there goes on.")


@site.group()
def downtime() -> None:
    """Times when a site is away: nothing new is started there meanwhile."""


@downtime.command()
@click.argument("name")
@click.option("--from", "starts_at", type=MOMENT, help="a day means its start, in UTC; without it: now")
@click.option("--until", "ends_at", type=MOMENT_END, required=True, help="a day means its end, in UTC")
@click.option("--reason", required=True, callback=necessary_text(2000), help="what is done there")
@click.pass_obj
def announce(shop: SitesShop, name: str, starts_at: datetime | None, ends_at: datetime, reason: str) -> None:
    """Announce that the site NAME is away. What runs there is left alone: the site ends it, or does not."""
    find_site(shop.sites, name)
    now = shop.clock()
    with _told(), shop.database.write() as connection:
        made = sites.announce_downtime(
            connection, name, starts_at=starts_at or now, ends_at=ends_at, reason=reason, by=operator(), now=now
        )
    click.echo(f"{name} is away from {when(made.starts_at)} until {when(made.ends_at)}. It is downtime {made.id}.")


@downtime.command("list")
@click.argument("name", required=False)
@click.option("--all", "with_past", is_flag=True, help="also those that are over")
@click.pass_obj
def list_downtimes(shop: SitesShop, name: str | None, *, with_past: bool) -> None:
    """Show downtimes, of the site NAME or of all."""
    if name is not None:
        find_site(shop.sites, name)
    now = shop.clock()
    with shop.database.read() as connection:
        found = sites.downtimes(connection, site=name, since=None if with_past else now)
    if not found:
        click.echo("No downtimes." if with_past else "No downtimes now or later; --all shows those that are over, too.")
        return
    header = ("DOWNTIME", "SITE", "FROM", "UNTIL", "ENDED", "BY", "REASON")
    rows = [
        (one.id, one.site, when(one.starts_at), when(one.ends_at), when(one.ended_at), one.announced_by, one.reason)
        for one in found
    ]
    click.echo(table(header, rows))


@downtime.command("end")
@click.argument("downtime_id")
@_REASON
@click.pass_obj
def end(shop: SitesShop, downtime_id: str, reason: str) -> None:
    """End a downtime before its time, or take it back before it begins."""
    with _told(), shop.database.write() as connection:
        ended = sites.end_downtime(
            connection, downtime_id.strip().lower(), by=operator(), reason=reason, now=shop.clock()
        )
    click.echo(f"{ended.site}: this downtime is over. `nbfed site list` shows whether another one was announced.")


def find_site(known: Mapping[str, Site], name: str) -> Site:
    """The site of that name; else says which there are."""
    if name not in known:
        raise click.ClickException(f"There is no site {plain(name)!r}; federation.yaml has {', '.join(known)}.")
    return known[name]


def _change(shop: SitesShop, name: str, event: Event, reason: str) -> None:
    settings = find_site(shop.sites, name)
    with _told(), shop.database.write() as connection:
        sites.change(connection, name, settings, event=event, by=operator(), reason=reason, now=shop.clock())


def _next_away(announced: list[Announcement], now: datetime) -> str:
    """The first of the downtimes that are not over."""
    for one in announced:
        return f"until {when(one.over_at)}" if one.starts_at <= now else f"from {when(one.starts_at)}"
    return ""


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except SiteError as error:
        raise click.ClickException(f"{error} Nothing was changed.") from error
