"""Reads the audit trail: some of its rows, the newest first, or all of them as JSON Lines."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring
from typing import Any

from sqlalchemy import Connection, Text, cast, select

from federation.audit import AuditTable
from federation.database import Database

__all__ = ["Entry", "Wanted", "as_lines", "entries"]

_ROWS_AT_ONCE = 1000
_AS_TEXT = (
    AuditTable.seq, AuditTable.at, AuditTable.act, AuditTable.actor, AuditTable.target, AuditTable.reason,
    cast(AuditTable.details, Text),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rows: written from `since` on and before `until`, of these acts, by this actor, about this target. What is
    left out does not matter.
    """

    since: datetime | None = None
    until: datetime | None = None
    acts: tuple[str, ...] = ()
    actor: str = ""
    target: str = ""

    def conditions(self) -> list[Any]:
        """For the `WHERE` of a query."""
        return [
            *([AuditTable.at >= self.since] if self.since else []),
            *([AuditTable.at < self.until] if self.until else []),
            *([AuditTable.act.in_(self.acts)] if self.acts else []),
            *([AuditTable.actor == self.actor] if self.actor else []),
            *([AuditTable.target == self.target] if self.target else []),
        ]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row."""

    seq: int
    at: datetime
    act: str
    actor: str
    target: str
    reason: str
    details: dict[str, Any]


def entries(connection: Connection, wanted: Wanted, *, limit: int, before: int | None = None) -> list[Entry]:
    """The newest rows, or the newest that were written before the one with a number."""
    query = select(AuditTable.__table__).where(*wanted.conditions()).order_by(AuditTable.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditTable.seq < before)
    return [Entry(**row._mapping) for row in connection.execute(query)]


def as_lines(database: Database, wanted: Wanted) -> Iterator[str]:
    """Every row as a line of JSON, in the order in which they were written; some at a time, each time in a transaction of
    its own: rows are never changed, and whoever reads slowly keeps nobody waiting.
    """
    query = select(*_AS_TEXT).where(*wanted.conditions()).order_by(AuditTable.seq).limit(_ROWS_AT_ONCE)
    last = -1
    while True:
        with database.read() as connection:
            found = connection.execute(query.where(AuditTable.seq > last)).all()
        if not found:
            return
        yield "".join(_line(*row) for row in found)
        last = found[-1].seq


def _line(seq: int, at: datetime, act: str, actor: str, target: str, reason: str, details: str) -> str:
    """The row as JSON, of the JSON that its details are: to read and to write them anew takes longer than all else."""
    texts = ", ".join(
        f'"{name}": {encode_basestring(text)}'
        for name, text in (("act", act), ("actor", actor), ("target", target), ("reason", reason))
    )
    return f'{{"seq": {seq}, "at": "{at.isoformat()}", {texts}, "details": {details}}}\n'
