"""Time and quota left, inside JupyterLab: the part that runs in the single-user server.

- `GET <base_url>nbfed/session` answers what the hub knows of this session. The hub is asked with the server's own
  token, which never reaches the browser, so it works wherever the session runs.
- `POST <base_url>nbfed/session` says that somebody opened the page, or wants to keep the session: it counts as activity.
- What counts as activity is what costs or changes something: a POST, PUT, PATCH or DELETE, what a kernel or a terminal
  puts out, and a kernel that is busy, however silent. A page that is merely open does not count: as long as it is in
  sight, JupyterLab asks for lists of kernels and files every few seconds, and stores its layout again and again.

Without a hub around it, it does nothing.
"""

import json
import os
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import quote, urlencode

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest
from tornado.ioloop import PeriodicCallback

__all__ = ["Hub", "SessionHandler"]

_ANSWER_SECONDS = 10.0
_BUSY_LOOK_SECONDS = 20.0
_READS = ("GET", "HEAD", "OPTIONS")
_LANGUAGE_COOKIE = "nbfed-language"  # as the hub's pages set it (hub_config/pages/language.py)


class Hub:
    """The hub as this session asks it.

    Parameters
    ----------
    environ
        What JupyterHub gave the session: its API's address, the session's token and names.
    """

    def __init__(self, environ: Dict[str, str]) -> None:
        self._api = environ["JUPYTERHUB_API_URL"].rstrip("/")
        self._token = environ["JUPYTERHUB_API_TOKEN"]
        self._user = environ["JUPYTERHUB_USER"]
        self._server = environ.get("JUPYTERHUB_SERVER_NAME", "")

    async def session(self, language: Dict[str, str]) -> Tuple[int, bytes]:
        """Status and body of the answer about this session; 503 when the hub is away. `language`: headers that say it."""
        return await self._ask("GET", "/nbfed/session?" + urlencode({"server": self._server}), language)

    async def used(self, at: datetime) -> None:
        """Tell the hub that the session was used."""
        moment = at.astimezone(timezone.utc).isoformat()
        servers = {self._server: {"last_activity": moment}}
        body = json.dumps({"servers": servers, "last_activity": moment})
        await self._ask("POST", "/users/" + quote(self._user, safe="") + "/activity", {}, body)

    async def _ask(
        self, method: str, path: str, headers: Dict[str, str], body: Optional[str] = None
    ) -> Tuple[int, bytes]:
        request = HTTPRequest(
            self._api + path,
            method=method,
            body=body,
            headers={**headers, "Authorization": "token " + self._token, "Content-Type": "application/json"},
            request_timeout=_ANSWER_SECONDS,
            follow_redirects=False,
        )
        try:
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPError):
            return 503, b""
        # 599: tornado's own, for a connection that failed.
        return (503, b"") if answer.code >= 500 else (answer.code, answer.body or b"")


class SessionHandler(APIHandler):  # type: ignore[misc]  # jupyter_server has no types here
    """See the module."""

    def initialize(self, hub: Hub) -> None:
        self.hub = hub

    @web.authenticated
    async def get(self) -> None:
        """What the hub knows of this session."""
        status, body = await self.hub.session(self._language())
        used_at = self.application.last_activity()
        if status == 200 and _is_news(body, used_at):
            # The server reports its activity every few minutes; a notice that it refutes must not wait for that.
            await self.hub.used(used_at)
            status, body = await self.hub.session(self._language())
        self._pass_on(status, body)

    @web.authenticated
    async def post(self) -> None:
        """Somebody opened the page, or wants to keep the session."""
        await self.hub.used(datetime.now(timezone.utc))
        self._pass_on(*await self.hub.session(self._language()))

    def _pass_on(self, status: int, body: bytes) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(body if status == 200 else b"{}")

    def _language(self) -> Dict[str, str]:
        """What the browser says of the reader's language; nothing else of the request goes to the hub."""
        headers = {"Accept-Language": self.request.headers.get("Accept-Language", "")}
        chosen = self.get_cookie(_LANGUAGE_COOKIE, "") or ""
        if chosen.isalpha():
            headers["Cookie"] = _LANGUAGE_COOKIE + "=" + chosen
        return headers

    def compute_etag(self) -> None:
        """None: no two answers are the same."""


def _is_news(body: bytes, used_at: datetime) -> bool:
    """Whether the hub means to stop this session as idle, and does not know yet that it was used."""
    answer = json.loads(body)
    notice, known = answer.get("notice"), answer.get("last_activity")
    if not notice or notice.get("reason") != "idle":
        return False
    return known is None or used_at > datetime.fromisoformat(known)


def count_only_use(handler: Any) -> None:
    """Let requests not count as activity that only read, or that JupyterLab makes for itself.

    `handler` is the base class of all of jupyter_server's API. There is no setting for this; a class can only leave
    itself out (`_track_activity`; jupyter_server 2.21, base/handlers.py).
    """
    original = handler.update_api_activity

    def update_api_activity(self: Any) -> None:
        is_of_the_page = type(self).__module__.partition(".")[0] == "jupyterlab_server"  # its layout, its settings
        if self.request.method not in _READS and not is_of_the_page:
            original(self)

    handler.update_api_activity = update_api_activity


def note_busy_kernels(app: Any) -> None:
    """A kernel that is busy is used, even if it puts out nothing for hours."""
    kernels = app.kernel_manager
    states = [getattr(kernels.get_kernel(kernel), "execution_state", "") for kernel in kernels.list_kernel_ids()]
    if "busy" in states:
        app.web_app.settings["last_activity_times"]["nbfed_lab"] = datetime.now(timezone.utc)


def _jupyter_server_extension_points() -> List[Dict[str, str]]:
    return [{"module": "nbfed_lab"}]


def _load_jupyter_server_extension(app: Any) -> None:
    if not all(os.environ.get(name) for name in ("JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_USER")):
        app.log.info("nbfed_lab: no hub around this server, nothing to show")
        return
    path = url_path_join(app.web_app.settings["base_url"], "nbfed", "session")
    app.web_app.add_handlers(".*$", [(path, SessionHandler, {"hub": Hub(dict(os.environ))})])
    count_only_use(APIHandler)
    reported = float(os.environ.get("JUPYTERHUB_ACTIVITY_INTERVAL") or _BUSY_LOOK_SECONDS)
    look = PeriodicCallback(lambda: note_busy_kernels(app), 1000 * min(_BUSY_LOOK_SECONDS, reported))
    look.start()
