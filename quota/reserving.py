"""A reservation within a transaction: who pays, for how long, and why not."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, or_, select

from quota import rates
from quota.amounts import whole_seconds
from quota.answers import Admitted, Payer, Place
from quota.capping import Cap, Gauges, exceeded, pass_gates
from quota.errors import SERVER_BUSY
from quota.owners import Owner
from quota.page import Page
from quota.reasons import Reason
from quota.shelf import pages_of
from quota.tables import IS_OPEN, OPEN_STATES, EntryKind, HoldState, HoldTable
from quota.wanting import no_funds
from quota.writing import put_back

__all__ = ["Refused", "reserve"]

_OPEN = tuple(state.value for state in OPEN_STATES)
_RATE = rates.IN_FORCE.subquery("rate")
_IN_THE_WAY = or_(
    HoldTable.id == bindparam("attempt"),
    and_(
        HoldTable.hub == bindparam("hub"),
        HoldTable.user == bindparam("user"),
        HoldTable.server == bindparam("server"),
        IS_OPEN,
    ),
)
_LOOK = (
    select(
        _RATE.c.version, _RATE.c.weight_milli.label("weight"), HoldTable.id, HoldTable.state, HoldTable.hub,
        HoldTable.user, HoldTable.server, HoldTable.site, HoldTable.flavour, HoldTable.lease_until,
        HoldTable.weight_milli,
    )
    .outerjoin_from(_RATE, HoldTable, _IN_THE_WAY)
    .where(_RATE.c.flavour == bindparam("flavour"))
)  # fmt: skip
"""The weight in force; and beside it the attempt's own hold and the open one of its server, where there are such."""


class Refused(Exception):
    """Rolls the transaction back: a refusal changes no byte of the books."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        super().__init__(reasons)
        self.reasons = tuple(reasons)


def reserve(
    connection: Connection,
    *,
    now: datetime,
    actor: str,
    attempt: str,
    payers: Sequence[Payer],
    place: Place,
    flavour: str,
    lease: timedelta,
    shortest: timedelta,
    gauges: Gauges,
    caps: Sequence[Cap] = (),
    queue: timedelta = timedelta(0),
) -> Admitted:
    """See `quota.ledger.Ledger.reserve`.

    Raises
    ------
    Refused
        With all reasons.
    """
    if not timedelta(0) < shortest <= lease:
        raise ValueError(f"a lease of {lease} and of at least {shortest} is no lease")
    where = {"hub": place.hub, "user": place.user, "server": place.server}
    # What is read before the locks is kept true by unique keys: the second of two writers fails there, and tries again.
    found = connection.execute(_LOOK, {"attempt": attempt, "flavour": flavour, **where}).all()
    if not found:
        raise KeyError(flavour)
    rate = found[0]
    known = next((row for row in found if row.id == attempt), None)
    if known is not None:
        return _admitted_before(known, place, flavour)
    pass_gates(connection, [*caps, *(cap for payer in payers for cap in payer.caps)])
    pages = pages_of(connection, [payer.owner for payer in payers], now, actor) if payers else {}
    reasons = [Reason(problem=SERVER_BUSY, resource="sessions")] if rate.id is not None else []
    reasons += exceeded(connection, caps, gauges)
    payer, seconds, why_not = _choose(connection, payers, pages, rate.weight, lease, shortest, gauges)
    if reasons or payer is None:
        raise Refused([*reasons, *why_not])
    page, amount = pages[payer.owner], seconds * rate.weight
    lease_until = now + queue + timedelta(seconds=seconds)
    values = {
        "id": attempt, "account_id": page.account_id, "amount": amount,
        "rate_version": rate.version, "weight_milli": rate.weight, "flavour": flavour,
        "gauge_sessions": gauges.sessions, "gauge_cpu": gauges.cpu, "gauge_memory_mib": gauges.memory_mib,
        "gauge_gpu": gauges.gpu, "state": HoldState.HELD.value, "reserved_at": now, "lease_until": lease_until,
        "queue_seconds": whole_seconds(queue), "site": place.site, **where,
    }  # fmt: skip
    page.post(EntryKind.HOLD, amount, hold=attempt)
    put_back(connection, page, hold=values)
    return Admitted(attempt, lease_until, rate.weight, payer.owner)


def _choose(
    connection: Connection,
    payers: Sequence[Payer],
    pages: dict[Owner, Page],
    weight_milli: int,
    lease: timedelta,
    shortest: timedelta,
    gauges: Gauges,
) -> tuple[Payer | None, int, list[Reason]]:
    """Who pays, for how many seconds; or why nobody can."""
    wanted, least = whole_seconds(lease), whole_seconds(shortest)
    found: list[tuple[int, Payer]] = []
    reasons: list[Reason] = []
    for payer in payers:
        page = pages.get(payer.owner)
        seconds = min(wanted, max(0, page.available) // weight_milli) if page else 0
        full = exceeded(connection, payer.caps, gauges)
        reasons += full
        if seconds < least:
            reasons.append(no_funds(connection, payer, page, needed=least * weight_milli))
        elif not full:
            found.append((seconds, payer))
    if not found:
        return None, 0, reasons or [no_funds(connection, None, None, needed=least * weight_milli)]
    seconds, chosen = next((one for one in found if one[0] == wanted), found[0])
    return chosen, seconds, []


def _admitted_before(row: Row[Any], place: Place, flavour: str) -> Admitted:
    if row.state not in _OPEN:
        raise ValueError(f"the hold of attempt {row.id} is {row.state}; a new try needs a new attempt")
    if (row.hub, row.user, row.server, row.site) != (place.hub, place.user, place.server, place.site):
        raise ValueError(f"attempt {row.id} belongs to another place")
    if row.flavour != flavour:
        raise ValueError(f"attempt {row.id} is for the flavour {row.flavour}, not {flavour}")
    return Admitted(row.id, row.lease_until, row.weight_milli)
