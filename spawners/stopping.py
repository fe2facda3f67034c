"""Ends at once what runs of people who were stopped (`vetting/stopping.py`): the worker's part of it.

It goes by the suspension, so nothing that was let in a moment before gets away, and looks again and again until nothing
is left. A session is ended where it runs first, and by force after two seconds; then the hub takes away its route and
its token. Neither waits for a hub or a site that is away: what can be done is done.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sqlalchemy import Connection, or_, select, update

from federation.audit import Act, record
from federation.clock import Clock
from federation.database import Database
from federation.ids import reference
from quota.ledger import Ledger
from spawners.backends.base import Life, Observation
from spawners.context import SiteBackend
from spawners.ending import close, source_of
from spawners.metrics import WorkerMetrics
from spawners.sessions import Session, Sessions
from spawners.tables import EndReason, SessionState, SessionTable
from spawners.upkeep import HubServers
from vetting.tables import SuspensionTable

__all__ = ["Stopper", "mark"]

_log = logging.getLogger("nbfed.worker")
_PATIENCE_SECONDS = 2.0
_AT_ONCE = 8


def mark(connection: Connection, *, person_id: str, reason: str, by: str, now: datetime) -> list[str]:
    """Write into each open session of a person that it is to end now, and why; the references of them all.

    A session that ends for another reason keeps that one.
    """
    table = SessionTable
    is_open = (table.person_id == person_id, table.ended_at.is_(None))
    attempts = list(connection.execute(select(table.attempt).where(*is_open).order_by(table.created_at)).scalars())
    marked = connection.execute(
        update(table)
        .where(*is_open, table.end_reason.is_(None))
        .values(end_reason=EndReason.SUSPENDED.value, end_detail=reason)
        .returning(table.attempt)
    )
    for attempt in sorted(marked.scalars()):
        record(
            connection, at=now, act=Act.SESSION_STOPPED, actor=by, target=f"session:{attempt}", reason=reason,
            person=person_id,
        )  # fmt: skip
    return [reference(attempt) for attempt in attempts]


class Stopper:
    """One look after another.

    Parameters
    ----------
    guard
        Raises when this process may not go on: called before each step.
    """

    def __init__(
        self,
        *,
        hub: str,
        database: Database,
        sessions: Sessions,
        ledger: Ledger,
        backends: Mapping[str, SiteBackend],
        servers: HubServers,
        clock: Clock,
        metrics: WorkerMetrics | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._hub = hub
        self._database = database
        self._sessions = sessions
        self._ledger = ledger
        self._backends = backends
        self._servers = servers
        self._clock = clock
        self._metrics = metrics or WorkerMetrics()
        self._guard = guard

    def run_once(self) -> None:
        """End what is to end now; what cannot be ended yet is tried again at the next look."""
        found = self._found()
        if not found:
            return
        self._guard()
        self._mark_latecomers(found)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            seen = list(pool.map(self._end, found))
        for session, observation in zip(found, seen, strict=True):
            self._guard()
            # What is only meant may be on its way to its place just now: its row stays open, so that it is ended there.
            if observation.life is Life.ENDED and session.state is not SessionState.INTENT:
                self._close(session, observation)

    def _found(self) -> Sequence[Session]:
        suspended = select(SuspensionTable.person_id).where(
            SuspensionTable.at_once.is_(True), SuspensionTable.ended_at.is_(None)
        )
        query = select(SessionTable.attempt).where(
            SessionTable.hub == self._hub,
            SessionTable.ended_at.is_(None),
            or_(SessionTable.end_reason == EndReason.SUSPENDED.value, SessionTable.person_id.in_(suspended)),
        )
        with self._database.read() as connection:
            attempts = list(connection.execute(query).scalars())
        return [session for attempt in attempts if (session := self._sessions.get(attempt)) is not None]

    def _mark_latecomers(self, found: Sequence[Session]) -> None:
        """Those that were let in while somebody stopped their person."""
        for person_id in {session.person_id for session in found if session.end_reason is None}:
            with self._database.write() as connection:
                reason = connection.execute(
                    select(SuspensionTable.reason).where(
                        SuspensionTable.person_id == person_id, SuspensionTable.ended_at.is_(None)
                    )
                ).scalar_one_or_none()
                if reason is not None:
                    mark(connection, person_id=person_id, reason=reason, by="system", now=self._clock())

    def _end(self, session: Session) -> Observation:
        backend = self._backends.get(session.site)
        if backend is None:
            _log.error("site %s of attempt %s is no longer configured", session.site, session.attempt)
            return Observation(life=Life.UNKNOWN)
        try:
            return backend.asks.end(session.attempt, patience_seconds=_PATIENCE_SECONDS)
        except (OSError, ValueError) as error:
            _log.warning("attempt %s cannot be ended: %s; trying again", session.attempt, error)
            return Observation(life=Life.UNKNOWN)

    def _close(self, session: Session, seen: Observation) -> None:
        if close(session, seen, sessions=self._sessions, ledger=self._ledger, clock=self._clock) is not None:
            self._metrics.settlement(source_of(seen))
        _log.info("stopped at once: attempt %s of %s at %s", session.attempt, session.server.user, session.site)
        if self._sessions.open_of(session.server) is not None:
            return  # it would be another attempt by now
        try:
            self._servers.stop(session.server)
        except OSError as error:  # it notices by itself, as soon as it asks
            _log.warning("the hub could not be told that attempt %s is over: %s", session.attempt, error)
