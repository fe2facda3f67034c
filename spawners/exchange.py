"""The secret exchange: a launcher shows the secret of its attempt and gets the environment of that very start.

Two steps, so that a lost answer harms nobody. *exchange* binds the attempt to the launcher's nonce and hands out the
environment; *confirm* says that it arrived, and only then does the attempt count as exchanged. A hub that restarts in
between makes a new token and a new exchange; one that restarts after it mints nothing again.

Every refusal is the same 404. The secret is the only credential: cookies and tokens are not looked at.
"""

import asyncio
import hashlib
import json
from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers import APIHandler
from tornado import web

from federation.database import DatabaseUnavailable
from spawners.federated import FederatedSpawner

__all__ = ["EXCHANGE_PATH", "ExchangeHandler"]

EXCHANGE_PATH = "/nbfed/exchange"
"""Below the hub's prefix."""

_MOST_BYTES = 4096


class ExchangeHandler(APIHandler):  # type: ignore[misc]  # jupyterhub has no types
    """POST {attempt, secret, nonce, step}; see the module."""

    _accept_token_auth = False

    def check_xsrf_cookie(self) -> None:
        """No cookie is looked at, so none can be abused."""

    async def get_current_user(self) -> None:
        self._jupyterhub_user = None

    async def post(self) -> None:
        attempt, secret_hash, nonce, step = self._body()
        try:
            match step:
                case "exchange":
                    await self._exchange(attempt, secret_hash, nonce)
                case "confirm":
                    await self._confirm(attempt, secret_hash, nonce)
                case _:
                    raise web.HTTPError(404)
        except DatabaseUnavailable as error:
            raise web.HTTPError(503) from error

    async def _exchange(self, attempt: str, secret_hash: str, nonce: str) -> None:
        sessions = FederatedSpawner.context.sessions
        if not await asyncio.to_thread(sessions.claim, attempt, secret_hash, nonce):
            raise web.HTTPError(404)
        child = await self._starting(attempt)
        token = orm.APIToken.find(self.db, child.api_token)
        if token is None:
            raise web.HTTPError(404)
        child.exchanged_with = nonce
        self.log.info("Attempt %s exchanged its secret", attempt)
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps({"env": child.get_env()}))

    async def _confirm(self, attempt: str, secret_hash: str, nonce: str) -> None:
        sessions = FederatedSpawner.context.sessions
        if not await asyncio.to_thread(sessions.is_confirmed, attempt, secret_hash, nonce):
            if not await asyncio.to_thread(sessions.claim, attempt, secret_hash, nonce):
                raise web.HTTPError(404)
            try:
                child = await self._starting(attempt)
            except web.HTTPError:
                child = None
            if child is None or child.exchanged_with != nonce:
                # The start that this environment belongs to is gone with its hub: let the launcher exchange again.
                raise web.HTTPError(409)
            if not await asyncio.to_thread(sessions.confirm, attempt, secret_hash, nonce):
                raise web.HTTPError(404)
        self.set_status(204)

    async def _starting(self, attempt: str) -> Any:
        """The child spawner whose start() waits for this attempt, in this process."""
        session = await asyncio.to_thread(FederatedSpawner.context.sessions.get, attempt)
        user = self.find_user(session.server.user) if session else None
        spawner = user.spawners.get(session.server.name) if user and session else None
        if spawner is None or not spawner._spawn_pending or spawner.session is None:
            raise web.HTTPError(404)
        child = spawner.child_spawner
        if spawner.session.attempt != attempt or child is None or not child.api_token or child.server is None:
            raise web.HTTPError(404)
        if not child.may_exchange:
            raise web.HTTPError(404)
        return child

    def _body(self) -> tuple[str, str, str, str]:
        try:
            if len(self.request.body) > _MOST_BYTES:
                raise ValueError("too long")
            body = json.loads(self.request.body)
            attempt, secret, nonce, step = (body[key] for key in ("attempt", "secret", "nonce", "step"))
            if not all(isinstance(value, str) and value for value in (attempt, secret, nonce, step)):
                raise ValueError("not texts")
            return attempt[:64], hashlib.sha256(secret.encode()).hexdigest(), nonce[:64], step
        except (ValueError, KeyError, TypeError, UnicodeError) as error:
            raise web.HTTPError(404) from error
