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
    ended_at = observation.ended_at or clock()
    try:
        if observation.started_at is None:
            ledger.release(session.attempt, reason="never ran")
        else:
            source = "last seen" if observation.estimated else "launcher"
            ledger.settle(
                session.attempt,
                started_at=observation.started_at,
                ended_at=max(ended_at, observation.started_at),
                source=source,
            )
    except HoldUnknown:
        pass
    detail = "" if observation.exit_code is None else f"exit code {observation.exit_code}"
    reason = EndReason.FAILED if session.ready_at is None else EndReason.EXITED
    sessions.ending(session.attempt, reason, detail)
    sessions.ended(session.attempt, started_at=observation.started_at, ended_at=ended_at)
