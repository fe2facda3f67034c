"""Reads what the books and the sessions table know of a session, and looks ahead from it (`spawners.outlook`).

Reads only; calls block. One outlook takes seven short queries by key: 3.5 ms with SQLite on two busy cores.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from federation.database import Database
from federation.errors import Failure
from federation.persons import Person
from quota.defaults import missing_default, period_bounds
from quota.owners import Owner
from quota.settings import DefaultGrant, Pool
from quota.statement import Standing, standing
from quota.tables import OPEN_STATES, AccountTable, GrantTable, HoldTable, OwnerKind
from spawners.admission import Admission
from spawners.errors import PERSON_UNKNOWN
from spawners.outlook import HORIZON, Account, Fund, Outlook, Prospect, StopRules, look_ahead
from spawners.sessions import Session

__all__ = ["Outlooks", "eligible_person"]

_OPEN = tuple(state.value for state in OPEN_STATES)


def eligible_person(admission: Admission, session: Session) -> Person | None:
    """Whose session it is, if they may still use it."""
    flavour = admission.policy.flavours.get(session.flavour)
    try:
        person = admission.person(session.server.user)
    except Failure as failure:
        if failure.problem is not PERSON_UNKNOWN:
            raise
        return None
    reaches = flavour is not None and admission.eligibility(person).reaches(flavour.tier)
    return person if reaches else None


class _Hold(NamedTuple):
    """Of an open session, and who pays it."""

    lease_until: datetime
    weight_milli: int
    account_id: int
    payer: Owner


class Outlooks:
    """Looks ahead for open sessions, by the rules and the clock of the worker."""

    def __init__(self, database: Database, admission: Admission, rules: StopRules) -> None:
        self._database = database
        self._admission = admission
        self._rules = rules

    def of(
        self, session: Session, now: datetime, *, hub_has_it: bool, last_activity: datetime | None
    ) -> Outlook | None:
        """The outlook of an open session; None before it has its hold, and once it is being ended.

        Parameters
        ----------
        session
            As its row is now.
        now
            The moment to look from.
        hub_has_it
            Whether the hub counts its server as active: only then can it be idle.
        last_activity
            Of the server, as the hub knows it; in UTC.

        Raises
        ------
        federation.database.DatabaseUnavailable
            If the books cannot be read.
        Failure
            If the person cannot be looked up because of an outage.
        """
        if session.end_reason is not None or session.ended_at is not None:
            return None
        person = eligible_person(self._admission, session)
        with self._database.read() as connection:
            hold = _open_hold(connection, session.attempt)
            if hold is None:
                return None
            what_is = standing(connection, hold.payer, now)
            coming = _coming(connection, hold.account_id, now)
            others = _others_weight_milli(connection, hold.account_id, session.attempt)
        funds = [*_funds(what_is, now), *coming]
        if person is not None:
            setting, ref = self._admission.default_of_payer(person, hold.payer)
            funds += _default_to_come(setting, ref, what_is, now)
        prospect = Prospect(
            lease_until=hold.lease_until,
            weight_milli=hold.weight_milli,
            eligible=person is not None,
            account=Account(
                funds=sorted(funds, key=lambda fund: fund.ends_at),  # spend order; the sort keeps that of equal ends
                taken=what_is.held + what_is.owed,
                others_weight_milli=others,
            ),
            ready_at=session.ready_at if hub_has_it else None,
            last_activity=last_activity,
        )
        return look_ahead(prospect, self._rules, now)


def _default_to_come(setting: DefaultGrant | Pool | None, ref: str, what_is: Standing, now: datetime) -> list[Fund]:
    """The default grants of this period, as far as it was not given yet, and of the next: the worker gives them when it
    renews a lease.
    """
    if setting is None:
        return []
    following = period_bounds(setting.period, now)[1]
    coming = [missing_default(setting, ref, what_is.grants, now)]
    if following <= now + HORIZON:
        coming.append(missing_default(setting, ref, (), following))
    return [
        Fund(left=each.amount, starts_at=each.starts_at, ends_at=each.ends_at) for each in coming if each is not None
    ]


def _funds(what_is: Standing, now: datetime) -> list[Fund]:
    """What has begun; a grant that does not count any more, because it was revoked, ends now."""
    return [
        Fund(left=grant.left, starts_at=grant.starts_at, ends_at=grant.ends_at if grant.active else now)
        for grant in what_is.grants
    ]


def _open_hold(connection: Connection, attempt: str) -> _Hold | None:
    row = connection.execute(
        select(HoldTable.lease_until, HoldTable.weight_milli, HoldTable.account_id,
               AccountTable.owner_kind, AccountTable.owner_ref)
        .join_from(HoldTable, AccountTable, AccountTable.id == HoldTable.account_id)
        .where(HoldTable.id == attempt, HoldTable.state.in_(_OPEN))
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    return _Hold(row.lease_until, row.weight_milli, row.account_id, Owner(OwnerKind(row.owner_kind), row.owner_ref))


def _others_weight_milli(connection: Connection, account_id: int, attempt: str) -> int:
    weight: int = connection.execute(
        select(func.coalesce(func.sum(HoldTable.weight_milli), 0)).where(
            HoldTable.account_id == account_id, HoldTable.state.in_(_OPEN), HoldTable.id != attempt
        )
    ).scalar_one()
    return weight


def _coming(connection: Connection, account_id: int, now: datetime) -> list[Fund]:
    """Grants that begin soon enough to matter."""
    rows = connection.execute(
        select(GrantTable.amount, GrantTable.starts_at, GrantTable.ends_at).where(
            GrantTable.account_id == account_id, GrantTable.revoked_at.is_(None),
            GrantTable.starts_at > now, GrantTable.starts_at <= now + HORIZON,
        )
    )  # fmt: skip
    return [Fund(left=row.amount, starts_at=row.starts_at, ends_at=row.ends_at) for row in rows]
