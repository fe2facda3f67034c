"""A reservation within a transaction: who pays, for how long, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from federation.prepared import Call, Prepared, run
from quota import rates
from quota.amounts import whole_seconds
from quota.answers import Admitted, Payer, Place
from quota.capping import Cap, Gauges, count, full, pass_gates
from quota.errors import SERVER_BUSY
from quota.owners import Owner
from quota.page import Page
from quota.reasons import Reason
from quota.shelf import of_owners, pages_by_owner
from quota.tables import IS_OPEN, OPEN_STATES, EntryKind, HoldState, HoldTable, RateTable
from quota.wanting import no_funds
from quota.writing import put_back

__all__ = ["Decided", "Refused", "decide"]

_OPEN = tuple(state.value for state in OPEN_STATES)
_RATE = Prepared(rates.IN_FORCE.where(RateTable.flavour == bindparam("flavour")))
_HOLD = select(
    HoldTable.id, HoldTable.state, HoldTable.hub, HoldTable.user, HoldTable.server, HoldTable.site, HoldTable.flavour,
    HoldTable.lease_until, HoldTable.weight_milli,
)  # fmt: skip
_OF_ATTEMPT = Prepared(_HOLD.where(HoldTable.id == bindparam("attempt")))
_OPEN_AT = Prepared(  # for both with one OR, PostgreSQL would rather read all holds
    _HOLD.where(
        HoldTable.hub == bindparam("hub"),
        HoldTable.user == bindparam("user"),
        HoldTable.server == bindparam("server"),
        IS_OPEN,
    )
)
_COLUMNS = (
    "id", "account_id", "amount", "rate_version", "weight_milli", "flavour", "gauge_sessions", "gauge_cpu",
    "gauge_memory_mib", "gauge_gpu", "state", "reserved_at", "lease_until", "queue_seconds", "hub", "user", "server",
    "site",
)  # fmt: skip
_ADD_HOLD = Prepared(insert(HoldTable).values({name: bindparam(name) for name in _COLUMNS}))


class Refused(Exception):
    """Rolls the transaction back: a refusal changes no byte of the books."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        super().__init__(reasons)
        self.reasons = tuple(reasons)


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What is answered; and what is to be written for it, unless the attempt was admitted before."""

    answer: Admitted
    page: Page | None = None
    hold: Call | None = None

    def write(self, connection: Connection) -> Admitted:
        """The last step of the transaction."""
        if self.page is not None and self.hold is not None:
            put_back(connection, self.page, self.hold, commit=True)
        return self.answer


def decide(
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
) -> Decided:
    """See `quota.ledger.Ledger.reserve`.

    Raises
    ------
    Refused
        With all reasons.
    """
    if not timedelta(0) < shortest <= lease:
        raise ValueError(f"a lease of {lease} and of at least {shortest} is no lease")
    found = _look(connection, now, actor, attempt, payers, place, flavour, gauges, caps)
    if found.rate is None:
        raise KeyError(flavour)
    if found.of_attempt is not None:
        return Decided(answer=_admitted_before(found.of_attempt, place, flavour))
    rate, (full_for_all, *full_for) = found.rate, found.full
    reasons = [Reason(problem=SERVER_BUSY, resource="sessions")] if found.server_is_busy else []
    reasons += full_for_all
    able = list(zip(payers, full_for, strict=True))
    payer, seconds, why_not = _choose(connection, able, found.pages, rate.weight_milli, lease, shortest)
    if reasons or payer is None:
        raise Refused([*reasons, *why_not])
    page, amount = found.pages[payer.owner], seconds * rate.weight_milli
    lease_until = now + queue + timedelta(seconds=seconds)
    hold = _ADD_HOLD(
        id=attempt, account_id=page.account_id, amount=amount, rate_version=rate.version,
        weight_milli=rate.weight_milli, flavour=flavour, gauge_sessions=gauges.sessions, gauge_cpu=gauges.cpu,
        gauge_memory_mib=gauges.memory_mib, gauge_gpu=gauges.gpu, state=HoldState.HELD.value, reserved_at=now,
        lease_until=lease_until, queue_seconds=whole_seconds(queue), hub=place.hub,
        user=place.user, server=place.server, site=place.site,
    )  # fmt: skip
    page.post(EntryKind.HOLD, amount, hold=attempt)
    return Decided(answer=Admitted(attempt, lease_until, rate.weight_milli, payer.owner), page=page, hold=hold)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a start depends on. `full` has the reasons of those caps that are full: of all payers, and of each."""

    rate: Any | None
    of_attempt: Any | None
    server_is_busy: bool
    pages: dict[Owner, Page]
    full: list[list[Reason]]


def _look(
    connection: Connection,
    now: datetime,
    actor: str,
    attempt: str,
    payers: Sequence[Payer],
    place: Place,
    flavour: str,
    gauges: Gauges,
    caps: Sequence[Cap],
) -> _Found:
    """In one step. What is read before the locks is kept true by unique keys: the second of two writers fails there, and
    tries again.
    """
    each = [caps, *(payer.caps for payer in payers)]
    counts = [count(some, gauges) for some in each]
    gates = pass_gates(connection.dialect, [cap for some in each for cap in some])
    before = [
        _RATE(flavour=flavour), _OF_ATTEMPT(attempt=attempt),
        _OPEN_AT(hub=place.hub, user=place.user, server=place.server), *gates,
    ]  # fmt: skip
    owners = of_owners([payer.owner for payer in payers], now) if payers else ()
    found = iter(run(connection, [*before, *owners, *chain.from_iterable(counts)]))
    rate, of_attempt, open_there, *_ = [next(found) for _ in before]
    pages = pages_by_owner(next(found), next(found), now, actor) if payers else {}
    return _Found(
        rate=rate[0] if rate else None,
        of_attempt=of_attempt[0] if of_attempt else None,
        server_is_busy=bool(open_there),
        pages=pages,
        full=[full(some, gauges, next(found) if counted else ()) for some, counted in zip(each, counts, strict=True)],
    )


def _choose(
    connection: Connection,
    payers: Sequence[tuple[Payer, list[Reason]]],
    pages: dict[Owner, Page],
    weight_milli: int,
    lease: timedelta,
    shortest: timedelta,
) -> tuple[Payer | None, int, list[Reason]]:
    """Who pays, for how many seconds; or why nobody can. Each comes with the reasons of those of its caps that are full."""
    wanted, least = whole_seconds(lease), whole_seconds(shortest)
    found: list[tuple[int, Payer]] = []
    reasons: list[Reason] = []
    for payer, full_ones in payers:
        page = pages.get(payer.owner)
        seconds = min(wanted, max(0, page.available) // weight_milli) if page else 0
        reasons += full_ones
        if seconds < least:
            reasons.append(no_funds(connection, payer, page, needed=least * weight_milli))
        elif not full_ones:
            found.append((seconds, payer))
    if not found:
        return None, 0, reasons or [no_funds(connection, None, None, needed=least * weight_milli)]
    seconds, chosen = next((one for one in found if one[0] == wanted), found[0])
    return chosen, seconds, []


def _admitted_before(row: Any, place: Place, flavour: str) -> Admitted:
    if row.state not in _OPEN:
        raise ValueError(f"the hold of attempt {row.id} is {row.state}; a new try needs a new attempt")
    if (row.hub, row.user, row.server, row.site) != (place.hub, place.user, place.server, place.site):
        raise ValueError(f"attempt {row.id} belongs to another place")
    if row.flavour != flavour:
        raise ValueError(f"attempt {row.id} is for the flavour {row.flavour}, not {flavour}")
    return Admitted(row.id, row.lease_until, row.weight_milli)
