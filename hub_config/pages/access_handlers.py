"""/hub/access: what somebody may use, why, and where to ask for the rest; also where every refusal leads (/hub/ask)."""

import json
from typing import Any, ClassVar
from urllib.parse import urlencode

from tornado import web

from federation.errors import catalogue
from hub_config.pages.access import AccessViews
from hub_config.pages.handlers import Page
from hub_config.pages.terms_handlers import terms_address
from hub_config.personal import exported
from hub_config.wiring import House
from vetting.desk.parts import PREFIX
from vetting.errors import TERMS_NOT_ACCEPTED

__all__ = ["AccessHandler", "MyDataHandler"]


class AccessHandler(Page):
    """GET: the page. `about` is the code of what was refused, and `site` and `flavour` where and what it was."""

    access: ClassVar[AccessViews]

    @web.authenticated
    async def get(self) -> None:
        about = self.get_argument("about", "")
        if about == TERMS_NOT_ACCEPTED.code:
            self.redirect(terms_address(self.hub.base_url, self.get_argument("next", "")))
            return
        view = await self.look(self.access.view, self.current_user.name)
        client = self.authenticator.client(view.provider)
        problem = next((problem for problem in catalogue() if problem.code == about), None)
        self.finish(
            await self.render_template(
                "access.html",
                view=view,
                provider=client.provider.shown_title if client else view.provider,
                about=problem.code if problem else "",
                asked=self._asked(view) if problem else "",
                desk_ask=self._desk_ask(),
            )
        )

    def _desk_ask(self) -> str:
        """Where the access desk has the form for what was refused; it takes no more of the address than there is."""
        asked = {name: self.get_argument(name, "") for name in ("about", "flavour", "site")}
        return f"{PREFIX}ask?{urlencode({name: value for name, value in asked.items() if value})}".rstrip("?")

    def _asked(self, view: Any) -> str:
        """The site and the flavour that are asked for, as the page calls them; whatever else is in the address is none."""
        site = next((site for site in view.sites if site.name == self.get_argument("site", "")), None)
        wanted = self.get_argument("flavour", "")
        flavour = next((each for each in site.flavours if each.name == wanted), None) if site else None
        return " – ".join(part.title for part in (flavour, site) if part)


class MyDataHandler(Page):
    """GET /hub/access/data: everything that is kept about oneself, as a file."""

    house: ClassVar[House]

    @web.authenticated
    async def get(self) -> None:
        content = await self.look(self._content)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="notebooks-my-data.json"')
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(content, indent=2, ensure_ascii=False))

    def _content(self) -> dict[str, Any]:
        return exported(self.house, self.house.admission.person(self.current_user.name))
