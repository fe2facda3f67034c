"""Runs programs for the gateway: what they may say and how long they may take is bounded, whatever the other side does.

A program that says more, or takes longer, is killed at once. What it said until then is thrown away; never more than the
bound is held in memory. Nobody waits for pipes after that: a master that carries a killed client's session holds them
for as long as the link is stuck, and asyncio's own `Process.wait` would wait with it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

__all__ = ["Done", "TooMuch", "TooSlow", "run", "said_until"]

_ERROR_BYTES = 65_536
_OUT, _ERROR = 1, 2


class TooSlow(Exception):
    """It did not end in time and was killed."""


class TooMuch(Exception):
    """It said more than it may and was killed."""


@dataclass(frozen=True)
class Done:
    """How a program ended, and what it said."""

    code: int
    out: bytes
    error: str


async def run(words: Sequence[str], *, stdin: bytes = b"", seconds: float, most_bytes: int = _ERROR_BYTES) -> Done:
    """Run it to its end.

    Raises
    ------
    TooSlow, TooMuch
        It was killed. It may have done what it was asked for.
    OSError
        It cannot be run.
    """
    heard = await _listen(words, _Listener({_OUT: most_bytes, _ERROR: _ERROR_BYTES}), stdin, seconds)
    return Done(heard.code, heard.said(_OUT), heard.said(_ERROR).decode(errors="replace").strip())


async def said_until(words: Sequence[str], marks: Sequence[str], *, seconds: float) -> tuple[str | None, str]:
    """Run it until it says one of the marks on its standard error, and then kill it.

    Returns the mark, None if it ended without any; and all that it said there. Its input stays open until then.

    Raises
    ------
    TooSlow, TooMuch
        As `run`.
    """
    found: str | None = None

    def look(listener: _Listener) -> bool:
        nonlocal found
        said = listener.said(_ERROR).decode(errors="replace")
        found = next((mark for mark in marks if mark in said), None)
        return found is not None

    heard = await _listen(words, _Listener({_OUT: _ERROR_BYTES, _ERROR: _ERROR_BYTES}, look), None, seconds)
    return found, heard.said(_ERROR).decode(errors="replace")


class _Listener(asyncio.SubprocessProtocol):
    """Collects what a program says, until it has ended, has said enough, or too much."""

    def __init__(self, bounds: dict[int, int], enough: Callable[["_Listener"], bool] = lambda _: False) -> None:
        self._bounds = bounds
        self._enough = enough
        self._parts: dict[int, list[bytes]] = {fd: [] for fd in bounds}
        self._sizes = dict.fromkeys(bounds, 0)
        self._open = {*bounds, "process"}
        self._transport: asyncio.SubprocessTransport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def code(self) -> int:
        assert self._transport is not None
        code = self._transport.get_returncode()
        return -1 if code is None else code

    def said(self, fd: int) -> bytes:
        return b"".join(self._parts[fd])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._sizes[fd] += len(data)
        if self.ended.done():
            return
        if self._sizes[fd] > self._bounds[fd]:
            self.ended.set_exception(TooMuch(f"it said more than {self._bounds[fd]} bytes"))
            return
        self._parts[fd].append(data)
        if self._enough(self):
            self.ended.set_result(None)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._over(fd)

    def process_exited(self) -> None:
        self._over("process")

    def _over(self, part: int | str) -> None:
        self._open.discard(part)
        if not self._open and not self.ended.done():
            self.ended.set_result(None)


async def _listen(words: Sequence[str], listener: _Listener, stdin: bytes | None, seconds: float) -> _Listener:
    # A session of its own: Ctrl-C in the gateway's terminal is the gateway's.
    transport, _ = await asyncio.get_running_loop().subprocess_exec(lambda: listener, *words, start_new_session=True)
    try:
        if stdin is not None:
            pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
            pipe.write(stdin)
            pipe.close()
        async with asyncio.timeout(seconds):
            await listener.ended
    except TimeoutError as late:
        raise TooSlow(f"it did not end within {seconds:g} seconds") from late
    finally:
        transport.close()  # kills it if it still runs
    return listener
