"""`nbfed audit`: the audit trail for other programs."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from sqlalchemy import Row, select

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
    for row in _rows(shop.database, conditions):
        line = {**row._mapping, "at": row.at.isoformat()}
        click.echo(json.dumps(line, ensure_ascii=False, default=str))


def _rows(database: Database, conditions: list[Any]) -> Iterator[Row[Any]]:
    """However many there are, some at a time."""
    query = select(AuditTable.__table__).where(*conditions).order_by(AuditTable.seq)
    with database.read() as connection:
        yield from connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
