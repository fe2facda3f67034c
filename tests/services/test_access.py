"""Terms, suspension and removal on a running service: nothing is started before, and what runs ends as it should."""

import json
import time
from datetime import timedelta

import pytest
from bs4 import BeautifulSoup
from sqlalchemy import select

from federation import terms
from federation.persons import PersonTable
from spawners.sessions import Server
from spawners.tables import EndReason
from tests.support.person import Person
from tests.support.service import Service

pytestmark = pytest.mark.service


def publish(service: Service, *versions: str) -> None:
    """The terms change, with the words as they are."""
    for version in versions:
        with service.house.database.write() as connection:
            terms.publish(connection, version, terms.words(connection), service.house.clock())


def test_nothing_is_started_before_the_terms_are_accepted_by_form_or_by_rest(service: Service) -> None:
    person = Person(service.base_url).sign_in("trainer", agrees=False)
    refused = person.api(
        "POST", f"users/{person.user_name}/server", json={"flavour": "small", "environment": "minimal"}
    )
    assert refused.status_code == 403
    assert refused.reason_phrase == "terms-not-accepted"
    assert "Nothing can be started before you have accepted the terms of use." in refused.text
    xsrf = person.client.cookies.get("_xsrf", path="/hub/")
    chosen = {"_xsrf": xsrf, "flavour": "medium", "environment": "minimal", "site": "here"}
    asked = person.client.post(f"{service.base_url}hub/spawn/{person.user_name}", data=chosen)
    assert asked.url.path == "/hub/terms"
    page = BeautifulSoup(asked.text, "html.parser")
    back = person.submit(page, "#accept-terms")
    assert back.url.path == f"/hub/spawn/{person.user_name}"
    form = BeautifulSoup(back.text, "html.parser")
    assert form.select_one("input[name=flavour][value=medium][checked]") is not None
    assert form.select_one("select[name=environment] option[value=minimal][selected]") is not None
    assert service.house.sessions.open_of_person(service.house.admission.person(person.user_name).id) == []


def test_an_acceptance_needs_the_token_of_the_page_and_the_version_in_force(service: Service) -> None:
    person = Person(service.base_url).sign_in("reviewer-1", agrees=False)
    address = service.base_url + "hub/terms"
    assert person.client.post(address, data={"version": "2026-11", "language": "en"}).status_code == 403
    page = BeautifulSoup(person.client.get(address).text, "html.parser")
    other = person.submit(page, "#accept-terms", version="2026-10")
    assert "The terms were changed while you were reading." in other.text
    assert person.submit(page, "#accept-terms", language="xx").url.path == "/hub/terms"
    assert person.submit(page, "#accept-terms", next="https://evil.example.org/").url.path == "/hub/home"
    assert 'id="accepted"' in person.client.get(address).text


def test_the_terms_can_be_read_before_signing_in(service: Service) -> None:
    stranger = Person(service.base_url, language="pt")
    page = stranger.client.get(service.base_url + "hub/terms")
    assert page.status_code == 200
    assert 'lang="pt"' in page.text
    assert "O que você pode fazer" in page.text
    assert "accept-terms" not in page.text


def test_a_refusal_for_want_of_the_terms_leads_to_them(service: Service) -> None:
    person = Person(service.base_url).sign_in("newcomer", agrees=False)
    asked = person.client.get(service.base_url + "hub/ask?about=terms-not-accepted")
    assert asked.url.path == "/hub/terms"


def test_who_is_suspended_keeps_the_lease_and_then_reads_why(service: Service) -> None:
    person = Person(service.base_url).sign_in("researcher")
    person.start(environment="minimal")
    person.wait_until_ready()
    name = person.user_name
    done = service.nbfed("person", "suspend", name, "--reason", "Mining currency.")
    assert "suspended" in done.stdout
    session = service.house.sessions.open_of(Server("hub", name, ""))
    assert session is not None
    assert session.end_reason is None  # it keeps its lease
    home = person.home()
    assert "Mining currency." in home.text
    refused = person.api("POST", f"users/{name}/servers/two", json={"flavour": "small"})
    assert refused.reason_phrase == "access-suspended"
    service.set_clock(timedelta(minutes=50))
    try:
        deadline = time.monotonic() + 60
        while service.house.sessions.open_of(Server("hub", name, "")) is not None and time.monotonic() < deadline:
            time.sleep(0.3)
        ended = service.house.sessions.last_of(Server("hub", name, ""))
        assert ended is not None
        assert ended.end_reason is EndReason.ACCESS
    finally:
        service.set_clock(timedelta(0))
    service.nbfed("person", "restore", name, "--reason", "It was somebody else.")
    assert "Mining currency." not in person.home().text


def test_who_is_removed_leaves_nothing_that_says_who_they_were(service: Service) -> None:
    person = Person(service.base_url).sign_in("operator")
    name = person.user_name
    person.start(environment="minimal")
    person.wait_until_ready()
    refused = service.nbfed("person", "remove", name, "--reason", "asked for it", "--yes", check=False)
    assert refused.returncode == 1
    assert "is not over yet; nothing was removed" in refused.stderr
    person.stop()
    deadline = time.monotonic() + 30
    who = service.house.admission.person(name)
    while service.house.sessions.open_of_person(who.id) and time.monotonic() < deadline:
        time.sleep(0.2)
    kept = json.loads(service.nbfed("person", "export", name).stdout)
    charged = [hold["charged"] for hold in kept["reservations"]]
    assert len(charged) == 1
    service.nbfed("person", "remove", name, "--reason", "asked for it", "--yes")
    with service.house.database.read() as connection:
        row = connection.execute(select(PersonTable.__table__).where(PersonTable.id == who.id)).one()
    left = json.loads(service.nbfed("person", "export", row.user_name).stdout)
    assert [hold["charged"] for hold in left["reservations"]] == charged
    told = json.dumps(left, ensure_ascii=False)
    assert not [word for word in (name, "Sofía", "Herrera", "litoral", who.subject, who.issuer) if word in told]
    # The hub has forgotten them, too, and whoever signs in as before is somebody new.
    assert person.client.get(service.base_url + "hub/api/user").status_code == 403
    again = Person(service.base_url).sign_in("operator")
    assert service.house.admission.person(again.user_name).id != who.id
