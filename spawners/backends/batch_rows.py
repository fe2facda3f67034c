"""What a site says of a job, as an observation. Pure.

The site's word decides, but only within what can be: nobody is charged for longer than has passed since the attempt was
made, whatever a site says. All times are the site's own, so it does not matter how its clock is set.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from spawners.backends.base import Life, Observation
from spawners.gateway.answers import JobView
from spawners.gateway.protocol import HistoryRow, JobState, Row, Run, Source

__all__ = ["of_history", "of_view"]

_SLACK = timedelta(seconds=60)
"""What clocks that run at different speeds, and answers that travel, may make of a length."""
_OVER_TIME = ("TIMEOUT", "DEADLINE")
_SIGNAL = 128


def of_view(view: JobView) -> Observation:
    """What is known of a job that waits or runs; of one that is over only that it is: `of_history` knows more."""
    at = _moment(view.time)
    row = view.row
    if row is None or view.life in (Life.UNKNOWN, Life.ENDED):
        return Observation(life=view.life, reference=row.job if row else None, at=at)
    if view.life is Life.PENDING:
        return Observation(
            life=Life.PENDING, reference=row.job, reason=row.reason or "", expected_start_at=_moment(row.expected_start_at),
            at=at,
        )  # fmt: skip
    return Observation(life=Life.RUNNING, started_at=_moment(row.started_at), reference=row.job, at=at)


def of_history(row: HistoryRow | Row, *, passed: timedelta | None, at: datetime | None) -> Observation:
    """The end of a job.

    Parameters
    ----------
    row
        From its history, or the last row of the queue.
    passed
        What has passed since the attempt was made, by our own clock; None if that is not known.
    at
        The site's clock.
    """
    if row.state is not JobState.ENDED:
        life = Life(row.state.value)
        return Observation(life=life, started_at=_moment(row.started_at), reference=row.job, at=at)
    runs = _runs(row)
    estimated = isinstance(row, HistoryRow) and row.estimated
    source = row.source if isinstance(row, HistoryRow) else Source.SCHEDULER
    within, cut = _within(runs, None if passed is None else passed + _SLACK)
    return Observation(
        life=Life.ENDED,
        started_at=within[-1][0] if within else None,
        ended_at=within[-1][1] if within else None,
        earlier_runs=tuple(within[:-1]),
        estimated=bool(within) and (estimated or cut),
        exit_code=_exit_code(row),
        source="launcher" if source is Source.LAUNCHER else "scheduler",
        reference=row.job,
        walltime_over=row.scheduler_state.upper().startswith(_OVER_TIME),
        at=at,
    )


def _runs(row: HistoryRow | Row) -> list[tuple[datetime, datetime]]:
    runs: Sequence[Run] = row.runs if isinstance(row, HistoryRow) else ()
    if not runs and row.started_at is not None and row.ended_at is not None:
        runs = [Run(started_at=row.started_at, ended_at=row.ended_at)]
    spans = ((_utc(run.started_at), _utc(run.ended_at)) for run in runs)
    return sorted((start, max(start, end)) for start, end in spans)


def _within(
    runs: Sequence[tuple[datetime, datetime]], most: timedelta | None
) -> tuple[list[tuple[datetime, datetime]], bool]:
    """The runs, cut where they are longer together than they can be; and whether they were."""
    if most is None:
        return list(runs), False
    left, kept, cut = max(most, timedelta(0)), [], False
    for start, end in runs:
        length = min(end - start, left)
        cut = cut or length < end - start
        kept.append((start, start + length))
        left -= length
    return kept, cut


def _exit_code(row: Row) -> int | None:
    """As `subprocess` has it: negative for a signal."""
    if row.signal:
        return -(row.signal % _SIGNAL)
    return row.exit_code


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else _utc(seconds)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
