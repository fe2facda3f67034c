"""The sessions table: one row for each attempt, written before anything is submitted."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Boolean, Index, Integer, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment

__all__ = ["EndReason", "SessionState", "SessionTable"]


class SessionState(StrEnum):
    """intent -> submitted -> running -> ended; a refused one ends at once."""

    INTENT = "intent"
    """We mean to start it; nothing is submitted yet."""
    SUBMITTED = "submitted"
    """The backend has it; whether it has its environment is `exchanged_at`."""
    RUNNING = "running"
    """It answered once."""
    ENDED = "ended"
    """Over, and in the books."""


class EndReason(StrEnum):
    """Why a session ended. Whoever ends one writes the reason first."""

    STOPPED = "stopped"
    """The person stopped it."""
    EXITED = "exited"
    """It ended by itself."""
    IDLE = "idle"
    """Nobody used it."""
    WALLTIME = "walltime"
    """The walltime of its job was over."""
    QUOTA = "quota"
    """Nothing was left to renew its lease."""
    ACCESS = "access"
    """The person may no longer use this."""
    REFUSED = "refused"
    """It was not admitted."""
    FAILED = "failed"
    """It did not start."""
    LOST = "lost"
    """The hub did not know it any more."""
    SERVICE = "service"
    """The service was stopped."""
    MEMORY = "memory"
    """It used more memory than its size has."""
    EVICTED = "evicted"
    """The place where it ran took it away."""
    SUSPENDED = "suspended"
    """The person was stopped by the support team; the detail is the reason, for them."""


_NOT_ENDED = "ended_at IS NULL"


class SessionTable(Base):
    __tablename__ = "session"
    __table_args__ = (
        Index("uq_session_open", "hub", "user", "server", unique=True, sqlite_where=text(_NOT_ENDED),
              postgresql_where=text(_NOT_ENDED)),
        Index("ix_session_person", "person_id", "created_at"),
        Index("ix_session_site", "site", "ended_at"),
    )  # fmt: skip

    attempt: Mapped[str] = mapped_column(String(36), primary_key=True)
    session_id: Mapped[str] = mapped_column(String(36))
    hub: Mapped[str] = mapped_column(String(255))
    user: Mapped[str] = mapped_column(String(255))
    server: Mapped[str] = mapped_column(String(255))
    person_id: Mapped[str] = mapped_column(String(36))
    site: Mapped[str] = mapped_column(String(40))
    account: Mapped[str | None] = mapped_column(String(255))
    why_there: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    flavour: Mapped[str] = mapped_column(String(40))
    environment: Mapped[str] = mapped_column(String(40))
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    secret_hash: Mapped[str] = mapped_column(String(64))
    nonce: Mapped[str | None] = mapped_column(String(64))
    exchanged_at: Mapped[datetime | None] = mapped_column(Moment)
    token_ids: Mapped[list[int]] = mapped_column(JSON)
    backend_ref: Mapped[str | None] = mapped_column(String(255))
    host: Mapped[str | None] = mapped_column(String(255))
    port: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Moment)
    submitted_at: Mapped[datetime | None] = mapped_column(Moment)
    started_at: Mapped[datetime | None] = mapped_column(Moment)
    ready_at: Mapped[datetime | None] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
    seen_at: Mapped[datetime | None] = mapped_column(Moment)
    end_reason: Mapped[str | None] = mapped_column(String(16))
    end_detail: Mapped[str | None] = mapped_column(String(2000))
    tell_when_ready: Mapped[bool] = mapped_column(Boolean, server_default=false())
