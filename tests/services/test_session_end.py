"""The end of a session that nobody asked for, seen from outside: told before, at the end of the lease, and explained."""

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import httpx
import pytest

from federation.persons import Facts, remember
from quota.tables import HoldTable
from spawners.sessions import Session
from spawners.tables import EndReason
from tests.services.test_session import lines_of, wait_for
from tests.support.books import discrepancies
from tests.support.person import Kernel, Person
from tests.support.service import Service, running_service

pytestmark = pytest.mark.service

LEASE_SECONDS = 60
WORKER_SECONDS = 15
"""How late the end may be at the most: the worker looks every second, and the session gets time to end in good order."""


def open_session(service: Service, person: Person) -> Session:
    house = service.house
    return next(s for s in house.sessions.open_on("hub") if s.server.user == person.user_name)


def token_of(kernel: Kernel) -> str:
    """The single-user server's own token, as a kernel sees it."""
    return kernel.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()


def ask(service: Service, token: str, server: str = "", **headers: str) -> httpx.Response:
    return httpx.get(
        f"{service.base_url}hub/api/nbfed/session", params={"server": server},
        headers={"Authorization": f"token {token}", **headers}, trust_env=False,
    )  # fmt: skip


def lease_of(service: Service, session: Session) -> Any:
    with service.house.database.read() as connection:
        return connection.execute(
            HoldTable.__table__.select().where(HoldTable.id == session.attempt)
        ).one().lease_until  # fmt: skip


# --- a grant that is revoked, a membership that is lost ---------------------------------------------------------------


@dataclass
class Story:
    """What one session saw."""

    service: Service
    person: Person
    session: Session
    before: dict[str, Any]
    told: dict[str, Any]
    lease_until: Any
    seen_late: dict[str, Any]
    ended: Session


def revoke_grant(service: Service, person: Person) -> None:
    """`nbfed grant revoke` of all that the person has."""
    listed = service.nbfed("grant", "list", person.user_name).stdout
    grant_id = next(word for word in listed.split() if word.count("-") == 4 and len(word) == 36)
    service.nbfed("grant", "revoke", grant_id, "--reason", "test")


def lose_membership(service: Service, person: Person) -> None:
    """What is known of the person says no more that they are a member. Their provider, which would say otherwise when the
    hub asks again at the renewal, does not answer.
    """
    service.child("sign-in").suspend()
    known = service.house.admission.person(person.user_name)
    with service.house.database.write() as connection:
        remember(
            connection, issuer=known.issuer, subject=known.subject, preferred="x",
            facts=Facts(name=known.facts.name), now=service.house.clock(),
        )  # fmt: skip


def live_through(service: Service, persona: str, change: Any, both_run: Barrier) -> Story:
    person = Person(service.base_url).sign_in(persona)
    person.start(flavour="small", environment="minimal")
    person.wait_until_ready()
    session = open_session(service, person)
    kernel = person.kernel()
    token = token_of(kernel)
    before = ask(service, token).json()
    both_run.wait(60)
    change(service, person)
    told = ask(service, token).json()
    lease_until = lease_of(service, session)
    # It goes on to the end of its lease, and computes.
    time.sleep(max(0.0, lease_until.timestamp() - time.time() - 8))
    assert kernel.run("print(6 * 7)").strip() == "42"
    seen_late = ask(service, token).json()
    kernel.close()
    ended = wait_for(lambda: (s := service.house.sessions.get(session.attempt)).ended_at and s, WORKER_SECONDS + 30)
    return Story(service, person, session, before, told, lease_until, seen_late, ended)


@pytest.fixture(scope="module")
def stories() -> Iterator[dict[str, Story]]:
    """Two sessions at the same time, with leases of a minute: one loses its grant, the other's person is no member."""
    with (
        running_service(limits={"lease_minutes": 1, "shortest_lease_minutes": 1}) as service,
        ThreadPoolExecutor(2) as pool,
    ):
        both_run = Barrier(2)
        revoked = pool.submit(live_through, service, "researcher", revoke_grant, both_run)
        lost = pool.submit(live_through, service, "trainer", lose_membership, both_run)
        yield {"grant-revoked": revoked.result(), "membership-lost": lost.result()}


REASONS = [
    pytest.param("grant-revoked", EndReason.QUOTA, "No quota is left to go on", id="grant-revoked"),
    pytest.param("membership-lost", EndReason.ACCESS, "Your access has ended", id="membership-lost"),
]


@pytest.mark.parametrize(("which", "reason", "words"), REASONS)
def test_it_is_told_at_once_and_ends_at_the_lease(
    stories: dict[str, Story], which: str, reason: EndReason, words: str
) -> None:
    story = stories[which]
    assert (story.before["notice"], story.before["reason"]) == (None, "idle")
    for told in (story.told, story.seen_late):
        assert told["notice"]["reason"] == reason
        assert words in told["notice"]["text"]
        assert told["state"] == "running"
    assert story.seen_late["stop_at"] == story.lease_until.isoformat()
    assert story.ended.end_reason is reason
    late = (story.ended.ended_at - story.lease_until).total_seconds()
    assert 0 <= late <= WORKER_SECONDS


@pytest.mark.parametrize("which", ["grant-revoked", "membership-lost"])
def test_the_books_are_right_to_the_second(stories: dict[str, Story], which: str) -> None:
    story = stories[which]
    line = lines_of(story.service, story.person.user_name)[0]
    assert (line.hold, line.state, line.source) == (story.session.attempt, "settled", "launcher")
    folder = story.service.state.sessions / line.hold
    started = json.loads((folder / "started.json").read_text())["started_at"]
    ended = json.loads((folder / "ended.json").read_text())["ended_at"]
    assert line.charged == math.ceil(round(ended - started, 6)) * 1000
    assert discrepancies(story.service.house.database) == []


@pytest.mark.parametrize(
    ("which", "words", "advice"),
    [
        pytest.param("grant-revoked", "no quota was left to go on", "how to get more quota", id="grant-revoked"),
        pytest.param("membership-lost", "your access ended", "what is missing now", id="membership-lost"),
    ],
)
def test_the_next_page_says_why_and_what_to_do(stories: dict[str, Story], which: str, words: str, advice: str) -> None:
    person = stories[which].person
    page = person.client.get(person.user_url + "lab").text
    assert words in page
    assert advice in page
    assert words in person.home().get_text()


# --- who may ask ------------------------------------------------------------------------------------------------------


def test_only_the_owner_of_a_session_learns_of_it(service: Service) -> None:
    ana, eve = Person(service.base_url).sign_in("researcher"), Person(service.base_url).sign_in("trainer")
    for person in (ana, eve):
        person.start(flavour="small", environment="minimal", server="mine")
        person.wait_until_ready("mine")
    token, of_eve = token_of(ana.kernel("mine")), token_of(eve.kernel("mine"))

    mine = ask(service, token, "mine", **{"Accept-Language": "pt"})
    assert mine.status_code == 200
    assert mine.headers["Cache-Control"] == "no-store"
    assert (mine.json()["state"], mine.json()["language"], mine.json()["server"]) == ("running", "pt", "mine")
    assert ask(service, of_eve, "mine").json()["started_at"] != mine.json()["started_at"], "somebody else's session"

    # The server's token opens its own server and no other, not even of the same person.
    assert ask(service, token).status_code == 404
    assert ask(service, token, "none").status_code == 404
    assert ask(service, "0" * 32, "mine").status_code == 403
    assert httpx.get(f"{service.base_url}hub/api/nbfed/session?server=mine", trust_env=False).status_code == 403
    worker = service.state.secret("worker_token")
    assert ask(service, worker, "mine").status_code == 403

    # A token that may only say whose it is does not do.
    weak = ana.api("POST", f"users/{ana.user_name}/tokens", json={"scopes": ["read:users:name!user"]}).json()["token"]
    assert ask(service, weak, "mine").status_code in (403, 404)
    strong = ana.api("POST", f"users/{ana.user_name}/tokens", json={}).json()
    assert ask(service, strong["token"], "mine").status_code == 200
    ana.api("DELETE", f"users/{ana.user_name}/tokens/{strong['id']}")
    assert ask(service, strong["token"], "mine").status_code == 403, "revoked"

    # The person's own pages may ask as well; another site's page, without the XSRF token, may not.
    assert ana.api("GET", "nbfed/session?server=mine").status_code == 200
    from_elsewhere = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.org"}
    url = service.base_url + "hub/api/nbfed/session?server=mine"
    assert ana.client.get(url, headers=from_elsewhere).status_code == 403

    # When the session is over, so is its token.
    ana.stop("mine")
    wait_for(lambda: ask(service, token, "mine").status_code == 403)
    eve.stop("mine")


# --- idle -------------------------------------------------------------------------------------------------------------

IDLE_SECONDS = 20


@pytest.fixture(scope="module")
def idle_service() -> Iterator[Service]:
    """Sessions are stopped after twenty seconds; the notice comes at half of that."""
    with running_service(idle={"stop_after_minutes": IDLE_SECONDS / 60, "notice_minutes": 10}) as running:
        yield running


def seen_by_page(person: Person) -> dict[str, Any]:
    """What the extension of JupyterLab asks for."""
    answer = person.session_api("GET", "nbfed/session")
    assert answer.status_code == 200, (answer.status_code, answer.text[:500])
    assert answer.headers["Cache-Control"] == "no-store"
    assert "token" not in answer.text
    return dict(answer.json())


def test_an_idle_stop_is_told_first_and_keeping_it_keeps_it(idle_service: Service) -> None:
    service, person = idle_service, Person(idle_service.base_url).sign_in("researcher")
    person.start(flavour="small", environment="minimal")
    person.wait_until_ready()
    session = open_session(service, person)

    def notice() -> Any:
        # What an open page of JupyterLab asks for all the time is no use of the session.
        assert person.session_api("GET", "api/kernels").status_code == 200
        assert person.session_api("GET", "api/contents").status_code == 200
        return seen_by_page(person)["notice"]

    assert wait_for(notice, IDLE_SECONDS)["reason"] == "idle"
    home = person.home()
    assert "Nobody is using this session" in home.get_text()

    kept = person.session_api("POST", "nbfed/session")
    assert (kept.status_code, kept.json()["notice"]) == (200, None)
    assert "Nobody is using" not in person.home().get_text()

    wait_for(notice, IDLE_SECONDS)
    assert person.submit(person.home(), ".nb-notice form").status_code == 200
    assert seen_by_page(person)["notice"] is None

    # A kernel that is busy is in use, however silent it is.
    kernel = person.kernel()
    kernel.run(f"import time; time.sleep({IDLE_SECONDS + 8})")
    assert service.house.sessions.get(session.attempt).end_reason is None
    assert seen_by_page(person)["notice"] is None
    kernel.close()

    last = wait_for(notice, IDLE_SECONDS)
    assert last["reason"] == "idle"
    ended = wait_for(lambda: (s := service.house.sessions.get(session.attempt)).ended_at and s, IDLE_SECONDS + 30)
    assert ended.end_reason is EndReason.IDLE
    assert "nobody used it for 0.3 minutes" in person.client.get(person.user_url + "lab").text
    assert discrepancies(service.house.database) == []


def test_nobody_keeps_the_session_of_another(idle_service: Service) -> None:
    person = Person(idle_service.base_url).sign_in("trainer")
    home = person.home()
    xsrf = home.select_one("input[name=_xsrf]")["value"]
    answer = person.client.post(idle_service.base_url + "hub/keep", data={"server": "not-mine", "_xsrf": xsrf})
    assert answer.status_code == 404
    assert person.client.post(idle_service.base_url + "hub/keep", data={"server": ""}).status_code == 403
