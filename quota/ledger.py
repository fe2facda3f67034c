"""The ledger: quota that is reserved before anything starts, and settled once from the backend's own times.

Two-phase, like a card hold: reserve -> (renew ...) -> settle | release. Every call is one transaction and idempotent by
its key, so that a caller whose connection broke after the commit may simply call again. Calls block; the hub makes them
in threads. Any call raises `federation.database.DatabaseUnavailable` when the database cannot be reached: nothing has
happened then, or, if the commit was already made, calling again gives the same answer.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError

from federation.clock import Clock, as_utc, system_clock
from federation.database import Database, Moment
from federation.prepared import Prepared, run
from quota import correcting, granting
from quota.amounts import run_seconds, whole_seconds
from quota.answers import Admitted, Corrected, Denied, NotRenewed, Payer, Place, Renewed, Settlement
from quota.capping import Cap, Gauges
from quota.granting import Terms
from quota.owners import Owner
from quota.page import Page
from quota.reserving import Decided, Refused, decide
from quota.shelf import of_hold, pages
from quota.tables import IS_OPEN, OPEN_STATES, EntryKind, HoldState, HoldTable
from quota.writing import put_back

__all__ = ["HoldUnknown", "Ledger"]

_T = TypeVar("_T")
_OPEN = tuple(state.value for state in OPEN_STATES)

_HOLD_TO_CHANGE = Prepared(
    select(
        HoldTable.id, HoldTable.account_id, HoldTable.state, HoldTable.amount, HoldTable.weight_milli,
        HoldTable.lease_until, HoldTable.queue_seconds, HoldTable.charged, HoldTable.started_at, HoldTable.ended_at,
    )
    .where(HoldTable.id == bindparam("hold"))
    .with_for_update()
)  # fmt: skip
_DUE = select(HoldTable.id).where(HoldTable.state == HoldState.HELD.value, HoldTable.lease_until <= bindparam("now"))


def _changing(*columns: str, **values: Any) -> Prepared:
    """A hold gets new values, each as the parameter `new_...`."""
    values |= {name: bindparam(f"new_{name}", type_=HoldTable.__table__.c[name].type) for name in columns}
    return Prepared(update(HoldTable).where(HoldTable.id == bindparam("hold")).values(values))


_START = _changing(
    "started_at",
    state=HoldState.RUNNING.value,
    backend_ref=func.coalesce(bindparam("new_backend_ref"), HoldTable.backend_ref),
    lease_until=func.coalesce(bindparam("new_lease_until", type_=Moment), HoldTable.lease_until),
)
_RENEW = _changing("lease_until", "amount")
_CLOSE = _changing("state", "charged", "source", "started_at", "ended_at", "earlier_seconds")


class HoldUnknown(LookupError):
    """There is no hold with this id."""


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
        quota.granting.KeyTaken
            If the key belongs to a grant of another owner or amount.
        """
        terms = Terms(amount=amount, starts_at=starts_at, ends_at=ends_at, priority=priority)
        with self._database.read() as connection:  # most calls are for a default that was given long ago
            known = granting.known_as(connection, key, owner, amount)
        if known is not None:
            return known

        def give(connection: Connection) -> str:
            return granting.known_as(connection, key, owner, amount) or granting.give(
                connection, key=key, owner=owner, terms=terms, now=self._clock(), created_by=created_by, reason=reason
            )

        return self._written(give)

    def change(
        self, grant_id: str, *, key: str, amount: int, starts_at: datetime, ends_at: datetime, actor: str, reason: str
    ) -> str | None:
        """Extend or reduce a grant: it is revoked, and a successor follows it. `amount` is that of both together: what
        the grant paid already is taken off. Returns the successor's id; None if nothing is left for one.

        Raises
        ------
        quota.granting.GrantUnknown
            If there is no such grant.
        ValueError
            If the terms are none, or the grant was revoked or changed before.
        """
        terms = Terms(amount=amount, starts_at=starts_at, ends_at=ends_at)

        def change(connection: Connection) -> str | None:
            return granting.successor(connection, grant_id, key) or granting.change(
                connection, grant_id, key=key, terms=terms, now=self._clock(), actor=actor, reason=reason
            )

        return self._written(change)

    def revoke(self, grant_id: str, *, actor: str, reason: str) -> None:
        """End a grant now; what running sessions hold of it stays theirs until their leases end. Twice is once.

        Raises
        ------
        quota.granting.GrantUnknown
            If there is no such grant.
        """
        with self._database.write() as connection:
            granting.revoke(connection, grant_id, now=self._clock(), actor=actor, reason=reason)

    # --- holds ----------------------------------------------------------------------------------------------

    def reserve(
        self,
        *,
        attempt: str,
        payers: Sequence[Payer],
        place: Place,
        flavour: str,
        lease: timedelta,
        shortest: timedelta,
        gauges: Gauges,
        caps: Sequence[Cap] = (),
        queue: timedelta = timedelta(0),
    ) -> Admitted | Denied:
        """Set an amount aside for one attempt, all or nothing.

        Exactly one account pays: the first of `payers` that can cover the whole lease; where none can, the first that
        can cover `shortest`, and the lease shrinks to what it has. `caps` hold whoever pays. `queue` is how long a batch
        job may wait: that is free, and the lease ends that much later. The same attempt again gets the first answer if
        its hold is still open.

        Raises
        ------
        ValueError
            If the attempt's hold is closed already, or belongs to another place or flavour; or if `shortest` is
            nothing, or longer than `lease`.
        KeyError
            If the flavour has no weight.
        """
        wish = {
            "attempt": attempt, "payers": payers, "place": place, "flavour": flavour, "lease": lease,
            "shortest": shortest, "gauges": gauges, "caps": caps, "queue": queue,
        }  # fmt: skip
        try:
            return self._written(lambda connection: self._decide(connection, wish).write(connection))
        except Refused as refused:
            return Denied(refused.reasons)

    def preview(self, **wish: Any) -> Admitted | Denied:
        """What `reserve` would answer now to the same arguments; nothing is kept of it."""
        try:
            with self._database.write() as connection:
                return self._decide(connection, wish).answer
        except Refused as refused:
            return Denied(refused.reasons)

    def _decide(self, connection: Connection, wish: Mapping[str, Any]) -> Decided:
        return decide(connection, now=self._clock(), actor=self._actor, **wish)

    def started(self, hold: str, *, started_at: datetime, backend_ref: str | None = None) -> None:
        """The backend says that the session runs, since then. A lease that was to wait in a queue ends with the
        walltime that is set aside from now on.
        """
        started_at = as_utc(started_at)
        with self._database.write() as connection:
            (rows,) = run(connection, [_HOLD_TO_CHANGE(hold=hold)])
            if not rows or rows[0].state not in _OPEN:
                return
            (row,) = rows
            walltime = timedelta(seconds=row.amount // row.weight_milli)
            lease_until = started_at + walltime if row.queue_seconds else None
            new = {"new_started_at": started_at, "new_backend_ref": backend_ref, "new_lease_until": lease_until}
            run(connection, [_START(hold=hold, **new)], commit=True)

    def unknown(self, hold: str) -> None:
        """The backend cannot be asked: nothing is refunded and nothing started on the same budget meanwhile."""
        with self._database.write() as connection:
            connection.execute(
                update(HoldTable).where(HoldTable.id == hold, IS_OPEN).values(state=HoldState.UNKNOWN.value)
            )

    def renew(self, hold: str, *, until: datetime) -> Renewed | NotRenewed:
        """Make the lease run until then, as far as what is left allows, and set the amount for that aside.

        Raises
        ------
        HoldUnknown
            If there is no such hold.
        """
        until = as_utc(until)
        with self._database.write() as connection:
            row, page = self._locked(connection, hold)
            if row.state not in _OPEN:
                return NotRenewed(row.lease_until, closed=True)
            wanted = whole_seconds(until - row.lease_until)
            if wanted == 0:
                return Renewed(row.lease_until, short=False)
            seconds = min(wanted, max(0, page.available) // row.weight_milli)
            if seconds == 0:
                put_back(connection, page, commit=True)
                return NotRenewed(row.lease_until, closed=False)
            lease_until = row.lease_until + timedelta(seconds=seconds)
            amount = seconds * row.weight_milli
            page.post(EntryKind.RENEW, amount, hold=hold)
            longer = _RENEW(hold=hold, new_lease_until=lease_until, new_amount=row.amount + amount)
            put_back(connection, page, longer, commit=True)
            return Renewed(lease_until, short=seconds < wanted)

    def settle(
        self,
        hold: str,
        *,
        started_at: datetime,
        ended_at: datetime,
        source: str,
        earlier_runs: Sequence[tuple[datetime, datetime]] = (),
    ) -> Settlement:
        """Charge ceil(end - start) x weight and close the hold; the second caller gets the first answer.

        `source` says whose times these are (launcher, scheduler, last seen). `earlier_runs` are start and end of each run
        before the last one, of a job that was requeued; they are charged too. A hold that expired although its session
        ran is charged after all.

        Raises
        ------
        HoldUnknown
            If there is no such hold.
        ValueError
            If an end is before its start.
        """
        earlier = sum(run_seconds(start, end) for start, end in earlier_runs)
        seconds = earlier + run_seconds(started_at, ended_at)
        with self._database.write() as connection:
            row, page = self._locked(connection, hold)
            if row.state in (HoldState.SETTLED, HoldState.RELEASED):
                return _settlement(row)
            amount = seconds * row.weight_milli
            set_aside = row.amount if row.state in _OPEN else 0
            # Below zero is what other sessions overran by: what was set aside for this one stays its own.
            page.charge(amount, hold, cover=set_aside + max(0, page.available))
            if set_aside:
                page.post(EntryKind.RELEASE, -set_aside, hold=hold)
            return _closed(
                connection, page, row, HoldState.SETTLED, charged=amount, started_at=as_utc(started_at),
                ended_at=as_utc(ended_at), source=source, earlier_seconds=earlier,
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
            due = connection.execute(_DUE, {"now": now}).scalars().all()
        return [hold for hold in due if self._give_back(hold, "lease ended", due=now).state == HoldState.EXPIRED]

    def _give_back(self, hold: str, reason: str, *, due: datetime | None = None) -> Settlement:
        """Close an open hold without a charge; with `due`, only if its lease ended by then and it never ran."""
        state = HoldState.RELEASED if due is None else HoldState.EXPIRED
        with self._database.write() as connection:
            row, page = self._locked(connection, hold)
            is_due = due is None or (row.state == HoldState.HELD and row.lease_until <= due)
            if row.state not in _OPEN or not is_due:
                return _settlement(row)
            page.post(EntryKind.RELEASE, -row.amount, hold=hold, reason=reason)
            return _closed(
                connection, page, row, state, charged=0, started_at=row.started_at, ended_at=row.ended_at,
                source=reason, earlier_seconds=0,
            )  # fmt: skip

    # --- corrections ----------------------------------------------------------------------------------------

    def correct(self, hold: str, *, amount: int, key: str, actor: str, reason: str) -> Corrected:
        """Charge a settled hold more, or (below zero) less, with a reason and a row in the audit trail. The same key
        again changes nothing more.

        Raises
        ------
        HoldUnknown
            If there is no such hold.
        ValueError
            If the amount is no whole number or zero, the hold is not settled, more is given back than it cost, or the
            key belongs to another correction.
        """

        def correct(connection: Connection) -> Corrected:
            (rows,) = run(connection, [_HOLD_TO_CHANGE(hold=hold)])
            return correcting.correct(
                connection, _existing(rows, hold), amount=amount, key=key, now=self._clock(), actor=actor, reason=reason
            )

        return self._written(correct)

    def _locked(self, connection: Connection, hold: str) -> tuple[Any, Page]:
        """A hold's row and the page of the account that pays for it, both locked."""
        at = self._clock()
        rows, balances, grants = run(connection, [_HOLD_TO_CHANGE(hold=hold), *of_hold(hold, at)])
        row = _existing(rows, hold)
        (page,) = pages(balances, grants, at, self._actor)
        return row, page

    def _written(self, work: Callable[[Connection], _T]) -> _T:
        """One transaction; once more if somebody else made the same thing at the same moment."""
        try:
            with self._database.write() as connection:
                return work(connection)
        except IntegrityError:
            with self._database.write() as connection:
                return work(connection)


def _existing(rows: Sequence[Any], hold: str) -> Any:
    if not rows:
        raise HoldUnknown(hold)
    return rows[0]


def _closed(connection: Connection, page: Page, row: Any, state: HoldState, **values: Any) -> Settlement:
    """Close the hold, put the page back and commit."""
    new = {f"new_{name}": value for name, value in values.items()}
    put_back(connection, page, _CLOSE(hold=row.id, new_state=state.value, **new), commit=True)
    return Settlement(row.id, state, values["charged"], values["started_at"], values["ended_at"])


def _settlement(row: Any) -> Settlement:
    return Settlement(row.id, HoldState(row.state), row.charged or 0, row.started_at, row.ended_at)
