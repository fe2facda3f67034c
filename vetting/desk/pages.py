"""Renders the desk's pages: our templates in the hub's frame."""

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from federation.errors import Failure
from federation.i18n import current_language, day, decimal, gettext, language_name, last_day, moment, ngettext
from federation.settings import in_language
from vetting.desk import seal
from vetting.desk.gate import session_of
from vetting.desk.parts import PREFIX, Desk
from vetting.desk.rights import Right
from vetting.desk.visitors import Visitor

__all__ = ["Pages", "as_link", "render", "sentence"]

_HUB = "/hub/"
_TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """The templates of a desk, ready to be filled in."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._environment = Environment(
            loader=ChoiceLoader([FileSystemLoader(str(_TEMPLATES)), FileSystemLoader(str(desk.look.templates))]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(as_link=as_link, sentence=sentence)
        federation = desk.offer.federation
        self._environment.globals.update(
            _=gettext, gettext=gettext, ngettext=ngettext, decimal=decimal, moment=moment,
            day=day, last_day=last_day,
            in_language=in_language, current_language=current_language, language_name=language_name,
            asset=desk.look.asset, hub_style=desk.look.hub_style, static_url=desk.look.hub_static,
            base_url=_HUB, desk_url=PREFIX, logout_url=f"{_HUB}logout", parsed_scopes=(),
            federation_name=federation.name, federation_contact=federation.contact, is_demo=desk.offer.is_demo,
            languages=list(federation.languages), has_terms=federation.terms is not None,
        )  # fmt: skip

    def render(self, request: Request, visitor: Visitor | None, template: str, **content: Any) -> str:
        """A page for a visitor, as text."""
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return self._environment.get_template(template).render(
            user=visitor.user_name if visitor else None, visitor=visitor, here=here, Right=Right,
            login_url=f"{PREFIX}sign-in", seal=seal.seal(self._desk.key, session_of(request)), **content,
        )  # fmt: skip


def sentence(text: str) -> str:
    """A text of ours as it stands at the beginning of a line."""
    return text[:1].upper() + text[1:]


def as_link(text: str) -> str:
    """A text that somebody wrote; a link if it is an address of the web. Nothing else is one: it could be a script."""
    if not text.startswith(("https://", "http://")) or not text.isprintable() or " " in text:
        return escape(text)
    return Markup('<a href="{0}" rel="noopener noreferrer nofollow">{0}</a>').format(text)


def render(
    request: Request, visitor: Visitor | None, template: str, *, failure: Failure | None = None, **content: Any
) -> HTMLResponse:
    """A page, or what was sent shown again with why it could not be done."""
    pages: Pages = request.app.state.pages
    headers = {"Retry-After": str(failure.retry_after_seconds)} if failure and failure.retry_after_seconds else {}
    return HTMLResponse(
        pages.render(request, visitor, template, failure=failure, **content),
        status_code=failure.problem.status if failure else 200,
        headers=headers,
    )
