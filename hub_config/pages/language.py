"""The language of a request: what the person chose (a cookie), else the browser's wish, else the federation's first."""

from collections.abc import Callable, Sequence
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from tornado import web

from federation.i18n import LANGUAGE_COOKIE, gettext, negotiate, use_language
from vetting.desk.parts import PREFIX

__all__ = ["LanguageHandler", "install", "own_page"]

_YEAR_DAYS = 365


def install(offered: Sequence[str]) -> None:
    """Let every page of the hub speak the language of its request.

    JupyterHub offers no hook before a handler runs, so `BaseHandler.prepare` is extended (jupyterhub 6.1,
    handlers/base.py). The language is a context variable: tasks that the request starts, a spawn for instance, keep it.
    """
    original: Callable[[BaseHandler], Any] = getattr(BaseHandler.prepare, "without_language", BaseHandler.prepare)

    async def prepare(self: BaseHandler) -> None:
        accepted = self.request.headers.get("Accept-Language", "")
        use_language(negotiate(self.get_cookie(LANGUAGE_COOKIE), accepted, offered))
        await original(self)

    prepare.without_language = original  # type: ignore[attr-defined]  # marks what was there before
    BaseHandler.prepare = prepare


class LanguageHandler(BaseHandler):  # type: ignore[misc]  # jupyterhub has no types
    """GET /hub/language?to=es&next=/hub/home: remember a choice and go back."""

    offered: Sequence[str] = ()

    def get(self) -> None:
        language = self.get_argument("to", "")
        if language not in self.offered:
            text = gettext("This language is not offered. Known are {known}.")
            raise web.HTTPError(400, text.format(known=", ".join(self.offered)))
        self.set_cookie(LANGUAGE_COOKIE, language, path="/", expires_days=_YEAR_DAYS, samesite="Lax")
        self.redirect(own_page(self.get_argument("next", ""), self.hub.base_url))


def own_page(target: str, base_url: str) -> str:
    """A page of this hub or of the access desk; anything else, another host for instance, becomes the home page."""
    path = target.partition("?")[0]
    # Browsers take a backslash for a slash, and drop what cannot be printed: both could lead elsewhere.
    plain = target.isprintable() and "\\" not in target
    inside = path.startswith((base_url, PREFIX)) and "//" not in path and ".." not in path.split("/")
    return target if plain and inside else f"{base_url}home"
