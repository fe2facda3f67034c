"""The worker's shell: the leader runs each job again and again; a standby waits to take its place.

What it promises:

- No job begins unless this process is seen to hold the leader's lock, and none overlaps with itself. None overlaps with
  another one, but for those that run *apart*, so that no other job can make them late.
- A job that fails is logged and tried again when it is due next.
- Who becomes the leader runs every job at once. A standby looks every two seconds whether it can.
- SIGTERM and SIGINT end it after the step that is under way, and give the lock back.

Timing is APScheduler's. It goes by the time of day, so when that is set, every job is due at once: else a clock that is
set back an hour would mean an hour without rounds.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import FrameType
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import CollectorRegistry, Counter, Gauge

from federation.database import DatabaseUnavailable
from federation.leader import Leadership, LeadershipLost

__all__ = ["Away", "Job", "Worker"]

_log = logging.getLogger("nbfed.worker")

_LOOK_SECONDS = 2.0
_APART = "apart"
_CLOCK_WAS_SET_SECONDS = 1.0
_LATE_ROUNDS, _LATE_SECONDS = 3, 60.0


class Away(Exception):
    """Something that a job needs, beside the database, cannot be used now; the message says what, in one line."""


@dataclass(frozen=True)
class Job:
    """Something to do every so often; `apart` from the others where it cannot wait for them, and may meet them."""

    name: str
    every: timedelta
    work: Callable[[], object]
    apart: bool = False


@dataclass
class _Record:
    """How a job fares. `good` is on the monotonic clock: when it last succeeded, or became this process's to do."""

    job: Job
    good: float = 0.0
    last_run: datetime | None = None
    last_success: datetime | None = None
    error: str | None = None

    @property
    def lag_seconds(self) -> float:
        return time.monotonic() - self.good

    @property
    def is_late(self) -> bool:
        return self.lag_seconds > max(_LATE_SECONDS, _LATE_ROUNDS * self.job.every.total_seconds())


class Worker:
    """Runs jobs as long as it leads.

    Parameters
    ----------
    jobs
        In the order in which they run when all are due.
    leadership
        The lock. Jobs that take long ask it themselves between their steps (`Leadership.require`).
    probe
        Raises `DatabaseUnavailable` when the database does not answer; asked for the health.
    registry
        Where the worker's own metrics go.
    time_of_day
        What tells that the machine's clock was set, in seconds; APScheduler reads the machine's.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        leadership: Leadership,
        *,
        probe: Callable[[], object],
        registry: CollectorRegistry,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self._leadership = leadership
        self._probe = probe
        self._time_of_day = time_of_day
        self._records = {job.name: _Record(job) for job in jobs}
        self._scheduler: BackgroundScheduler | None = None
        self._said: str | None = None
        self._ending = threading.Event()
        self._day_began = self._day_begins()
        self._runs = Counter("nbfed_worker_job_runs", "Runs of a job, by how they ended.", ["job", "outcome"],
                             registry=registry)  # fmt: skip
        self._outages = Counter("nbfed_database_outages", "Times that the worker found the federation database away.",
                                registry=registry)  # fmt: skip
        leading = Gauge("nbfed_worker_leading", "1 if this worker leads, 0 if it stands by.", registry=registry)
        leading.set_function(lambda: float(self.is_leading))
        lag = Gauge("nbfed_worker_job_lag_seconds", "Seconds since the last good run of a job; 0 on a standby.",
                    ["job"], registry=registry)  # fmt: skip
        for name, record in self._records.items():
            lag.labels(name).set_function(partial(self._lag_seconds, record))
            for outcome in ("succeeded", "failed"):
                self._runs.labels(name, outcome)

    @property
    def is_leading(self) -> bool:
        """Whether jobs run here, as far as is known; only the lock itself is certain."""
        return self._scheduler is not None

    def run(self) -> None:
        """Work until SIGTERM or SIGINT. Call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            while not self._ending.is_set():
                self.look()
                self._ending.wait(_LOOK_SECONDS)
        finally:
            self._stop_jobs()
            self._leadership.give_up()

    def look(self) -> None:
        """See whether this process leads, and let jobs run or not. Called again and again by `run`."""
        if self.is_leading:
            if self._leadership.is_held():
                self._mind_the_clock()
                return
            _log.warning("not the leader any more: the lock is lost; no job runs")
            self._stop_jobs()
        try:
            leads = self._leadership.take()
        except DatabaseUnavailable as error:
            self._outages.inc()
            self._say("cannot find out who leads, so no job runs: %s", error, level=logging.WARNING)
            return
        if leads:
            self._say("leads")
            self._start_jobs()
        else:
            self._say("stands by: another worker leads")

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and what is known, for JSON. A standby is well when it could take over."""
        leading = self.is_leading
        try:
            self._probe()
            database = "reachable"
        except DatabaseUnavailable as error:
            database = f"away: {error}"
        late = [name for name, record in self._records.items() if leading and record.is_late]
        return database == "reachable" and not late, {
            "role": "leader" if leading else "standby",
            "database": database,
            "late": late,
            "jobs": {name: self._story(record, leading=leading) for name, record in self._records.items()},
        }

    # --- inner parts ----------------------------------------------------------------------------------------

    def _lag_seconds(self, record: _Record) -> float:
        return record.lag_seconds if self.is_leading else 0.0

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending.set()

    def _start_jobs(self) -> None:
        # One thread: a round and a slower look never meet. A run that is late is made late, once.
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1), _APART: ThreadPoolExecutor(1)},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        for record in self._records.values():
            record.good = time.monotonic()
            scheduler.add_job(
                self._run, "interval", [record], id=record.job.name, seconds=record.job.every.total_seconds(),
                next_run_time=datetime.now(UTC), executor=_APART if record.job.apart else "default",
            )  # fmt: skip
        self._day_began = self._day_begins()
        scheduler.start()
        self._scheduler = scheduler

    def _stop_jobs(self) -> None:
        """Let no more jobs begin, and wait for the one that runs: it ends at its next step."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.shutdown(wait=True)

    def _run(self, record: _Record) -> None:
        outcome = "failed"
        try:
            self._leadership.require()
            record.last_run = datetime.now(UTC)
            record.job.work()
            record.good, record.last_success, record.error = time.monotonic(), datetime.now(UTC), None
            outcome = "succeeded"
        except LeadershipLost:
            record.error = "the leader's lock was lost"
        except DatabaseUnavailable as error:
            self._outages.inc()
            record.error = f"the federation database is away: {error}"
            _log.error("%s: %s; trying again", record.job.name, record.error)
        except Away as error:
            record.error = str(error)
            _log.error("%s: %s; trying again", record.job.name, record.error)
        except Exception as error:  # one that failed must not end the others
            record.error = f"{type(error).__name__}: {error}"
            _log.exception("%s failed; trying again", record.job.name)
        self._runs.labels(record.job.name, outcome).inc()

    def _mind_the_clock(self) -> None:
        began = self._day_begins()
        if self._scheduler is not None and abs(began - self._day_began) > _CLOCK_WAS_SET_SECONDS:
            _log.warning("the machine's clock was set by %+.0f s: every job is due now", began - self._day_began)
            for name in self._records:
                self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))
        self._day_began = began

    def _day_begins(self) -> float:
        """Moves only when the clock is set."""
        return self._time_of_day() - time.monotonic()

    def _say(self, text: str, *arguments: object, level: int = logging.INFO) -> None:
        """Say what changed, once."""
        if text != self._said:
            _log.log(level, text, *arguments)
        self._said = text

    def _story(self, record: _Record, *, leading: bool) -> dict[str, Any]:
        return {
            "every_seconds": record.job.every.total_seconds(),
            "last_run": record.last_run.isoformat() if record.last_run else None,
            "last_success": record.last_success.isoformat() if record.last_success else None,
            "lag_seconds": round(record.lag_seconds, 1) if leading else None,
            "error": record.error,
        }
