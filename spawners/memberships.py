"""Before a lease is renewed, the person's provider is asked what it says of them now: a membership that is gone acts at
the next renewal.

Only the hub can ask, since it alone has people's tokens. Nothing here decides: what is known of the person afterwards
does, and an answer that cannot be had leaves what was said last, which counts for a while (`Admission.eligibility`).
"""

import logging
from datetime import datetime, timedelta
from typing import Protocol

from federation.clock import Clock

__all__ = ["Memberships", "PacedMemberships"]

_log = logging.getLogger("nbfed.worker")


class Memberships(Protocol):
    """What the worker needs at a renewal."""

    def refresh(self, user: str) -> None:
        """Have a person's facts brought up to date if that is possible now. Never raises."""
        ...


class _Hub(Protocol):
    def ask_again(self, user: str) -> str: ...


class PacedMemberships:
    """Asks the hub, and of one person not more often than `every`, whatever came of it.

    Parameters
    ----------
    hub
        Its `ask_again` raises `OSError` when the hub cannot be reached.
    """

    def __init__(self, hub: _Hub, *, every: timedelta, clock: Clock) -> None:
        self._hub = hub
        self._every = every
        self._clock = clock
        self._asked: dict[str, datetime] = {}

    def refresh(self, user: str) -> None:
        """See `Memberships`."""
        now = self._clock()
        self._asked = {name: when for name, when in self._asked.items() if now - when < self._every}
        if user in self._asked:
            return
        self._asked[user] = now
        try:
            outcome = self._hub.ask_again(user)
        except OSError as error:
            _log.warning("what the provider says of %s now is not known: %s", user, error)
            return
        if outcome != "asked":
            _log.info("what the provider says of %s now is not known: %s", user, outcome)
