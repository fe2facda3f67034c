"""Serves the gateway's interface on its socket: one gateway for a state folder, until SIGTERM or SIGINT."""

import asyncio
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

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
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(f"Another gateway works with {folder}; nothing was started.") from error
        yield


async def serve(app: FastAPI, path: Path) -> None:
    """Listen, and answer until an end signal comes. Connections to the sites go on afterwards."""
    listening = _listening(path)
    try:
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_GRACE_SECONDS, ws="none")
        await uvicorn.Server(settings).serve(sockets=[listening])
    finally:
        listening.close()
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _listening(path: Path) -> socket.socket:
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
