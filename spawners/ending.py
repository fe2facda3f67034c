"""How the end of a session reaches the books, from whichever side it is noticed. Blocks; idempotent."""

from dataclasses import replace

from federation.clock import Clock
from quota.answers import Settlement
from quota.ledger import HoldUnknown, Ledger
from spawners.backends.base import Cause, Life, Observation
from spawners.sessions import Session, Sessions
from spawners.tables import EndReason

__all__ = ["close", "settle", "source_of"]

_REASONS = {Cause.MEMORY: EndReason.MEMORY, Cause.EVICTED: EndReason.EVICTED}
_NOTHING_LEFT = "nothing was left of it where it ran"


def close(
    session: Session, observation: Observation, *, sessions: Sessions, ledger: Ledger, clock: Clock
) -> Settlement | None:
    """Settle an attempt that is over, from the backend's own times, and end its row; the settlement, if it had a hold.

    The books come first: a crash in between leaves an open row, which is closed again, to the same effect. An attempt
    that never ran is released; one that was seen running, and of which the backend has nothing left, is settled up to
    when it was last seen. One without a hold (refused, or never admitted) only gets its row ended.

    Raises
    ------
    ValueError
        If the observation is no evidence of an end: what is unknown is never settled.
    """
    if observation.life is not Life.ENDED:
        raise ValueError(f"attempt {session.attempt} is {observation.life}, not ended")
    seen = _with_last_sight(session, observation)
    started_at, ended_at = seen.started_at, seen.ended_at or clock()
    answer = settle(session.attempt, seen, ledger=ledger, clock=clock)
    if answer and answer.ended_at is not None:  # the row says what the books say, whoever came first with other times
        started_at, ended_at = answer.started_at, answer.ended_at
    detail = "" if seen.exit_code is None else f"exit code {seen.exit_code}"
    if seen is not observation:
        detail = _NOTHING_LEFT
    sessions.ending(session.attempt, _reason(session, seen), detail)
    sessions.ended(session.attempt, started_at=started_at, ended_at=ended_at)
    return answer


def settle(attempt: str, seen: Observation, *, ledger: Ledger, clock: Clock) -> Settlement | None:
    """Put an end into the books; None if there is no hold."""
    try:
        if seen.started_at is None:
            return ledger.release(attempt, reason=source_of(seen))
        ended_at = max(seen.ended_at or clock(), seen.started_at)
        return ledger.settle(
            attempt, started_at=seen.started_at, ended_at=ended_at, source=source_of(seen),
            earlier_runs=seen.earlier_runs,
        )  # fmt: skip
    except HoldUnknown:
        return None


def source_of(seen: Observation) -> str:
    """Whose times an end is charged by."""
    if seen.started_at is None:
        return "never ran"
    return "last seen" if seen.estimated else seen.source


def _reason(session: Session, seen: Observation) -> EndReason:
    """Why it ended, where nobody said before that they want it to."""
    if seen.cause is not None:
        return _REASONS[seen.cause]
    if seen.walltime_over and session.ready_at is not None:
        return EndReason.WALLTIME
    return EndReason.FAILED if session.ready_at is None else EndReason.EXITED


def _with_last_sight(session: Session, seen: Observation) -> Observation:
    """Where the backend knows of no start, what we saw ourselves: that it ran, and until when at the least."""
    started_at = session.started_at or session.ready_at
    if seen.started_at is not None or started_at is None:
        return seen
    moments = [moment for moment in (started_at, session.ready_at, session.seen_at) if moment is not None]
    return replace(seen, started_at=started_at, ended_at=max(moments), estimated=True)
