"""Asking again what a provider says of somebody: at pages, and when the worker renews a lease.

Whoever cannot be asked again now, because the provider is away or takes the tokens no more, keeps what was said last;
it counts for `identity.snapshot_hours` (see `Admission.eligibility`). What a provider does say counts at once.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from jupyterhub.apihandlers import APIHandler
from tornado import web

from federation.database import DatabaseUnavailable
from hub_config.sign_in.client import ProviderClient
from hub_config.sign_in.refused import ProviderAway, SignInRefused

__all__ = ["REFRESH_PATH", "REFRESH_SCOPE", "Outcome", "RefreshHandler", "Refresher"]

REFRESH_PATH = "/api/nbfed/refresh/([^/]+)"
"""Below the hub's prefix."""

REFRESH_SCOPE = "custom:nbfed:refresh"

_SAME_SECONDS = 5.0
_SLOW_SECONDS = 2.0
_SILENT_SECONDS = 30.0
"""For how long a provider that keeps people waiting is not asked again, for anybody: the worker asks one by one."""

_LONGEST_SECONDS = 12.0
"""Shorter than the worker waits for the hub."""


class Outcome(StrEnum):
    """What came of asking."""

    ASKED = "asked"
    AWAY = "provider-away"
    SIGN_IN_NEEDED = "sign-in-needed"


class Refresher:
    """Asks providers again, for one person once at a time: a refresh token may be good for a single use."""

    def __init__(self, clients: Mapping[str, ProviderClient], log: Any) -> None:
        self._clients = clients
        self._log = log
        self._locks = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self._last: dict[str, tuple[float, dict[str, Any]]] = {}
        self._silent: dict[str, float] = {}

    async def refresh(self, user: Any) -> tuple[Outcome, dict[str, Any] | None]:
        """What came of it, and the auth model where the provider answered. It must be stored by the caller.

        What was answered in the last seconds is not asked again: it may not be stored yet.
        """
        async with self._locks[user.name]:
            now = time.monotonic()
            self._last = {name: (when, kept) for name, (when, kept) in self._last.items() if now - when < _SAME_SECONDS}
            if user.name in self._last:
                return Outcome.ASKED, self._last[user.name][1]
            outcome, model = await self._ask(user)
            if model is not None:
                self._last[user.name] = (time.monotonic(), model)
            return outcome, model

    def forget(self, user_name: str) -> None:
        """After a sign-in or a sign-out other tokens count, or none."""
        self._last.pop(user_name, None)

    async def _ask(self, user: Any) -> tuple[Outcome, dict[str, Any] | None]:
        auth_state = await user.get_auth_state() or {}
        client = self._clients.get(auth_state.get("provider", ""))
        if client is None:
            return Outcome.SIGN_IN_NEEDED, None
        began = time.monotonic()
        if began - self._silent.get(client.provider.id, -_SILENT_SECONDS) < _SILENT_SECONDS:
            return Outcome.AWAY, None
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                model = await client.asked_again(auth_state)
        except (ProviderAway, TimeoutError) as error:
            if time.monotonic() - began > _SLOW_SECONDS:
                self._silent[client.provider.id] = time.monotonic()
            self._log.warning("%s is away, what it said of %s last counts: %s", client.provider.id, user.name, error)
            return Outcome.AWAY, None
        except DatabaseUnavailable as error:
            self._log.error("What %s says of %s cannot be kept: %s", client.provider.id, user.name, error)
            return Outcome.AWAY, None
        except SignInRefused as refused:
            self._log.warning(
                "refresh refused: reason=%s provider=%s user=%s detail=%s",
                refused.reason, client.provider.id, user.name, refused.detail,
            )  # fmt: skip
            return Outcome.SIGN_IN_NEEDED, None
        if model is None:
            self._log.warning(
                "refresh refused: reason=tokens-refused provider=%s user=%s", client.provider.id, user.name
            )
            return Outcome.SIGN_IN_NEEDED, None
        if model["name"] != user.name:
            self._log.error("refresh refused: reason=another-person provider=%s user=%s", client.provider.id, user.name)
            return Outcome.SIGN_IN_NEEDED, None
        return Outcome.ASKED, model


class RefreshHandler(APIHandler):  # type: ignore[misc]  # jupyterhub has no types
    """POST /hub/api/nbfed/refresh/USER, for the worker: ask now, store what is said, and say what came of it."""

    async def post(self, user_name: str) -> None:
        if not self.current_user or not self.has_scope(REFRESH_SCOPE):
            raise web.HTTPError(403, f"This needs the scope {REFRESH_SCOPE}.")
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, "There is no such user.")
        outcome, model = await self.authenticator.refresher.refresh(user)
        if model is not None:
            await self.auth_to_user(dict(model), user)
            user._auth_refreshed = time.monotonic()
        self.set_header("Content-Type", "application/json")
        self.finish({"outcome": str(outcome)})
