"""Sessions as support sees them: whose, where, how far, why they ended. Never what is in them.

Whoever keeps the sessions answers `SupportSessions`, and is handed to the desk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection

__all__ = ["SessionShown", "SupportSessions"]


@dataclass(frozen=True, kw_only=True)
class SessionShown:
    """One attempt to run a session.

    Parameters
    ----------
    state
        "intent", "submitted", "running" or "ended".
    end_reason
        Why it ended or is to end, as one word; "" while it goes on. `end_detail` says more.
    """

    attempt: str
    reference: str
    person_id: str
    user_name: str
    server: str
    site: str
    flavour: str
    environment: str
    account: str
    state: str
    created_at: datetime
    submitted_at: datetime | None
    started_at: datetime | None
    ready_at: datetime | None
    ended_at: datetime | None
    end_reason: str
    end_detail: str


class SupportSessions(Protocol):
    """What the desk asks of whoever keeps the sessions. All calls block."""

    def found(self, *, person_id: str | None, site: str | None, ended: int) -> Sequence[SessionShown]:
        """Those that have not ended, then the last `ended` of the others; each part newest first."""

    def referred(self, reference: str) -> Sequence[SessionShown]:
        """Those with this short reference, however people wrote it."""

    def one(self, attempt: str) -> SessionShown | None:
        """One of them."""

    def log_tail(self, session: SessionShown, characters: int) -> str:
        """The end of what it wrote, safe to show; "" where that cannot be had."""

    def mark(self, connection: Connection, *, person_id: str, reason: str, by: str, now: datetime) -> Sequence[str]:
        """As `vetting.stopping.MarksSessions`."""
