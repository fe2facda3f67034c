"""Requests as their table has them, read into values that people and pages see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from federation.ids import read_reference, reference
from vetting.asking import Asked, Decision, DenialCode, Kind
from vetting.request_tables import RequestTable
from vetting.transitions import OPEN, Event, State

__all__ = [
    "Request",
    "Step",
    "asked_of",
    "decision_of",
    "existing",
    "find_row",
    "id_with_reference",
    "other_open",
    "to_request",
]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it is now; the columns of its table that people see."""

    id: str
    person_id: str
    kind: Kind
    state: State
    filed_by: str
    follows: str | None
    asked: Asked
    decision: Decision | None
    denial_code: DenialCode | None
    reviewer: str
    second: str
    claims: Mapping[str, Any]
    claims_at: datetime | None
    note: str
    private_note: str
    opened_at: datetime
    changed_at: datetime
    submitted_at: datetime | None
    due_at: datetime | None
    paused_at: datetime | None
    grant_id: str | None
    error: str

    @property
    def reference(self) -> str:
        """The short form of its id."""
        return reference(self.id)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One event in the story of a request."""

    at: datetime
    event: Event
    state: State
    actor: str
    text: str


def find_row(connection: Connection, request_id: str, *, to_change: bool = False) -> Row[Any] | None:
    """The row of a request; None if there is none. To change it, it is locked for the rest of the transaction."""
    query = select(RequestTable.__table__).where(RequestTable.id == request_id)
    return connection.execute(query.with_for_update() if to_change else query).one_or_none()


def existing(connection: Connection, request_id: str) -> Row[Any]:
    """The row of a request that is there."""
    row = find_row(connection, request_id)
    assert row is not None, "it was there a moment ago, in this transaction"
    return row


def id_with_reference(connection: Connection, written: str) -> str | None:
    """The id whose short reference this is, however people wrote it."""
    wanted = read_reference(written)
    ids = connection.execute(select(RequestTable.id)).scalars()
    return next((one for one in ids if reference(one) == wanted), None)


def other_open(connection: Connection, person_id: str, kind: str, *, but: str) -> str:
    """Another open request of the same person and kind; "" where there is none."""
    query = select(RequestTable.id).where(
        RequestTable.person_id == person_id,
        RequestTable.kind == str(kind),
        RequestTable.id != but,
        RequestTable.state.in_([state.value for state in OPEN]),
    )
    return connection.execute(query).scalars().first() or ""


def asked_of(row: Row[Any]) -> Asked:
    """What a request asks for."""
    columns = {name: getattr(row, name) for name in Asked.__dataclass_fields__}
    return Asked(**{**columns, "sites": tuple(row.sites)})


def decision_of(row: Row[Any]) -> Decision | None:
    """What was decided to be given; None before."""
    if row.given_ends_at is None:
        return None
    return Decision(
        ends_at=row.given_ends_at,
        amount_milli_unit_seconds=row.given_amount_milli_unit_seconds or 0,
        sites=tuple(row.given_sites),
    )


def to_request(row: Row[Any]) -> Request:
    """A row as a request."""
    own = ("kind", "state", "asked", "decision", "denial_code")
    columns = {name: getattr(row, name) for name in Request.__dataclass_fields__ if name not in own}
    return Request(
        kind=Kind(row.kind), state=State(row.state), asked=asked_of(row), decision=decision_of(row),
        denial_code=DenialCode(row.denial_code) if row.denial_code else None, **columns,
    )  # fmt: skip
