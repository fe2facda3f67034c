"""Books for a test: a clock that is moved by hand, accounts with grants, holds, and a look at everything at once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import Connection, event, select

from federation import migrations
from federation.database import Database
from federation.persons import Facts, Person, remember
from quota import rates, verify
from quota.answers import Admitted, Denied, Payer, Place
from quota.capping import Cap, Gauges
from quota.ledger import Ledger
from quota.owners import Owner
from quota.statement import Standing, standing
from quota.tables import (
    AccountTable,
    BalanceTable,
    EntryTable,
    HoldTable,
    OwnerKind,
)
from tests.support.structure import Rows, dump

__all__ = [
    "ANN",
    "ANNA",
    "MINUTE",
    "START",
    "WEIGHTS",
    "Books",
    "Crash",
    "CrashingDatabase",
    "MovableClock",
    "discrepancies",
    "dump",
    "open_books",
    "units",
]

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""A Monday morning."""
MINUTE = timedelta(minutes=1)
WEIGHTS = {"small": 1000, "medium": 4000, "tiny": 1}
"""Thousandths; of `tiny` a second costs one milli-unit-second."""
ANN, ANNA = Owner(OwnerKind.USER, "ann"), Owner(OwnerKind.USER, "anna")


def units(seconds: float) -> int:
    """What so many seconds of `small` cost, in milli-unit-seconds."""
    return int(seconds * 1000)


class MovableClock:
    """A clock that stands still until a test moves it, also backwards."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> datetime:
        self.now += by
        return self.now


class Crash(Exception):
    """The process dies here, as far as the database can tell."""


class CrashingDatabase(Database):
    """A database whose next write crashes.

    Parameters
    ----------
    crash_at
        Before which statement, counted from 0; before the commit, if it has fewer. Used up by one write.
    lost
        The next write crashes after its commit instead: the caller is not told that it succeeded.
    statements
        How many statements the last write sent that was to crash.
    """

    crash_at: int | None = None
    lost = False
    statements = 0

    @contextmanager
    def write(self) -> Iterator[Connection]:
        crash_at, lost = self.crash_at, self.lost
        self.crash_at, self.lost = None, False
        with super().write() as connection:
            if crash_at is not None:
                self._crash_at(connection, crash_at)
            yield connection
            if crash_at is not None:
                raise Crash
        if lost:
            raise Crash

    def _crash_at(self, connection: Connection, statement: int) -> None:
        self.statements = 0

        def crash(_connection: Any, _cursor: Any, text: str, *_: object) -> None:
            if self.statements >= statement or text == "COMMIT":
                raise Crash
            self.statements += 1

        event.listen(connection, "before_cursor_execute", crash)


@dataclass
class Books:
    """A ledger on a database, and short ways to fill it. Amounts are in milli-unit-seconds."""

    database: Database
    clock: MovableClock
    ledger: Ledger
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def person(self, name: str = "ann", **facts: Any) -> Person:
        """Somebody who signed in."""
        with self.database.write() as connection:
            return remember(
                connection, issuer="https://idp.example.org", subject=name, preferred=name, facts=Facts(**facts),
                now=self.clock(),
            )  # fmt: skip

    def publish(self, weights_milli: Mapping[str, int]) -> int:
        """Make these the weights from now on."""
        with self.database.write() as connection:
            return rates.publish(connection, weights_milli, self.clock())

    def grant(
        self,
        amount: int,
        owner: Owner = ANN,
        *,
        key: str | None = None,
        begins: timedelta = timedelta(0),
        lasts: timedelta = timedelta(days=30),
        priority: int = 0,
    ) -> str:
        """A grant that begins so long after now."""
        starts_at = self.clock() + begins
        return self.ledger.grant(
            key=key or f"grant-{next(self._numbers)}", owner=owner, amount=amount, starts_at=starts_at,
            ends_at=starts_at + lasts, created_by="operator", reason="a test", priority=priority,
        )  # fmt: skip

    def reserve(
        self,
        attempt: str | None = None,
        owner: Owner = ANN,
        *,
        server: str | None = None,
        user: str | None = None,
        hub: str = "hub",
        site: str = "here",
        flavour: str = "small",
        lease: timedelta = 45 * MINUTE,
        shortest: timedelta = 5 * MINUTE,
        gauges: Gauges | None = None,
        caps: tuple[Cap, ...] = (),
        returns_at: datetime | None = None,
    ) -> Admitted | Denied:
        """Ask for a lease; unless told otherwise for a new attempt of a new server."""
        attempt = attempt or f"attempt-{next(self._numbers)}"
        place = Place(hub=hub, user=user or owner.ref, server=f"of-{attempt}" if server is None else server, site=site)
        return self.ledger.reserve(
            attempt=attempt, payers=[Payer(owner=owner, returns_at=returns_at)], place=place, flavour=flavour,
            lease=lease, shortest=shortest, gauges=gauges or Gauges(), caps=caps,
        )  # fmt: skip

    def hold(self, owner: Owner = ANN, **options: Any) -> str:
        """The id of a hold that was admitted."""
        answer = self.reserve(owner=owner, **options)
        assert isinstance(answer, Admitted), answer
        return answer.hold

    def running(self, owner: Owner = ANN, **options: Any) -> str:
        """The id of a hold whose session runs since now."""
        hold = self.hold(owner, **options)
        self.ledger.started(hold, started_at=self.clock())
        return hold

    def settle(self, hold: str, ran: timedelta, *, source: str = "launcher") -> Any:
        """Settle a session that ran for so long, from when it was reserved."""
        started_at = self.row(hold).reserved_at
        return self.ledger.settle(hold, started_at=started_at, ended_at=started_at + ran, source=source)

    def row(self, hold: str) -> Any:
        """The hold as its table has it."""
        with self.database.read() as connection:
            return connection.execute(select(HoldTable.__table__).where(HoldTable.id == hold)).one()

    def rows(self, table: Any, *conditions: Any) -> list[Any]:
        """Rows of a table in the order of its key."""
        with self.database.read() as connection:
            key = table.__table__.primary_key.columns
            return list(connection.execute(select(table.__table__).where(*conditions).order_by(*key)))

    def entries(self, hold: str | None = None) -> list[tuple[str, int]]:
        """Kind and amount of each entry, of one hold or of all, in the order in which they were made."""
        conditions = [EntryTable.hold_id == hold] if hold else []
        return [(row.kind, row.amount) for row in self.rows(EntryTable, *conditions)]

    def balance(self, owner: Owner = ANN) -> tuple[int, int, int]:
        """Granted, used, held."""
        (row,) = self.rows(BalanceTable, BalanceTable.account_id == self.account(owner))
        return row.granted, row.used, row.held

    def standing(self, owner: Owner = ANN) -> Standing:
        """What the owner is told that they have."""
        with self.database.read() as connection:
            return standing(connection, owner, self.clock())

    def dump(self) -> Rows:
        """Every row of every table."""
        return dump(self.database)

    def account(self, owner: Owner) -> int:
        """The number of an owner's account."""
        where = (AccountTable.owner_kind == owner.kind.value, AccountTable.owner_ref == owner.ref)
        return int(self.rows(AccountTable, *where)[0].id)


def open_books(database: Database, *, weights_milli: Mapping[str, int] = WEIGHTS) -> Books:
    """The books of a database, with all tables and weights."""
    migrations.upgrade(database)
    clock = MovableClock()
    books = Books(database, clock, Ledger(database, clock=clock, actor="test"))
    books.publish(weights_milli)
    return books


# --- what always holds ----------------------------------------------------------------------------------------


def discrepancies(database: Database) -> list[str]:
    """Everything in the books that cannot be true; empty if they are right."""
    with database.read() as connection:
        return list(verify.discrepancies(connection))
