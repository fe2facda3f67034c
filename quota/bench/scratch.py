"""Scratch books: accounts with plenty in them, and people with years of closed sessions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, inspect

from federation import migrations
from federation.clock import system_clock
from federation.database import Database
from federation.ids import new_id
from quota import rates
from quota.answers import Admitted, Denied, Payer, Place
from quota.capping import Cap, Gauges, Scope
from quota.errors import SITE_FULL
from quota.ledger import Ledger
from quota.owners import Owner, account_of
from quota.reasons import Reason
from quota.shelf import open_page
from quota.tables import EntryKind, HoldState, HoldTable

__all__ = ["AMOUNT", "NotEmpty", "Scratch", "caps_of", "check_empty", "fill", "give", "open_scratch", "prepare"]

FLAVOUR, WEIGHT_MILLI = "bench", 1000
LEASE = timedelta(minutes=45)
AMOUNT = int(LEASE.total_seconds()) * WEIGHT_MILLI
"""What one start sets aside."""
_PLENTY = 2**50
_RAN = timedelta(minutes=1)
_AT_A_TIME = 5000
_SPAN = timedelta(days=365)

_TABLE = Table("bench_raw", MetaData(), Column("id", Integer, primary_key=True), Column("text", String(100)))
"""What one-row inserts are measured with."""


class NotEmpty(Exception):
    """The database has tables already: nothing is measured on it, so nothing is spoilt."""


@dataclass
class Scratch:
    """A ledger on scratch books, and what is measured of it."""

    database: Database
    ledger: Ledger

    def reserve(self, owner: Owner, *, caps: Sequence[Cap] = ()) -> Admitted | Denied:
        """A new attempt of a new server."""
        attempt = new_id()
        return self.ledger.reserve(
            attempt=attempt, payers=[Payer(owner=owner)],
            place=Place(hub="bench", user=owner.ref, server=attempt, site="bench"), flavour=FLAVOUR, lease=LEASE,
            shortest=LEASE, gauges=Gauges(cpu=1, memory_mib=2048), caps=caps,
        )  # fmt: skip

    def settle(self, hold: str) -> None:
        """The session of a hold ran for a minute."""
        now = system_clock()
        self.ledger.settle(hold, started_at=now - _RAN, ended_at=now, source="bench")

    def pair(self, owner: Owner, caps: Sequence[Cap] = ()) -> None:
        """Both."""
        answer = self.reserve(owner, caps=caps)
        assert isinstance(answer, Admitted), answer
        self.settle(answer.hold)

    def raw(self) -> None:
        """One row in a transaction of its own, by the same stack."""
        with self.database.write() as connection:
            connection.execute(_RAW, {"text": "x" * 60})


_RAW = insert(_TABLE).inline()


def caps_of(owner: Owner) -> list[Cap]:
    """Those of most starts: sessions of the person, and sessions and memory of the site. They are never reached."""
    scopes = [
        (Scope.USER, owner.ref, "sessions"),
        (Scope.SITE, "bench", "sessions"),
        (Scope.SITE, "bench", "memory_mib"),
    ]
    return [
        Cap(scope=scope, ref=ref, gauge=gauge, limit=_PLENTY, reason=Reason(problem=SITE_FULL))
        for scope, ref, gauge in scopes
    ]


def open_scratch(url: str) -> Scratch:
    """For one process. Patient: a machine that is kept busy on purpose is no outage."""
    database = Database(url, busy_seconds=60)
    return Scratch(database, Ledger(database, actor="bench"))


def check_empty(url: str) -> None:
    """Look whether a database can be used.

    Raises
    ------
    NotEmpty
        If it has tables.
    sqlalchemy.exc.ArgumentError
        If it is not the URL of a database of a kind that we know.
    """
    database = Database(url)
    try:
        with database.read() as connection:
            tables = inspect(connection).get_table_names()
    finally:
        database.dispose()
    if tables:
        raise NotEmpty(f"{database.place} has {len(tables)} tables already")


def prepare(url: str) -> None:
    """Make the tables in an empty database.

    Raises
    ------
    NotEmpty
        If it is not empty.
    """
    check_empty(url)
    database = Database(url)
    migrations.upgrade(database)
    with database.write() as connection:
        _TABLE.create(connection)
        rates.publish(connection, {FLAVOUR: WEIGHT_MILLI}, system_clock())
    database.dispose()


def give(ledger: Ledger, owner: Owner, amount: int = _PLENTY) -> None:
    """A grant."""
    now = system_clock()
    ledger.grant(
        key=f"bench:{owner.ref}", owner=owner, amount=amount, starts_at=now - 2 * _SPAN, ends_at=now + _SPAN,
        created_by="bench", reason="to be measured",
    )  # fmt: skip


def fill(scratch: Scratch, owner: Owner, sessions: int) -> None:
    """Give an owner so many closed sessions of the past year, as if each had been reserved and settled."""
    for first in range(0, sessions, _AT_A_TIME):
        numbers = range(first, min(first + _AT_A_TIME, sessions))
        with scratch.database.write() as connection:
            account = account_of(connection, owner)
            assert account is not None
            with open_page(connection, account, system_clock(), "bench") as page:
                rows = [_closed(owner, account, system_clock() - _SPAN * (1 - n / sessions)) for n in numbers]
                connection.execute(insert(HoldTable), rows)
                for row in rows:
                    page.post(EntryKind.HOLD, row["amount"], hold=row["id"])
                    page.charge(row["charged"], row["id"], cover=row["amount"])
                    page.post(EntryKind.RELEASE, -row["amount"], hold=row["id"])


def _closed(owner: Owner, account: int, at: datetime) -> dict[str, Any]:
    """The row of a hold whose session ran for its first minute."""
    attempt = new_id()
    return {
        "id": attempt, "account_id": account, "amount": AMOUNT, "rate_version": 1, "weight_milli": WEIGHT_MILLI,
        "flavour": FLAVOUR, "gauge_sessions": 1, "gauge_cpu": 1, "gauge_memory_mib": 2048, "gauge_gpu": 0,
        "state": HoldState.SETTLED.value, "reserved_at": at, "lease_until": at + LEASE, "hub": "bench",
        "user": owner.ref, "server": attempt, "site": "bench", "started_at": at, "ended_at": at + _RAN,
        "charged": int(_RAN.total_seconds()) * WEIGHT_MILLI, "source": "bench",
    }  # fmt: skip
