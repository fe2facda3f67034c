"""`nbfed audit`: the audit trail for other programs."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from sqlalchemy import select

from federation.audit import Act, AuditTable
from federation.commands import MOMENT, MOMENT_END, Shop
from federation.database import Database

__all__ = ["audit"]

_ROWS_AT_ONCE = 1000


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
    conditions: list[Any] = [
        *([AuditTable.at >= since] if since else []),
        *([AuditTable.at < until] if until else []),
        *([AuditTable.act.in_(acts)] if acts else []),
        *([AuditTable.actor == actor] if actor else []),
        *([AuditTable.target == target] if target else []),
    ]
    for lines in _pages(shop.database, conditions):
        click.echo("\n".join(lines))


def _pages(database: Database, conditions: list[Any]) -> Iterator[list[str]]:
    """The rows as JSON, some at a time, however many there are."""
    query = select(AuditTable.__table__).where(*conditions).order_by(AuditTable.seq)
    with database.read() as connection:
        found = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
        for rows in found.partitions():
            yield [json.dumps({**row._mapping, "at": row.at.isoformat()}, ensure_ascii=False) for row in rows]
