"""/hub/terms: read the terms of use, accept them, and go back to where they were in the way."""

from typing import ClassVar
from urllib.parse import urlencode

from jupyterhub.utils import url_path_join
from tornado import web

from federation.i18n import gettext
from hub_config.pages.handlers import Page
from hub_config.pages.language import own_page
from hub_config.pages.terms import TermsViews

__all__ = ["TermsHandler", "terms_address"]


def terms_address(base_url: str, back: str) -> str:
    """The page, with where to go on to after accepting."""
    return f"{url_path_join(base_url, 'terms')}?{urlencode({'next': back})}"


class TermsHandler(Page):
    """GET: the words, also for people who did not sign in. POST: accept the version that was shown."""

    terms: ClassVar[TermsViews]

    async def get(self) -> None:
        await self._show()

    @web.authenticated
    async def post(self) -> None:
        arguments = [self.get_body_argument(name, "") for name in ("version", "language")]
        if not await self.look(self.terms.accept, self.current_user.name, *arguments):
            await self._show(is_other_version=True)
            return
        self.redirect(self._back())

    async def _show(self, *, is_other_version: bool = False) -> None:
        user = self.current_user
        view = await self.look(self.terms.view, user.name if user else None)
        if view is None:
            raise web.HTTPError(404, gettext("There are no terms of use here."))
        self.finish(
            await self.render_template("terms.html", view=view, back=self._back(), is_other_version=is_other_version)
        )

    def _back(self) -> str:
        target: str = self.get_argument("next", "")
        return own_page(target, self.hub.base_url)
