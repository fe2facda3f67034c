"""How often somebody may do something: a bucket of tokens for each, filled up steadily. Bounded memory."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from math import ceil

__all__ = ["Pace"]

_MOST_BUCKETS = 10_000


class Pace:
    """Lets each go `burst` times at once, and `per_minute` times in the long run. Safe between threads.

    When more than `_MOST_BUCKETS` are known, those that were silent the longest are forgotten: they may begin anew.
    """

    def __init__(self, *, per_minute: int, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._burst = float(burst)
        self._now = now
        self._buckets = OrderedDict[str, tuple[float, float]]()
        self._lock = threading.Lock()

    def wait_seconds(self, who: str) -> int:
        """0 if they may go, and it is counted; else in how many seconds it is worth while to ask again."""
        with self._lock:
            now = self._now()
            left, since = self._buckets.pop(who, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._per_second)
            goes = left >= 1
            self._buckets[who] = (left - 1 if goes else left, now)
            if len(self._buckets) > _MOST_BUCKETS:
                self._buckets.popitem(last=False)
        return 0 if goes else ceil((1 - left) / self._per_second)
