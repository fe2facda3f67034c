"""Processes that do one kind of work all at the same time, for as long as they are told, and count."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

from quota.bench.scratch import Scratch, caps_of, open_scratch
from quota.owners import Owner
from quota.tables import OwnerKind

__all__ = ["HOT", "WORK", "Crew", "Done", "crew", "own"]

_PATIENCE_SECONDS = 120
_WARM_UP = 20
HOT = Owner(OwnerKind.GROUP, "hot")


@dataclass(frozen=True)
class Done:
    """What a crew did: calls per second, and how much of its processors' time it needed itself for one, in ms."""

    per_second: float
    own_ms: float


def own(number: int) -> Owner:
    """The account that only this process works on."""
    return Owner(OwnerKind.USER, f"own-{number}")


WORK: dict[str, Callable[[Scratch, int], None]] = {
    "raw": lambda scratch, _: scratch.raw(),
    "own": lambda scratch, number: scratch.pair(own(number)),
    "hot": lambda scratch, _: scratch.pair(HOT),
    "caps": lambda scratch, number: scratch.pair(own(number), caps_of(own(number))),
}
"""Kinds of work by name; a pair is a reserve and its settle."""


@dataclass
class Crew:
    """Processes that wait for work."""

    pipes: list["Pipe[Any, Any]"]

    def work(self, kind: str, seconds: float) -> Done:
        """Let all of them do it."""
        for pipe in self.pipes:
            pipe.send((kind, seconds))
        done = [self._answer(pipe) for pipe in self.pipes]
        calls = sum(count for count, _, _ in done)
        return Done(
            per_second=sum(count / took for count, took, _ in done),
            own_ms=1000 * sum(own_seconds for _, _, own_seconds in done) / max(1, calls),
        )

    def _answer(self, pipe: "Pipe[Any, Any]") -> tuple[int, float, float]:
        if not pipe.poll(_PATIENCE_SECONDS):
            raise TimeoutError(f"a process of the bench gave no answer for {_PATIENCE_SECONDS} seconds")
        count, took, own_seconds = pipe.recv()
        return count, took, own_seconds


@contextmanager
def crew(url: str, size: int) -> Iterator[Crew]:
    """So many processes on a database; they are gone afterwards."""
    spawning = multiprocessing.get_context("spawn")
    ends = [spawning.Pipe() for _ in range(size)]
    processes = [
        spawning.Process(target=_serve, args=(url, number, theirs), daemon=True)
        for number, (_, theirs) in enumerate(ends)
    ]
    try:
        for process in processes:
            process.start()
        yield Crew([ours for ours, _ in ends])
        for ours, _ in ends:
            ours.send(None)
        for process in processes:
            process.join(_PATIENCE_SECONDS)
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()


def _serve(url: str, number: int, pipe: "Pipe[Any, Any]") -> None:
    """What each process does."""
    scratch = open_scratch(url)
    for call in WORK.values():  # statements are made, and prepared, at their first uses
        for _ in range(_WARM_UP):
            call(scratch, number)
    while (order := pipe.recv()) is not None:
        kind, seconds = order
        pipe.send(_do(scratch, number, kind, seconds))
    scratch.database.dispose()


def _do(scratch: Scratch, number: int, kind: str, seconds: float) -> tuple[int, float, float]:
    """How often it was done, in how many seconds, and how many of them this process needed itself."""
    call, count, own_begun, begun = WORK[kind], 0, time.process_time(), time.monotonic()
    while (took := time.monotonic() - begun) < seconds:
        call(scratch, number)
        count += 1
    return count, took, time.process_time() - own_begun
