"""The sessions for the access desk: what support may see of them, and how they are stopped."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from federation.ids import reference
from spawners.context import SiteBackend
from spawners.sessions import Session, Sessions
from spawners.stopping import mark
from vetting.desk.running import SessionShown

__all__ = ["DeskSessions"]


class DeskSessions:
    """Answers `vetting.desk.running.SupportSessions`."""

    def __init__(self, sessions: Sessions, backends: Mapping[str, SiteBackend]) -> None:
        self._sessions = sessions
        self._backends = backends

    def found(self, *, person_id: str | None, site: str | None, ended: int) -> Sequence[SessionShown]:
        return [_shown(one) for one in self._sessions.recent(person_id=person_id, site=site, ended=ended)]

    def referred(self, reference: str) -> Sequence[SessionShown]:
        return [_shown(one) for one in self._sessions.with_reference(reference)]

    def one(self, attempt: str) -> SessionShown | None:
        found = self._sessions.get(attempt)
        return _shown(found) if found is not None else None

    def log_tail(self, session: SessionShown, characters: int) -> str:
        backend = self._backends.get(session.site)
        return backend.asks.log_tail(session.attempt, characters) if backend is not None else ""

    def mark(self, connection: Connection, *, person_id: str, reason: str, by: str, now: datetime) -> list[str]:
        return mark(connection, person_id=person_id, reason=reason, by=by, now=now)


def _shown(session: Session) -> SessionShown:
    return SessionShown(
        attempt=session.attempt,
        reference=reference(session.attempt),
        person_id=session.person_id,
        user_name=session.server.user,
        server=session.server.name,
        site=session.site,
        flavour=session.flavour,
        environment=session.environment,
        account=session.account or "",
        state=session.state.value,
        created_at=session.created_at,
        submitted_at=session.submitted_at,
        started_at=session.started_at,
        ready_at=session.ready_at,
        ended_at=session.ended_at,
        end_reason=session.end_reason.value if session.end_reason else "",
        end_detail=session.end_detail or "",
    )
