"""What is known of one site's jobs from its answers alone. Pure; the numbers of questions are its only clock.

A job is gone only on positive evidence: the site says that it ended, or two answers in a row do not have it. An answer
counts for a job only if the question was asked after the job was known to be there. A failed answer says nothing about
any job: what was pending or running is then unknown, and what is over stays over.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from spawners.backends.base import Life
from spawners.gateway.protocol import JobState, Row

__all__ = ["MISSING_TWICE", "Sightings", "View"]

MISSING_TWICE = 2
_REMEMBERED = 3000


@dataclass(frozen=True)
class View:
    """What is known of one attempt.

    Parameters
    ----------
    life
        `ENDED` for a terminal state, and for a job that two answers in a row did not have.
    row
        The last one that was seen.
    missing_count
        How many answers in a row, of questions asked since it was known, did not have it.
    """

    life: Life
    row: Row | None
    missing_count: int


@dataclass
class _Seen:
    row: Row | None = None
    missing: int = 0
    since: int = 0  # only answers to later questions count


@dataclass
class Sightings:
    """Those of one site, since this gateway runs."""

    rows: list[Row] = field(default_factory=list)
    fresh: bool = False
    """Whether the last question was answered."""
    _asked: int = 0
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def ask(self) -> int:
        """A question goes out; its number."""
        self._asked += 1
        return self._asked

    def in_doubt(self, attempt: str) -> None:
        """The site is asked to take it, or was and did not answer: no answer without it counts until `submitted`."""
        seen = self._seen.setdefault(attempt, _Seen())
        seen.missing, seen.since = 0, sys.maxsize

    def submitted(self, attempt: str) -> None:
        """The site took it, or did not, for good. Questions that are under way may not know it yet."""
        seen = self._seen.setdefault(attempt, _Seen())
        seen.missing, seen.since = 0, self._asked

    def answered(self, number: int, rows: Iterable[Row]) -> bool:
        """The answer to that question. Returns whether it has news: a job that is missing or runs without a port."""
        self.rows, self.fresh = list(rows), True
        by_attempt = {row.attempt: row for row in self.rows}
        news = False
        for attempt, row in by_attempt.items():
            seen = self._seen.setdefault(attempt, _Seen())
            waits = row.state is JobState.RUNNING and row.session is None
            waited = seen.row is not None and seen.row.state is JobState.RUNNING
            news = news or (waits and not waited)
            seen.row, seen.missing, seen.since = row, 0, number
        for attempt, seen in list(self._seen.items()):
            if attempt in by_attempt or number <= seen.since:
                continue
            seen.missing += 1
            news = news or seen.missing < MISSING_TWICE
            if seen.missing > _REMEMBERED:
                del self._seen[attempt]  # nobody asks for it any more, or has to wait for two answers again
        return news

    def failed(self) -> None:
        """The question was not answered."""
        self.fresh = False

    def knows(self, attempt: str) -> bool:
        """Whether it was seen, submitted or asked for before."""
        return attempt in self._seen

    def view(self, attempt: str) -> View:
        """What is known of it. For one that nobody knew, the answers count from this question on."""
        seen = self._seen.setdefault(attempt, _Seen(since=self._asked))
        row, missing = seen.row, seen.missing
        if (row is not None and row.state is JobState.ENDED) or missing >= MISSING_TWICE:
            life = Life.ENDED
        elif row is None or missing or not self.fresh:
            life = Life.UNKNOWN
        else:
            life = Life(row.state.value)
        return View(life, row, missing)
