"""One connection to a site that others are carried by: an OpenSSH master (ssh_config(5), ControlMaster).

What it promises:

- It lives on when the gateway dies, in a session of its own, and the next gateway finds it by its socket.
- There is one at a time. A start that fails says why in the site's words, and leaves nothing behind.
- `end` ends it for good, also when it does not listen to us any more: a half-open link is cut by force.

What ssh's exit codes do not say was measured with OpenSSH 9.2, and is in the comments.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from spawners.gateway.ca import AuthorityError
from spawners.gateway.credentials import Credentials, CredentialsError
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.processes import Done, TooMuch, TooSlow, run, said_until

__all__ = ["Master", "MasterError", "NoPlace", "Reach"]

_START_SECONDS = 20.0
_PLACE_SECONDS = 5.0
_ORDER_SECONDS = 5.0
_LOG_BYTES = 65_536
_PID = re.compile(r"pid=(\d+)")
# What ssh says, in mux.c of OpenSSH 7.9 to 10: the site opened the channel; or it, or the master, did not.
_OPENED, _REFUSED = "master session id", "orwarding request failed"


class MasterError(Exception):
    """There is no connection; the message says why."""


class NoPlace(MasterError):
    """Others are being made just now. That says nothing about the site."""


@dataclass(frozen=True)
class Reach:
    """Whether a port at the site was reached. `None`: nothing was heard, which is neither yes nor no."""

    reached: bool | None
    detail: str = ""


class Master:
    """One of the two of a site.

    Parameters
    ----------
    link
        The site.
    kind
        Which of the two.
    credentials
        Renewed before each start.
    on_start
        Told of each start that succeeded.
    places
        How many of a site may be started at once: its sshd turns a crowd away (MaxStartups).
    """

    def __init__(
        self,
        link: Link,
        kind: MasterKind,
        credentials: Credentials,
        *,
        on_start: Callable[[], None] = lambda: None,
        places: asyncio.Semaphore | None = None,
    ) -> None:
        self._link = link
        self.kind = kind
        self._credentials = credentials
        self._on_start = on_start
        self._places = places or asyncio.Semaphore(1)
        self._lock = asyncio.Lock()
        self._process: psutil.Process | None = None

    @property
    def is_up(self) -> bool:
        """Whether the process that was last seen still runs; says nothing about the link."""
        return self._process is not None and _runs(self._process)

    @property
    def pid(self) -> int | None:
        """Of the process that was last seen."""
        return self._process.pid if self._process else None

    async def find(self) -> bool:
        """Look whether there is one, ours or that of an earlier gateway."""
        done = await self.order("-O", "check")
        found = _PID.search(done.error) if done.code == 0 else None
        self._process = _process(int(found.group(1))) if found else None
        return self._process is not None

    async def ensure(self) -> bool:
        """Have one. Returns whether it had to be started.

        Raises
        ------
        MasterError
            If it cannot be.
        """
        async with self._lock:
            if self.is_up or await self.find():
                return False
            async with self._place():
                await self._start()
            return True

    def listening_ports(self) -> frozenset[int]:
        """The local ports of its forwards. Their targets no command tells. Blocks."""
        with contextlib.suppress(psutil.Error):
            if self._process is not None:
                found = self._process.net_connections("tcp")
                return frozenset(each.laddr.port for each in found if each.status == psutil.CONN_LISTEN)
        return frozenset()

    async def end(self) -> None:
        """End it, if there is one; open channels are cut."""
        async with self._lock:
            process = self._process if self.is_up or await self.find() else None
            # `-O stop` would leave the master and its forwards alive.
            await self.order("-O", "exit")
            if process is not None:
                await asyncio.to_thread(_gone, process)
            self._process = None
            self._link.control(self.kind).unlink(missing_ok=True)

    async def order(self, *words: str) -> Done:
        """Tell it something. A master that does not answer is as good as none: code 255."""
        try:
            return await run(self._link.control_words(self.kind, *words), seconds=_ORDER_SECONDS)
        except (TooSlow, TooMuch, OSError) as error:
            return Done(255, b"", str(error))

    async def reach(self, node: str, port: int, *, seconds: float) -> Reach:
        """Open a channel to there and close it: nothing is sent, and what listens there notices nothing but that.

        A forward does not tell: `-O forward` succeeds without the site's permission, too.
        """
        try:
            mark, said = await said_until(
                self._link.reach_words(self.kind, node, port), (_OPENED, _REFUSED), seconds=seconds
            )
        except (TooSlow, TooMuch, OSError) as error:
            return Reach(None, str(error))
        if mark == _OPENED:
            return Reach(True)
        return Reach(False, _last_line(said)) if mark == _REFUSED else Reach(None, _last_line(said))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PLACE_SECONDS):  # not wait_for, which may swallow that we are cancelled
                await self._places.acquire()
        except TimeoutError as late:
            raise NoPlace(f"too many connections to {self._link.site} are being begun") from late
        try:
            yield
        finally:
            self._places.release()

    async def _start(self) -> None:
        try:
            await asyncio.to_thread(self._credentials.renew)
        except (AuthorityError, CredentialsError, OSError) as error:
            raise MasterError(str(error)) from error
        log = self._link.log(self.kind)
        try:
            code = await _signed_in(self._link.start_words(self.kind), log)
        except OSError as error:
            raise MasterError(f"ssh cannot be run: {error}") from error
        if code != 0 or not await self.find():
            raise MasterError(_why(log.read_bytes()) or f"ssh ended with code {code}")
        self._on_start()


async def _signed_in(words: list[str], log: Path) -> int:
    """Run ssh until it goes to the background, and return its exit code."""
    # A file and no pipe: the master keeps it open as long as it lives.
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        async with asyncio.timeout(_START_SECONDS):
            return await process.wait()
    except TimeoutError as late:
        raise MasterError(f"no connection within {_START_SECONDS:g} seconds") from late
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _process(pid: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _gone(process: psutil.Process) -> None:
    """Wait for its end; by force where it does not come."""
    deadline = time.monotonic() + 1.0
    while _runs(process):
        if time.monotonic() > deadline:
            with contextlib.suppress(psutil.Error):
                process.kill()
            return
        time.sleep(0.02)


def _why(log: bytes) -> str:
    """What ssh said last. With a changed host key it says much, and then this."""
    return _last_line(log[-_LOG_BYTES:].decode(errors="replace"))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""
