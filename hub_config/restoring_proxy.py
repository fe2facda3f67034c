"""The proxy as the hub sees it: kept by somebody else, given its routes back when it was started anew, and no witness of
who uses a session.

JupyterHub looks at the routes of a proxy that it did not start itself only every `last_activity_interval` (jupyterhub
6.1, app.py): for five minutes every page would be a 404.
"""

from typing import Any

from jupyterhub.proxy import ConfigurableHTTPProxy
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.ioloop import PeriodicCallback

__all__ = ["MARK", "RestoringProxy"]

MARK = "/nbfed-hub/"
"""A route that only says that the hub has set the routes; the hub's own, "/", cannot be asked for by itself."""

_LOOK_MILLISECONDS = 2000
_ANSWER_SECONDS = 2


class RestoringProxy(ConfigurableHTTPProxy):  # type: ignore[misc]  # jupyterhub has no types
    """Looks every two seconds whether the proxy still has the hub's mark, and restores all routes if not."""

    _looking: PeriodicCallback | None = None
    _known: tuple[Any, Any] | None = None

    async def check_routes(self, user_dict: Any, service_dict: Any, routes: Any = None) -> None:
        """Called by the hub at its start; from then on we know what belongs on the proxy."""
        await super().check_routes(user_dict, service_dict, routes)
        self._known = (user_dict, service_dict)
        if self._looking is None:
            self._looking = PeriodicCallback(self._look, _LOOK_MILLISECONDS)
            self._looking.start()

    async def get_all_routes(self) -> dict[str, Any]:
        """The routes, without when something last passed through them.

        The hub would take that for activity. But a page of JupyterLab that is merely open keeps its websockets alive
        and asks for lists every few seconds (configurable-http-proxy, lib/configproxy.js, counts every byte): it would
        never be idle. Each session says itself when it was used (`spawners/lab`).
        """
        routes: dict[str, Any] = await super().get_all_routes()
        for route in routes.values():
            route["data"].pop("last_activity", None)
        return routes

    async def _look(self) -> None:
        headers = {"Authorization": f"token {self.auth_token}"}
        try:
            answer = await AsyncHTTPClient().fetch(
                f"{self.api_url}/api/routes{MARK}", headers=headers, request_timeout=_ANSWER_SECONDS, raise_error=False
            )
        except (OSError, HTTPClientError):
            return  # it is just being started again
        if answer.code == 404 and self._known is not None:
            self.log.warning("The proxy has lost its routes; putting them back")
            await super().check_routes(*self._known)
