"""Quota and refusals, seen from outside: exactly what is covered runs, and a refusal says why, wherever it is read."""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from bs4 import BeautifulSoup

from spawners.sessions import Server
from tests.services.test_session import lines_of, wait_for
from tests.support.person import Person
from tests.support.service import Service, running_service

pytestmark = pytest.mark.service


def test_of_twenty_parallel_starts_on_a_balance_for_three_exactly_three_run() -> None:
    defaults = {"T1": {"amount_hours": 3, "period": "month", "sessions": None, "flavours": ["small"]}}
    limits = {"lease_minutes": 60, "shortest_lease_minutes": 5}
    with running_service(defaults=defaults, limits=limits) as service:
        person = Person(service.base_url).sign_in("researcher")
        name = person.user_name
        options = {"flavour": "small", "environment": "minimal"}

        def start(number: int) -> tuple[int, dict[str, str], str]:
            answer = person.api("POST", f"users/{name}/servers/s{number}", json=options)
            return answer.status_code, dict(answer.headers), answer.text

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(start, range(20)))
        admitted = [a for a in answers if a[0] in (201, 202)]
        refused = [a for a in answers if a[0] == 429]
        assert (len(admitted), len(refused)) == (3, 17), [a[0] for a in answers]
        assert all("unit-hours" in text and "3" in text for _, _, text in refused)
        assert person.client.get(service.base_url + "hub/api").status_code == 200
        service.child("hub")
        running = service.house.sessions.open_on("hub")
        assert len(running) == 3
        for session in running:
            person.wait_until_ready(session.server.name)
        assert "does not stay up" not in service.log.read_text()
        assert "hub ended" not in service.log.read_text()
        page = person.home().get_text(" ", strip=True)
        assert "0 of 3 unit-hours left" in page


@pytest.fixture(scope="module")
def small_service():
    """Quota for a single lease."""
    defaults = {"T1": {"amount_hours": 1, "period": "month", "sessions": 2, "flavours": ["small"]}}
    with running_service(defaults=defaults, limits={"lease_minutes": 60, "shortest_lease_minutes": 5}) as service:
        person = Person(service.base_url).sign_in("researcher")
        person.start(flavour="small", environment="minimal")
        person.wait_until_ready()
        yield service, person


def refusal_of(html: str) -> str:
    element = BeautifulSoup(html, "html.parser").select_one("#refusal")
    assert element is not None, html[:3000]
    return element.get_text(" ", strip=True)


def test_the_form_tells_a_refusal_and_keeps_what_was_typed(small_service: tuple[Service, Person]) -> None:
    service, person = small_service
    answer = person.start(flavour="small", environment="minimal", server="second")
    assert answer.status_code == 429
    text = refusal_of(answer.text)
    assert "set aside for sessions that run" in text
    assert "Where to ask" in text
    assert "Reference:" in text
    form = BeautifulSoup(answer.text, "html.parser").select_one("#start-form")
    assert form.select_one("option[value=minimal]").has_attr("selected")
    assert form["action"].endswith("/second")


def test_rest_tells_a_refusal(small_service: tuple[Service, Person]) -> None:
    service, person = small_service
    answer = person.api("POST", f"users/{person.user_name}/servers/third", json={"flavour": "small"})
    assert answer.status_code == 429
    assert answer.reason_phrase == "quota-held"
    assert "set aside for sessions that run" in answer.json()["message"]


def test_five_refusals_in_a_row_are_no_failures_of_the_hub(small_service: tuple[Service, Person]) -> None:
    """JupyterHub counts failed spawns, and ends itself after so many in a row unless it is told not to."""
    service, person = small_service
    hub = service.child("hub").pid
    for n in range(6):
        answer = person.api("POST", f"users/{person.user_name}/servers/again-{n}", json={"flavour": "small"})
        assert answer.status_code == 429
    assert person.status()["state"] == "ready"
    assert service.child("hub").pid == hub
    assert "consecutive spawns failed" not in service.all_logs()


def test_a_refusal_that_comes_late_is_told_on_the_page_that_waits_and_in_the_progress_stream(
    small_service: tuple[Service, Person],
) -> None:
    """JupyterHub waits one second for a start before it sends the browser to the page that waits."""
    service, person = small_service
    lock = sqlite3.connect(service.state.federation_database, isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(2.0, lambda: lock.execute("ROLLBACK"))
    timer.start()
    answer = person.start(flavour="small", environment="minimal", server="late")
    timer.join()
    assert answer.url.path.startswith("/hub/spawn-pending/"), answer.url
    wait_for(lambda: person.status("late")["state"] == "failed")
    page = person.client.get(f"{service.base_url}hub/spawn-pending/{person.user_name}/late")
    assert page.status_code == 429
    assert "set aside for sessions that run" in refusal_of(page.text)
    stream = person.api("GET", f"users/{person.user_name}/servers/late/progress")
    event = json.loads(stream.text.strip().removeprefix("data:"))
    assert event["failed"] is True
    assert "set aside for sessions that run" in event["message"]
    assert "Where to ask" in event["html_message"]
    lock.close()


@pytest.mark.parametrize(("language", "words"), [("es", "apartad"), ("pt", "reserva")])
def test_a_refusal_is_told_in_the_readers_language(
    small_service: tuple[Service, Person], language: str, words: str
) -> None:
    service, person = small_service
    person.client.headers["Accept-Language"] = language
    try:
        answer = person.start(flavour="small", environment="minimal", server="second")
    finally:
        person.client.headers["Accept-Language"] = "en"
    assert words in refusal_of(answer.text)


def test_someone_without_access_is_told_what_is_missing(small_service: tuple[Service, Person]) -> None:
    service, _ = small_service
    newcomer = Person(service.base_url).sign_in("newcomer")
    page = newcomer.home()
    assert page.select_one("#start-form") is None
    assert "You have no quota" in page.get_text()
    answer = newcomer.api("POST", f"users/{newcomer.user_name}/server", json={"flavour": "small"})
    assert answer.status_code == 403
    assert "urn:mace:example.org:group:demo" in answer.json()["message"]
    asked = newcomer.client.get(service.base_url + "hub/ask?about=not-eligible")
    assert "/services/desk/ask?about=not-eligible" in asked.text
    assert "urn:mace:example.org:group:demo" in asked.text


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"flavour": "huge"}, id="unknown-flavour"),
        pytest.param({"environment": "../../etc"}, id="unknown-environment"),
        pytest.param({"site": "hpc-andes"}, id="unknown-site"),
        pytest.param({"flavour": ["small"]}, id="a-list"),
        pytest.param({"flavour": -1}, id="a-negative-number"),
        pytest.param({"flavour": 10**40}, id="a-huge-number"),
        pytest.param({"flavour": "small", "cmd": ["/bin/sh"]}, id="extra-option"),
        pytest.param({"mem_limit": "900G"}, id="a-limit"),
        pytest.param({"profile": "x"}, id="a-profile-of-wrapspawner"),
    ],
)
def test_bad_options_over_rest_are_refused_and_start_nothing(
    small_service: tuple[Service, Person], options: dict[str, object]
) -> None:
    service, person = small_service
    before = len(service.house.sessions.open_on("hub"))
    answer = person.api("POST", f"users/{person.user_name}/servers/bad", json={"user_options": options})
    assert answer.status_code == 400, answer.text
    assert "Nothing was started." in answer.json()["message"]
    assert len(service.house.sessions.open_on("hub")) == before


def test_an_unknown_flavour_by_form_is_refused(small_service: tuple[Service, Person]) -> None:
    service, person = small_service
    answer = person.start(flavour="huge", environment="minimal", server="bad")
    assert answer.status_code == 400
    assert "'huge'" in refusal_of(answer.text)


def test_a_get_fills_the_form_and_starts_nothing(small_service: tuple[Service, Person]) -> None:
    service, person = small_service
    answer = person.client.get(
        f"{service.base_url}hub/spawn/{person.user_name}/other?opt-environment=minimal&flavour=small"
    )
    assert answer.status_code == 200
    form = BeautifulSoup(answer.text, "html.parser").select_one("#start-form")
    assert form is not None
    assert service.house.sessions.open_of(Server("hub", person.user_name, "other")) is None


def test_an_expired_grant_is_said(small_service: tuple[Service, Person]) -> None:
    service, _ = small_service
    newcomer = Person(service.base_url).sign_in("site-operator")
    name = newcomer.user_name
    house = service.house
    person = house.admission.person(name)
    house.admission.give_default(person)
    listed = service.nbfed("grant", "list", name).stdout
    grant_id = next(word for word in listed.split() if word.count("-") == 4 and len(word) == 36)
    service.nbfed("grant", "revoke", grant_id, "--reason", "test")
    answer = newcomer.api("POST", f"users/{name}/server", json={"flavour": "small"})
    assert answer.status_code == 403
    assert "ended on" in answer.json()["message"]


def test_a_locked_database_is_an_outage_and_not_the_persons_quota() -> None:
    with running_service(database={"busy_seconds": 0.5}) as service:
        person = Person(service.base_url).sign_in("researcher")
        name = person.user_name
        lock = sqlite3.connect(service.state.federation_database, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        try:
            answer = person.api("POST", f"users/{name}/server", json={"flavour": "small", "environment": "minimal"})
        finally:
            lock.execute("ROLLBACK")
            lock.close()
        assert answer.status_code == 503
        assert answer.reason_phrase == "database-away"
        assert "outage of ours, not your quota" in answer.json()["message"]
        again = person.api("POST", f"users/{name}/server", json={"flavour": "small", "environment": "minimal"})
        assert again.status_code in (201, 202)
        wait_for(lambda: lines_of(service, name))
