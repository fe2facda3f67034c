"""The hub's pages: our templates over JupyterHub's, and the handlers behind them."""

import asyncio
from typing import Any

from jupyterhub import apihandlers
from jupyterhub.apihandlers import users
from jupyterhub.handlers import default_handlers, pages

from federation.i18n import current_language, day, decimal, gettext, language_name, moment, ngettext
from hub_config.look import TEMPLATES_FOLDER, asset, hub_style
from hub_config.pages import language
from hub_config.pages.access import AccessViews
from hub_config.pages.access_handlers import AccessHandler, MyDataHandler
from hub_config.pages.handlers import (
    Page,
    SpawnFormHandler,
    StopServerAPIHandler,
    handlers,
)
from hub_config.pages.session_api import SESSION_PATH, SessionAPIHandler
from hub_config.pages.session_view import SessionViews
from hub_config.pages.terms import TermsViews
from hub_config.pages.terms_handlers import TermsHandler
from hub_config.pages.views import Views
from hub_config.pages.waiting import waiting
from hub_config.wiring import House
from vetting.desk.parts import PREFIX

__all__ = ["configure_pages"]


def configure_pages(c: Any, house: House) -> None:
    """Put our pages in front of JupyterHub's."""
    federation = house.settings.yaml.federation
    language.install(federation.languages)
    language.LanguageHandler.offered = tuple(federation.languages)
    replace_handlers()
    views = Page.views = Views(house)
    SessionAPIHandler.views = SessionViews(house)
    TermsHandler.terms = SpawnFormHandler.terms = terms = TermsViews(house)
    AccessHandler.access = AccessViews(house, views)
    MyDataHandler.house = house
    hub = c.JupyterHub
    hub.template_paths = [str(TEMPLATES_FOLDER)]
    hub.jinja_environment_options = {"extensions": ["jinja2.ext.i18n"], "trim_blocks": True, "lstrip_blocks": True}
    hub.template_vars = _for_templates(house, views, terms)
    hub.tornado_settings = {"compress_response": True, "slow_spawn_timeout": 10}
    hub.default_url = "/hub/home"
    c.Spawner.options_form = "the form is part of our template"


def replace_handlers() -> None:
    """Add our routes and take the places of JupyterHub's home page and start form. Twice is once."""
    ours = [
        *handlers(),
        (r"/ask", AccessHandler),
        (r"/access", AccessHandler),
        (r"/access/data", MyDataHandler),
        (r"/terms", TermsHandler),
        (r"/language", language.LanguageHandler),
    ]
    taken = {route for route, *_rest in ours}
    kept = []
    for route, handler, *rest in default_handlers:
        if route not in taken:
            kept.append((route, SpawnFormHandler if handler is pages.SpawnHandler else handler, *rest))
    default_handlers[:] = [*ours, *kept]
    apihandlers.default_handlers[:] = [
        (SESSION_PATH, SessionAPIHandler),
        *(
            (route, StopServerAPIHandler if handler is users.UserServerAPIHandler else handler, *rest)
            for route, handler, *rest in apihandlers.default_handlers
            if route != SESSION_PATH
        ),
    ]


def _for_templates(house: House, views: Views, terms: TermsViews) -> dict[str, Any]:
    """Names for all templates. JupyterHub calls every callable with the user, so functions are wrapped once."""
    federation = house.settings.yaml.federation

    async def start_form(user: Any) -> Any:
        return await asyncio.to_thread(views.form, user.name, dict(user.spawner.typed))

    async def notices(user: Any) -> Any:
        return await asyncio.to_thread(terms.notices, user.name)

    async def last_session(user: Any, server: str) -> Any:
        return await asyncio.to_thread(views.last_session, user.name, server)

    async def place_of(user: Any, server: str) -> Any:
        return await asyncio.to_thread(views.place_of, user.name, server)

    functions = {
        "gettext": gettext,
        "_": gettext,
        "ngettext": ngettext,
        "decimal": decimal,
        "day": day,
        "moment": moment,
        "asset": asset,
        "hub_style": hub_style,
        "duration": duration,
        "current_language": current_language,
        "language_name": language_name,
        "start_form": start_form,
        "notices": notices,
        "last_session": last_session,
        "place_of": place_of,
        "waiting": waiting,
    }
    return {
        "federation_name": federation.name,
        "federation_contact": federation.contact,
        "languages": list(federation.languages),
        "desk_url": PREFIX,
        "is_demo": house.settings.is_demo_sign_in,
        "has_terms": federation.terms is not None,
        "no_spawner_check": True,
        **{name: (lambda _user, function=function: function) for name, function in functions.items()},
    }


def duration(seconds: int) -> str:
    """`1:02:03`, as people read it on a clock."""
    hours, rest = divmod(max(0, seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
