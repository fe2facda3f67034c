"""Reads what the books and the sessions table know of a session, and looks ahead from it (`spawners.outlook`).

Reads only; calls block. One outlook takes seven short queries by key: 3.5 ms with SQLite on two busy cores.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from federation.database import Database
from federation.errors import Failure
from federation.persons import Person
from quota.forecast import defaults_to_come, funds_of
from quota.owners import Owner
from quota.statement import coming, standing
from quota.tables import IS_OPEN, AccountTable, HoldTable, OwnerKind
from spawners.admission import Admission
from spawners.errors import PERSON_UNKNOWN
from spawners.outlook import HORIZON, Account, Outlook, Prospect, StopRules, look_ahead
from spawners.sessions import Session

__all__ = ["Outlooks", "eligible_person"]


def eligible_person(admission: Admission, session: Session, payer: Owner | None) -> Person | None:
    """Whose session it is, if they may still use it, and the account that pays for it still does.

    `payer` is None where no open hold says who pays.
    """
    flavour = admission.policy.flavours.get(session.flavour)
    try:
        person = admission.person(session.server.user)
    except Failure as failure:
        if failure.problem is not PERSON_UNKNOWN:
            raise
        return None
    reaches = flavour is not None and admission.eligibility(person).reaches_there(flavour.tier, session.site)
    return person if reaches and (payer is None or admission.may_spend(person, payer)) else None


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
        with self._database.read() as connection:
            hold = _open_hold(connection, session.attempt)
            if hold is None:
                return None
            what_is = standing(connection, hold.payer, now)
            to_come = coming(connection, hold.payer, now, now + HORIZON)
            others = _others_weight_milli(connection, hold.account_id, session.attempt)
        person = eligible_person(self._admission, session, hold.payer)
        funds = [*funds_of(what_is.grants, now), *to_come]
        if person is not None:  # the worker gives defaults when it renews a lease
            setting, ref = self._admission.default_of_payer(person, hold.payer)
            funds += defaults_to_come(setting, ref, what_is.grants, now, HORIZON)
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
            renews=self._admission.policy.renews(session.site),
        )
        return look_ahead(prospect, self._rules, now)


def _open_hold(connection: Connection, attempt: str) -> _Hold | None:
    row = connection.execute(
        select(HoldTable.lease_until, HoldTable.weight_milli, HoldTable.account_id,
               AccountTable.owner_kind, AccountTable.owner_ref)
        .join_from(HoldTable, AccountTable, AccountTable.id == HoldTable.account_id)
        .where(HoldTable.id == attempt, IS_OPEN)
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    return _Hold(row.lease_until, row.weight_milli, row.account_id, Owner(OwnerKind(row.owner_kind), row.owner_ref))


def _others_weight_milli(connection: Connection, account_id: int, attempt: str) -> int:
    weight = connection.execute(
        select(func.coalesce(func.sum(HoldTable.weight_milli), 0)).where(
            HoldTable.account_id == account_id, IS_OPEN, HoldTable.id != attempt
        )
    ).scalar_one()
    return int(weight)  # a sum is a decimal number to PostgreSQL
