"""The audit trail: who changed whose access, when and why; written in the transaction of the change itself."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Connection, Integer, String, insert
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment
from federation.plain import plain

__all__ = ["Act", "AuditTable", "record"]

_NAME_CHARACTERS = 256
_REASON_CHARACTERS = 2000


class Act(StrEnum):
    """Everything that is audited, as `subject:object:action`."""

    GRANT_ADDED = "operator:grant:added"
    GRANT_CHANGED = "operator:grant:changed"
    GRANT_REVOKED = "operator:grant:revoked"
    HOLD_CORRECTED = "operator:hold:corrected"
    TERMS_PUBLISHED = "system:terms:published"
    TERMS_ACCEPTED = "person:terms:accepted"
    EVIDENCE_RECORDED = "reviewer:evidence:recorded"
    EVIDENCE_ENDED = "reviewer:evidence:ended"
    TIER_ADMITTED = "reviewer:tier:admitted"
    TIER_ENDED = "reviewer:tier:ended"
    MAPPING_ASKED = "reviewer:mapping:asked"
    MAPPING_ACCEPTED = "site:mapping:accepted"
    MAPPING_REFUSED = "site:mapping:refused"
    MAPPING_ENDED = "site:mapping:ended"
    PERSON_SUSPENDED = "operator:person:suspended"
    PERSON_RESTORED = "operator:person:restored"
    PERSON_STOPPED = "reviewer:person:stopped"
    SESSION_STOPPED = "reviewer:session:stopped"
    PERSON_REMOVED = "operator:person:removed"
    PERSON_EXPORTED = "operator:person:exported"
    HOME_REMOVED = "operator:home:removed"
    SITE_CHECKED = "operator:site:checked"
    SITE_CERTIFIED = "operator:site:certified"
    SITE_SUSPENDED = "operator:site:suspended"
    DOWNTIME_ANNOUNCED = "operator:downtime:announced"
    DOWNTIME_ENDED = "operator:downtime:ended"
    REQUEST_OPENED = "person:request:opened"
    REQUEST_EDITED = "person:request:edited"
    REQUEST_SUBMITTED = "person:request:submitted"
    REQUEST_ANSWERED = "person:request:answered"
    REQUEST_REOPENED = "person:request:reopened"
    REQUEST_RENEWED = "person:request:renewed"
    REQUEST_WITHDRAWN = "person:request:withdrawn"
    REQUEST_CLAIMED = "reviewer:request:claimed"
    REQUEST_UNCLAIMED = "reviewer:request:unclaimed"
    REQUEST_ASKED = "reviewer:request:asked"
    REQUEST_APPROVED = "reviewer:request:approved"
    REQUEST_DENIED = "reviewer:request:denied"
    REQUEST_REDUCED = "reviewer:request:reduced"
    REQUEST_SUSPENDED = "reviewer:request:suspended"
    REQUEST_RESTORED = "reviewer:request:restored"
    REQUEST_APPLIED = "system:request:applied"
    REQUEST_EXPIRED = "system:request:expired"
    REQUEST_REFUSED = "desk:request:refused"
    PAGE_REFUSED = "desk:page:refused"


class AuditTable(Base):
    """Insert only; triggers of the database forbid changes."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment)
    act: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(_NAME_CHARACTERS))
    target: Mapped[str] = mapped_column(String(_NAME_CHARACTERS))
    reason: Mapped[str] = mapped_column(String(_REASON_CHARACTERS))
    details: Mapped[dict[str, Any]] = mapped_column(JSON)


def record(
    connection: Connection, *, at: datetime, act: Act, actor: str, target: str, reason: str, **details: Any
) -> None:
    """Add one row. Control characters are made visible, so that a row cannot be mistaken for two in a log."""
    connection.execute(
        insert(AuditTable).values(
            at=at,
            act=act.value,
            actor=plain(actor)[:_NAME_CHARACTERS],
            target=plain(target)[:_NAME_CHARACTERS],
            reason=plain(reason)[:_REASON_CHARACTERS],
            details=details,
        )
    )
