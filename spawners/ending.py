"""How the end of a session reaches the books, from whichever side it is noticed. Blocks; idempotent."""

from federation.clock import Clock
from quota.ledger import HoldUnknown, Ledger
from spawners.backends.base import Life, Observation
from spawners.sessions import Session, Sessions
from spawners.tables import EndReason

__all__ = ["close"]


def close(session: Session, observation: Observation, *, sessions: Sessions, ledger: Ledger, clock: Clock) -> None:
    """Settle an attempt that is over, from the backend's own times, and end its row.

    The books come first: a crash in between leaves an open row, which is closed again, to the same effect. An attempt
    that never ran is released; one without a hold (refused, or never admitted) only gets its row ended.

    Raises
    ------
    ValueError
        If the observation is no evidence of an end: what is unknown is never settled.
    """
    if observation.life is not Life.ENDED:
        raise ValueError(f"attempt {session.attempt} is {observation.life}, not ended")
    started_at, ended_at = observation.started_at, observation.ended_at or clock()
    try:
        if started_at is None:
            answer = ledger.release(session.attempt, reason="never ran")
        else:
            ended_at = max(ended_at, started_at)
            source = "last seen" if observation.estimated else "launcher"
            answer = ledger.settle(session.attempt, started_at=started_at, ended_at=ended_at, source=source)
        if answer.ended_at is not None:  # the row says what the books say, whoever came first and saw other times
            started_at, ended_at = answer.started_at, answer.ended_at
    except HoldUnknown:
        pass
    detail = "" if observation.exit_code is None else f"exit code {observation.exit_code}"
    reason = EndReason.FAILED if session.ready_at is None else EndReason.EXITED
    sessions.ending(session.attempt, reason, detail)
    sessions.ended(session.attempt, started_at=started_at, ended_at=ended_at)
