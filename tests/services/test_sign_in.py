"""Signing in on a whole installation with two providers, and every attack on it that we know of: each is refused, told
in words, and leaves one line in the log that a security officer can use, without any token, code or state in it.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from bs4 import BeautifulSoup
from cryptography.hazmat.primitives import serialization

from federation.persons import Person as KnownPerson
from quota.statement import standing
from spawners.admission import owner_of
from tests.services.test_session import wait_for
from tests.support.person import Person
from tests.support.provider import CLIENT_SECRET, Provider, running_provider
from tests.support.service import Service, running_service

pytestmark = pytest.mark.service

OURS = "urn:mace:egi.eu"
GROUP = f"{OURS}:group:vo.example.org"
OPERATOR = f"{GROUP}:role=operator"
LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><rect width="1" height="1"/></svg>'


class Installation:
    """The service, its two providers, and what is new in the hub's log."""

    def __init__(self, service: Service, one: Provider, two: Provider) -> None:
        self.service, self.one, self.two = service, one, two
        self._read = 0

    def begin(self) -> None:
        for provider in (self.one, self.two):
            provider.reset()
        self._read = len(self.log())

    def log(self) -> str:
        """What the hub logged up to now: the file is written by another process, so a mark is waited for."""
        mark = secrets.token_hex(8)
        httpx.get(f"{self.service.base_url}hub/api", params={"mark": mark}, trust_env=False)
        file = self.service.state.logs / "hub.log"
        wait_for(lambda: mark in file.read_text())
        return file.read_text()

    def new_log(self) -> str:
        return self.log()[self._read :]

    def browser(self) -> Person:
        return Person(self.service.base_url)

    def sign_in(self, person: Person | None = None, *, provider: str = "one", next_url: str = "") -> httpx.Response:
        """Choose a provider, and follow the browser's whole way."""
        browser = person or self.browser()
        query = {"provider": provider, **({"next": next_url} if next_url else {})}
        return browser.client.get(self.service.base_url + "hub/oauth_login", params=query)

    def signed_in(self, **options: Any) -> KnownPerson:
        """Sign in; whom that made."""
        browser = self.browser()
        answer = self.sign_in(browser, **options)
        assert answer.status_code == 200, answer.text[:2000]
        return self.service.house.admission.person(browser.user_name)

    def refused(self, answer: httpx.Response, reason: str, status: int = 403) -> str:
        """That a sign-in was refused for this reason; the page's text."""
        assert answer.status_code == status, answer.text[:2000]
        page = BeautifulSoup(answer.text, "html.parser").get_text(" ", strip=True)
        lines = [line for line in self.new_log().splitlines() if "sign-in refused:" in line]
        assert len(lines) == 1, lines
        found = re.search(r"reason=(\S+) provider=(\S+) from=(\S+) reference=(\S+) detail=", lines[0])
        assert found is not None, lines[0]
        assert found[1] == reason, lines[0]
        assert found[3] == "127.0.0.1"
        assert found[4] in page
        return page


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_provider() as one, running_provider() as two:
        common = {"client_id": "notebooks", "client_secret_file": "secret", "subject_claim": "voperson_id"}
        providers = [
            {"id": "one", "issuer": one.issuer, "title": "The first", "owns_namespaces": [OURS], "logo": "one.svg"}
            | common,
            {"id": "two", "issuer": two.issuer, "title": {"en": "The second", "es": "El segundo", "pt": "O segundo"},
             "owns_namespaces": ["urn:mace:example.org"]} | common,
        ]  # fmt: skip
        tiers = {"T1": {"communities": [GROUP]}}
        identity = {"providers": providers, "roles": {"operator": [OPERATOR]}}
        with running_service(start=False, identity=identity, tiers=tiers) as service:
            (service.root / "secret").write_text(CLIENT_SECRET)
            (service.root / "one.svg").write_text(LOGO)
            service.start()
            yield Installation(service, one, two)


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(installation: Installation) -> Iterator[None]:
    """Whatever a test does: what the providers gave out is in no log."""
    installation.begin()
    yield
    installation.log()
    log = "".join(file.read_text(errors="replace") for file in installation.service.state.logs.glob("*.log"))
    for value in installation.one.issued | installation.two.issued | {CLIENT_SECRET}:
        assert value not in log


# --- the page -------------------------------------------------------------------------------------------------


def choices(page: httpx.Response) -> list[str]:
    elements = BeautifulSoup(page.text, "html.parser").select("#providers a")
    return [str(element["data-provider"]) for element in elements]


def test_each_provider_can_be_chosen_and_leads_to_where_one_wanted_to_go(installation: Installation) -> None:
    browser = installation.browser()
    page = browser.client.get(installation.service.base_url + "hub/token")
    assert page.status_code == 200
    assert choices(page) == ["one", "two"]
    link = BeautifulSoup(page.text, "html.parser").select_one('a[data-provider="two"]')
    assert link is not None
    assert "The second" in link.text
    answer = browser.client.get(installation.service.base_url.rstrip("/") + str(link["href"]))
    assert (answer.status_code, answer.url.path) == (200, "/hub/token")


def test_the_provider_that_was_used_last_comes_first(installation: Installation) -> None:
    browser = installation.browser()
    installation.sign_in(browser, provider="two")
    browser.client.get(installation.service.base_url + "hub/logout")
    page = browser.client.get(installation.service.base_url + "hub/login")
    assert choices(page) == ["two", "one"]
    assert "used last" in page.text
    assert choices(installation.browser().client.get(installation.service.base_url + "hub/login")) == ["one", "two"]


def test_a_logo_is_shown_and_can_run_nothing(installation: Installation) -> None:
    browser = installation.browser()
    page = browser.client.get(installation.service.base_url + "hub/login")
    image = BeautifulSoup(page.text, "html.parser").select_one("#providers img")
    assert image is not None
    answer = browser.client.get(installation.service.base_url.rstrip("/") + str(image["src"]))
    assert (answer.text, answer.headers["Content-Type"]) == (LOGO, "image/svg+xml")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert browser.client.get(installation.service.base_url + "hub/nbfed/provider/two/logo").status_code == 404


@pytest.mark.parametrize(
    ("language", "title", "heading"), [("es", "El segundo", "Identificarse"), ("pt", "O segundo", "Entrar")]
)
def test_the_page_speaks_the_readers_language(
    installation: Installation, language: str, title: str, heading: str
) -> None:
    browser = Person(installation.service.base_url, language=language)
    page = BeautifulSoup(browser.client.get(installation.service.base_url + "hub/login").text, "html.parser")
    assert title in page.text
    assert heading.lower() in page.select_one("h1").text.lower()


def test_an_unknown_provider_shows_the_choice(installation: Installation) -> None:
    assert choices(installation.sign_in(provider="three")) == ["one", "two"]


def test_signing_out_ends_it_at_the_provider_too(installation: Installation) -> None:
    browser = installation.browser()
    installation.sign_in(browser)
    answer = browser.client.get(installation.service.base_url + "hub/logout")
    assert answer.url.path == "/hub/signed-out"
    assert "You are signed out" in answer.text
    assert installation.one.asked[-1] == "/logout"
    assert browser.client.get(installation.service.base_url + "hub/home").url.path == "/hub/login"


# --- who it is ------------------------------------------------------------------------------------------------


def test_the_same_subject_at_two_providers_is_two_people(installation: Installation) -> None:
    installation.two.claims = dict(installation.one.claims)
    first, second = installation.signed_in(), installation.signed_in(provider="two")
    assert first.subject == second.subject
    assert first.issuer != second.issuer
    assert first.user_name != second.user_name
    assert first.id != second.id


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"preferred_username": None}, id="missing"),
        pytest.param({"preferred_username": "another"}, id="changed"),
        pytest.param({"preferred_username": "root", "name": "Root", "email": "root@example.org"}, id="all-changed"),
    ],
)
def test_a_preferred_name_makes_nobody_somebody_else(installation: Installation, changes: dict[str, Any]) -> None:
    installation.one.claims |= {"preferred_username": "icarvalho"}
    first = installation.signed_in()
    installation.one.claims |= changes
    second = installation.signed_in()
    assert (second.id, second.user_name) == (first.id, first.user_name)


def test_names_that_slug_alike_are_two_accounts_with_files_and_books_of_their_own(installation: Installation) -> None:
    installation.one.claims |= {"preferred_username": "J. Brandt", "eduperson_entitlement": [GROUP]}
    first = installation.signed_in()
    installation.one.reset()
    installation.one.claims |= {"preferred_username": "j-brandt"}
    second = installation.signed_in()
    assert first.user_name.rpartition("-")[0] == second.user_name.rpartition("-")[0] == "j-brandt"
    assert first.user_name != second.user_name
    homes = installation.service.state.homes
    assert homes / first.user_name != homes / second.user_name
    house = installation.service.house
    with house.database.read() as connection:
        now = house.clock()
        granted = [standing(connection, owner_of(person), now).granted for person in (first, second)]
    assert granted[0] > 0
    assert granted[1] == 0


def test_a_user_name_of_somebody_else_as_preferred_name_is_not_theirs(installation: Installation) -> None:
    first = installation.signed_in()
    installation.one.reset()
    installation.one.claims |= {"preferred_username": first.user_name}
    second = installation.signed_in()
    assert second.user_name not in (first.user_name, "")
    assert second.id != first.id


def test_a_changed_e_mail_that_is_another_persons_changes_nothing_but_the_address(installation: Installation) -> None:
    installation.one.claims |= {"email": "ines@example.org", "eduperson_entitlement": [GROUP]}
    victim = installation.signed_in()
    installation.one.reset()
    installation.one.claims |= {"email": "mallory@example.org"}
    attacker = installation.signed_in()
    installation.one.claims |= {"email": "ines@example.org", "email_verified": True}
    again = installation.signed_in()
    assert again.id == attacker.id != victim.id
    assert again.facts.memberships == ()


def test_groups_of_the_hub_are_the_memberships_without_their_authority(installation: Installation) -> None:
    installation.one.claims |= {"eduperson_entitlement": [f"{GROUP}#aai.egi.eu", f"{OPERATOR}#aai.egi.eu"]}
    browser = installation.browser()
    installation.sign_in(browser)
    assert sorted(browser.api("GET", "user").json()["groups"]) == [GROUP, OPERATOR]
    installation.one.claims["eduperson_entitlement"] = []
    installation.sign_in(browser)
    assert browser.api("GET", "user").json()["groups"] == []


# --- attacks on the way back ----------------------------------------------------------------------------------


def test_a_state_of_another_sign_in(installation: Installation) -> None:
    installation.one.back_of = lambda back: {**back, "state": secrets.token_urlsafe(32)}
    page = installation.refused(installation.sign_in(), "wrong-state", 400)
    assert "not begun in this browser" in page


def test_no_state(installation: Installation) -> None:
    installation.one.back_of = lambda back: {name: value for name, value in back.items() if name != "state"}
    installation.refused(installation.sign_in(), "wrong-state", 400)


def way_back(installation: Installation, browser: Person) -> str:
    """The address that a browser is sent back to, without going there."""
    browser.client.follow_redirects = False
    there = browser.client.get(installation.service.base_url + "hub/oauth_login?provider=one")
    back = browser.client.get(there.headers["Location"]).headers["Location"]
    browser.client.follow_redirects = True
    return str(back)


def test_an_answer_that_another_browser_waits_for(installation: Installation) -> None:
    back = way_back(installation, installation.browser())
    installation.refused(installation.browser().client.get(back), "state-missing", 400)


def test_a_code_that_was_put_under_another_sign_in(installation: Installation) -> None:
    stolen = parse_qs(urlsplit(way_back(installation, installation.browser())).query)["code"][0]
    installation.one.back_of = lambda back: {**back, "code": stolen}
    page = installation.refused(installation.sign_in(), "code-refused", 400)
    assert "not begun in this browser" in page


def test_an_answer_that_is_used_twice(installation: Installation) -> None:
    browser = installation.browser()
    back = way_back(installation, browser)
    assert browser.client.get(back).status_code == 200
    installation.refused(browser.client.get(back), "state-missing", 400)


def test_a_code_that_is_used_twice(installation: Installation) -> None:
    browser = installation.browser()
    back = way_back(installation, browser)
    assert browser.client.get(back).status_code == 200
    code = parse_qs(urlsplit(back).query)["code"][0]
    installation.one.back_of = lambda answer: {**answer, "code": code}
    installation.refused(installation.sign_in(), "code-refused", 400)


@pytest.mark.parametrize(
    "told", [{"iss": "https://evil.example.org"}, {"iss": ""}, {}], ids=["another", "empty", "none"]
)
def test_an_answer_of_another_issuer(installation: Installation, told: dict[str, str]) -> None:
    """A provider that the attacker runs gives its own answers for another's (RFC 9207, mix-up)."""
    installation.one.back_of = lambda back: {"code": back["code"], "state": back["state"], **told}
    installation.refused(installation.sign_in(), "wrong-response-issuer")


def test_a_no_is_told_in_our_own_words(installation: Installation) -> None:
    text = "Call 0900 123 and say your password"
    installation.one.back_of = lambda back: {
        "error": "access_denied", "error_description": text, "state": back["state"], "iss": back["iss"],
    }  # fmt: skip
    page = installation.refused(installation.sign_in(), "provider-says-no")
    assert "The first did not sign you in" in page
    assert text not in page


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example.org/",
        "//evil.example.org/",
        "///evil.example.org/",
        "/\\evil.example.org/",
        "\\\\evil.example.org/",
        "/\t/evil.example.org/",
        "javascript:alert(1)",
        "http:evil.example.org",
        "hub/home",
    ],
)
def test_next_is_no_open_redirect(installation: Installation, target: str) -> None:
    answer = installation.sign_in(next_url=target)
    assert str(answer.url) == installation.service.base_url + "hub/home"


# --- attacks in the ID token ----------------------------------------------------------------------------------


def public_pem(provider: Provider) -> bytes:
    return provider.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hmac_signed(claims: dict[str, Any], key: bytes) -> str:
    """PyJWT refuses to use a public key as a secret; an attacker does not."""
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "one"}, claims]
    text = ".".join(jwt.utils.base64url_encode(json.dumps(part).encode()).decode() for part in parts)
    return f"{text}.{jwt.utils.base64url_encode(algorithm.sign(text.encode(), key)).decode()}"


CLAIM_ATTACKS = [
    pytest.param(lambda c: {**c, "iss": "https://evil.example.org"}, "wrong-issuer", id="wrong-issuer"),
    pytest.param(lambda c: {**c, "aud": "another"}, "wrong-audience", id="code-for-another-client"),
    pytest.param(lambda c: {**c, "aud": ["another", "third"]}, "wrong-audience", id="code-for-other-clients"),
    pytest.param(
        lambda c: {**c, "aud": ["another", "notebooks"], "azp": "another"}, "wrong-audience", id="another-party",
    ),
    pytest.param(lambda c: {**c, "nonce": "another"}, "wrong-nonce", id="wrong-nonce"),
    pytest.param(lambda c: {k: v for k, v in c.items() if k != "nonce"}, "wrong-nonce", id="no-nonce"),
    pytest.param(lambda c: {**c, "nonce": [c["nonce"]]}, "wrong-nonce", id="a-list-of-nonces"),
    pytest.param(lambda c: {**c, "exp": c["iat"] - 3600}, "wrong-time", id="expired"),
    pytest.param(lambda c: {**c, "iat": c["iat"] + 3600, "exp": c["exp"] + 3600}, "wrong-time", id="from-the-future"),
    pytest.param(lambda c: {**c, "nbf": c["iat"] + 3600}, "wrong-time", id="not-valid-yet"),
    pytest.param(lambda c: {k: v for k, v in c.items() if k != "exp"}, "no-id-token", id="for-ever"),
    pytest.param(lambda c: {**c, "sub": "somebody-else"}, "wrong-subject", id="userinfo-of-somebody-else"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), CLAIM_ATTACKS)
def test_an_id_token_that_says_something_else(
    installation: Installation, change: Callable[[dict[str, Any]], dict[str, Any]], reason: str
) -> None:
    installation.one.id_claims_of = change
    page = installation.refused(installation.sign_in(), reason)
    assert "could not be verified" in page


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        pytest.param(lambda p, c: jwt.encode(c, None, algorithm="none"), "wrong-algorithm", id="alg-none"),
        pytest.param(lambda p, c: p.signed(c).rpartition(".")[0] + ".", "wrong-signature", id="signature-cut-off"),
        pytest.param(lambda p, c: p.signed(c).rpartition(".")[0], "no-id-token", id="no-signature-at-all"),
        pytest.param(lambda p, c: p.signed(c, key=Provider().key), "wrong-signature", id="another-key"),
        pytest.param(
            lambda p, c: p.signed(c, key=Provider().key, kid="two"), "unknown-key", id="a-key-nobody-published"
        ),
        pytest.param(lambda p, c: hmac_signed(c, CLIENT_SECRET.encode()), "wrong-algorithm", id="hs256-our-secret"),
        pytest.param(lambda p, c: hmac_signed(c, public_pem(p)), "wrong-algorithm", id="hs256-the-public-key"),
        pytest.param(lambda p, c: None, "no-id-token", id="none"),
        pytest.param(lambda p, c: "", "no-id-token", id="empty"),
        pytest.param(lambda p, c: "a.b.c", "no-id-token", id="not-one"),
    ],
)
def test_an_id_token_that_nobody_signed(
    installation: Installation, forge: Callable[[Provider, dict[str, Any]], Any], reason: str
) -> None:
    one = installation.one
    kept: dict[str, Any] = {}
    one.id_claims_of = lambda claims: kept.setdefault("claims", claims)
    one.id_token_of = lambda _token: forge(one, kept["claims"])
    installation.refused(installation.sign_in(), reason)


def test_an_id_token_of_the_wrong_type(installation: Installation) -> None:
    installation.one.id_token_of = lambda token: {"token": token}
    installation.refused(installation.sign_in(), "unusable-answer")


# --- attacks in userinfo --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("userinfo", "reason"),
    [
        pytest.param(lambda c: {**c, "sub": "somebody-else"}, "wrong-subject", id="another-sub"),
        pytest.param(lambda c: {**c, "sub": [c["sub"]]}, "wrong-subject", id="a-list-of-subs"),
        pytest.param(lambda c: {k: v for k, v in c.items() if k != "sub"}, "wrong-subject", id="no-sub"),
        pytest.param(lambda c: [c], "unusable-answer", id="a-list"),
        pytest.param(lambda c: (200, b"<html>"), "unusable-answer", id="no-json"),
        pytest.param(lambda c: (200, b"[" * 100_000), "unusable-answer", id="deep"),
        pytest.param(
            lambda c: {**c, "eduperson_entitlement": [GROUP] * 300_000}, "unusable-answer", id="a-list-of-10-mb"
        ),
        pytest.param(lambda c: (302, b""), "client-refused", id="a-redirect-elsewhere"),
        pytest.param(lambda c: {**c, "voperson_id": None}, "no-subject", id="no-voperson-id"),
        pytest.param(lambda c: {**c, "voperson_id": [c["sub"]]}, "no-subject", id="a-list-of-voperson-ids"),
        pytest.param(lambda c: {**c, "voperson_id": {"a": 1}}, "no-subject", id="a-voperson-id-that-is-a-dict"),
        pytest.param(lambda c: {**c, "voperson_id": c["sub"] + "\n"}, "no-subject", id="voperson-id-with-a-line-break"),
    ],
)
def test_userinfo_that_cannot_be_used(
    installation: Installation, userinfo: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    installation.one.userinfo_of = userinfo
    answer = installation.sign_in()
    installation.refused(answer, reason, 503 if reason == "client-refused" else 403)
    assert "/elsewhere" not in installation.one.asked


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(GROUP, id="a-string"),
        pytest.param({GROUP: True}, id="a-dict"),
        pytest.param([[GROUP]], id="a-list-of-lists"),
        pytest.param([f"x\n{GROUP}", f"{GROUP}\n", f"\r\n{GROUP}", f"{GROUP}\u2028"], id="with-line-breaks"),
        pytest.param(7, id="a-number"),
        pytest.param([None, True, 1.5], id="a-list-of-others"),
    ],
)
def test_a_claim_of_the_wrong_kind_gives_nothing(installation: Installation, value: Any) -> None:
    installation.one.claims |= {"eduperson_entitlement": value}
    assert installation.signed_in().facts.memberships == ()


def test_a_role_in_a_namespace_that_is_not_the_providers_is_not_kept(installation: Installation) -> None:
    foreign = ["urn:mace:example.org:group:demo:role=operator", f"{OURS}.evil:group:x", f"urn:mace:{OURS}:group:x"]
    installation.one.claims |= {"eduperson_entitlement": [GROUP, *foreign]}
    assert installation.signed_in().facts.memberships == (GROUP,)
    installation.two.claims |= {"eduperson_entitlement": [OPERATOR, GROUP]}
    assert installation.signed_in(provider="two").facts.memberships == ()


# --- afterwards -----------------------------------------------------------------------------------------------


def ask_again(installation: Installation, user: str, *, token: str | None = None) -> httpx.Response:
    """As the worker does at a renewal."""
    service = installation.service
    known = token or service.state.secret("worker_token")
    address = f"http://127.0.0.1:{service.settings.yaml.listen.hub_port}/hub/api/nbfed/refresh/{user}"
    return httpx.post(address, headers={"Authorization": f"token {known}"}, trust_env=False, timeout=30)


def test_a_membership_that_is_gone_is_gone_when_the_hub_asks_again(installation: Installation) -> None:
    installation.one.claims |= {"eduperson_entitlement": [GROUP]}
    person = installation.signed_in()
    installation.one.claims["eduperson_entitlement"] = []
    assert ask_again(installation, person.user_name).json() == {"outcome": "asked"}
    again = installation.service.house.admission.person(person.user_name)
    assert again.facts.memberships == ()
    assert again.facts_at > person.facts_at


def test_an_access_token_that_expired_is_renewed(installation: Installation) -> None:
    person = installation.signed_in()
    installation.one.access_tokens.clear()
    assert ask_again(installation, person.user_name).json() == {"outcome": "asked"}
    assert installation.one.asked.count("/token") == 2


def test_tokens_that_were_revoked_leave_what_was_said_last(installation: Installation) -> None:
    installation.one.claims |= {"eduperson_entitlement": [GROUP]}
    person = installation.signed_in()
    installation.one.revoke()
    assert ask_again(installation, person.user_name).json() == {"outcome": "sign-in-needed"}
    assert installation.service.house.admission.person(person.user_name).facts == person.facts
    assert "reason=tokens-refused provider=one" in installation.new_log()


@pytest.mark.parametrize(
    "answer", [(503, {}), (500, {"error": "x"}), (200, b"not json")], ids=["away", "error", "nonsense"]
)
def test_a_provider_that_cannot_answer_leaves_what_was_said_last(installation: Installation, answer: Any) -> None:
    installation.one.claims |= {"eduperson_entitlement": [GROUP]}
    person = installation.signed_in()
    installation.one.userinfo_of = lambda _claims: answer
    assert ask_again(installation, person.user_name).status_code == 200
    assert installation.service.house.admission.person(person.user_name).facts == person.facts


def test_what_is_said_of_another_subject_is_not_kept(installation: Installation) -> None:
    person = installation.signed_in()
    installation.one.claims |= {"sub": "somebody-else", "eduperson_entitlement": [GROUP]}
    assert ask_again(installation, person.user_name).json() == {"outcome": "sign-in-needed"}
    assert installation.service.house.admission.person(person.user_name).facts.memberships == ()
    assert "reason=wrong-subject" in installation.new_log()


def test_only_the_worker_may_let_the_hub_ask_again(installation: Installation) -> None:
    browser = installation.browser()
    installation.sign_in(browser)
    token = browser.api("POST", f"users/{browser.user_name}/tokens", json={"note": "test"}).json()["token"]
    assert ask_again(installation, browser.user_name, token=token).status_code == 403
    assert ask_again(installation, browser.user_name, token="wrong").status_code == 403
    assert browser.api("POST", f"nbfed/refresh/{browser.user_name}").status_code == 403
    assert ask_again(installation, "nobody").status_code == 404


def test_nothing_that_a_provider_gave_reaches_a_notebook(installation: Installation) -> None:
    installation.one.claims |= {"eduperson_entitlement": [GROUP]}
    browser = installation.browser()
    installation.sign_in(browser)
    browser.accept_terms()
    assert browser.start(flavour="small", environment="minimal").status_code == 200
    browser.wait_until_ready()
    kernel = browser.kernel()
    seen = kernel.run("import os, json; print(json.dumps(dict(os.environ)))")
    assert "JUPYTERHUB_API_TOKEN" in seen
    own = json.loads(seen[seen.index("{") : seen.rindex("}") + 1])
    asked = httpx.get(
        own["JUPYTERHUB_API_URL"] + "/user", trust_env=False,
        headers={"Authorization": f"token {own['JUPYTERHUB_API_TOKEN']}"},
    ).text  # fmt: skip
    browser.stop()
    for value in installation.one.issued | {installation.one.claims["sub"], CLIENT_SECRET}:
        assert value not in seen
        assert value not in asked
    assert "auth_state" not in asked


# --- a provider that is away ----------------------------------------------------------------------------------


def test_a_provider_that_is_away_is_told_and_the_other_one_works() -> None:
    with running_provider() as one, running_provider() as gone:
        away = gone.issuer
    with running_provider() as one:
        common = {"client_id": "notebooks", "client_secret_file": "secret"}
        providers = [
            {"id": "gone", "issuer": away, "title": "The one that is gone", "owns_namespaces": ["urn:a:b"]} | common,
            {"id": "one", "issuer": one.issuer, "title": "The first", "owns_namespaces": ["urn:c:d"]} | common,
        ]
        identity = {"providers": providers, "roles": {}}
        with running_service(start=False, identity=identity) as service:
            (service.root / "secret").write_text(CLIENT_SECRET)
            service.start()
            browser = Person(service.base_url)
            page = BeautifulSoup(browser.client.get(service.base_url + "hub/login").text, "html.parser")
            told = [note.text for note in page.select(".nb-away")]
            assert len(told) == 1
            assert "The one that is gone does not answer at the moment" in told[0]
            refused = browser.client.get(service.base_url + "hub/oauth_login?provider=gone")
            assert refused.status_code == 503
            assert choices(refused) == ["gone", "one"]
            answer = browser.client.get(service.base_url + "hub/oauth_login?provider=one")
            assert answer.url.path == "/hub/home"
            # It comes back, and nothing has to be started again.
            with running_provider(gone, port=urlsplit(away).port or 0):
                deadline = time.monotonic() + 60
                while "does not answer" in browser.client.get(service.base_url + "hub/login").text:
                    assert time.monotonic() < deadline
                    time.sleep(1)
                other = Person(service.base_url)
                there = other.client.get(service.base_url + "hub/oauth_login?provider=gone")
                assert there.url.path == "/hub/home"
