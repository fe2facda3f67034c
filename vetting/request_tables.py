"""Requests, and what happened to each.

A request's row says how it is now; its steps say how it came to be so, and hold the words that people wrote. The words
go when the person's data is removed; who did what, when and why is in the audit trail, which is never changed.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment

__all__ = ["LONG_TEXT", "SHORT_TEXT", "RequestStepTable", "RequestTable"]

LONG_TEXT, SHORT_TEXT = 4000, 500
"""How many characters people may write."""

_OPEN = "state IN ('draft', 'submitted', 'in_review', 'needs_info', 'awaiting_second', 'approved')"


class RequestTable(Base):
    """One request: what is asked for, what was decided, and how far it is.

    Parameters
    ----------
    filed_by, reviewer, second
        Names as the audit trail has them.
    claims, claims_at
        What the person's provider had said of them when they sent it, and when.
    due_at, paused_at
        Until when an answer is wanted; since when the person is asked something, which does not count.
    grant_id
        The grant that was given for it; those that follow it say so themselves.
    error
        Why it could not be applied at the last try.
    membership_gone_at
        Since when the person is in none of the communities.
    """

    __tablename__ = "request"
    __table_args__ = (
        CheckConstraint("amount_milli_unit_seconds >= 0", name="ck_request_amount"),
        Index("uq_request_open", "person_id", "kind", unique=True, sqlite_where=text(_OPEN),
              postgresql_where=text(_OPEN)),
        Index("ix_request_state", "state", "due_at"),
        Index("ix_request_person", "person_id", "opened_at"),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(36))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    filed_by: Mapped[str] = mapped_column(String(256))
    follows: Mapped[str | None] = mapped_column(String(36))
    tier: Mapped[str] = mapped_column(String(255))
    amount_milli_unit_seconds: Mapped[int] = mapped_column(BigInteger)
    ends_at: Mapped[datetime] = mapped_column(Moment)
    flavour: Mapped[str] = mapped_column(String(40))
    sites: Mapped[list[str]] = mapped_column(JSON)
    purpose: Mapped[str] = mapped_column(String(LONG_TEXT))
    contact: Mapped[str] = mapped_column(String(SHORT_TEXT))
    evidence: Mapped[str] = mapped_column(String(SHORT_TEXT))
    details: Mapped[str] = mapped_column(String(LONG_TEXT))
    claims: Mapped[dict[str, Any]] = mapped_column(JSON)
    claims_at: Mapped[datetime | None] = mapped_column(Moment)
    reviewer: Mapped[str] = mapped_column(String(256))
    second: Mapped[str] = mapped_column(String(256))
    given_amount_milli_unit_seconds: Mapped[int | None] = mapped_column(BigInteger)
    given_ends_at: Mapped[datetime | None] = mapped_column(Moment)
    given_sites: Mapped[list[str]] = mapped_column(JSON)
    denial_code: Mapped[str] = mapped_column(String(32))
    note: Mapped[str] = mapped_column(String(LONG_TEXT))
    private_note: Mapped[str] = mapped_column(String(LONG_TEXT))
    opened_at: Mapped[datetime] = mapped_column(Moment)
    changed_at: Mapped[datetime] = mapped_column(Moment)
    submitted_at: Mapped[datetime | None] = mapped_column(Moment)
    due_at: Mapped[datetime | None] = mapped_column(Moment)
    paused_at: Mapped[datetime | None] = mapped_column(Moment)
    grant_id: Mapped[str | None] = mapped_column(String(36))
    error: Mapped[str] = mapped_column(String(SHORT_TEXT))
    membership_gone_at: Mapped[datetime | None] = mapped_column(Moment)


class RequestStepTable(Base):
    """One event: who caused it, the state that it led to, and the words that came with it."""

    __tablename__ = "request_step"
    __table_args__ = (Index("ix_request_step_request", "request_id"), Index("ix_request_step_person", "person_id"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(36))
    person_id: Mapped[str] = mapped_column(String(36))
    at: Mapped[datetime] = mapped_column(Moment)
    event: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(256))
    text: Mapped[str] = mapped_column(String(LONG_TEXT))
