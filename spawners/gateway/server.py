"""Serves the gateway's interface at its door: one gateway for a state folder, until SIGTERM or SIGINT."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from spawners.gateway.door import Door
from spawners.gateway.locks import locked

__all__ = ["AlreadyRunning", "serve", "sole_gateway"]

_GRACE_SECONDS = 5


class AlreadyRunning(Exception):
    """Another gateway works with this state folder."""


@contextmanager
def sole_gateway(folder: Path) -> Iterator[None]:
    """Be the only one that works with this folder.

    Raises
    ------
    AlreadyRunning
        If there is another one: two would fight over masters and forwards.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "lock", wait=False))
        except BlockingIOError as error:
            raise AlreadyRunning(f"Another gateway works with {folder}; nothing was started.") from error
        yield


async def serve(app: FastAPI, door: Door) -> None:
    """Listen, and answer until an end signal comes. Connections to the sites go on afterwards."""
    listening = _at_socket(door.socket) if door.port is None else _at_port(door.port)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises a signal once more when it has ended well by it; without this we would end by it half-way.
        signal.signal(number, lambda _number, _frame: None)
    try:
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_GRACE_SECONDS, ws="none")
        await uvicorn.Server(settings).serve(sockets=[listening])
    finally:
        listening.close()
        if door.port is None:
            await asyncio.to_thread(door.socket.unlink, missing_ok=True)


def _at_port(port: int) -> socket.socket:
    """At every address of this machine, of both kinds where it has both."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _at_socket(path: Path) -> socket.socket:
    """A socket for our account alone; one that a gateway left that was killed is in nobody's way."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening
