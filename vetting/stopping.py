"""Stop somebody now, for misuse: they are suspended, and what runs of theirs ends at once.

The suspension, the reason with each session, the rows of the audit trail and the mail are one transaction. The worker
then ends the sessions where they run, and goes on until none is left; one whose start was let in a moment before is
among them, since it goes by the suspension.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection

from federation.ids import new_id
from federation.outbox import announce
from vetting.decisions import suspend_at_once

__all__ = ["STOPPED", "MarksSessions", "stop_now"]

STOPPED = "access-stopped"
"""The kind of mail that tells it."""


class MarksSessions(Protocol):
    """Of whoever keeps the sessions."""

    def __call__(self, connection: Connection, *, person_id: str, reason: str, by: str, now: datetime) -> Sequence[str]:
        """Write into each open session of a person that it is to end now, and why; the references of them all."""


def stop_now(
    connection: Connection, mark: MarksSessions, *, person_id: str, reason: str, by: str, now: datetime
) -> list[str] | None:
    """Suspend a person and have their sessions ended; the references of these. None if they were stopped before.

    Parameters
    ----------
    reason
        For the person, and for auditors.
    """
    ends = list(mark(connection, person_id=person_id, reason=reason, by=by, now=now))
    if not suspend_at_once(connection, person_id=person_id, reason=reason, by=by, now=now, ends=ends):
        return None
    announce(
        connection, event=f"{STOPPED}:{new_id()}", kind=STOPPED, person_id=person_id, now=now, due_at=now, words=reason
    )
    return ends
