"""Locks between processes, and between threads of one: held by a file, and given back by the kernel whatever happens."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked"]


@contextmanager
def locked(file: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold it for the block.

    Raises
    ------
    BlockingIOError
        If somebody else has it, and nobody is to wait.
    """
    with file.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
