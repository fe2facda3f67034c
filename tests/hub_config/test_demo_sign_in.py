"""The demo sign-in: signs in the personas for this federation, on this machine, and does nothing else."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import flask
import jwt
import pytest
import waitress  # type: ignore[import-untyped]  # waitress ships no types
from bs4 import BeautifulSoup
from flask.testing import FlaskClient
from werkzeug.debug import DebuggedApplication
from werkzeug.test import TestResponse

from federation.i18n import LANGUAGES, use_language
from federation.settings import FederationSection
from federation.state import StateFolder
from hub_config.demo import sign_in
from hub_config.demo.personas import PERSONAS, Persona
from hub_config.settings import DEMO_FILE, Settings, SettingsError, parse
from vetting.assurance import holds

# The mock calls authlib in a way that authlib wants to drop; the flow below tells if that day has come.
pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

ISSUER = "http://127.0.0.1:9400"
CALLBACK = "http://127.0.0.1:8000/hub/oauth_callback"
REQUEST = {
    "client_id": "notebooks",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid profile email voperson_id eduperson_entitlement offline_access",
    "state": "the state",
    "nonce": "the nonce",
    "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    "code_challenge_method": "S256",
}
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
"""Of the challenge above: the example of RFC 7636, appendix B."""
PROVIDERS = """\
  providers:
    - {id: generic, issuer: "https://idp.example.org", client_id: abc, owns_namespaces: any}
  roles:"""


def demo_settings(state: Path, **replacements: str) -> Settings:
    """Settings of the demo's file, with texts in it replaced."""
    text = DEMO_FILE.read_text()
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return Settings(file=DEMO_FILE, yaml=parse(text, str(DEMO_FILE)), state=StateFolder(state))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return demo_settings(tmp_path)


@pytest.fixture
def app(settings: Settings) -> Iterator[flask.Flask]:
    yield sign_in.create_app(settings)
    use_language("en")  # the test client answers in this thread, and leaves its language behind


@pytest.fixture
def browser(app: flask.Flask) -> FlaskClient:
    return app.test_client()


def authorize_url(*more: tuple[str, str], **changed: str | None) -> str:
    """A valid address, with parameters changed, left out (None), or given once more."""
    parameters = {name: value for name, value in (REQUEST | changed).items() if value is not None}
    return f"{ISSUER}/oauth2/authorize?{urlencode([*parameters.items(), *more])}"


def person(key: str) -> Persona:
    return next(persona for persona in PERSONAS if persona.key == key)


def answer_of(response: TestResponse) -> dict[str, str]:
    """What a redirect to the hub carries."""
    assert response.status_code == 302
    location, _, query = response.location.partition("?")
    assert location == CALLBACK
    return {name: values[0] for name, values in parse_qs(query, strict_parsing=True).items()}


def choose(browser: FlaskClient, persona: Persona) -> str:
    """Fetch the page, press the persona's button, and return the code."""
    page = BeautifulSoup(browser.get(authorize_url()).text, "html.parser")
    form = page.find("form")
    assert form is not None
    assert form["method"] == "post"
    assert not form.get("action"), "without an action, the form goes to its own address and keeps the query"
    button = next(b for b in form.find_all("button") if persona.name in b.text)
    answer = answer_of(browser.post(authorize_url(), data={button["name"]: button["value"]}))
    assert answer["state"] == REQUEST["state"]
    return answer["code"]


def exchange(browser: FlaskClient, code: str, **changed: str) -> TestResponse:
    """What the hub sends: oauthenticator puts the client's secret into the form."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "client_id": "notebooks",
        "client_secret": "any",
        "code_verifier": VERIFIER,
    }
    return browser.post(f"{ISSUER}/oauth2/token", data=form | changed)


def code_shown(response: TestResponse) -> str:
    """The error code on our error page."""
    shown = BeautifulSoup(response.text, "html.parser").find("code")
    assert shown is not None
    return shown.text


# --- the whole flow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("persona", PERSONAS, ids=lambda persona: persona.key)
def test_each_persona_can_sign_in_and_userinfo_gives_lists(browser: FlaskClient, persona: Persona) -> None:
    tokens: dict[str, Any] = exchange(browser, choose(browser, persona)).get_json()
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 24 * 60 * 60

    authorization = {"Authorization": f"Bearer {tokens['access_token']}"}
    claims = browser.get(f"{ISSUER}/userinfo", headers=authorization).get_json()
    assert claims["sub"] == claims["voperson_id"] == persona.subject
    assert claims["name"] == persona.name
    assert claims["email"] == persona.email
    assert claims["eduperson_entitlement"] == list(persona.entitlements)
    assert claims["eduperson_assurance"] == list(persona.assurance)
    assert isinstance(claims["eduperson_scoped_affiliation"], list)


def test_id_token_is_signed_by_the_published_key_for_this_client(browser: FlaskClient) -> None:
    discovery = browser.get(f"{ISSUER}/.well-known/openid-configuration").get_json()
    assert discovery["issuer"] == ISSUER
    keys = jwt.PyJWKSet.from_dict(browser.get(discovery["jwks_uri"]).get_json())
    tokens = exchange(browser, choose(browser, person("trainer"))).get_json()
    claims = jwt.decode(
        tokens["id_token"], keys.keys[0], algorithms=["RS256"], audience=sign_in.CLIENT_ID, issuer=ISSUER
    )
    assert claims["sub"] == person("trainer").subject
    assert claims["nonce"] == REQUEST["nonce"]


def test_code_counts_once(browser: FlaskClient) -> None:
    code = choose(browser, person("researcher"))
    assert exchange(browser, code).status_code == 200
    again = exchange(browser, code)
    assert again.status_code == 400
    assert again.get_json()["error"] == "invalid_grant"


@pytest.mark.parametrize("changed", [{"client_id": "other"}, {"redirect_uri": "http://127.0.0.1:8000/other"}])
def test_code_is_for_this_client_and_address(browser: FlaskClient, changed: dict[str, str]) -> None:
    response = exchange(browser, choose(browser, person("researcher")), **changed)
    assert response.status_code == 400
    assert "access_token" not in response.get_json()


def test_userinfo_needs_a_token(browser: FlaskClient) -> None:
    assert browser.get(f"{ISSUER}/userinfo").status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert browser.get(f"{ISSUER}/userinfo", headers=wrong).status_code in (400, 401, 403)


def test_cancel_leads_back_with_the_state(browser: FlaskClient) -> None:
    answer = answer_of(browser.post(authorize_url(), data={"action": "deny"}))
    assert answer == {"error": "access_denied", "state": REQUEST["state"]}


# --- personas -----------------------------------------------------------------------------------------------


def test_subjects_are_shaped_like_check_ins_differ_and_stay() -> None:
    subjects = [persona.subject for persona in PERSONAS]
    assert len(set(subjects)) == len(PERSONAS)
    assert all(re.fullmatch(r"[0-9a-f]{64}@demo\.example\.org", subject) for subject in subjects)
    # sha256("researcher"): were it to change, everybody's demo files would be somebody else's.
    assert person("researcher").subject.startswith("3588bb7219b1")


@pytest.mark.parametrize(
    ("role", "keys"),
    [
        ("reviewer", {"reviewer-1", "reviewer-2"}),
        ("operator", {"operator"}),
        ("trainer", {"trainer"}),
        ("site_operator", {"site-operator"}),
    ],
)
def test_roles_of_the_demo_file_are_carried_by_whom_they_are_named_after(
    settings: Settings, role: str, keys: set[str]
) -> None:
    rules = getattr(settings.yaml.identity.roles, role)
    wanted = {str(entitlement) for entitlement in (rules["here"] if isinstance(rules, dict) else rules)}
    assert {persona.key for persona in PERSONAS if wanted & _without_authority(persona)} == keys


def test_everybody_but_the_newcomer_meets_the_first_tier(settings: Settings) -> None:
    tier = settings.yaml.tiers["T1"]
    assert tier.communities
    assert tier.assurance
    communities = set(map(str, tier.communities))
    for persona in PERSONAS:
        expected = persona.key != "newcomer"
        assert bool(communities & _without_authority(persona)) is expected
        assert holds(tier.assurance, persona.assurance) is expected


def _without_authority(persona: Persona) -> set[str]:
    return {entitlement.partition("#")[0] for entitlement in persona.entitlements}


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "url",
    [
        pytest.param(authorize_url(client_id="other"), id="other-client"),
        pytest.param(authorize_url(client_id=None), id="no-client"),
        pytest.param(authorize_url(("client_id", "other")), id="two-clients"),
        pytest.param(authorize_url(redirect_uri="http://127.0.0.1:8000/hub/"), id="other-path"),
        pytest.param(authorize_url(redirect_uri="https://evil.example.org/hub/oauth_callback"), id="other-host"),
        pytest.param(authorize_url(redirect_uri="http://127.0.0.1:8001/hub/oauth_callback"), id="other-port"),
        pytest.param(authorize_url(redirect_uri=CALLBACK + "?x=1"), id="with-query"),
        pytest.param(authorize_url(redirect_uri=None), id="no-address"),
        pytest.param(authorize_url(("redirect_uri", "https://evil.example.org/")), id="two-addresses"),
    ],
)
def test_other_clients_and_return_addresses_are_refused(browser: FlaskClient, method: str, url: str) -> None:
    response = browser.open(url, method=method, data={"sub": PERSONAS[0].subject} if method == "POST" else None)
    assert response.status_code == 400
    assert code_shown(response) == "demo-sign-in-wrong-client"


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_what_the_address_says_cannot_be_said_otherwise_in_the_form(browser: FlaskClient, name: str) -> None:
    response = browser.post(authorize_url(), data={"sub": PERSONAS[0].subject, name: "other"})
    assert response.status_code == 400
    assert code_shown(response) == "demo-sign-in-wrong-client"


def test_cancel_is_no_open_redirect(browser: FlaskClient) -> None:
    response = browser.post(authorize_url(redirect_uri="https://evil.example.org/"), data={"action": "deny"})
    assert response.status_code == 400
    assert "Location" not in response.headers


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"sub": "somebody"}, id="somebody"),
        pytest.param({"sub": "f" * 64 + "@egi.eu"}, id="a-real-looking-one"),
        pytest.param({"sub": ""}, id="empty"),
        pytest.param({}, id="nobody"),
        pytest.param({"sub": [PERSONAS[0].subject, PERSONAS[1].subject]}, id="two"),
    ],
)
def test_only_personas_can_be_signed_in(browser: FlaskClient, form: dict[str, Any]) -> None:
    response = browser.post(authorize_url(), data=form)
    assert response.status_code == 400
    assert code_shown(response) == "demo-sign-in-no-such-persona"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/users/{sub}"),
        ("POST", "/users/{sub}/revoke-tokens"),
        ("POST", "/oauth2/clients"),
        ("GET", "/oidc/login"),
        ("POST", "/oidc/login"),
        ("GET", "/oidc/authorized"),
        ("GET", "/oidc/success"),
    ],
)
def test_what_changes_people_or_clients_is_not_there(browser: FlaskClient, method: str, path: str) -> None:
    url = ISSUER + path.format(sub=PERSONAS[0].subject)
    assert browser.open(url, method=method, json={"name": "Mallory"}).status_code == 404


def test_every_route_is_either_listed_as_open_or_closed(app: flask.Flask, browser: FlaskClient) -> None:
    """A new version of the mock may bring routes: they stay closed, and this test tells."""
    paths = {rule.rule for rule in app.url_map.iter_rules()}
    assert paths == {
        "/",
        "/.well-known/openid-configuration",
        "/jwks",
        "/oauth2/authorize",
        "/oauth2/clients",
        "/oauth2/end_session",
        "/oauth2/end_session/confirm",
        "/oauth2/token",
        "/oidc/authorized",
        "/oidc/login",
        "/oidc/success",
        "/userinfo",
        "/users/<sub>",
        "/users/<sub>/revoke-tokens",
    }


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"code_verifier": ""}, id="none"),
        pytest.param({"code_verifier": VERIFIER + "x"}, id="another"),
        pytest.param({"code_verifier": REQUEST["code_challenge"]}, id="the-challenge-itself"),
    ],
)
def test_a_code_is_refused_without_its_verifier_and_used_up(browser: FlaskClient, changed: dict[str, str]) -> None:
    code = choose(browser, PERSONAS[0])
    refused = exchange(browser, code, **changed)
    assert (refused.status_code, refused.get_json()) == (400, {"error": "invalid_grant"})
    assert exchange(browser, code).status_code == 400


@pytest.mark.parametrize(
    "changed", [{"code_challenge": None}, {"code_challenge_method": "plain"}], ids=["none", "plain"]
)
def test_a_code_that_was_begun_without_a_challenge_is_good_for_nobody(
    browser: FlaskClient, changed: dict[str, str | None]
) -> None:
    address = authorize_url(**changed)
    code = answer_of(browser.post(address, data={"sub": PERSONAS[0].subject}))["code"]
    assert exchange(browser, code).status_code == 400
    assert exchange(browser, code, code_verifier="").status_code == 400


def test_a_code_is_good_once(browser: FlaskClient) -> None:
    code = choose(browser, PERSONAS[0])
    assert exchange(browser, code).status_code == 200
    assert exchange(browser, code).status_code == 400


def test_the_hubs_own_sign_out_is_sent_back_without_a_question(browser: FlaskClient) -> None:
    back = "http://127.0.0.1:8000/hub/signed-out"
    answer = browser.get(f"{ISSUER}/oauth2/end_session?{urlencode({'post_logout_redirect_uri': back})}")
    assert (answer.status_code, answer.location) == (302, back)


def test_registration_is_not_advertised(browser: FlaskClient) -> None:
    discovery = browser.get(f"{ISSUER}/.well-known/openid-configuration").get_json()
    assert "registration_endpoint" not in discovery
    addresses = {name: value for name, value in discovery.items() if name.endswith(("_endpoint", "_uri"))}
    assert addresses == {
        "authorization_endpoint": f"{ISSUER}/oauth2/authorize",
        "token_endpoint": f"{ISSUER}/oauth2/token",
        "userinfo_endpoint": f"{ISSUER}/userinfo",
        "end_session_endpoint": f"{ISSUER}/oauth2/end_session",
        "jwks_uri": f"{ISSUER}/jwks",
    }


@pytest.mark.parametrize(
    "host", ["evil.example.org:9400", "127.0.0.1", "127.0.0.1:9401", "127.0.0.1.evil.example.org:9400", "", 'a b"']
)
@pytest.mark.parametrize("path", ["/", "/.well-known/openid-configuration", "/oauth2/token", "/no-such-page"])
def test_other_host_names_are_refused(browser: FlaskClient, host: str, path: str) -> None:
    response = browser.get(path, headers={"Host": host})
    assert response.status_code == 400
    assert "issuer" not in response.text


def test_localhost_is_this_machine_too(browser: FlaskClient) -> None:
    assert browser.get(authorize_url().replace("127.0.0.1:9400", "localhost:9400")).status_code == 200


@pytest.mark.parametrize("problem", ["<script>alert(1)</script>", "%(x)s {y}"])
def test_what_callers_send_is_shown_escaped(browser: FlaskClient, problem: str) -> None:
    response = browser.get(authorize_url(response_type=problem))
    assert response.status_code == 400
    assert "<script" not in response.text
    assert code_shown(response) == "unsupported_response_type"


def test_debugger_is_off(app: flask.Flask, browser: FlaskClient) -> None:
    assert not app.debug
    assert not isinstance(app.wsgi_app, DebuggedApplication)
    page = browser.get(f"{ISSUER}/?__debugger__=yes&cmd=resource&f=debugger.js")
    assert page.mimetype == "text/html"


def test_unexpected_errors_show_our_page_and_no_traceback(app: flask.Flask, browser: FlaskClient) -> None:
    def broken() -> str:
        raise RuntimeError("the inner workings")

    app.view_functions["oidc-provider-mock.jwks"] = broken
    response = browser.get(f"{ISSUER}/jwks")
    assert response.status_code == 500
    assert "the inner workings" not in response.text
    assert "This sign-in cannot go on" in response.text


# --- signing out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/hub/"])
def test_signing_out_leads_back(browser: FlaskClient, back: str) -> None:
    asked = browser.get(
        f"{ISSUER}/oauth2/end_session?{urlencode({'post_logout_redirect_uri': back, 'ui_locales': 'pt'})}"
    )
    form = BeautifulSoup(asked.text, "html.parser").find("form")
    assert form is not None
    fields = {str(field["name"]): str(field["value"]) for field in form.find_all("input")}
    assert fields == {"redirect_uri": back, "ui_locales": "pt"}
    assert browser.post(ISSUER + str(form["action"]), data=fields).location == back


def test_signing_out_without_an_address_ends_on_a_page(browser: FlaskClient) -> None:
    response = browser.post(f"{ISSUER}/oauth2/end_session/confirm")
    assert response.status_code == 200
    assert "You are signed out" in response.text


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example.org/",
        "//evil.example.org/",
        "http://127.0.0.1:8000@evil.example.org/",
        "http://127.0.0.1:80001/",
        "javascript:alert(1)",
        "",
    ],
)
def test_signing_out_is_no_open_redirect(browser: FlaskClient, back: str) -> None:
    query = urlencode({"post_logout_redirect_uri": back})
    for response in (
        browser.get(f"{ISSUER}/oauth2/end_session?{query}"),
        browser.post(f"{ISSUER}/oauth2/end_session", data={"post_logout_redirect_uri": back}),
        browser.post(f"{ISSUER}/oauth2/end_session/confirm", data={"redirect_uri": back}),
    ):
        assert response.status_code == 400
        assert code_shown(response) == "demo-sign-in-wrong-return"


# --- pages --------------------------------------------------------------------------------------------------


def pages(browser: FlaskClient, language: str = "en") -> dict[str, TestResponse]:
    """Every page that people can see."""
    wish = {"Accept-Language": language}
    return {
        "authorization_form": browser.get(authorize_url(), headers=wish),
        "error": browser.get(authorize_url(client_id="other"), headers=wish),
        "not_found": browser.get(f"{ISSUER}/no-such-page", headers=wish),
        "method_not_allowed": browser.get(f"{ISSUER}/oauth2/token", headers=wish),
        "end_session_form": browser.get(f"{ISSUER}/oauth2/end_session", headers=wish),
        "end_session_confirm": browser.post(f"{ISSUER}/oauth2/end_session/confirm", headers=wish),
        "index": browser.get(f"{ISSUER}/", headers=wish),
    }


def test_page_has_a_button_for_each_persona_and_says_that_it_is_a_demonstration(browser: FlaskClient) -> None:
    page = BeautifulSoup(browser.get(authorize_url()).text, "html.parser")
    assert "Demonstration: no password, anyone is anyone." in page.text
    buttons = {button["value"]: button.text for button in page.find_all("button", attrs={"name": "sub"})}
    assert set(buttons) == {persona.subject for persona in PERSONAS}
    for persona in PERSONAS:
        for text in (persona.name, persona.institution, persona.country_name, persona.title, persona.may):
            assert text in buttons[persona.subject]
    assert page.find("button", attrs={"name": "action", "value": "deny"}) is not None


def test_what_names_and_describes_a_button_is_on_the_page(browser: FlaskClient) -> None:
    page = BeautifulSoup(browser.get(authorize_url()).text, "html.parser")
    identifiers = [str(element["id"]) for element in page.find_all(id=True)]
    assert len(identifiers) == len(set(identifiers))
    for button in page.find_all("button", attrs={"name": "sub"}):
        for attribute in ("aria-labelledby", "aria-describedby"):
            assert set(str(button[attribute]).split()) <= set(identifiers)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_exists_in_every_language_with_nothing_from_elsewhere(browser: FlaskClient, language: str) -> None:
    for name, response in pages(browser, language).items():
        assert response.mimetype == "text/html", name
        page = BeautifulSoup(response.text, "html.parser")
        assert page.html is not None
        assert page.html["lang"] == language, name
        for address in re.findall(r"https?://[^\s\"'<>]*", response.text):
            assert urlsplit(address).hostname == "127.0.0.1", (name, address)
        assert not page.find_all(["script", "link", "img", "iframe"]), name
        assert "//cdn" not in response.text


def test_answers_are_not_kept_framed_or_sent_on(browser: FlaskClient) -> None:
    for name, response in pages(browser).items():
        policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'", name
        assert policy["form-action"] == "'self' http://127.0.0.1:8000"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("asked", "cookie", "wish", "spoken"),
    [
        pytest.param(None, None, "", "en", id="first-offered"),
        pytest.param(None, None, "fr, pt-BR;q=0.8", "pt", id="browser"),
        pytest.param(None, "es", "pt", "es", id="cookie-before-browser"),
        pytest.param("pt", "es", "en", "pt", id="asked-before-cookie"),
        pytest.param("fr pt-BR es", None, "", "pt", id="first-known-of-several"),
        pytest.param("fr", "es", "", "es", id="asked-unknown"),
        pytest.param(None, "xx", "pt", "pt", id="cookie-unknown"),
        pytest.param("../../etc", "../../etc", "\N{SNOWMAN};q=x", "en", id="nonsense"),
    ],
)
def test_language(browser: FlaskClient, asked: str | None, cookie: str | None, wish: str, spoken: str) -> None:
    if cookie:
        browser.set_cookie("nbfed-language", cookie, domain="127.0.0.1")
    response = browser.get(authorize_url(ui_locales=asked), headers={"Accept-Language": wish})
    assert f'<html lang="{spoken}">' in response.text


def test_language_is_forgotten_by_the_next_request_of_the_thread(browser: FlaskClient) -> None:
    assert '<html lang="es">' in browser.get(authorize_url(ui_locales="es")).text
    assert '<html lang="en">' in browser.get(authorize_url()).text


def test_language_links_keep_the_request(browser: FlaskClient) -> None:
    page = BeautifulSoup(browser.get(authorize_url(ui_locales="es")).text, "html.parser")
    links = {link["hreflang"]: parse_qs(urlsplit(str(link["href"])).query) for link in page.select("nav a")}
    assert set(links) == set(LANGUAGES)
    for language, query in links.items():
        assert query == {name: [value] for name, value in REQUEST.items()} | {"ui_locales": [language]}


def test_federation_of_one_language_has_no_links_and_speaks_it(tmp_path: Path) -> None:
    one = demo_settings(tmp_path, **{"languages: [en, es, pt]": "languages: [es]"})
    response = sign_in.create_app(one).test_client().get(authorize_url(ui_locales="pt"))
    assert '<html lang="es">' in response.text
    assert "hreflang" not in response.text
    use_language("en")


# --- when it must not start ---------------------------------------------------------------------------------


def with_federation(settings: Settings, **changed: str) -> Settings:
    """Settings that federation.yaml's own rules would refuse."""
    section = FederationSection(**{**settings.yaml.federation.model_dump(), **changed})
    return replace(settings, yaml=settings.yaml.model_copy(update={"federation": section}))


@pytest.mark.parametrize(
    "base_url",
    [
        "http://hub.example.org",
        "http://0.0.0.0:8000",
        "http://192.168.1.4:8000",
        "http://127.0.0.1.example.org",
        "http://127.0.0.1@example.org",
    ],
)
def test_refuses_addresses_that_others_can_reach(settings: Settings, base_url: str) -> None:
    with pytest.raises(sign_in.DemoSignInRefused, match=r"federation\.base_url: .* loopback .* identity\.providers"):
        sign_in.create_app(with_federation(settings, base_url=base_url))
    with pytest.raises(SettingsError, match="loopback"):
        demo_settings(settings.state.root, **{"http://127.0.0.1:8000": base_url})


def test_refuses_production(settings: Settings) -> None:
    with pytest.raises(sign_in.DemoSignInRefused, match=r"federation\.mode: .* configure identity\.providers"):
        sign_in.create_app(with_federation(settings, mode="production"))


def test_refuses_beside_real_providers(tmp_path: Path) -> None:
    with pytest.raises(sign_in.DemoSignInRefused, match=r"identity\.providers: .* remove the providers"):
        sign_in.create_app(demo_settings(tmp_path, **{"  roles:": PROVIDERS}))


@pytest.mark.parametrize("base_url", ["http://localhost:8000", "http://127.0.0.1:18000/"])
def test_follows_the_base_url(settings: Settings, base_url: str) -> None:
    browser = sign_in.create_app(with_federation(settings, base_url=base_url)).test_client()
    callback = base_url.rstrip("/") + "/hub/oauth_callback"
    assert browser.get(authorize_url(redirect_uri=callback)).status_code == 200
    assert browser.get(authorize_url()).status_code == 400


def test_serves_on_the_loopback_interface_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.delenv("AUTHLIB_INSECURE_TRANSPORT", raising=False)
    monkeypatch.setattr(waitress, "serve", lambda app, **options: asked.update(options))
    monkeypatch.setitem(os.environ, "AUTHLIB_INSECURE_TRANSPORT", "")  # so that it is put back afterwards
    sign_in.serve(settings)
    assert asked == {"host": "127.0.0.1", "port": 9400}
    assert os.environ["AUTHLIB_INSECURE_TRANSPORT"] == "1"
