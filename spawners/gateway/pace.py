"""When a site is asked again, and when it is left alone. Pure: times are seconds on one monotonic clock.

One query for all sessions of a site, whatever their number:

- often for a few seconds after something was asked for or a job runs without a port, then every 5, 15 and 30 seconds;
- never sooner than five times as long as the last query took, so that we are never more than a fifth of the site's
  load by queries, and never near a scheduler's rate limit (Slurm's `rl_enable` gives two a second);
- a little earlier or later each time, so that sites and gateways do not fall into step.

A site that fails is left alone by a circuit breaker: after two failures in a row it opens, first for 15 seconds, then
twice as long each time, up to five minutes. When its time is over, one question is let through. Its answer closes the
breaker, its failure opens it again.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["Breaker", "BreakerState", "interval_seconds"]

_STEPS = ((8.0, 1.5), (60.0, 5.0), (300.0, 15.0))
"""Up to so many seconds after the last news: so many seconds between two queries."""
_QUIET_SECONDS = 30.0
_AGAIN_SECONDS = 2.0
_TIMES_THE_QUERY = 5.0
_JITTER = 0.1

_FAILURES = 2
_FIRST_OPEN_SECONDS, _LONGEST_OPEN_SECONDS = 15.0, 300.0


def interval_seconds(*, since_news: float, query_seconds: float, failing: bool, chance: float) -> float:
    """How long after the last query's end the next one begins.

    Parameters
    ----------
    since_news
        Seconds since somebody asked for something, or a job was first seen without a port or missing.
    query_seconds
        How long the last query took.
    failing
        It failed, and the breaker is closed: ask again soon, so that a dead site is known within one interval.
    chance
        From 0 to 1; makes the jitter.
    """
    calm = next((seconds for until, seconds in _STEPS if since_news < until), _QUIET_SECONDS)
    wanted = min(calm, _AGAIN_SECONDS) if failing else calm
    jittered = wanted * (1 - _JITTER + 2 * _JITTER * chance)
    return max(jittered, _TIMES_THE_QUERY * query_seconds)


class BreakerState(StrEnum):
    CLOSED = "closed"
    """The site is asked."""
    OPEN = "open"
    """It is left alone."""
    HALF_OPEN = "half-open"
    """One question is under way, and decides."""


@dataclass(frozen=True)
class Breaker:
    """The circuit breaker of one site. Each method returns the next one.

    Parameters
    ----------
    failures
        In a row.
    open_until
        When the next question is let through, if it is not closed.
    is_trying
        That question is under way.
    """

    failures: int = 0
    open_until: float | None = None
    is_trying: bool = False

    @property
    def state(self) -> BreakerState:
        if self.open_until is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self.is_trying else BreakerState.OPEN

    def lets_through(self, now: float) -> bool:
        """Whether somebody may ask now. If it is not closed, that is the one question: say so by `trying`."""
        return self.open_until is None or (not self.is_trying and now >= self.open_until)

    def trying(self) -> "Breaker":
        """The one question goes out; without effect while it is closed."""
        return self if self.open_until is None else replace(self, is_trying=True)

    def succeeded(self) -> "Breaker":
        """The site answered; a refusal is an answer, too."""
        return Breaker()

    def failed(self, now: float) -> "Breaker":
        """The site did not answer."""
        failures = self.failures + 1
        if self.state is BreakerState.OPEN:
            return replace(self, failures=failures)  # a question from before it opened: nothing new
        if failures < _FAILURES:
            return replace(self, failures=failures)
        trips = failures - _FAILURES
        open_seconds = min(_LONGEST_OPEN_SECONDS, _FIRST_OPEN_SECONDS * 2.0 ** min(trips, 10))
        return Breaker(failures=failures, open_until=now + open_seconds)

    def forgotten(self) -> "Breaker":
        """The question that was under way ended without saying anything about the site."""
        return replace(self, is_trying=False)
