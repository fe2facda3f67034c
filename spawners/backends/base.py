"""What every place to run says about a session, and what the hub and the worker may ask of it.

A backend is asked, never remembered: its answer has four values, and only `ENDED` carries evidence that a session is
over. A failed question is `UNKNOWN`, which refunds nothing and stops nothing.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

__all__ = ["Backend", "Cause", "Life", "Observation"]


class Life(StrEnum):
    """Whether a session lives, as its backend sees it."""

    PENDING = "pending"
    """Submitted, not running yet."""
    RUNNING = "running"
    """It runs and is charged."""
    ENDED = "ended"
    """It is over, or never came to be; there is positive evidence."""
    UNKNOWN = "unknown"
    """The backend could not be asked."""


class Cause(StrEnum):
    """What ended a session, where its place knows more than an exit code."""

    MEMORY = "memory"
    """It used more memory than it may."""
    EVICTED = "evicted"
    """The place took it away: its machine failed, or was needed."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One answer about one attempt.

    Parameters
    ----------
    life
        See `Life`.
    started_at, ended_at
        The backend's own times. `started_at` is None when the attempt never ran.
    estimated
        `ended_at` is when the session was last seen: what ended it left no time behind.
    exit_code
        Of an ended session; negative for a signal, as in `subprocess`.
    cause
        Of an ended session; None where nothing more is known.
    host, port
        Where the single-user server listens, once it said so.
    earlier_runs
        Start and end of each run before the last one: a scheduler may start a job again.
    source
        Whose times these are, for the books.
    reference
        What the place calls it: the id of a job.
    reason, expected_start_at
        Why it still waits, in the scheduler's own word, and when the scheduler thinks that it will run.
    walltime_over
        It was ended because its walltime was over.
    at
        When this was answered, on the clock that the other times are of. A backend's clock goes on where the hub's was
        set back.
    """

    life: Life
    started_at: datetime | None = None
    ended_at: datetime | None = None
    estimated: bool = False
    exit_code: int | None = None
    cause: Cause | None = None
    host: str | None = None
    port: int | None = None
    earlier_runs: tuple[tuple[datetime, datetime], ...] = ()
    source: str = "launcher"
    reference: str | None = None
    reason: str = ""
    expected_start_at: datetime | None = None
    walltime_over: bool = False
    at: datetime | None = field(default=None, compare=False)


class Backend(Protocol):
    """A place to run, as hub and worker ask about it. All calls block; the hub makes them in threads."""

    def observe(self, attempt: str) -> Observation:
        """What the place says about one attempt. Never raises: what cannot be asked is `Life.UNKNOWN`."""
        ...

    def address(self, attempt: str, secret_hash: str) -> tuple[str, int] | None:
        """Where a session listens, if it said so with a proof that only the holder of its secret can make."""
        ...

    def living(self) -> Collection[str]:
        """The attempts that run here for this installation, as far as the place can list them. Never raises."""
        ...

    def end(self, attempt: str, *, patience_seconds: float) -> Observation:
        """End one attempt: politely first, by force when `patience_seconds` are over. Ending twice is a no-op."""
        ...

    def log_tail(self, attempt: str, characters: int) -> str:
        """The end of what the session wrote, for people who look for the reason of a failure."""
        ...

    def clear(self, is_over: Callable[[str], bool]) -> None:
        """Let go of what is kept only until an end is in the books, where `is_over` says that it is. Never raises."""
        ...
