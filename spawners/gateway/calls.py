"""The command queue of one site: requests to its gate, a few at once, each answered in one bounded line and in time.

What it promises:

- At most `AT_ONCE` sessions at the login node, fewer than sshd's usual MaxSessions of 10; who comes when too many wait
  already is turned away at once.
- What comes back is an answer of the protocol, a refusal of the gate, or `SiteAway`; nothing else, whatever the site
  sends, and never more of it in memory than the protocol allows.
- `SiteAway` says nothing about any job. Every request may be made again: the gate does nothing twice.
- A command master that died is started anew, and the request is made again. One whose link does not carry anything
  any more is found by a ping of our own, and cut.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

from spawners.gateway.masters import Master, MasterError, NoPlace
from spawners.gateway.processes import Done, TooMuch, TooSlow, run
from spawners.gateway.protocol import (
    LARGEST_ANSWER_BYTES,
    Answer,
    BrokenAnswer,
    Cancel,
    GateRefusal,
    History,
    Ping,
    Queue,
    Submit,
)

__all__ = ["AT_ONCE", "LINK_PING_SECONDS", "Calls", "QueueFull", "SiteAway", "request_id"]

AT_ONCE = 8
_MOST_WAITING = 64
_SECONDS = {"ping": 10.0, "submit": 22.0, "queue": 22.0, "history": 22.0, "cancel": 22.0}
"""Longer than the gate's own patience with the scheduler, whose refusal says more than our timeout; and with the ping
after it shorter than that of who asks us.
"""
LINK_PING_SECONDS = 5.0
_SSH_FAILED = 255

Request = Ping | Submit | Queue | History | Cancel
A = TypeVar("A", bound=Answer)
Observe = Callable[[str, str, float], None]


class SiteAway(Exception):
    """The site cannot be asked, or what it answered cannot be used.

    Parameters
    ----------
    detail
        What happened, for operators.
    was_sent
        Whether the gate may have got the request, and done it.
    """

    def __init__(self, detail: str, *, was_sent: bool) -> None:
        super().__init__(detail)
        self.detail = detail
        self.was_sent = was_sent


class QueueFull(SiteAway):
    """Too many of our own requests wait; that says nothing about the site."""


def request_id() -> str:
    """A new one, to be found again in the gate's log."""
    return uuid4().hex


class Calls:
    """Those of one site.

    Parameters
    ----------
    master
        The command master.
    words
        Run the gate through it; of its `Link`.
    observe
        Told of each request: verb, outcome (`ok`, `refused`, `away`) and seconds.
    seconds
        How long each verb may take.
    """

    def __init__(
        self,
        master: Master,
        words: list[str],
        *,
        observe: Observe = lambda _verb, _outcome, _seconds: None,
        seconds: dict[str, float] | None = None,
    ) -> None:
        self._master = master
        self._words = words
        self._observe = observe
        self._seconds = _SECONDS | (seconds or {})
        self._places = asyncio.Semaphore(AT_ONCE)
        self.waiting = 0
        self.queue_seconds = 0.0
        """How long the last question for all jobs took that ended, without what came before: the site's own work."""

    async def ask(self, request: Request, answer: type[A]) -> A:
        """Ask the gate.

        Raises
        ------
        GateRefusal
            The gate says no.
        SiteAway
            Nobody knows.
        """
        if self.waiting >= _MOST_WAITING:
            raise QueueFull(f"{self.waiting} requests wait for this site already", was_sent=False)
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        began = time.monotonic()
        outcome = "away"
        try:
            found = await self._asked(request, answer)
            outcome = "ok"
            return found
        except GateRefusal:
            outcome = "refused"
            raise
        finally:
            self._places.release()
            self._observe(request.verb, outcome, time.monotonic() - began)

    async def _asked(self, request: Request, answer: type[A]) -> A:
        try:
            await self._master.ensure()
            done = await self._run(request)
            if _was_not_carried(done) and not await self._master.find():
                await self._master.ensure()
                done = await self._run(request)
        except NoPlace as none:
            raise QueueFull(str(none), was_sent=False) from none
        except (MasterError, OSError) as error:
            raise SiteAway(str(error), was_sent=False) from error
        except TooMuch as error:
            raise SiteAway(f"the gate's answer was cut off: {error}", was_sent=True) from error
        except TooSlow as error:
            if not await self.carries():
                await self._master.end()
            raise SiteAway(f"the gate did not answer: {error}", was_sent=True) from error
        if _was_not_carried(done):
            raise SiteAway(f"the connection does not carry the request: {done.error[-500:]}", was_sent=True)
        line, _, rest = done.out.partition(b"\n")
        try:
            if rest or not line:
                raise BrokenAnswer(f"not one line but {len(done.out)} bytes; {done.error[-300:]}")
            return answer.parse(line)
        except BrokenAnswer as error:
            raise SiteAway(f"this is no answer of a gate: {error}", was_sent=True) from error

    async def _run(self, request: Request, seconds: float | None = None) -> Done:
        began = time.monotonic()
        done = await run(
            self._words,
            stdin=request.line(),
            seconds=seconds or self._seconds[request.verb],
            most_bytes=LARGEST_ANSWER_BYTES,
        )
        if request.verb == "queue":
            self.queue_seconds = time.monotonic() - began
        return done

    async def carries(self) -> bool:
        """Whether the connection carries anything: a slow gate answers a ping, a link that is dead carries none, though
        `-O check` says that it runs. Past the queue, which may wait for that very link.
        """
        try:
            await self._run(Ping(id=request_id()), LINK_PING_SECONDS)
        except TooSlow:
            return False
        except TooMuch:
            return True
        return True


def _was_not_carried(done: Done) -> bool:
    return done.code == _SSH_FAILED and not done.out
