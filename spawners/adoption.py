"""Looking up the open attempts of all servers while a hub that was restarted asks for each of them.

JupyterHub polls every server that it remembers, one by one, and asks for its address. One read of the table serves them
all for a second; after the first half minute every question is asked of the table itself.
"""

import threading
import time
from collections.abc import Callable

from spawners.sessions import Server, Session, Sessions

__all__ = ["OpenAttempts"]

_RESTART_SECONDS = 30.0
_FRESH_SECONDS = 1.0


class OpenAttempts:
    """Answers like `Sessions.open_of`. Called in threads."""

    def __init__(self, sessions: Sessions, hub: str, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._sessions = sessions
        self._hub = hub
        self._timer = timer
        self._begun = timer()
        self._read_at = float("-inf")
        self._known: dict[Server, Session] = {}
        self._reading = threading.Lock()

    def of(self, server: Server) -> Session | None:
        """The attempt of a server that has not ended; during a restart up to a second old."""
        if self._timer() - self._begun > _RESTART_SECONDS:
            return self._sessions.open_of(server)
        with self._reading:
            if self._timer() - self._read_at > _FRESH_SECONDS:
                self._known = {session.server: session for session in self._sessions.open_on(self._hub)}
                self._read_at = self._timer()
            return self._known.get(server)
