"""The worker's slower look: what the rounds over open sessions do not see.

- A hold whose session is over, or has no row, is settled or given back.
- A session that runs although no open attempt belongs to it is ended: nobody would pay for it.
- Holds of what never ran expire with their lease.
- What a site keeps only until an end is in the books may go.
- That a session runs is kept with its row, so that it is charged even if its site loses everything.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select

from federation.clock import Clock
from federation.database import Database
from quota.ledger import Ledger
from quota.tables import IS_OPEN, HoldState, HoldTable
from spawners.backends.base import Life, Observation
from spawners.context import SiteBackend
from spawners.ending import close, settle, source_of
from spawners.metrics import WorkerMetrics
from spawners.sessions import Session, Sessions, Sight

__all__ = ["Reconciler"]

_log = logging.getLogger("nbfed.worker")


class _Hold(NamedTuple):
    """An open one."""

    id: str
    state: HoldState
    site: str
    reserved_at: datetime


class Reconciler:
    """One look after another at all open holds and sessions of a hub.

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
        clock: Clock,
        metrics: WorkerMetrics | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._hub = hub
        self._database = database
        self._sessions = sessions
        self._ledger = ledger
        self._backends = backends
        self._clock = clock
        self._metrics = metrics or WorkerMetrics()
        self._guard = guard
        self._said: set[str] = set()

    def run_once(self) -> None:
        """One look."""
        self._note_what_runs()
        holds = self._holds()
        for hold in holds:
            self._guard()
            self._close_if_over(hold)
        for site in self._backends:
            self._end_strays(site)
            self._backends[site].asks.clear(self._is_over)
        self._guard()
        self._ledger.expire(self._clock())
        self._count(self._holds())

    def _note_what_runs(self) -> None:
        """Also in the books: what is seen running never expires, whoever comes first after an outage."""
        sights = []
        for session in self._sessions.open_on(self._hub):
            seen = self._observe(session.site, session.attempt)
            if seen.life is Life.RUNNING and seen.started_at is not None:
                sights.append(Sight(session.attempt, seen.started_at, seen.at or self._clock()))
        self._guard()
        held = {hold.id for hold in self._holds() if hold.state is HoldState.HELD}
        for sight in sights:
            if sight.attempt in held:
                self._ledger.started(sight.attempt, started_at=sight.started_at)
        self._sessions.seen(sights)

    def _close_if_over(self, hold: _Hold) -> None:
        session = self._sessions.get(hold.id)
        if session is not None and session.ended_at is None:
            return  # the rounds look after it
        seen = self._observe(hold.site, hold.id)
        if seen.life is not Life.ENDED:
            return
        if session is not None:
            close(session, seen, sessions=self._sessions, ledger=self._ledger, clock=self._clock)
        elif seen.started_at is not None:
            settle(hold.id, seen, ledger=self._ledger, clock=self._clock)
        else:
            self._tell_of_a_hold_of_nobody(hold)
            return
        self._metrics.settlement(source_of(seen))

    def _tell_of_a_hold_of_nobody(self, hold: _Hold) -> None:
        """One that never ran expires with its lease. One that ran is left to people: what to charge is not known."""
        if hold.state is not HoldState.HELD and hold.id not in self._said:
            _log.error(
                "hold %s belongs to no session, and site %s knows nothing of it; look into it", hold.id, hold.site
            )
            self._said.add(hold.id)

    def _end_strays(self, site: str) -> None:
        backend = self._backends[site]
        for attempt in backend.asks.living():
            session = self._sessions.get(attempt)
            if session is not None and session.ended_at is None:
                continue
            self._guard()
            _log.error("attempt %s runs at %s although %s; ending it", attempt, site, _why_not(session))
            self._metrics.stray(site)
            backend.asks.end(attempt, patience_seconds=backend.stop_seconds)

    def _is_over(self, attempt: str) -> bool:
        """Whether its end is in the books; also where no session and no hold has this name."""
        session = self._sessions.get(attempt)
        return (session is None or session.ended_at is not None) and not self._is_held(attempt)

    def _is_held(self, attempt: str) -> bool:
        with self._database.read() as connection:
            found = connection.execute(select(HoldTable.id).where(HoldTable.id == attempt, IS_OPEN)).first()
        return found is not None

    def _observe(self, site: str, attempt: str) -> Observation:
        backend = self._backends.get(site)
        return backend.asks.observe(attempt) if backend else Observation(life=Life.UNKNOWN)

    def _holds(self) -> list[_Hold]:
        with self._database.read() as connection:
            rows = connection.execute(
                select(HoldTable.id, HoldTable.state, HoldTable.site, HoldTable.reserved_at).where(
                    HoldTable.hub == self._hub, IS_OPEN
                )
            ).all()
        return [_Hold(row.id, HoldState(row.state), row.site, row.reserved_at) for row in rows]

    def _count(self, holds: list[_Hold]) -> None:
        now = self._clock()
        ages = {
            state: max(now - hold.reserved_at for hold in holds if hold.state is state)
            for state in {hold.state for hold in holds}
        }
        self._metrics.holds(Counter(hold.state for hold in holds), ages)


def _why_not(session: Session | None) -> str:
    return "there is no such attempt" if session is None else f"it ended at {session.ended_at:%Y-%m-%d %H:%M:%S} UTC"
