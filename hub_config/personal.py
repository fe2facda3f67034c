"""Everything that is kept about a person, in one list: what they may download, and what becomes of it when it is removed.

A removal takes away what says who somebody is; the rows stay, under an id that leads to nobody, so that sums, the ledger
and the audit trail stay as they were. Every table that names persons is in the list below (a test looks for more).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, literal, or_, select, union, update

from federation import persons
from federation.audit import Act, AuditTable, record
from federation.database import Base
from federation.outbox import OutboxTable
from federation.persons import FormerFactsTable, Person, PersonTable
from federation.terms import AcceptanceTable
from hub_config.wiring import House
from quota.tables import OPEN_STATES, AccountTable, EntryTable, GrantTable, HoldTable
from spawners.homes import HomeTable
from spawners.paying import owner_of
from spawners.tables import SessionTable
from vetting.asking import Actor
from vetting.request_tables import RequestStepTable, RequestTable
from vetting.tables import AdmissionTable, EvidenceTable, MappingTable, SiteAccountTable, SuspensionTable
from vetting.transitions import TABLE, Event

__all__ = ["StillRuns", "exported", "remove"]


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Rows of one table that are about a person.

    Parameters
    ----------
    name
        In the file that people download.
    hidden
        Columns that are not theirs to have: secrets of the machinery.
    emptied
        What columns become when the person is removed.
    goes
        Whether the rows are removed altogether then.
    """

    name: str
    table: type[Base]
    hidden: tuple[str, ...] = ()
    emptied: Mapping[str, Any] = field(default_factory=dict)
    goes: bool = False


_KEPT = (
    _Kept(name="former_names", table=FormerFactsTable, goes=True),
    _Kept(name="terms_accepted", table=AcceptanceTable),
    _Kept(name="evidence", table=EvidenceTable, emptied={"what": ""}),
    _Kept(name="admissions", table=AdmissionTable, emptied={"reason": ""}),
    _Kept(name="mappings", table=MappingTable, emptied={"reason": ""}),
    _Kept(name="site_accounts", table=SiteAccountTable),
    _Kept(name="suspensions", table=SuspensionTable, emptied={"reason": ""}),
    _Kept(
        name="requests",
        table=RequestTable,
        emptied={
            "purpose": "",
            "contact": "",
            "evidence": "",
            "details": "",
            "note": "",
            "private_note": "",
            "claims": {},
        },
    ),
    _Kept(name="request_steps", table=RequestStepTable, emptied={"text": ""}),
    _Kept(name="homes", table=HomeTable),
    _Kept(name="notices", table=OutboxTable, goes=True),
    _Kept(
        name="sessions",
        table=SessionTable,
        hidden=("secret_hash", "nonce", "token_ids"),
        emptied={"server": "", "end_detail": ""},
    ),
)
"""Each of these tables has a column `person_id`."""


class StillRuns(Exception):
    """Something of the person still runs, or is not settled: nothing was removed."""


def exported(house: House, person: Person) -> dict[str, Any]:
    """Everything that is kept about a person, ready for JSON."""
    with house.database.read() as connection:
        row = connection.execute(select(PersonTable.__table__).where(PersonTable.id == person.id)).one()
        owner = owner_of(person)
        account = select(AccountTable.id).where(
            AccountTable.owner_kind == owner.kind.value, AccountTable.owner_ref == owner.ref
        )
        return {
            "about": "Everything that this service keeps about one person. Amounts are in milli-unit-seconds.",
            "made_at": house.clock().isoformat(),
            "person": _plain(row._mapping),
            **{
                kept.name: _rows(connection, kept.table, kept.table.person_id == person.id, hidden=kept.hidden)  # type: ignore[attr-defined]
                for kept in _KEPT
            },
            "grants": _rows(connection, GrantTable, GrantTable.account_id.in_(account)),
            "reservations": _rows(connection, HoldTable, _their_holds(person, account)),
            "entries": _rows(connection, EntryTable, EntryTable.account_id.in_(account)),
            "audit": _rows(connection, AuditTable, AuditTable.target.in_(_targets(person, account))),
        }


def remove(house: House, person: Person, *, by: str, reason: str) -> str:
    """Remove what says who a person is, in one transaction; the name that stands for them in the books from now on.
    What they asked for and nobody decided is withdrawn before.

    Raises
    ------
    StillRuns
        If a session of theirs is not over, or not settled.
    """
    now = house.clock()
    with house.database.read() as connection:
        if _is_open(connection, person):
            raise StillRuns
    _withdraw_requests(house, person, by)
    with house.database.write() as connection:
        if _is_open(connection, person):
            raise StillRuns
        name = persons.forget(connection, person, now)
        for kept in _KEPT:
            of_person = kept.table.person_id == person.id  # type: ignore[attr-defined]
            if kept.goes:
                connection.execute(delete(kept.table).where(of_person))
            elif kept.emptied:
                connection.execute(update(kept.table).where(of_person).values(dict(kept.emptied)))
        for table in (SessionTable, HoldTable):
            connection.execute(update(table).where(table.user == person.user_name).values(user=name, server=""))
        record(
            connection, at=now, act=Act.PERSON_REMOVED, actor=by, target=f"person:{person.id}", reason=reason
        )  # fmt: skip
    return name


def _withdraw_requests(house: House, person: Person, by: str) -> None:
    """What they asked for and nobody decided yet."""
    waiting = [row.source for row in TABLE if row.event is Event.WITHDRAW and row.source]
    for request in house.requests.found(states=waiting, person_id=person.id):
        house.requests.act(request.id, Event.WITHDRAW, Actor(name=by, person_id=person.id))


def _is_open(connection: Connection, person: Person) -> bool:
    sessions = select(SessionTable.attempt).where(SessionTable.person_id == person.id, SessionTable.ended_at.is_(None))
    holds = select(HoldTable.id).where(
        HoldTable.user == person.user_name, HoldTable.state.in_([state.value for state in OPEN_STATES])
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in (sessions, holds))


def _their_holds(person: Person, account: Select[Any]) -> Any:
    """Paid by their own account, or by a pool for a session of theirs."""
    return or_(HoldTable.account_id.in_(account), HoldTable.user == person.user_name)


def _targets(person: Person, account: Select[Any]) -> Any:
    """What audit rows about a person name: the person, and what belongs to them in the books."""
    return union(
        select(literal(f"person:{person.id}")),
        select(GrantTable.id).where(GrantTable.account_id.in_(account)),
        select(HoldTable.id).where(_their_holds(person, account)),
        select(literal("request:").concat(RequestTable.id)).where(RequestTable.person_id == person.id),
    )


def _rows(connection: Connection, table: type[Base], *where: Any, hidden: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    rows = connection.execute(select(table.__table__).where(*where))
    return [_plain(row._mapping, hidden) for row in rows]


def _plain(row: Mapping[Any, Any], hidden: tuple[str, ...] = ()) -> dict[str, Any]:
    """Columns as JSON has them; moments in ISO 8601."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name not in hidden
    }
