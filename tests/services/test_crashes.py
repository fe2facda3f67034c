"""Processes are killed with -9 while people work. What runs goes on, and the books come out right."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from quota.tables import OPEN_STATES
from spawners.sessions import Server
from tests.services.test_session import lines_of, wait_for
from tests.support.person import Person
from tests.support.service import Service, running_service

pytestmark = pytest.mark.service


class Probe:
    """Asks a running notebook again and again; `gaps` are the answers that failed."""

    def __init__(self, person: Person) -> None:
        self.failures: list[str] = []
        self.answers = 0
        self.longest = 0.0
        self._url = person.user_url + "api/status"
        self._cookies = person.cookies_for(person.user_url)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=10, headers={"Cookie": self._cookies}) as client:
            while not self._ending.wait(0.1):
                begun = time.monotonic()
                try:
                    status = client.get(self._url).status_code
                    if status != 200:
                        self.failures.append(str(status))
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                self.answers += 1
                self.longest = max(self.longest, time.monotonic() - begun)


@pytest.fixture
def working(service: Service) -> Iterator[tuple[Person, object]]:
    """A person with a running session and a kernel that knows something."""
    person = Person(service.base_url).sign_in("researcher")
    person.start(flavour="small", environment="minimal")
    person.wait_until_ready()
    kernel = person.kernel()
    kernel.run("secret = 6 * 7")
    yield person, kernel
    kernel.close()


@pytest.mark.parametrize("victim", ["hub", "worker"])
def test_a_running_notebook_answers_throughout_when_a_process_is_killed(
    service: Service, working: tuple[Person, object], victim: str
) -> None:
    person, kernel = working
    attempt = service.house.sessions.open_of(Server("hub", person.user_name, "")).attempt
    with Probe(person) as probe:
        service.kill(victim)
        assert kernel.run("print(secret)").strip() == "42"
        service.wait_for_child(victim)
        service.wait_until_up()
        wait_for(lambda: person.status()["state"] == "ready", 30)
        time.sleep(2)
    assert probe.failures == [], f"{len(probe.failures)} of {probe.answers}"
    assert probe.answers >= 10, "the probe hardly asked"
    assert kernel.run("print(secret + 1)").strip() == "43"
    assert service.house.sessions.open_of(Server("hub", person.user_name, "")).attempt == attempt
    person.stop()
    line = lines_of(service, person.user_name)[0]
    assert (line.hold, line.state) == (attempt, "settled")
    assert person.status()["state"] == "stopped"


def test_the_proxy_comes_back_with_its_routes(service: Service, working: tuple[Person, object]) -> None:
    person, _kernel = working
    url = person.user_url + "api/status"
    service.kill("proxy")
    service.wait_for_child("proxy")
    assert wait_for(lambda: kernel_answers(person, url), 20)
    person.stop()


def kernel_answers(person: Person, url: str) -> bool:
    try:
        return person.client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def _one_kill_during_a_start(service: Service, person: Person, delay: float) -> None:
    """Kill the hub `delay` seconds after a start was sent; then the person starts again, and all is well."""
    sender = threading.Thread(target=_send_start, args=(person,))
    sender.start()
    time.sleep(delay)
    service.kill("hub")
    sender.join()
    service.wait_for_child("hub")
    service.wait_until_up()
    answer = person.start(flavour="small", environment="minimal")
    assert answer.status_code == 200, answer.text
    person.wait_until_ready(seconds=60)
    server = Server("hub", person.user_name, "")
    attempt = service.house.sessions.open_of(server).attempt
    open_lines = [line for line in lines_of(service, person.user_name) if line.charged is None]
    assert [line.hold for line in open_lines] == [attempt], "a hold without the session that runs"
    kernel = person.kernel()
    assert kernel.run("print(1)").strip() == "1"
    kernel.close()
    person.stop()
    wait_for(lambda: not any(line.charged is None for line in lines_of(service, person.user_name)), 30)
    assert service.processes_of_sessions(person.user_name) == [], "a process without a hold"


def _send_start(person: Person) -> None:
    with contextlib.suppress(httpx.HTTPError, AssertionError):  # its hub was killed
        person.start(flavour="small", environment="minimal")


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.4, 2.0])
def test_the_hub_is_killed_during_a_start_and_the_person_starts_again(service: Service, delay: float) -> None:
    person = Person(service.base_url).sign_in("trainer")
    _one_kill_during_a_start(service, person, delay)


@pytest.mark.long
@pytest.mark.timeout(1200)  # two starts and a restart of the hub, 25 times; other people may use the machine
def test_the_hub_is_killed_at_random_moments_of_a_start(service: Service) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(25):
        person = Person(service.base_url).sign_in("trainer")
        _one_kill_during_a_start(service, person, moments.uniform(0, 3))


def test_a_start_that_a_killed_hub_forgot_is_taken_up_by_the_worker(service: Service) -> None:
    person = Person(service.base_url).sign_in("operator")
    sender = threading.Thread(target=_send_start, args=(person,))
    sender.start()
    server = Server("hub", person.user_name, "")
    session = wait_for(lambda: (s := service.house.sessions.open_of(server)) and s.submitted_at and s, 10)
    service.kill("hub")
    sender.join()
    service.wait_for_child("hub")
    service.wait_until_up()
    person.wait_until_ready(seconds=60)  # the page that waits; nobody clicked again
    assert service.house.sessions.open_of(server).attempt == session.attempt
    person.stop()


def test_nothing_is_left_after_ctrl_c_and_a_second_run_finds_its_data() -> None:
    with running_service() as service:
        person = Person(service.base_url).sign_in("researcher")
        person.start(flavour="small", environment="minimal")
        person.wait_until_ready()
        name = person.user_name
        service.stop()
        assert service.processes() == []
        line = lines_of(service, name)[0]
        assert line.state == "settled"
        assert line.charged > 0
        service.start()
        again = Person(service.base_url).sign_in("researcher")
        assert again.user_name == name
        assert "The service was stopped." in again.home().get_text(" ", strip=True)


def test_no_hold_stays_open_after_its_lease_when_hub_and_worker_are_gone(service: Service) -> None:
    """A reservation whose session never came to be is given back at the end of its lease."""
    house = service.house
    open_ids = [state.value for state in OPEN_STATES]
    for name in ("researcher", "trainer", "operator"):
        person = Person(service.base_url).sign_in(name)
        for line in lines_of(service, person.user_name):
            assert line.state not in open_ids or line.lease_until > house.clock() - timedelta(seconds=30)
