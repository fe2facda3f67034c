"""GET /hub/api/nbfed/session?server=NAME: what a running session shows of itself, for whose session it is.

Asked with the token that JupyterHub gave the single-user server, by its extension (`spawners/lab`), or with the
person's own cookie. It needs `access:servers` for the server that is asked about, which is all that such a token has:
nobody learns anything of another person's session.

What it costs: each page of JupyterLab that is in sight asks once a minute. An answer is 700 bytes, eight short reads in
a thread, and what JupyterHub does for every request with a token: 5 ms of a processor together, where `/hub/api/user`
takes 2 (measured with SQLite on two busy cores). A thousand pages are 17 a second, a tenth of a core. So no answer is
kept: it would be wrong for as long as it is.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any, ClassVar

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.user import User
from tornado import web

from federation.database import DatabaseUnavailable
from federation.errors import DATABASE_AWAY, Failure
from hub_config.pages.session_view import SessionViews
from spawners.refusal import Refusal

__all__ = ["SESSION_PATH", "SessionAPIHandler", "last_activity"]

SESSION_PATH = r"/api/nbfed/session"


class SessionAPIHandler(APIHandler):  # type: ignore[misc]  # jupyterhub has no types
    """See the module. `views` is set once, by `configure_pages`."""

    views: ClassVar[SessionViews]

    async def get(self) -> None:
        user = self.current_user
        if user is not None and not isinstance(user, User):
            raise web.HTTPError(403, "A service has no sessions.")
        await self._answer(user_name=user.name if user else "", server_name=self.get_argument("server", ""))

    def compute_etag(self) -> None:
        """None: each answer says how long the session has run, so no two are the same."""

    @needs_scope("access:servers")  # type: ignore[untyped-decorator]  # jupyterhub has no types
    async def _answer(self, user_name: str, server_name: str) -> None:
        spawners = self.current_user.spawners
        # `in`, not `get`: JupyterHub's dictionary makes a spawner for whatever is looked up.
        spawner = spawners[server_name] if server_name in spawners else None  # noqa: SIM401
        active = spawner is not None and spawner.active
        try:
            answer: dict[str, Any] | None = await asyncio.to_thread(
                self.views.answer,
                user_name,
                server_name,
                hub_has_it=active,
                last_activity=last_activity(spawner) if active else None,
            )
        except DatabaseUnavailable as error:
            self.log.error("The books cannot be reached: %s", error)
            raise Refusal(Failure(DATABASE_AWAY), self.hub.base_url + "ask") from error
        except Failure as failure:
            raise Refusal(failure, self.hub.base_url + "ask") from failure
        if answer is None:
            raise web.HTTPError(404, "There is no such session.")
        self.set_header("Cache-Control", "no-store")
        self.finish({**answer, "home_url": self.hub.base_url + "home"})


def last_activity(spawner: Any) -> datetime | None:
    """When a server was last used, as the hub knows it, and as it tells the worker."""
    moment: datetime | None = spawner.orm_spawner.last_activity  # without a zone, in UTC (jupyterhub, orm.py)
    return moment.replace(tzinfo=UTC) if moment else None
