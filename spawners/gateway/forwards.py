"""The ways from the hub to the sessions of one site, or of one account there, over a data master.

What it promises:

- A forward leads to a node and a port of the site's own in federation.yaml, or is refused. The gate is not believed.
- It is given out only after the site itself opened a channel to there: ssh says yes to forwards that the site forbids.
- Its row is in the database before it is made. Whatever dies, `restore` makes those that are missing, on the same
  ports; one that cannot be made keeps none of the others from being made.
- One that is closed is closed at once; closing twice is closing once. Connections that are open through it go on.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from spawners.gateway.book import Forward, ForwardBook
from spawners.gateway.door import LOOPBACK, Door
from spawners.gateway.masters import Master, Reach

__all__ = ["ForwardRefused", "Forwards", "NotReached"]

_REACH_SECONDS = 10.0
_AT_ONCE = 8
_TRIES = 5


class ForwardRefused(Exception):
    """The site has no such node or port, so nothing was opened."""


class NotReached(Exception):
    """The site did not open a way to there, or we could not; it may later."""


class Forwards:
    """Those of one site.

    Parameters
    ----------
    master
        The data master.
    nodes, ports
        What the site has, as federation.yaml says.
    book
        Their rows.
    door
        Where the gateway is asked, and where its forwards begin.
    account
        That the master is signed in to; empty for the site's robot.
    """

    def __init__(
        self,
        site: str,
        master: Master,
        nodes: frozenset[str],
        ports: range,
        book: ForwardBook,
        door: Door,
        account: str = "",
    ) -> None:
        self._site = site
        self._account = account
        self._master = master
        self._nodes = nodes
        self._ports = ports
        self._book = book
        self._host, self._bind = door.forward_host, door.forward_bind
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turn = 0
        self.broken: dict[str, str] = {}
        """Attempts whose forward could not be made when it was last tried, and why."""

    async def open(self, attempt: str, node: str, port: int) -> tuple[str, int]:
        """Have a way to there, and return where it begins.

        Raises
        ------
        ForwardRefused, NotReached
            There is none.
        MasterError
            There is no connection to the site.
        PortsTaken
            There is no port left for it.
        """
        if node not in self._nodes or port not in self._ports:
            raise ForwardRefused(
                f"{self._site} has no node {node!r} with port {port} in federation.yaml; nothing was opened"
            )
        async with self._one_at_a_time(attempt):
            await self._master.ensure()
            await self._reached(node, port)
            forward = await asyncio.to_thread(self._book.get, self._site, attempt, self._account)
            if forward is not None and (forward.node, forward.port) != (node, port):
                await self._master.order("-O", "cancel", *forward.words(self._bind))
                forward = await asyncio.to_thread(self._book.redirect, forward, node, port)
            if forward is not None:
                await self._made(forward)
                return self._host, forward.local_port
            return self._host, (await self._made_anywhere(attempt, node, port)).local_port

    async def close(self, attempt: str) -> None:
        """Have no way to that session."""
        async with self._one_at_a_time(attempt):
            forward = await asyncio.to_thread(self._book.get, self._site, attempt, self._account)
            if forward is not None:
                await self._master.order("-O", "cancel", *forward.words(self._bind))
                await asyncio.to_thread(self._book.remove, forward)
                self.broken.pop(attempt, None)

    async def forget(self) -> None:
        """Have no rows; the ways go with the master."""
        for forward in await asyncio.to_thread(self._book.of, self._site, self._account):
            await asyncio.to_thread(self._book.remove, forward)
        self.broken.clear()

    async def restore(self) -> int:
        """Make those that the master does not have, and return how many there should be."""
        wanted = await asyncio.to_thread(self._book.of, self._site, self._account)
        there = await asyncio.to_thread(self._master.listening_ports)
        missing = [each for each in wanted if each.local_port not in there]
        await asyncio.gather(*(self._remade(forward) for forward in missing))
        return len(wanted)

    async def ask(self, *, seconds: float) -> Reach | None:
        """Whether the site answers through the data master: a channel to the next session in turn. None: no session."""
        wanted = await asyncio.to_thread(self._book.of, self._site, self._account)
        if not wanted:
            return None
        self._turn += 1
        forward = wanted[self._turn % len(wanted)]
        return await self._master.reach(forward.node, forward.port, seconds=seconds)

    async def _remade(self, forward: Forward) -> None:
        async with self._one_at_a_time(forward.attempt):
            if await asyncio.to_thread(self._book.get, self._site, forward.attempt, self._account) != forward:
                return  # somebody closed or changed it meanwhile
            with contextlib.suppress(NotReached):
                await self._made(forward)

    async def _reached(self, node: str, port: int) -> None:
        async with self._places:  # fewer than sshd's MaxSessions, and so that a crowd does not time out
            found = await self._master.reach(node, port, seconds=_REACH_SECONDS)
        if not found.reached:
            raise NotReached(f"{self._site} opens no way to {node}:{port}: {found.detail}")

    async def _made_anywhere(self, attempt: str, node: str, port: int) -> Forward:
        tried = set[int]()
        for left in reversed(range(_TRIES)):
            forward = await asyncio.to_thread(
                self._book.add, self._site, attempt, node, port, account=self._account, tried=tried
            )
            try:
                await self._made(forward)
                return forward
            except NotReached:
                # Something else listens on that port; nobody was told of it yet.
                await asyncio.to_thread(self._book.remove, forward)
                self.broken.pop(attempt, None)
                tried.add(forward.local_port)
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _made(self, forward: Forward) -> None:
        async with self._places:
            done = await self._master.order("-O", "forward", *forward.words(self._bind))
        listens = done.code == 0 and await asyncio.to_thread(_answers, forward.local_port)
        if not listens:
            why = f"port {forward.local_port} cannot be opened here: {done.error[-300:] or 'nobody listens'}"
            self.broken[forward.attempt] = why
            raise NotReached(why)
        self.broken.pop(forward.attempt, None)

    @asynccontextmanager
    async def _one_at_a_time(self, attempt: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(attempt, asyncio.Lock())
        async with lock:
            yield


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((LOOPBACK, port)) == 0
