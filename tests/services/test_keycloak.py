"""Signing in through a real Keycloak whose realm mimics EGI Check-in: claims in userinfo alone, lists, 64-hex subjects."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from bs4 import BeautifulSoup
from sqlalchemy import select, update

from quota.tables import HoldTable
from spawners.sessions import Server, Session
from spawners.tables import EndReason
from tests.services.test_session import wait_for
from tests.support.keycloak import CLIENT_SECRET, Keycloak, federation_with
from tests.support.person import Person
from tests.support.service import Service

pytestmark = pytest.mark.service

GROUP = "urn:mace:egi.eu:group:vo.example.org"


@pytest.fixture(scope="module")
def service(keycloak: Keycloak) -> Iterator[Service]:
    with federation_with(keycloak) as running:
        yield running


def signed_in(service: Service, user: str) -> Person:
    person = Person(service.base_url)
    answer = person.sign_in_with_password(user)
    assert (answer.status_code, answer.url.path) == (200, "/hub/home"), answer.text[:2000]
    return person


def ask_again(service: Service, user_name: str) -> str:
    address = f"http://127.0.0.1:{service.settings.yaml.listen.hub_port}/hub/api/nbfed/refresh/{user_name}"
    headers = {"Authorization": f"token {service.state.secret('worker_token')}"}
    return str(httpx.post(address, headers=headers, trust_env=False, timeout=30).json()["outcome"])


def test_what_userinfo_says_is_what_we_know_of_somebody(service: Service, keycloak: Keycloak) -> None:
    person = signed_in(service, "ines")
    known = service.house.admission.person(person.user_name)
    assert known.issuer == keycloak.issuer
    assert len(known.subject) == len("0" * 64 + "@egi.eu")
    assert known.user_name.startswith("icarvalho-")
    assert known.facts.name == "Inês Carvalho"
    assert known.facts.home_organisation == "serraclara.example.org"
    assert known.facts.memberships == (f"{GROUP}#aai.egi.eu", f"{GROUP}:role=member#aai.egi.eu")
    assert "https://aai.egi.eu/LoA#Substantial" in known.facts.assurance
    assert "unit-hours left" in person.home().get_text(" ", strip=True)


def test_without_a_preferred_user_name_one_is_known_all_the_same(service: Service) -> None:
    first = signed_in(service, "marta").user_name
    assert first.startswith("marta-kowalska-")
    assert signed_in(service, "marta").user_name == first
    assert service.house.admission.person(first).facts.not_understood == ()  # its namespace is nobody's we know


def test_someone_without_access_is_signed_in_and_refused_with_what_is_missing(service: Service) -> None:
    person = signed_in(service, "valentina")
    assert "You have no quota for notebooks yet" in person.home().get_text()
    answer = person.api("POST", f"users/{person.user_name}/server", json={"flavour": "small"})
    assert answer.status_code == 403
    assert GROUP in answer.json()["message"]


def test_the_provider_speaks_the_language_of_the_hub(service: Service) -> None:
    page = Person(service.base_url, language="es").client.get(service.base_url)
    assert BeautifulSoup(page.text, "html.parser").html["lang"] == "es"


def test_signing_out_ends_the_session_at_keycloak_too(service: Service, keycloak: Keycloak) -> None:
    person = signed_in(service, "jonas")
    assert keycloak.sessions("jonas") == 1
    answer = person.client.get(service.base_url + "hub/logout")
    assert (answer.status_code, str(answer.url)) == (200, service.base_url + "hub/signed-out")
    assert keycloak.sessions("jonas") == 0
    again = person.client.get(service.base_url + "hub/home")
    assert again.url.path.startswith("/auth/realms/egi/"), "it asks for the password again"


def test_a_code_for_another_client_is_refused(service: Service, keycloak: Keycloak) -> None:
    """The victim signs in at another service; its operator takes the code to us."""
    service_of_another = "http://127.0.0.1:9/callback"
    client = keycloak.admin("GET", "/egi/clients", params={"clientId": "another"}).json()[0]
    keycloak.admin("PUT", f"/egi/clients/{client['id']}", json={**client, "redirectUris": [service_of_another]})
    attacker = Person(service.base_url)
    ours = attacker.client.get(service.base_url + "hub/home")
    request = parse_qs(urlsplit(str(ours.url)).query)
    victim = Person(service.base_url)
    page = victim.client.get(
        f"{keycloak.issuer}/protocol/openid-connect/auth",
        params={
            "response_type": "code", "client_id": "another", "redirect_uri": service_of_another, "scope": "openid",
            "state": "x", "nonce": request["nonce"][0], "code_challenge": request["code_challenge"][0],
            "code_challenge_method": "S256",
        },
    )  # fmt: skip
    form = BeautifulSoup(page.text, "html.parser").select_one("#kc-form-login")
    victim.client.follow_redirects = False
    back = victim.client.post(str(form["action"]), data={"username": "ines", "password": "password"})
    stolen = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    answer = attacker.client.get(
        service.base_url + "hub/oauth_callback",
        params={"code": stolen, "state": request["state"][0], "iss": keycloak.issuer},
    )
    assert answer.status_code == 400
    log = service.state.logs / "hub.log"
    wait_for(lambda: "reason=code-refused provider=check-in" in log.read_text())
    assert stolen not in log.read_text()


def test_the_doctor_finds_nothing_wrong_and_shows_what_is_seen_of_somebody(
    service: Service, keycloak: Keycloak
) -> None:
    form = {
        "grant_type": "password", "client_id": "notebooks", "client_secret": CLIENT_SECRET, "username": "marta",
        "password": "password", "scope": "openid profile voperson_id eduperson_entitlement eduperson_assurance",
    }  # fmt: skip
    answer = httpx.post(f"{keycloak.issuer}/protocol/openid-connect/token", data=form, trust_env=False)
    token = answer.json()["access_token"]
    (service.root / "token").write_text(token)
    seen = service.nbfed("identity", "check", "check-in", "--token-file", "token").stdout
    assert "0 fail" in seen
    assert "the provider takes our client, redirect URI and scopes" in seen
    assert f"{GROUP}:role=trainer#aai.egi.eu" in seen
    assert "this is not an entitlement" in seen
    assert token not in seen


# --- while a session runs -------------------------------------------------------------------------------------


def running_session(service: Service, user: str) -> Person:
    person = signed_in(service, user)
    answer = person.start(flavour="small", environment="minimal")
    assert answer.status_code == 200, answer.text[:3000]
    person.wait_until_ready()
    return person


def test_a_membership_that_is_removed_ends_the_session_when_its_lease_does(
    service: Service, keycloak: Keycloak
) -> None:
    person = running_session(service, "ines")
    name = person.user_name
    before = keycloak.user("ines")["attributes"]["entitlements"]
    keycloak.change("ines", entitlements=[])
    try:
        # Nobody signs in, and nobody opens a page: the worker lets the hub ask.
        session = shorten_lease(service, name)
        wait_for(lambda: service.house.admission.person(name).facts.memberships == (), 60)
        last = wait_for(lambda: ended(service, session.attempt), 120)
    finally:
        keycloak.change("ines", entitlements=before)
    assert last.end_reason is EndReason.ACCESS
    assert "It was stopped because your access ended." in person.home().get_text()


def shorten_lease(service: Service, user_name: str) -> Session:
    """Make a session's lease end in some seconds: the worker wants to renew it in its next round."""
    session = service.house.sessions.open_of(Server("hub", user_name, ""))
    assert session is not None
    soon = service.house.clock() + timedelta(seconds=15)
    with service.house.database.write() as connection:
        connection.execute(update(HoldTable).where(HoldTable.id == session.attempt).values(lease_until=soon))
    return session


def ended(service: Service, attempt: str) -> Session | None:
    found = service.house.sessions.get(attempt)
    return found if found is not None and found.ended_at is not None else None


def test_revoked_tokens_need_a_new_sign_in_and_the_session_goes_on(service: Service, keycloak: Keycloak) -> None:
    person = running_session(service, "jonas")
    name = person.user_name
    assert ask_again(service, name) == "asked"
    keycloak.revoke("jonas")
    wait_for(lambda: ask_again(service, name) == "sign-in-needed", 90)
    assert person.kernel().run("print(6 * 7)").strip() == "42"
    assert service.house.admission.person(name).facts.memberships == (f"{GROUP}#aai.egi.eu",)
    person.stop()


def test_keycloak_stops_while_a_session_runs(service: Service, keycloak: Keycloak) -> None:
    person = running_session(service, "jonas")
    name, kernel = person.user_name, person.kernel()
    said = service.house.admission.person(name).facts_at
    keycloak.stop()
    try:
        assert kernel.run("print(6 * 7)").strip() == "42"
        assert ask_again(service, name) == "provider-away"
        stranger = Person(service.base_url)
        page = stranger.client.get(service.base_url + "hub/home")
        assert page.status_code == 503
        assert "Check-in does not answer at the moment" in page.text
        assert "Running sessions go on" in page.text
        # Renewed without it, by what it said last.
        session = shorten_lease(service, name)
        soon = service.house.clock() + timedelta(minutes=10)
        wait_for(lambda: lease_until(service, session) > soon, 60)
        assert service.house.admission.person(name).facts_at == said
        signed_out = person.client.get(service.base_url + "hub/logout")
        assert signed_out.url.path == "/hub/signed-out"
        assert "you may still be signed in there" in signed_out.text
    finally:
        keycloak.start()
    # As the page said: they are still signed in there, so no password is asked for.
    assert person.client.get(service.base_url + "hub/home").url.path == "/hub/home"
    assert person.user_name == name
    assert kernel.run("print(7 * 6)").strip() == "42"
    person.stop()


def lease_until(service: Service, session: Session) -> datetime:
    with service.house.database.read() as connection:
        wanted = select(HoldTable.lease_until).where(HoldTable.id == session.attempt)
        return connection.execute(wanted).scalar_one()
