"""Sessions as jobs of one site's batch system, as the gateway tells of them.

The promise: a job is found by its attempt, whoever lost which answer; only positive evidence ends one (a terminal state,
or the gateway's word that it is gone); nothing is cancelled without the job's id, our tag and its owner; and whoever
cannot be asked is `UNKNOWN`, which keeps everything.
"""

import logging
import time
from collections.abc import Callable, Collection

from federation.clock import Clock
from federation.database import DatabaseUnavailable
from federation.errors import Failure
from federation.ids import is_check_id
from spawners.backends.base import Life, Observation
from spawners.backends.batch_gateway import Gateway
from spawners.backends.batch_refusals import closed_by
from spawners.backends.batch_rows import of_history, of_view
from spawners.backends.session_files import printable_tail, proof_holds
from spawners.errors import SITE_AWAY
from spawners.gateway.answers import GatewayError, JobView
from spawners.gateway.protocol import HistoryRow, JobName, JobState, Resources, Row
from spawners.sessions import Session, Sessions

__all__ = ["BatchJobs"]

_log = logging.getLogger("nbfed.batch")
_LOOK_SECONDS = 0.5


class BatchJobs:
    """The backend of one site.

    Parameters
    ----------
    site
        Its name, as gateway and settings have it.
    """

    def __init__(self, site: str, gateway: Gateway, sessions: Sessions, clock: Clock) -> None:
        self.site = site
        self.gateway = gateway
        self.clock = clock
        self._sessions = sessions

    def closed(self, site_title: str) -> Failure | None:
        """Why the site takes nothing just now, by what the gateway knows without asking it."""
        try:
            health = self.gateway.sites().get(self.site)
        except GatewayError:
            return Failure(SITE_AWAY, {"site": site_title})
        return closed_by(health, site_title) if health is not None else None

    def submit(self, session: Session, *, secret: str, script: str, resources: Resources) -> None:
        """Hand an attempt to the site, and keep the job's id at once. The same attempt again is the same job.

        Raises
        ------
        GatewayError
            If the site refused it, or nobody knows whether it has it.
        """
        answer = self.gateway.submit(
            self.site,
            attempt=session.attempt,
            account=session.account or "",
            secret=secret,
            script=script,
            resources=resources,
        )
        self._sessions.submitted(session.attempt, answer.job)

    def observe(self, attempt: str) -> Observation:
        """What is known of an attempt. Never raises: what cannot be asked is `Life.UNKNOWN`."""
        try:
            view = self.gateway.job(self.site, attempt)
            return self._ended(attempt, view) if view.life is Life.ENDED else of_view(view)
        except (GatewayError, DatabaseUnavailable) as error:
            _log.info("site %s cannot be asked about attempt %s: %s", self.site, attempt, error)
            return Observation(life=Life.UNKNOWN)

    def address(self, attempt: str, secret_hash: str) -> tuple[str, int] | None:
        """Where the session is reached from here; None until it said where it listens, with a proof.

        Raises
        ------
        GatewayError
            If the site cannot be asked, or the way there cannot be opened.
        """
        row = self.gateway.job(self.site, attempt).row
        said = row.session if row is not None else None
        if said is None or not proof_holds(secret_hash, said.node, said.port, said.proof):
            return None
        return self.gateway.open_forward(self.site, attempt, node=said.node, port=said.port)

    def living(self) -> Collection[str]:
        """The attempts that wait or run there, as far as the site's last answer goes. Never raises.

        That answer may be older than an end that we know of: of an attempt that is closed the history is asked. Jobs of
        `nbfed site check` are no sessions: they are cancelled by it, or end by themselves.
        """
        try:
            rows = self.gateway.jobs(self.site).jobs
            open_ones = (row for row in rows if row.state is not JobState.ENDED and not is_check_id(row.attempt))
            return [row.attempt for row in open_ones if not self._is_over(row)]
        except (GatewayError, DatabaseUnavailable):
            return []

    def _is_over(self, row: Row) -> bool:
        session = self._sessions.get(row.attempt)
        if session is None or session.ended_at is None:
            return False
        name = JobName(job=row.job, attempt=row.attempt, account=row.account)
        past = self.gateway.history(self.site, [name])
        return any(one.job == row.job and one.state is JobState.ENDED for one in past)

    def end(self, attempt: str, *, patience_seconds: float) -> Observation:
        """Cancel the job, and look for up to so long whether it is over: the scheduler itself asks politely first.

        A job that cannot be named is not cancelled; without one there is nothing to end. A site that was not even asked is
        not waited for.
        """
        deadline = time.monotonic() + patience_seconds
        try:
            name = self._name(attempt)
            if name is not None:
                self.gateway.cancel(self.site, name)
        except (GatewayError, DatabaseUnavailable) as error:
            _log.warning("attempt %s at site %s cannot be cancelled: %s", attempt, self.site, error)
            if isinstance(error, GatewayError) and not error.sent:
                return self.observe(attempt)
        seen = self.observe(attempt)
        while seen.life is not Life.ENDED and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            seen = self.observe(attempt)
        return seen

    def log_tail(self, attempt: str, characters: int) -> str:
        """The end of what the job wrote; empty where that cannot be had."""
        try:
            past = self._past(attempt, None)
        except (GatewayError, DatabaseUnavailable):
            return ""
        return printable_tail(past.log_tail.encode(), characters) if past else ""

    def clear(self, is_over: Callable[[str], bool]) -> None:
        """Nothing: the scheduler forgets its jobs by itself."""

    def _ended(self, attempt: str, view: JobView) -> Observation:
        """The end by the scheduler's own times. An attempt without a job never ran."""
        gone = of_view(view)
        self._close_way(attempt)
        past = self._past(attempt, view)
        row = past or view.row
        if row is None:
            return gone
        session = self._sessions.get(attempt)
        # Not since its submission: of a job whose id was learned late, that is when it was learned.
        passed = self.clock() - session.created_at if session else None
        return of_history(row, passed=passed, at=gone.at)

    def _past(self, attempt: str, view: JobView | None) -> HistoryRow | None:
        name = self._name(attempt, view)
        if name is None:
            return None
        rows = self.gateway.history(self.site, [name])
        return next((row for row in rows if (row.attempt, row.job) == (attempt, name.job)), None)

    def _name(self, attempt: str, view: JobView | None = None) -> JobName | None:
        """By what the session's row has kept, else by what the site says has our tag."""
        session = self._sessions.get(attempt)
        if session is not None and session.backend_ref is not None and session.account is not None:
            return JobName(job=session.backend_ref, attempt=attempt, account=session.account)
        row = (view or self.gateway.job(self.site, attempt)).row
        return JobName(job=row.job, attempt=attempt, account=row.account) if row is not None else None

    def _close_way(self, attempt: str) -> None:
        try:
            self.gateway.close_forward(self.site, attempt)
        except GatewayError as error:
            _log.info("the way to attempt %s at site %s stays open for now: %s", attempt, self.site, error)
