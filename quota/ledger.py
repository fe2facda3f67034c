"""The ledger: quota that is reserved before anything starts, and settled once from the backend's own times.

Two-phase, like a card hold: reserve -> (renew ...) -> settle | release. Every call is one transaction and idempotent by
its key, so that a caller whose connection broke after the commit may simply call again. Calls block; the hub makes them
in threads. Any call raises `federation.database.DatabaseUnavailable` when the database cannot be reached: nothing has
happened then, or, if the commit was already made, calling again gives the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from federation.audit import Act, record
from federation.clock import Clock, as_utc, system_clock
from federation.database import Database
from federation.ids import new_id
from quota import rates
from quota.amounts import charge, whole_seconds
from quota.errors import GRANT_ENDED, NO_GRANT, QUOTA_HELD, QUOTA_SPENT, QUOTA_USED_UP, SERVER_BUSY
from quota.page import Owner, Page, account_of, open_page
from quota.reasons import Reason
from quota.tables import OPEN_STATES, EntryKind, GrantTable, HoldState, HoldTable

__all__ = [
    "Admitted",
    "Cap",
    "Denied",
    "Gauges",
    "HoldUnknown",
    "Ledger",
    "NotRenewed",
    "Place",
    "Renewed",
    "Settlement",
]

_OPEN = tuple(state.value for state in OPEN_STATES)
_MOST = 2**53  # any number of such grants that people can give adds up in 64 bits; JSON keeps it exactly


class HoldUnknown(LookupError):
    """There is no hold, or no grant, with this id."""


class _Refused(Exception):
    """Rolls the transaction back: a refusal changes no byte of the books."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        super().__init__(reasons)
        self.reasons = tuple(reasons)


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """What a session occupies while its hold is open."""

    sessions: int = 1
    cpu: int = 0
    memory_mib: int = 0
    gpu: int = 0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which server of whom runs where; one open hold for each (hub, user, server)."""

    hub: str
    user: str
    server: str
    site: str


@dataclass(frozen=True, kw_only=True)
class Cap:
    """A limit on a gauge summed over the open holds of a user or a site. `reason` is what the refusal says; what is
    used and the limit are filled in.
    """

    column: str  # user | site
    ref: str
    gauge: str  # sessions | cpu | memory_mib | gpu
    limit: int
    reason: Reason


@dataclass(frozen=True)
class Admitted:
    """The hold exists; the session may be started and may run until `lease_until`."""

    hold: str
    lease_until: datetime
    weight_milli: int


@dataclass(frozen=True)
class Denied:
    """Nothing was changed; these are all the reasons, the first one first to be told."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Renewed:
    """The lease now runs until then; `short` when there was less left than was asked for."""

    lease_until: datetime
    short: bool


@dataclass(frozen=True)
class NotRenewed:
    """The lease stays as it is: nothing is left, or the hold is closed."""

    lease_until: datetime
    closed: bool


@dataclass(frozen=True)
class Settlement:
    """How a hold ended; amounts in milli-unit-seconds."""

    hold: str
    state: HoldState
    charged: int
    started_at: datetime | None
    ended_at: datetime | None


class Ledger:
    """The calls. `actor` names the program or person in whose name entries are made."""

    def __init__(self, database: Database, *, clock: Clock = system_clock, actor: str = "system") -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    # --- grants ---------------------------------------------------------------------------------------------

    def grant(
        self,
        *,
        key: str,
        owner: Owner,
        amount: int,
        starts_at: datetime,
        ends_at: datetime,
        created_by: str,
        reason: str,
        priority: int = 0,
    ) -> str:
        """Give an amount for a time and return the grant's id; the same key again gives nothing more.

        Raises
        ------
        ValueError
            If the amount is not positive, or the end is not after the start.
        """
        if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount <= _MOST:
            raise ValueError(f"an amount is a whole positive number of milli-unit-seconds, not {amount!r}")
        if as_utc(ends_at) <= as_utc(starts_at):
            raise ValueError("a grant ends after it starts")
        with self._database.read() as connection:
            known = connection.execute(select(GrantTable.id).where(GrantTable.key == key)).scalar_one_or_none()
        if known:
            return known
        now = self._clock()
        with self._database.write() as connection:
            known = connection.execute(select(GrantTable.id).where(GrantTable.key == key)).scalar_one_or_none()
            if known:
                return known
            account = account_of(connection, owner)
            grant_id = new_id()
            values = {
                "id": grant_id, "key": key, "account_id": account, "amount": amount, "starts_at": starts_at,
                "ends_at": ends_at, "priority": priority, "created_by": created_by, "created_at": now, "reason": reason,
            }  # fmt: skip
            connection.execute(insert(GrantTable).values(values))
            with open_page(connection, _known(account), now, created_by):
                pass
            record(
                connection, at=now, act=Act.GRANT_ADDED, actor=created_by, target=grant_id, reason=reason,
                owner=f"{owner.kind}:{owner.ref}", amount_milli_unit_seconds=amount,
            )  # fmt: skip
        return grant_id

    def revoke(self, grant_id: str, *, actor: str, reason: str) -> None:
        """End a grant now; what running sessions hold of it stays theirs until their leases end. Twice is once.

        Raises
        ------
        HoldUnknown
            If there is no such grant.
        """
        now = self._clock()
        with self._database.write() as connection:
            row = connection.execute(select(GrantTable.__table__).where(GrantTable.id == grant_id)).one_or_none()
            if row is None:
                raise HoldUnknown(grant_id)
            if row.revoked_at is not None:
                return
            connection.execute(update(GrantTable).where(GrantTable.id == grant_id).values(revoked_at=now))
            with open_page(connection, row.account_id, now, actor):
                pass
            record(connection, at=now, act=Act.GRANT_REVOKED, actor=actor, target=grant_id, reason=reason)

    # --- holds ----------------------------------------------------------------------------------------------

    def reserve(
        self,
        *,
        attempt: str,
        payer: Owner,
        place: Place,
        flavour: str,
        lease: timedelta,
        shortest: timedelta,
        gauges: Gauges,
        caps: Sequence[Cap] = (),
        returns_at: datetime | None = None,
    ) -> Admitted | Denied:
        """Set an amount aside for one attempt, all or nothing.

        With less than `lease` left the lease shrinks, to `shortest` at the least. `returns_at` is when new quota comes
        by itself; it goes into the refusal. The same attempt again gets the first answer if its hold is still open.

        Raises
        ------
        ValueError
            If the attempt's hold is closed already, or belongs to another place; or if `shortest` is nothing, or longer
            than `lease`.
        KeyError
            If the flavour has no weight.
        """
        if not timedelta(0) < shortest <= lease:
            raise ValueError(f"a lease of {lease} and of at least {shortest} is no lease")
        try:
            return self._reserve(attempt, payer, place, flavour, lease, shortest, gauges, caps, returns_at)
        except _Refused as refused:
            return Denied(refused.reasons)

    def _reserve(
        self,
        attempt: str,
        payer: Owner,
        place: Place,
        flavour: str,
        lease: timedelta,
        shortest: timedelta,
        gauges: Gauges,
        caps: Sequence[Cap],
        returns_at: datetime | None,
    ) -> Admitted:
        now = self._clock()
        with self._database.write() as connection:
            row = _hold(connection, attempt)
            if row is not None:
                return _admitted_before(row, place)
            account = account_of(connection, payer, create=False)
            if account is None:
                raise _Refused([Reason(problem=NO_GRANT)])
            rate = rates.current(connection, flavour)
            page = Page(connection, account, now, self._actor)
            page.update_grants()
            seconds = min(whole_seconds(lease), max(0, page.available) // rate.weight_milli)
            reasons = [reason for cap in caps if (reason := _exceeded(connection, cap, gauges))]
            if seconds < whole_seconds(shortest):
                reasons.append(_no_funds(page, rate.weight_milli * whole_seconds(shortest), returns_at))
            if _server_is_busy(connection, place):
                reasons.insert(0, Reason(problem=SERVER_BUSY, resource="sessions"))
            if reasons:
                raise _Refused(reasons)
            lease_until = now + timedelta(seconds=seconds)
            values = {
                "id": attempt, "account_id": account, "amount": seconds * rate.weight_milli,
                "rate_version": rate.version, "weight_milli": rate.weight_milli, "flavour": flavour,
                "gauge_sessions": gauges.sessions, "gauge_cpu": gauges.cpu, "gauge_memory_mib": gauges.memory_mib,
                "gauge_gpu": gauges.gpu, "state": HoldState.HELD.value, "reserved_at": now,
                "lease_until": lease_until, "hub": place.hub, "user": place.user, "server": place.server,
                "site": place.site,
            }  # fmt: skip
            connection.execute(insert(HoldTable).values(values))
            page.post(EntryKind.HOLD, seconds * rate.weight_milli, hold=attempt)
            page.save()
            return Admitted(attempt, lease_until, rate.weight_milli)

    def started(self, hold: str, *, started_at: datetime, backend_ref: str | None = None) -> None:
        """The backend says that the session runs, since then."""
        started_at = as_utc(started_at)
        with self._database.write() as connection:
            connection.execute(
                update(HoldTable)
                .where(HoldTable.id == hold, HoldTable.state.in_(_OPEN))
                .values(state=HoldState.RUNNING.value, started_at=started_at, backend_ref=backend_ref)
            )

    def unknown(self, hold: str) -> None:
        """The backend cannot be asked: nothing is refunded and nothing started on the same budget meanwhile."""
        with self._database.write() as connection:
            connection.execute(
                update(HoldTable)
                .where(HoldTable.id == hold, HoldTable.state.in_(_OPEN))
                .values(state=HoldState.UNKNOWN.value)
            )

    def renew(self, hold: str, *, until: datetime) -> Renewed | NotRenewed:
        """Make the lease run until then, as far as what is left allows, and set the amount for that aside.

        Raises
        ------
        HoldUnknown
            If there is no such hold.
        """
        now, until = self._clock(), as_utc(until)
        with self._database.write() as connection:
            row = _existing(connection, hold)
            if row.state not in _OPEN:
                return NotRenewed(row.lease_until, closed=True)
            wanted = whole_seconds(until - row.lease_until)
            if wanted == 0:
                return Renewed(row.lease_until, short=False)
            with open_page(connection, row.account_id, now, self._actor) as page:
                seconds = min(wanted, max(0, page.available) // row.weight_milli)
                if seconds == 0:
                    return NotRenewed(row.lease_until, closed=False)
                lease_until = row.lease_until + timedelta(seconds=seconds)
                amount = seconds * row.weight_milli
                connection.execute(
                    update(HoldTable)
                    .where(HoldTable.id == hold)
                    .values(lease_until=lease_until, amount=row.amount + amount)
                )
                page.post(EntryKind.RENEW, amount, hold=hold)
            return Renewed(lease_until, short=seconds < wanted)

    def settle(self, hold: str, *, started_at: datetime, ended_at: datetime, source: str) -> Settlement:
        """Charge ceil(end - start) x weight and close the hold; the second caller gets the first answer.

        `source` says whose times these are (launcher, scheduler, last seen). A hold that expired although its session
        ran is charged after all.

        Raises
        ------
        HoldUnknown
            If there is no such hold.
        ValueError
            If the end is before the start.
        """
        if as_utc(ended_at) < as_utc(started_at):
            raise ValueError(f"a session that ends ({ended_at}) before it starts ({started_at}) cannot be settled")
        with self._database.write() as connection:
            row = _existing(connection, hold)
            if row.state in (HoldState.SETTLED, HoldState.RELEASED):
                return _settlement(row)
            amount = charge(row.weight_milli, started_at, ended_at)
            set_aside = row.amount if row.state in _OPEN else 0
            with open_page(connection, row.account_id, self._clock(), self._actor) as page:
                # Below zero is what other sessions overran by: what was set aside for this one stays its own.
                page.charge(amount, hold, cover=set_aside + max(0, page.available))
                if set_aside:
                    page.post(EntryKind.RELEASE, -set_aside, hold=hold)
            return _close(
                connection, hold, HoldState.SETTLED, charged=amount, started_at=started_at, ended_at=ended_at,
                source=source,
            )  # fmt: skip

    def release(self, hold: str, *, reason: str) -> Settlement:
        """Close a hold whose session never ran: nothing is charged. The second caller gets the first answer.

        Raises
        ------
        HoldUnknown
            If there is no such hold.
        """
        return self._give_back(hold, reason)

    def expire(self, now: datetime) -> list[str]:
        """Close holds whose lease ended before their session was ever seen running, and return their ids."""
        now = as_utc(now)
        with self._database.read() as connection:
            due = connection.execute(
                select(HoldTable.id).where(HoldTable.state == HoldState.HELD.value, HoldTable.lease_until <= now)
            ).scalars().all()  # fmt: skip
        return [hold for hold in due if self._give_back(hold, "lease ended", due=now).state == HoldState.EXPIRED]

    def _give_back(self, hold: str, reason: str, *, due: datetime | None = None) -> Settlement:
        """Close an open hold without a charge; with `due`, only if its lease ended by then and it never ran."""
        state = HoldState.RELEASED if due is None else HoldState.EXPIRED
        with self._database.write() as connection:
            row = _existing(connection, hold)
            is_due = due is None or (row.state == HoldState.HELD and row.lease_until <= due)
            if row.state not in _OPEN or not is_due:
                return _settlement(row)
            with open_page(connection, row.account_id, self._clock(), self._actor) as page:
                page.post(EntryKind.RELEASE, -row.amount, hold=hold, reason=reason)
            return _close(connection, hold, state, charged=0, source=reason)


def _hold(connection: Connection, hold: str) -> Row[Any] | None:
    return connection.execute(select(HoldTable.__table__).where(HoldTable.id == hold).with_for_update()).one_or_none()


def _existing(connection: Connection, hold: str) -> Row[Any]:
    row = _hold(connection, hold)
    if row is None:
        raise HoldUnknown(hold)
    return row


def _admitted_before(row: Row[Any], place: Place) -> Admitted:
    if row.state not in _OPEN:
        raise ValueError(f"the hold of attempt {row.id} is {row.state}; a new try needs a new attempt")
    if (row.hub, row.user, row.server, row.site) != (place.hub, place.user, place.server, place.site):
        raise ValueError(f"attempt {row.id} belongs to another place")
    return Admitted(row.id, row.lease_until, row.weight_milli)


def _exceeded(connection: Connection, cap: Cap, gauges: Gauges) -> Reason | None:
    """The cap's reason, if this would be too much."""
    column = HoldTable.user if cap.column == "user" else HoldTable.site
    gauge = getattr(HoldTable, f"gauge_{cap.gauge}")
    total = select(func.coalesce(func.sum(gauge), 0)).where(column == cap.ref, HoldTable.state.in_(_OPEN))
    used: int = connection.execute(total).scalar_one()
    wanted: int = getattr(gauges, cap.gauge)
    return replace(cap.reason, used=used, limit=cap.limit) if wanted and used + wanted > cap.limit else None


def _server_is_busy(connection: Connection, place: Place) -> bool:
    busy = select(HoldTable.id).where(
        HoldTable.hub == place.hub,
        HoldTable.user == place.user,
        HoldTable.server == place.server,
        HoldTable.state.in_(_OPEN),
    )
    return connection.execute(busy).first() is not None


def _no_funds(page: Page, needed: int, returns_at: datetime | None) -> Reason:
    if not any(grant.active for grant in page.grants()):
        rows = page.connection.execute(
            select(GrantTable.ends_at, GrantTable.revoked_at)
            .where(GrantTable.account_id == page.account_id, GrantTable.starts_at <= page.at)
        ).all()  # fmt: skip
        if not rows:
            return Reason(problem=NO_GRANT)
        ended = max(min(row.ends_at, row.revoked_at or row.ends_at) for row in rows)
        return Reason(problem=GRANT_ENDED, returns_at=ended)
    # People think of this month's quota, not of all time: the figures are those of the grants that count now.
    counting = [grant for grant in page.grants() if grant.active]
    limit = sum(grant.amount for grant in counting)
    used = limit - sum(grant.left for grant in counting)
    problem = QUOTA_HELD if page.held >= needed else QUOTA_USED_UP if returns_at else QUOTA_SPENT
    return Reason(problem=problem, used=used, held=page.held, limit=limit, needed=needed, returns_at=returns_at)


def _close(connection: Connection, hold: str, state: HoldState, **values: Any) -> Settlement:
    connection.execute(update(HoldTable).where(HoldTable.id == hold).values(state=state.value, **values))
    return _settlement(_existing(connection, hold))


def _settlement(row: Row[Any]) -> Settlement:
    return Settlement(row.id, HoldState(row.state), row.charged or 0, row.started_at, row.ended_at)


def _known(account: int | None) -> int:
    assert account is not None
    return account
