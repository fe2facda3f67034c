"""The demo sign-in: an OpenID provider on the loopback interface where one chooses, with a click, whom to be.

The protocol is oidc-provider-mock's, which is made for tests: it takes any client, any return address and any person,
and lets callers change all of them. This module lets through to it only what a demonstration needs: the one client that
this federation is, back to its own address, as one of the personas. Pages are ours, and load nothing from elsewhere.

The issuer is `http://127.0.0.1:<listen.sign_in_port>`. Keys and tokens live in memory: a restart ends every sign-in.
"""

import logging
import os
import warnings
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import flask
import waitress
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from federation.errors import Failure, Problem
from federation.i18n import current_language, gettext, language_name, negotiate, ngettext, use_language
from hub_config.demo import CLIENT_ID
from hub_config.demo.personas import PERSONAS
from hub_config.demo.pkce import CodeChallenges
from hub_config.settings import Settings, SettingsError

with warnings.catch_warnings():
    # At import authlib announces what its next version will drop, to whoever may be looking, and overrides filters that
    # were set before. Nobody who runs a demonstration can act on that.
    from authlib.deprecate import (
        AuthlibDeprecationWarning,
    )

    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    import oidc_provider_mock

__all__ = ["CLIENT_ID", "DemoSignInRefused", "create_app", "serve"]

"""The only client; its secret is not looked at."""

_HOST = "127.0.0.1"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TOKEN_LIFE = timedelta(days=1)
_MOCK = "oidc-provider-mock."
_OPEN = frozenset(
    _MOCK + view
    for view in (
        "home",
        "openid_config",
        "jwks",
        "authorize",
        "issue_token",
        "userinfo",
        "end_session",
        "end_session_confirm",
    )
)
"""What may be asked. All else that the mock has, or will have, is not there: changing people, registering clients."""

_log = logging.getLogger(__name__)


def _(message: str) -> str:  # Marks a text for extraction; it is translated when it is shown.
    return message


_START_AGAIN = _("Please start again at {address}.")
_WRONG_HOST = Problem(
    code="demo-sign-in-wrong-host",
    status=400,
    text=_("The demo sign-in was reached under a name that is not this machine's own."),
    advice=_START_AGAIN,
)
_WRONG_CLIENT = Problem(
    code="demo-sign-in-wrong-client",
    status=400,
    text=_("The demo sign-in serves this federation alone, and was asked to sign somebody in elsewhere."),
    advice=_START_AGAIN,
)
_NO_SUCH_PERSONA = Problem(
    code="demo-sign-in-no-such-persona",
    status=400,
    text=_("The demo sign-in does not know that person: only those on its page can be chosen."),
    advice=_START_AGAIN,
)
_WRONG_RETURN = Problem(
    code="demo-sign-in-wrong-return",
    status=400,
    text=_("After signing out, the demo sign-in leads back to this federation and nowhere else."),
    advice=_START_AGAIN,
)


class DemoSignInRefused(SettingsError):
    """With these settings the demo sign-in must not start; the message says what to change."""


def serve(settings: Settings) -> None:
    """Answer on the loopback interface, at `listen.sign_in_port`, until the process is told to end.

    Raises
    ------
    DemoSignInRefused
        See `create_app`.
    """
    app = create_app(settings)
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http: it never leaves this machine
    waitress.serve(app, host=_HOST, port=settings.yaml.listen.sign_in_port)


def create_app(settings: Settings) -> flask.Flask:
    """The provider as a WSGI application.

    Raises
    ------
    DemoSignInRefused
        If the mode is production, providers are configured, or the base URL is not a loopback address.
    """
    _refuse_unless_demo(settings)
    app = flask.Flask(__name__, static_folder=None)
    _speak_languages(app)
    _show_pages(app, settings)
    gate = _Gate(settings)
    # In this order, and before the mock adds its own: what is refused here never reaches it.
    app.before_request(gate.choose_language)
    app.before_request(gate.check_host)
    app.before_request(gate.check_endpoint)
    app.before_request(gate.check_authorization)
    app.before_request(gate.check_return)
    challenges = CodeChallenges(authorize=_MOCK + "authorize", token=_MOCK + "issue_token")
    app.before_request(challenges.check)
    app.after_request(challenges.remember)
    app.after_request(gate.add_headers)
    _add_provider(app)
    return app


def _refuse_unless_demo(settings: Settings) -> None:
    """The same as federation.yaml's own rule, once more: settings can be made without reading a file."""
    federation = settings.yaml.federation
    if federation.mode == "production":
        key, advice = "federation.mode", "configure identity.providers; for a demonstration write mode: demo"
    elif not settings.is_demo_sign_in:
        key, advice = "identity.providers", "people sign in there; remove the providers to use the demo sign-in instead"
    elif urlsplit(settings.base_url).hostname not in _LOOPBACK:
        key = "federation.base_url"
        advice = "make it a loopback address (http://127.0.0.1:8000); to serve other machines add identity.providers"
    else:
        return
    raise DemoSignInRefused(f"{settings.file}: {key}: the demo sign-in lets anyone in as anyone: {advice}")


class _Gate:
    """What every request passes before the provider sees it, and every answer on its way back."""

    def __init__(self, settings: Settings) -> None:
        self.base_url = settings.base_url
        self.languages = settings.yaml.federation.languages
        port = settings.yaml.listen.sign_in_port
        self.hosts = {name if port == 80 else f"{name}:{port}" for name in (_HOST, "localhost")}
        self.wanted = {"client_id": CLIENT_ID, "redirect_uri": settings.base_url + "hub/oauth_callback"}
        self.subjects = {persona.subject for persona in PERSONAS}
        self.policy = "; ".join(
            (
                "default-src 'none'",
                "style-src 'unsafe-inline'",
                # Browsers ask this also of where a form's answer redirects to: back to the hub.
                f"form-action 'self' {settings.base_url.rstrip('/')}",
                "frame-ancestors 'none'",
                "base-uri 'none'",
            )
        )

    def choose_language(self) -> None:
        """What the address asks for, else the language cookie of the hub's pages, else the browser's wish."""
        asked = (tag.split("-")[0].lower() for tag in flask.request.values.get("ui_locales", "").split())
        chosen = next((language for language in asked if language in self.languages), None)
        chosen = chosen or flask.request.cookies.get("nbfed-language")
        use_language(negotiate(chosen, flask.request.headers.get("Accept-Language", ""), self.languages))

    def check_host(self) -> None:
        """A page elsewhere whose name was made to resolve to this machine (DNS rebinding) must not read answers."""
        if flask.request.host not in self.hosts:
            raise self._failure(_WRONG_HOST)

    def check_endpoint(self) -> None:
        """Only what is listed as open is there."""
        if flask.request.endpoint is not None and flask.request.endpoint not in _OPEN:
            flask.abort(404)

    def check_authorization(self) -> ResponseReturnValue | None:
        """One known client, one return address, one of the personas."""
        request = flask.request
        if request.endpoint != _MOCK + "authorize":
            return None
        # Exactly once: of two values we might look at one and the mock at the other.
        if any(request.values.getlist(name) != [value] for name, value in self.wanted.items()):
            raise self._failure(_WRONG_CLIENT)
        if request.method != "POST":
            return None
        if request.form.get("action") == "deny":
            return self._cancelled()
        if len(chosen := request.form.getlist("sub")) != 1 or chosen[0] not in self.subjects:
            raise self._failure(_NO_SUCH_PERSONA)
        return None

    def check_return(self) -> ResponseReturnValue | None:
        """Signing out is no open redirect; the mock would follow any address.

        The hub's own sign-out is sent back without a question: nobody is remembered here, so there is nothing to end.
        """
        if flask.request.endpoint not in (_MOCK + "end_session", _MOCK + "end_session_confirm"):
            return None
        for name in ("post_logout_redirect_uri", "redirect_uri"):
            if not all((uri + "/").startswith(self.base_url) for uri in flask.request.values.getlist(name)):
                raise self._failure(_WRONG_RETURN)
        signed_out = self.base_url + "hub/signed-out"
        if flask.request.values.getlist("post_logout_redirect_uri") == [signed_out]:
            return flask.redirect(signed_out)
        return None

    def add_headers(self, response: flask.Response) -> flask.Response:
        """Nothing of an answer is kept, framed, or sent on."""
        response.headers["Content-Security-Policy"] = self.policy
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    def _cancelled(self) -> ResponseReturnValue:
        """RFC 6749, 4.1.2.1; the mock's own answer forgets the state."""
        answer = {"error": "access_denied"}
        if state := flask.request.values.get("state"):
            answer["state"] = state
        return flask.redirect(f"{self.wanted['redirect_uri']}?{urlencode(answer)}")

    def _failure(self, problem: Problem) -> Failure:
        return Failure(problem, {"address": self.base_url.rstrip("/")})


def _speak_languages(app: flask.Flask) -> None:
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]  # the extension adds it at run time
        gettext, ngettext, newstyle=True
    )


def _show_pages(app: flask.Flask, settings: Settings) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_error_handler(Failure, _failure_page)
    app.register_error_handler(HTTPException, _error_page)

    @app.context_processor
    def _for_every_page() -> dict[str, object]:
        return {
            "base_url": settings.base_url,
            "federation_name": settings.yaml.federation.name,
            "language": current_language(),
            "languages": _language_links(settings.yaml.federation.languages),
            "personas": PERSONAS,
        }


def _language_links(offered: list[str]) -> list[dict[str, str]]:
    """Links to the same page in the other languages; none for the answer to a form, which has no address."""
    if flask.request.method != "GET" or len(offered) < 2:
        return []
    kept = [(name, value) for name, value in flask.request.args.items(multi=True) if name != "ui_locales"]
    return [
        {"code": code, "name": language_name(code), "address": "?" + urlencode([*kept, ("ui_locales", code)])}
        for code in offered
    ]


def _failure_page(failure: Failure) -> ResponseReturnValue:
    _log.warning("demo sign-in refused %s %r: %s", flask.request.method, flask.request.path, failure)
    page = flask.render_template("error.html", name=failure.problem.code, description=failure.message)
    return page, failure.problem.status


def _error_page(error: HTTPException) -> ResponseReturnValue:
    """Errors of the protocol come with their own answer; all others (404, 405, 500 …) get our page."""
    if error.response is not None:
        return error
    text = _("Something went wrong here.") if (error.code or 500) >= 500 else _("There is no such page here.")
    page = flask.render_template("error.html", name=error.name, description=gettext(text))
    response = flask.make_response(error.get_response())
    response.set_data(page)
    return response


def _add_provider(app: flask.Flask) -> None:
    oidc_provider_mock.init_app(
        app,
        user_claims=[oidc_provider_mock.User(sub=persona.subject, claims=persona.claims) for persona in PERSONAS],
        access_token_max_age=_TOKEN_LIFE,
    )
    # The mock switches werkzeug's debugger on, which runs code for whoever reaches it: back to Flask's own application.
    app.debug = False
    vars(app).pop("wsgi_app", None)

    discovery = app.view_functions[_MOCK + "openid_config"]

    def as_it_is_here() -> ResponseReturnValue:
        document = flask.make_response(discovery()).get_json()
        document.pop("registration_endpoint", None)
        document["code_challenge_methods_supported"] = ["S256"]
        return flask.jsonify(document)

    app.view_functions[_MOCK + "openid_config"] = as_it_is_here
