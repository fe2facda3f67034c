"""The pages of signing in and out: choose a provider, come back from it, leave it. None needs a script.

What goes wrong on the way back is told in words, with a reference that also stands in the one line of the log; neither
holds a code, a token, or a state.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.login import LoginHandler
from oauthenticator.oauth2 import STATE_COOKIE_NAME, OAuthCallbackHandler, OAuthLoginHandler, OAuthLogoutHandler
from tornado import web

from federation.database import DatabaseUnavailable
from federation.errors import Failure
from federation.i18n import gettext
from federation.ids import new_id, reference
from federation.plain import plain
from hub_config.errors import PROVIDER_AWAY, SIGN_IN_WITHOUT_BOOKS
from hub_config.sign_in.attempt import Attempt, own_path
from hub_config.sign_in.client import ProviderClient
from hub_config.sign_in.refused import ProviderAway, Reason, SignInRefused

__all__ = [
    "ComeBackHandler",
    "LeaveHandler",
    "LogoHandler",
    "ProviderChoice",
    "SignInHandler",
    "SignedOutHandler",
    "StartHandler",
]

LAST_PROVIDER_COOKIE = "nbfed-provider"
_YEAR_DAYS = 365
_ATTEMPT_DAYS = 1 / 24
_LOOK_SECONDS = 2.0
_START_SECONDS = 5.0
_MOST_CHARACTERS = 80


@dataclass(frozen=True, kw_only=True)
class ProviderChoice:
    """A provider on the page."""

    id: str
    title: str
    address: str
    logo: str
    used_last: bool
    away: bool


class _RefusalPage(web.HTTPError):
    """JupyterHub's error page, with our text; tornado logs nothing of it."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(failure.problem.status, reason=failure.problem.code)
        self.jupyterhub_message = message
        self.heading = gettext("You are not signed in")


class _SignInPage(BaseHandler):  # type: ignore[misc]  # jupyterhub has no types
    """What the pages share."""

    async def choices(self, next_url: str) -> list[ProviderChoice]:
        """The providers, the one that was used last in this browser first."""
        clients = self.authenticator.clients
        last = self.get_cookie(LAST_PROVIDER_COOKIE)
        troubles = await self.authenticator.troubles(patience_seconds=_LOOK_SECONDS)
        ordered = sorted(clients.values(), key=lambda client: client.provider.id != last)
        return [self._choice(client, next_url, last, troubles[client.provider.id]) for client in ordered]

    def _choice(self, client: ProviderClient, next_url: str, last: str | None, trouble: str | None) -> ProviderChoice:
        provider = client.provider
        query = {"provider": provider.id, **({"next": next_url} if next_url else {})}
        return ProviderChoice(
            id=provider.id,
            title=provider.shown_title,
            address=f"{self.hub.base_url}oauth_login?{urlencode(query)}",
            logo=f"{self.hub.base_url}nbfed/provider/{provider.id}/logo" if provider.logo else "",
            used_last=provider.id == last and len(self.authenticator.clients) > 1,
            away=trouble is not None,
        )

    async def show_choices(self, *, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        choices = await self.choices(own_path(self.get_argument("next", "")))
        self.finish(await self.render_template("login.html", providers=choices))

    def _request_summary(self) -> str:
        """For tornado's log of an error: without the query, which holds the code."""
        return f"{self.request.method} {self.request.path} ({self.request.remote_ip})"


class SignInHandler(_SignInPage, LoginHandler):  # type: ignore[misc]  # jupyterhub has no types
    """GET /hub/login: choose a provider. Where there is one, go straight there."""

    async def get(self) -> None:
        if self.current_user or self.authenticator.auto_login:
            await super().get()
        else:
            await self.show_choices()

    def post(self) -> None:
        """JupyterHub's form with name and password is not ours."""
        raise web.HTTPError(405)


class StartHandler(_SignInPage, OAuthLoginHandler):  # type: ignore[misc]  # oauthenticator has no types
    """GET /hub/oauth_login?provider=ID: begin to sign in there."""

    async def get(self) -> None:
        client = self.authenticator.client(self.get_argument("provider", ""))
        if client is None:
            await self.show_choices()
            return
        attempt = Attempt.begin(client.provider.id, own_path(self.get_argument("next", "")))
        try:
            address = await client.address_of(attempt, patience_seconds=_START_SECONDS)
        except ProviderAway as away:
            self.log.warning("sign-in cannot begin: provider=%s is away: %s", client.provider.id, away)
            await self.show_choices(status=503)
            return
        options = {"expires_days": _ATTEMPT_DAYS, "httponly": True, "samesite": "Lax", "path": self.hub.base_url}
        self._set_cookie(STATE_COOKIE_NAME, attempt.cookie(), **options)
        self.set_header("Cache-Control", "no-store")
        self.redirect(address)


class ComeBackHandler(_SignInPage, OAuthCallbackHandler):  # type: ignore[misc]  # oauthenticator has no types
    """GET /hub/oauth_callback: the browser comes back with a code, or with a no. Each attempt is good for one answer."""

    async def get(self) -> None:
        client = self.authenticator.client("")
        try:
            attempt = self._attempt()
            client = self.authenticator.clients[attempt.provider]
            user = await self.login_user({"attempt": attempt, "code": await self._code(attempt)})
        except SignInRefused as refused:
            raise self._refusal(client, refused.failure(_title(client)), refused.reason, refused.detail) from None
        except ProviderAway as away:
            failure = Failure(PROVIDER_AWAY, {"provider": _title(client)})
            raise self._refusal(client, failure, "provider-away", str(away)) from None
        except DatabaseUnavailable as error:
            raise self._refusal(client, Failure(SIGN_IN_WITHOUT_BOOKS), "books-away", str(error)) from None
        if user is None:
            raise web.HTTPError(403)
        self.authenticator.refresher.forget(user.name)
        self._set_cookie(
            LAST_PROVIDER_COOKIE, attempt.provider, encrypted=False, expires_days=_YEAR_DAYS, samesite="Lax",
            path=self.hub.base_url,
        )  # fmt: skip
        self.redirect(attempt.next_url or f"{self.hub.base_url}home")

    def _attempt(self) -> Attempt:
        cookie = self.get_secure_cookie(STATE_COOKIE_NAME, max_age_days=_ATTEMPT_DAYS)
        self.clear_cookie(STATE_COOKIE_NAME, path=self.hub.base_url)
        attempt = Attempt.continued(cookie, self.get_query_argument("state", ""))
        if attempt.provider not in self.authenticator.clients:
            raise SignInRefused(Reason.STATE_MISSING, f"provider {attempt.provider} is gone")
        return attempt

    async def _code(self, attempt: Attempt) -> str:
        await self.authenticator.clients[attempt.provider].check_response_issuer(self.get_query_argument("iss", None))
        if error := self.get_query_argument("error", ""):
            raise SignInRefused(Reason.PROVIDER_SAYS_NO, error[:_MOST_CHARACTERS])
        code: str = self.get_query_argument("code", "")
        if not code:
            raise SignInRefused(Reason.PROVIDER_SAYS_NO, "neither a code nor an error came back")
        return code

    def _refusal(self, client: ProviderClient | None, failure: Failure, reason: str, detail: str) -> web.HTTPError:
        """The error page's error; the line of the log is written here."""
        failure.reference = reference(new_id())
        self.log.warning(
            "sign-in refused: reason=%s provider=%s from=%s reference=%s detail=%s",
            reason, client.provider.id if client else "unknown", self.request.remote_ip, failure.reference,
            plain(detail),
        )  # fmt: skip
        told = gettext("Reference: {reference}").format(reference=failure.reference)
        return _RefusalPage(failure, f"{failure.message} {told}")


def _title(client: ProviderClient | None) -> str:
    return client.provider.shown_title if client else gettext("Your provider")


class LeaveHandler(_SignInPage, OAuthLogoutHandler):  # type: ignore[misc]  # oauthenticator has no types
    """GET /hub/logout: sign out here, and at the provider where it offers that."""

    _address: str | None = None

    async def handle_logout(self) -> None:
        self.clear_cookie(STATE_COOKIE_NAME, path=self.hub.base_url)
        if user := self.current_user:
            self._address = await self._elsewhere(user, f"{self.hub.base_url}signed-out")

    async def _elsewhere(self, user: Any, back: str) -> str | None:
        auth_state = await user.get_auth_state() or {}
        self.authenticator.refresher.forget(user.name)
        if not any(spawner.active for spawner in user.spawners.values()):
            # Nothing of theirs runs, so nothing is to be asked for them any more.
            await user.save_auth_state(None)
        client = self.authenticator.clients.get(auth_state.get("provider", ""))
        if client is None:
            return None
        troubles = await self.authenticator.troubles(patience_seconds=_LOOK_SECONDS, only=client.provider.id)
        if troubles[client.provider.id] is not None:
            return f"{back}?{urlencode({'still': client.provider.id})}"
        try:
            address: str | None = await client.logout_address(auth_state, self.authenticator.public_url + "signed-out")
            return address
        except ProviderAway:
            return f"{back}?{urlencode({'still': client.provider.id})}"

    async def render_logout_page(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.redirect(self._address or f"{self.hub.base_url}signed-out")


class SignedOutHandler(_SignInPage):
    """GET /hub/signed-out: where the provider sends the browser after signing out."""

    async def get(self) -> None:
        if self.current_user:
            self.redirect(f"{self.hub.base_url}home")
            return
        client = self.authenticator.clients.get(self.get_argument("still", ""))
        still = client.provider.shown_title if client else ""
        self.finish(await self.render_template("logout.html", still=still))


class LogoHandler(BaseHandler):  # type: ignore[misc]  # jupyterhub has no types
    """GET /hub/nbfed/provider/ID/logo. An SVG is a document: it may run nothing and load nothing."""

    def get(self, provider: str) -> None:
        client = self.authenticator.clients.get(provider)
        if client is None or client.provider.logo is None:
            raise web.HTTPError(404)
        content, kind = client.provider.logo
        self.set_header("Content-Type", kind)
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "public, max-age=86400")
        self.finish(content)
