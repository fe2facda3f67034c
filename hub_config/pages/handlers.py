"""Our pages and the forms on them. Changes only by POST, with JupyterHub's own XSRF token."""

import asyncio
import json
from typing import Any, ClassVar
from urllib.parse import urlencode

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.handlers.static import CacheControlStaticFilesHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import url_escape_path, url_path_join, utcnow
from tornado import web
from tornado.web import RequestHandler

from federation.database import DatabaseUnavailable
from federation.errors import DATABASE_AWAY, Failure
from federation.i18n import gettext
from hub_config.look import STATIC_FOLDER, style_sheet
from hub_config.pages.session_api import last_activity
from hub_config.pages.terms import TermsViews
from hub_config.pages.views import Views
from hub_config.pages.waiting import waiting
from quota.errors import SERVER_BUSY
from spawners.federated import FederatedSpawner
from spawners.refusal import Refusal

__all__ = [
    "HomeHandler",
    "SpawnFormHandler",
    "StartHandler",
    "StatusHandler",
    "StopHandler",
    "WhyHandler",
    "handlers",
    "is_starting",
]

_COMING = ("spawn", "check")
"""What JupyterHub calls a server that will be there soon: it starts, or a restarted hub is looking for it."""

_CANCEL_SECONDS = 5

TYPED = (
    "flavour", "environment", "site", "walltime_minutes", "cores", "memory_gib", "gpus", "partition", "account",
    "reservation",
)  # fmt: skip
"""The fields of the form that say what to start."""


class Page(BaseHandler):  # type: ignore[misc]  # jupyterhub has no types
    """What our pages share: the views, set by `configure_pages`, and failures of the catalogue as error pages."""

    views: ClassVar[Views]

    async def look(self, work: Any, *arguments: Any) -> Any:
        """Run a view in a thread; what fails is told as an error page."""
        try:
            return await asyncio.to_thread(work, *arguments)
        except DatabaseUnavailable as error:
            self.log.error("The books cannot be reached: %s", error)
            raise Refusal(Failure(DATABASE_AWAY), url_path_join(self.hub.base_url, "ask")) from error
        except Failure as failure:
            raise Refusal(failure, url_path_join(self.hub.base_url, "ask")) from failure


class HomeHandler(Page):
    """GET /hub/home: quota, sessions, the start form and what earlier sessions cost."""

    @web.authenticated
    async def get(self) -> None:
        user = self.current_user
        for spawner in list(user.spawners.values()):
            if spawner.ready:
                await spawner.poll_and_notify()  # a session that died is noticed before the page is made
        active = {name: last_activity(spawner) for name, spawner in user.spawners.items() if spawner.active}
        stages = {name: spawner.stage.text for name, spawner in user.spawners.items() if spawner.pending in _COMING}
        view = await self.look(self.views.home, user.name, user.url, {}, active, stages)
        self.finish(await self.render_template("home.html", view=view, form=view.form, error_html=""))


class StartHandler(Page):
    """POST /hub/start: the form's name for the session becomes part of the address that JupyterHub starts it at."""

    @web.authenticated
    async def post(self) -> None:
        server = self.get_body_argument("server", "").strip()
        path = url_path_join(
            self.hub.base_url, "spawn", self.current_user.escaped_name, url_escape_path(server) if server else ""
        )
        # 307: the browser repeats the POST there, with the same fields.
        self.redirect(path.rstrip("/"), status=307)


class SpawnFormHandler(SpawnHandler):  # type: ignore[misc]  # jupyterhub has no types
    """JupyterHub's form, except that options in the address only fill it in (a GET never starts anything), that
    starting what starts or runs already shows it instead of an error, and that who has to accept the terms first is
    led there and back, with what was typed.
    """

    terms: ClassVar[TermsViews]

    async def _post(self, user_name: str, server_name: str, display_name: str) -> None:
        user = self.find_user(user_name) if self.current_user.name == user_name else None
        spawner = user.spawners[server_name] if user and server_name in user.spawners else None
        if spawner is not None and (spawner.ready or spawner.pending in _COMING):
            self.redirect(self._get_pending_url(user, server_name))
            return
        if spawner is not None and spawner.pending:
            raise Refusal(Failure(SERVER_BUSY), url_path_join(self.hub.base_url, "ask"))
        options = {name: self.get_body_argument(name, "") for name in TYPED}
        if await asyncio.to_thread(self.terms.keep_from_starting, self.current_user.name, _given(options)):
            form = f"{self.request.path}?{urlencode(_given(options))}"
            self.redirect(f"{url_path_join(self.hub.base_url, 'terms')}?{urlencode({'next': form})}", status=303)
            return
        await super()._post(user_name, server_name, display_name)

    def _get_user_options(self, query_options: dict[str, list[str]]) -> dict[str, Any]:
        self.current_user.spawner.typed = {
            name.removeprefix("opt-"): values[0] for name, values in query_options.items() if values
        }
        return {}


class StopHandler(Page):
    """POST /hub/stop: end one of one's own sessions. The reason is written first."""

    @web.authenticated
    async def post(self) -> None:
        server = self.get_body_argument("server", "")
        user = self.current_user
        if server not in user.spawners:
            raise web.HTTPError(404, gettext("You have no session with this name."))
        spawner: FederatedSpawner = user.spawners[server]
        await self.look(spawner.note_stop)
        if spawner.pending == "spawn" and spawner._spawn_future:
            spawner._spawn_future.cancel()
            # Only when the cancelled start is over does JupyterHub let the server be stopped.
            await asyncio.wait([spawner._spawn_future], timeout=_CANCEL_SECONDS)
            await asyncio.sleep(0)
        if not spawner.pending and spawner.active:
            await self.stop_single_user(user, server)
        self.redirect(url_path_join(self.hub.base_url, "home"))


class KeepHandler(Page):
    """POST /hub/keep: one of one's own sessions counts as used now, so that it is not stopped as idle."""

    @web.authenticated
    async def post(self) -> None:
        server = self.get_body_argument("server", "")
        user = self.current_user
        if server not in user.spawners:
            raise web.HTTPError(404, gettext("You have no session with this name."))
        user.spawners[server].orm_spawner.last_activity = utcnow(with_tz=False)
        self.db.commit()
        self.redirect(url_path_join(self.hub.base_url, "home"))


class TellHandler(Page):
    """POST /hub/tell: whether one wants a mail when one of one's own sessions, which waits, runs."""

    @web.authenticated
    async def post(self) -> None:
        server, user = self.get_body_argument("server", ""), self.current_user
        wanted = self.get_body_argument("wanted", "") == "yes"
        if not await self.look(self.views.tell_when_ready, user.name, server, wanted):
            raise web.HTTPError(404, gettext("You have no session with this name."))
        self.redirect(url_path_join(self.hub.base_url, "spawn-pending", user.escaped_name, url_escape_path(server)))


class StopServerAPIHandler(UserServerAPIHandler):  # type: ignore[misc]  # jupyterhub has no types
    """JupyterHub's REST handler, except that a DELETE is a reason, and is written down before it is carried out."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # jupyterhub has no types
    async def delete(self, user_name: str, server_name: str = "") -> None:
        user = self.find_user(user_name)
        if user is not None and server_name in user.spawners:
            await asyncio.to_thread(user.spawners[server_name].note_stop)
        await super().delete(user_name, server_name)


class StatusHandler(Page):
    """GET /hub/session-status?server=NAME: what the page that waits asks for again and again, as JSON."""

    @web.authenticated
    async def get(self) -> None:
        server = self.get_argument("server", "")
        user = self.current_user
        # `in`, not `get`: JupyterHub's dictionary makes a spawner for whatever is looked up.
        spawner = user.spawners[server] if server in user.spawners else None  # noqa: SIM401
        answer: dict[str, Any] = {"state": "stopped", "percent": 0, "text": ""}
        if spawner is not None and spawner.ready:
            answer = {"state": "ready", "percent": 100, "text": gettext("Ready."), "url": user.server_url(server)}
        elif spawner is not None and is_starting(spawner):
            stage = spawner.stage
            detail, moment = waiting(spawner.waits_for)
            answer = {
                "state": "starting",
                "percent": stage.percent,
                "text": gettext(stage.text),
                "detail": detail,
                "time": moment.isoformat() if moment else None,
            }
        elif spawner is not None and spawner._failed:
            answer["state"] = "failed"
        elif (await self.look(self.views.last_session, user.name, server))["open"]:
            text = gettext("The service was restarted; your session is being taken up again.")
            answer = {"state": "starting", "percent": 10, "text": text}
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(answer))


def is_starting(spawner: Any) -> bool:
    """Whether a start is not over: while JupyterHub tidies up after one that failed, it only says "stop" (user.py), and
    why it failed can be told when that is done.
    """
    return spawner.pending in _COMING or (spawner._spawn_future is not None and not spawner._spawn_future.done())


def _given(options: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}


class WhyHandler(Page):
    """GET /hub/why?flavour=NAME: why one could start this flavour now, or why not, with every figure that decides."""

    @web.authenticated
    async def get(self) -> None:
        try:
            view = await self.look(self.views.why, self.current_user.name, self.get_argument("flavour", ""))
        except KeyError as error:
            raise web.HTTPError(404, gettext("There is no flavour with this name.")) from error
        self.finish(await self.render_template("why.html", view=view))


class AssetHandler(CacheControlStaticFilesHandler):  # type: ignore[misc]  # jupyterhub has no types
    """Our style and script."""


class StyleHandler(RequestHandler):
    """JupyterHub's style sheet as our pages use it."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/css; charset=utf-8")
        self.set_header("Cache-Control", "public, max-age=31536000, immutable")
        self.finish(style_sheet())


def handlers() -> list[tuple[Any, ...]]:
    """Our routes, below the hub's prefix."""
    return [
        (r"/home", HomeHandler),
        (r"/start", StartHandler),
        (r"/stop", StopHandler),
        (r"/keep", KeepHandler),
        (r"/tell", TellHandler),
        (r"/session-status", StatusHandler),
        (r"/why", WhyHandler),
        (r"/nbfed/hub\.css", StyleHandler),
        (r"/nbfed/static/(.*)", AssetHandler, {"path": str(STATIC_FOLDER)}),
    ]
