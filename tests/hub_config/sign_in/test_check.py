"""`nbfed identity check`: what is wrong with a provider is found, and what to do is said."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from hub_config.cli import main
from hub_config.doctor import Check, State
from hub_config.sign_in.check import claims_of, examine
from hub_config.sign_in.providers import SignInProvider
from tests.hub_config.conftest import MakeSettings
from tests.support.provider import CLIENT_SECRET, Provider, running_provider

BASE_URL = "http://127.0.0.1:8000/"
GROUP = "urn:mace:egi.eu:group:vo.example.org"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.reset()
    return running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as made:
        yield made


def configured(provider: Provider, **changes: Any) -> SignInProvider:
    known = SignInProvider(
        id="check-in", title="Check-in", logo=None, issuer=provider.issuer, client_id="notebooks",
        client_secret=CLIENT_SECRET, scopes=None, subject_claim="voperson_id", owns_namespaces=("urn:mace:egi.eu",),
    affiliation_scopes="home-organisation",
    )  # fmt: skip
    return replace(known, **changes)


def found(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def look(provider: Provider, client: httpx.Client, *, ahead: float = 0, **changes: Any) -> dict[str, Check]:
    now = datetime.now(UTC) + timedelta(seconds=ahead)
    return found(examine(configured(provider, **changes), BASE_URL, client, now))


def test_a_provider_where_all_is_well(provider: Provider, client: httpx.Client) -> None:
    checks = look(provider, client)
    assert {name for name, check in checks.items() if check.state is State.FAIL} == set()
    assert checks["issuer"].text == provider.issuer
    assert "http://127.0.0.1:8000/hub/oauth_callback" in checks["redirect URI"].text
    assert "http://127.0.0.1:8000/hub/signed-out" in checks["sign-out"].text
    assert (
        "not offered: entitlements eduperson_scoped_affiliation eduperson_assurance schac_home_organization offline_access"
        in checks["scopes"].text
    )
    assert "1 for signatures (RSA); algorithms RS256" in checks["keys"].text
    assert checks["PKCE"].state is State.OK
    assert checks["sign-in"].state is State.OK


@pytest.mark.parametrize(
    ("change", "name", "state", "words"),
    [
        pytest.param(
            {"issuer": "https://evil.example.org"}, "discovery", State.FAIL, "its issuer is https://evil", id="issuer"
        ),
        pytest.param({"token_endpoint": None}, "discovery", State.FAIL, "names no token_endpoint", id="endpoint"),
        pytest.param(
            {"scopes_supported": None}, "scopes", State.OK, "does not say what it offers", id="no-scopes-said"
        ),
        pytest.param({"scopes_supported": ["openid"]}, "scopes", State.WARN, "not offered: profile", id="scopes"),
        pytest.param({"code_challenge_methods_supported": ["plain"]}, "PKCE", State.WARN, "S256", id="plain-pkce"),
        pytest.param({"end_session_endpoint": None}, "sign-out", State.WARN, "offers none", id="no-sign-out"),
    ],
)
def test_what_is_wrong_with_the_document_is_said(
    provider: Provider, client: httpx.Client, change: dict[str, Any], name: str, state: State, words: str
) -> None:
    provider.discovery_of = lambda document: {**document, **change}
    check = look(provider, client)[name]
    assert check.state is state
    assert words in check.text
    assert bool(check.advice) == (state is not State.OK)


@pytest.mark.parametrize(
    "answer", [(404, {}), (200, b"<html>"), (200, b"[" * 100_000)], ids=["missing", "html", "deep"]
)
def test_no_document(provider: Provider, client: httpx.Client, answer: Any) -> None:
    provider.discovery_of = lambda _document: answer
    checks = look(provider, client)
    assert [check.state for check in checks.values()] == [State.FAIL]


def test_a_provider_that_does_not_answer(client: httpx.Client) -> None:
    with running_provider() as gone:
        pass
    checks = look(gone, client)
    assert [(check.name, check.state) for check in checks.values()] == [("discovery", State.FAIL)]


@pytest.mark.parametrize(("ahead", "state"), [(30, State.OK), (-30, State.OK), (90, State.FAIL), (-90, State.FAIL)])
def test_clocks_that_are_apart(provider: Provider, client: httpx.Client, ahead: float, state: State) -> None:
    assert look(provider, client, ahead=ahead)["clock"].state is state


@pytest.mark.parametrize(
    ("back", "words"),
    [
        pytest.param({"error": "invalid_scope", "state": "x"}, "invalid_scope", id="a-scope"),
        pytest.param({"error": "unauthorized_client\x1b[2J"}, "unauthorized_client\\x1b[2J", id="a-steering-character"),
    ],
)
def test_a_provider_that_does_not_take_our_client(
    provider: Provider, client: httpx.Client, back: dict[str, str], words: str
) -> None:
    provider.back_of = lambda _back: back
    check = look(provider, client)["sign-in"]
    assert check.state is State.FAIL
    assert words in check.text


# --- claims -------------------------------------------------------------------------------------------------------


def token_of(provider: Provider) -> str:
    provider.access_tokens.add("the-access-token")
    return "the-access-token"


def test_claims_and_what_is_derived_from_them(provider: Provider, client: httpx.Client) -> None:
    provider.claims |= {
        "preferred_username": "icarvalho", "eduperson_entitlement": [f"{GROUP}#aai.egi.eu", "urn:mace:egi.eu:what is this"],
        "eduperson_assurance": ["https://aai.egi.eu/LoA#Substantial"],
    }  # fmt: skip
    checks = found(claims_of(configured(provider), token_of(provider), client))
    assert "claim eduperson_entitlement" in checks
    assert provider.claims["sub"] in checks["person"].text
    assert "icarvalho-" in checks["person"].text
    assert checks["memberships"].text == f"{GROUP}#aai.egi.eu"
    assert "what is this" in checks["not understood"].text
    assert checks["affiliations"].state is State.WARN


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param(lambda claims: {"sub": "x"}, "person", id="no-subject"),
        pytest.param(lambda claims: [claims], "claims", id="a-list"),
        pytest.param(lambda claims: (503, {}), "claims", id="away"),
    ],
)
def test_claims_that_sign_nobody_in(
    provider: Provider, client: httpx.Client, change: Callable[[Any], Any], name: str
) -> None:
    provider.userinfo_of = change
    assert found(claims_of(configured(provider), token_of(provider), client))[name].state is State.FAIL


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(
    provider: Provider, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    (tmp_path / "secret").write_text(CLIENT_SECRET)
    common = {"client_id": "notebooks", "client_secret_file": "secret", "issuer": provider.issuer}
    providers = [
        {"id": name, "owns_namespaces": ["urn:mace:egi.eu"], "subject_claim": "voperson_id"} | common
        for name in ("a", "b")
    ]
    settings = make_settings(identity={"providers": providers})
    monkeypatch.setenv("NBFED_CONFIG", str(settings.file))
    monkeypatch.setenv("NBFED_HOME", str(settings.state.root))
    return lambda *arguments: CliRunner().invoke(main, ["identity", "check", *arguments])


def test_every_provider_is_looked_at_and_one_if_it_is_named(run: Callable[..., Any], provider: Provider) -> None:
    both = run()
    assert both.exit_code == 0, both.output
    assert both.output.startswith(f"a: {provider.issuer}\n")
    assert f"b: {provider.issuer}" in both.output
    one = run("b")
    assert f"a: {provider.issuer}" not in one.output


def test_the_token_is_never_printed(run: Callable[..., Any], provider: Provider, tmp_path: Path) -> None:
    token = token_of(provider)
    (tmp_path / "token").write_text(token + "\n")
    provider.claims |= {"echo": f"you sent {token}", "echoes": [token]}
    answer = run("a", "--token-file", str(tmp_path / "token"))
    assert "claim voperson_id" in answer.output
    assert "[the token]" in answer.output
    assert token not in answer.output


def test_something_wrong_is_exit_code_1(run: Callable[..., Any], provider: Provider) -> None:
    provider.discovery_of = lambda _document: (500, {})
    assert run("a").exit_code == 1


@pytest.mark.parametrize("arguments", [["c"], ["--token-file", __file__]], ids=["unknown-provider", "which-provider"])
def test_a_wrong_question_is_told(run: Callable[..., Any], arguments: list[str]) -> None:
    answer = run(*arguments)
    assert answer.exit_code == 1
    assert "a, b" in answer.output
