"""The worker's shell: runs jobs again and again, says what failed, and ends when it is told to."""

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType

__all__ = ["run"]

_log = logging.getLogger("nbfed.worker")


def run(jobs: Sequence[Callable[[], object]], *, interval_seconds: float) -> None:
    """Run each job, wait, and begin again, until SIGTERM or SIGINT. A job that fails is tried at the next round."""
    ending = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    while not ending.is_set():
        for job in jobs:
            try:
                job()
            except Exception:  # a round that failed must not end the rounds
                _log.exception("a round of %s failed; it is tried again", getattr(job, "__qualname__", job))
        ending.wait(interval_seconds)
