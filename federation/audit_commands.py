"""`nbfed audit`: the audit trail for other programs."""

from datetime import datetime

import click

from federation.audit import Act
from federation.commands import MOMENT, MOMENT_END, Shop
from federation.trail import Wanted, as_lines

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """The audit trail: who changed whose access, when and why."""


@audit.command()
@click.option("--since", type=MOMENT, help="a day means its start, in UTC")
@click.option("--until", type=MOMENT_END, help="a day means its end, in UTC")
@click.option(
    "--act",
    "acts",
    multiple=True,
    type=click.Choice([act.value for act in Act]),
    metavar="ACT",
    help="only these; may be given several times",
)
@click.option("--actor", help="only who this is, as the trail names them")
@click.option("--target", help="only this, such as person:ID or request:ID")
@click.pass_obj
def export(
    shop: Shop,
    since: datetime | None,
    until: datetime | None,
    acts: tuple[str, ...],
    actor: str | None,
    target: str | None,
) -> None:
    """Print the trail as JSON Lines, one row each, in the order in which it was written."""
    wanted = Wanted(since=since, until=until, acts=acts, actor=actor or "", target=target or "")
    for lines in as_lines(shop.database, wanted):
        click.echo(lines, nl=False)
