"""Caps: limits on what open holds occupy at the same time, for a user, a group, a site or a flavour.

What is in use is counted from the open holds each time, so there is no second counter that could drift. Before it
counts, a transaction passes the gate of each cap, which lets one through at a time until it commits: on PostgreSQL an
advisory lock, on SQLite the write lock that it has anyway. Gates are passed in one order, so nobody waits in a circle.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import Connection, Dialect, bindparam, func, select, text

from federation.prepared import Call, Prepared, run
from quota.reasons import Reason
from quota.tables import IS_OPEN, AccountTable, HoldTable

__all__ = ["GAUGES", "Cap", "Gauges", "Scope", "count", "exceeded", "full", "pass_gates"]

GAUGES = ("sessions", "cpu", "memory_mib", "gpu")
_GATES = Prepared(
    text("SELECT pg_advisory_xact_lock(gate) FROM (SELECT unnest(CAST(:gates AS bigint[])) AS gate ORDER BY 1) g")
)


class Scope(StrEnum):
    """Whose open holds a cap adds up."""

    USER = "user"
    GROUP = "group"  # those that a group's account pays for
    SITE = "site"
    FLAVOUR = "flavour"


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """What a session occupies while its hold is open."""

    sessions: int = 1
    cpu: int = 0
    memory_mib: int = 0
    gpu: int = 0


@dataclass(frozen=True, kw_only=True)
class Cap:
    """A limit on one gauge (of `GAUGES`) within a scope; `ref` is the hub user, the group, the site or the flavour.

    `reason` is what the refusal says; what is used and the limit are filled in.
    """

    scope: Scope
    ref: str
    gauge: str
    limit: int
    reason: Reason


def pass_gates(dialect: Dialect, caps: Sequence[Cap]) -> list[Call]:
    """What to run to wait until nobody else counts for the same caps. Before any other lock of the transaction."""
    if caps and dialect.name == "postgresql":
        return [_GATES(gates=sorted({_gate(cap) for cap in caps}))]
    return []


def count(caps: Sequence[Cap], gauges: Gauges) -> list[Call]:
    """What to run for `full`; nothing if none of them limits what one more session of these gauges occupies."""
    wanted = _wanted(caps, gauges)
    if not wanted:
        return []
    query = _counting(tuple((cap.scope, cap.gauge) for cap in wanted))
    return [query(**{f"ref_{n}": cap.ref for n, cap in enumerate(wanted)})]


def full(caps: Sequence[Cap], gauges: Gauges, counted: Sequence[Sequence[Any]]) -> list[Reason]:
    """The reasons of those caps that one more session of these gauges would exceed, by what `count` found."""
    wanted = _wanted(caps, gauges)
    used = counted[0] if wanted else ()
    return [
        replace(cap.reason, used=int(now), limit=cap.limit, needed=getattr(gauges, cap.gauge))
        for cap, now in zip(wanted, used, strict=True)
        if now + getattr(gauges, cap.gauge) > cap.limit
    ]


def exceeded(connection: Connection, caps: Sequence[Cap], gauges: Gauges) -> list[Reason]:
    """The same of one set of caps, in one step."""
    counted = run(connection, count(caps, gauges))
    return full(caps, gauges, counted[0] if counted else ())


def _wanted(caps: Sequence[Cap], gauges: Gauges) -> list[Cap]:
    return [cap for cap in caps if getattr(gauges, cap.gauge)]


@cache
def _counting(shapes: tuple[tuple[Scope, str], ...]) -> Prepared:
    """One row with a sum for each of (scope, gauge)."""
    return Prepared(
        select(*(_sum(scope, gauge, f"ref_{n}").label(f"sum_{n}") for n, (scope, gauge) in enumerate(shapes)))
    )


def _sum(scope: Scope, gauge: str, ref: str) -> Any:
    total = select(func.coalesce(func.sum(getattr(HoldTable, f"gauge_{gauge}")), 0)).where(IS_OPEN)
    match scope:
        case Scope.USER:
            total = total.where(HoldTable.user == bindparam(ref))
        case Scope.SITE:
            total = total.where(HoldTable.site == bindparam(ref))
        case Scope.FLAVOUR:
            total = total.where(HoldTable.flavour == bindparam(ref))
        case Scope.GROUP:
            # Of a sum no index knows: else all holds that the group ever paid for would be read, not the open ones.
            pays = AccountTable.id == HoldTable.account_id + 0
            total = total.join(AccountTable, pays).where(
                AccountTable.owner_kind == scope.value, AccountTable.owner_ref == bindparam(ref)
            )
    return total.scalar_subquery()


def _gate(cap: Cap) -> int:
    """A number for the advisory lock of a cap's scope; two scopes that share one only wait for each other."""
    digest = hashlib.sha256(f"{cap.scope}:{cap.ref}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
