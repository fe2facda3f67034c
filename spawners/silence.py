"""Sites that cannot be asked about their sessions: nothing is refunded or stopped, and after a while somebody is told."""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from spawners.metrics import WorkerMetrics
from spawners.sessions import Session

__all__ = ["Silence"]

_log = logging.getLogger("nbfed.worker")


class Silence:
    """Since when each session has been unknown. A restarted worker counts anew.

    Parameters
    ----------
    patience
        How long a site may be silent before that is an error.
    """

    def __init__(self, patience: timedelta, metrics: WorkerMetrics) -> None:
        self._patience = patience
        self._metrics = metrics
        self._since: dict[str, datetime] = {}
        self._told: set[str] = set()

    def note(self, silent: Sequence[Session], now: datetime) -> None:
        """The sessions that could not be asked about in this round, of all that are open.

        Says once of each, in one line for each site, that its patience is over, and once that it answers again.
        """
        attempts = {session.attempt for session in silent}
        if again := self._told - attempts:
            _log.info("answers came again, or they are over: %s", ", ".join(sorted(again)))
        self._told &= attempts
        self._since = {attempt: min(now, self._since.get(attempt, now)) for attempt in attempts}
        for session in silent:
            self._metrics.unknown(session.site)
        late = [session for session in silent if now - self._since[session.attempt] >= self._patience]
        self._metrics.silent(Counter(session.site for session in late))
        new = [session for session in late if session.attempt not in self._told]
        for site in sorted({session.site for session in new}):
            theirs = [session.attempt for session in new if session.site == site]
            _log.error(
                "site %s has been silent about %d session(s) for %g minutes: %s. What is set aside for them stays so, and "
                "nothing of them is stopped; see whether the site can be reached",
                site, len(theirs), self._patience / timedelta(minutes=1), ", ".join(theirs),
            )  # fmt: skip
        self._told |= {session.attempt for session in new}
