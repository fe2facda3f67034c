"""One site as the gateway keeps it: its two masters, its gate, its poller, its breaker and its forwards.

Two things go on by themselves, and neither waits for the other:

- The *poller* asks the gate for all jobs at the pace of `pace.py`, and now and then how the site is.
- The *keeper* sees to the data master: it starts it, restores forwards and the way back to the hub, and every few
  seconds opens a channel to one of the sessions. Two silences in a row, the second one also of the gate, mean a
  half-open link: it is cut and made anew.

What fails is told in the health of the site, and tried again; nothing that a site does ends them.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from federation.database import DatabaseUnavailable
from spawners.gateway.answers import SiteHealth, SiteState
from spawners.gateway.calls import Calls, QueueFull, Request, SiteAway, request_id
from spawners.gateway.forwards import Forwards
from spawners.gateway.masters import Master, MasterError
from spawners.gateway.pace import Breaker, BreakerState, interval_seconds
from spawners.gateway.protocol import Answer, ErrorCode, GateRefusal, Jobs, Ping, Pong, Queue, Submit, Submitted
from spawners.gateway.sightings import Sightings

__all__ = ["Reverse", "SiteGateway", "Times"]

_log = logging.getLogger("nbfed.gateway")

A = TypeVar("A", bound=Answer)

_DOUBT_SECONDS = 60.0
"""How long a gate that did not answer may still be at work on a submit."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """How often the keeper looks, in seconds; tests are in more of a hurry than sites."""

    tick: float = 1.0
    ping: float = 5.0
    silence: float = 5.0
    pause: float = 60.0
    longest_wait: float = 30.0


@dataclass(frozen=True)
class Reverse:
    """How jobs of the site reach the hub: `url`; for a site whose nodes cannot, through `words` of the data master."""

    url: str
    words: tuple[str, ...] = ()


class SiteGateway:
    """Made in the loop that `run` runs in.

    Parameters
    ----------
    calls
        Over the command master.
    data_calls
        The same gate over the data master: asked only when sessions are silent there.
    on_poll
        Told of each question for all jobs: whether it was answered, and the seconds that it took.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Master,
        data: Master,
        calls: Calls,
        data_calls: Calls,
        forwards: Forwards,
        reverse: Reverse,
        times: Times | None = None,
        on_poll: Callable[[bool, float], None] = lambda _answered, _seconds: None,
    ) -> None:
        self.name = name
        self.command, self.data = command, data
        self.forwards, self.reverse = forwards, reverse
        self.sightings = Sightings()
        self.breaker = Breaker()
        self.asked_at: float | None = None
        self.answered_at: float | None = None
        self.site_time: float | None = None
        self.last_error = ""
        self.data_error = ""
        self.way_back_error = ""
        self.forward_count = 0
        self._calls, self._data_calls = calls, data_calls
        self._times = times or Times()
        self._on_poll = on_poll
        self._news_at = time.monotonic()
        self._nudged = asyncio.Event()
        self._drained = False
        self._with_way_back: int | None = None  # the data master's process that has it
        self._way_back_tried: tuple[int | None, float] = None, 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._calls.waiting

    # --- what others ask for ------------------------------------------------------------------------------------

    async def ask(self, request: Request, answer: type[A]) -> A:
        """Ask the gate, unless the site is left alone.

        Raises
        ------
        GateRefusal, SiteAway
            As `Calls.ask`.
        """
        if not self.breaker.lets_through(time.monotonic()):
            raise SiteAway(
                f"{self.name} does not answer, and is left alone for a while: {self.last_error}", was_sent=False
            )
        self.breaker = self.breaker.trying()
        try:
            found = await self._calls.ask(request, answer)
        except GateRefusal as refusal:
            if refusal.error is ErrorCode.DRAINED:
                self._drained = True
            self._ended(away=request.verb == "queue", why=str(refusal))
            raise
        except SiteAway as away:
            if isinstance(away, QueueFull):
                self.breaker = self.breaker.forgotten()
            else:
                self._ended(away=True, why=away.detail)
            raise
        except BaseException:
            self.breaker = self.breaker.forgotten()
            raise
        self._ended(away=False)
        return found

    async def submit(self, request: Submit) -> Submitted:
        """Start an attempt; while nobody knows whether the gate did it, the attempt is not missing from any answer.

        Raises
        ------
        GateRefusal, SiteAway
            As `Calls.ask`.
        """
        self.sightings.in_doubt(request.attempt)
        doubt_seconds = 0.0
        try:
            return await self.ask(request, Submitted)
        except SiteAway as away:
            doubt_seconds = _DOUBT_SECONDS if away.was_sent else 0.0
            raise
        finally:
            asyncio.get_running_loop().call_later(doubt_seconds, self.sightings.submitted, request.attempt)
            self.nudge()

    def nudge(self) -> None:
        """Something was asked for that the next answer will tell more of: ask soon."""
        self._news_at = time.monotonic()
        self._nudged.set()

    def health(self) -> SiteHealth:
        """How the site is, for placement and for people."""
        if self.breaker.state is not BreakerState.CLOSED:
            state = SiteState.OPEN_BREAKER
        elif self.answered_at is None:
            state = SiteState.UNKNOWN
        else:
            state = SiteState.DRAINED if self._drained else SiteState.OK
        broken = next(iter(self.forwards.broken.values()), "")
        return SiteHealth(
            state=state,
            last_answer_at=self.answered_at,
            last_error=self.last_error or self.data_error or self.way_back_error or broken,
            queue_age_seconds=None if self.answered_at is None else max(0.0, time.time() - self.answered_at),
            masters=self.command.is_up + self.data.is_up,
            forwards=self.forward_count,
        )

    async def run(self) -> None:
        """Poll and keep, until it is cancelled. The masters live on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll_for_ever())
            group.create_task(self._keep_for_ever())

    # --- the poller ---------------------------------------------------------------------------------------------

    async def _poll_for_ever(self) -> None:
        next_look = 0.0
        while True:
            if self.breaker.lets_through(time.monotonic()):
                await self._poll()
                if self.sightings.fresh and time.monotonic() >= next_look:
                    await self._look()
                    next_look = time.monotonic() + self._times.pause
            await self._until_next_poll(time.monotonic())

    async def _until_next_poll(self, ended: float) -> None:
        """Wait as long as the pace says; what is asked for meanwhile makes it shorter."""
        chance = random.random()
        while True:
            self._nudged.clear()
            now = time.monotonic()
            due = ended + interval_seconds(
                since_news=now - self._news_at,
                query_seconds=self._calls.queue_seconds,
                failing=self.breaker.failures > 0,
                chance=chance,
            )
            if now >= max(due, self.breaker.open_until or 0.0):
                return
            wait = max(due, self.breaker.open_until or 0.0) - now
            try:
                async with asyncio.timeout(wait):
                    await self._nudged.wait()
            except TimeoutError:
                return

    async def _poll(self) -> None:
        number, began = self.sightings.ask(), time.monotonic()
        self.asked_at = time.time()
        answered = False
        try:
            jobs = await self.ask(Queue(id=request_id()), Jobs)
            answered = True
        except (SiteAway, GateRefusal) as error:
            self.sightings.failed()
            _log.warning("%s was not polled: %s", self.name, error)
        self._on_poll(answered, time.monotonic() - began)
        if answered:
            self.answered_at, self.site_time = time.time(), jobs.time
            if self.sightings.answered(number, jobs.jobs):
                self._news_at = time.monotonic()

    async def _look(self) -> None:
        try:
            self._drained = (await self.ask(Ping(id=request_id()), Pong)).drained
        except (SiteAway, GateRefusal) as error:
            _log.warning("%s did not say how it is: %s", self.name, error)

    def _ended(self, *, away: bool, why: str = "") -> None:
        before = self.breaker.state
        self.breaker = self.breaker.failed(time.monotonic()) if away else self.breaker.succeeded()
        self.last_error = why if away else ""
        if self.breaker.state is BreakerState.OPEN and before is BreakerState.CLOSED:
            _log.error("%s is left alone: it failed %d times in a row: %s", self.name, self.breaker.failures, why)

    # --- the keeper ---------------------------------------------------------------------------------------------

    async def _keep_for_ever(self) -> None:
        times, failures, next_ping = self._times, 0, 0.0
        while True:
            try:
                await self.data.ensure()
                self.forward_count = await self.forwards.restore()
                if time.monotonic() >= next_ping:
                    if await self._is_half_open():
                        _log.error("%s: the data connection is half-open; it is cut and made anew", self.name)
                        await self.data.end()
                        continue
                    next_ping = time.monotonic() + times.ping
                await self._keep_way_back()
                failures, self.data_error = 0, ""
            except (MasterError, DatabaseUnavailable, OSError) as error:
                failures += 1
                if failures == 1:
                    self.nudge()  # perhaps the whole site is away: know it soon
                self.data_error = str(error)
                _log.warning("%s has no data connection: %s", self.name, error)
            await asyncio.sleep(min(times.longest_wait, times.tick * 2.0 ** min(failures, 10)))

    async def _keep_way_back(self) -> None:
        """Have jobs reach the hub. Running sessions do without for a while, so a failure keeps nothing else waiting: after
        a half-open link the site's old sshd holds the port until it notices (ClientAliveInterval). Here ssh's code is
        honest, and for what is there already it does nothing.
        """
        pid, now = self.data.pid, time.monotonic()
        if not self.reverse.words or self._with_way_back == pid:
            return
        if self._way_back_tried[0] == pid and now < self._way_back_tried[1] + self._times.ping:
            return
        self._way_back_tried = pid, now
        done = await self.data.order("-O", "forward", *self.reverse.words)
        self.way_back_error = ""
        if done.code:
            self.way_back_error = f"the site does not let its jobs reach the hub: {_first_line(done.error)}"
            _log.warning("%s: %s", self.name, self.way_back_error)
        else:
            self._with_way_back = pid

    async def _is_half_open(self) -> bool:
        """A session that is silent is no proof: its node may be dead. The gate behind the same connection tells."""
        found = await self.forwards.ask(seconds=self._times.silence)
        if found is None or found.reached is not None or not self.data.is_up:
            return False
        return not await self._data_calls.carries()


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:300]
