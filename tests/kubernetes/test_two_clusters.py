"""Two clusters are two sites of one hub: sessions run where they were placed, and one whose API server is away hinders
neither the other nor what runs in its own pods.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from spawners.backends.base import Life
from spawners.sessions import Session
from tests.kubernetes.cluster.node import Node, running_node
from tests.kubernetes.images import prepare_image, tag_of
from tests.kubernetes.place import ENVIRONMENT, Namespace, Place
from tests.kubernetes.test_session import session_of
from tests.services.test_session import lines_of, wait_for
from tests.support.person import Kernel, Person
from tests.support.service import Service, free_ports, running_service

pytestmark = pytest.mark.timeout(600)

SECONDS = 180


@dataclass
class Two:
    service: Service
    here: Namespace
    there: Namespace

    @property
    def second(self) -> Node:
        assert self.there.place.node is not None
        return self.there.place.node


@pytest.fixture(scope="module")
def two(place: Place) -> Iterator[Two]:
    if place.node is None:  # never in CI, which names no cluster
        pytest.skip("KUBECONFIG names one cluster, and none of our own is started beside it")
    image = f"singleuser-{ENVIRONMENT}"
    with running_node() as node:
        node.load(prepare_image(image))
        second = Place(node.kubeconfig, tag_of(image), node.address, node)
        with place.namespace(homes=4) as here, second.namespace(homes=4) as there:
            port = free_ports(1)[0]
            sites = {
                name: each.site(hub_url=f"http://{each.place.hub_ip}:{port}")
                for name, each in (("here", here), ("there", there))
            }
            with running_service(
                sites=sites,
                environments={ENVIRONMENT: {"title": "Minimal", "kubernetes": {"image": place.image}}},
                flavours={"small": {"cpu": 1, "memory_gib": 1, "weight": 1}},
                listen={"hub_ip": "0.0.0.0", "hub_port": port},
            ) as service:
                yield Two(service, here, there)


def started(two: Two, persona: str, site: str) -> tuple[Person, Kernel, Session]:
    """Somebody with a session there that answers."""
    person = Person(two.service.base_url).sign_in(persona)
    options = {"flavour": "small", "environment": ENVIRONMENT, "site": site}

    def taken() -> bool:
        answer = person.api("POST", f"users/{person.user_name}/server", json=options)
        assert answer.status_code in (201, 202, 503), answer.text
        return answer.is_success  # a site that did not answer a moment ago is not asked for some seconds

    wait_for(taken)
    person.wait_until_ready(seconds=SECONDS)
    kernel = person.kernel()
    assert kernel.run("print(6 * 7)").strip() == "42"
    session = session_of(two.service, person)
    (two.here if site == "here" else two.there).keep(session.attempt)
    return person, kernel, session


def is_exact(two: Two, person: Person, namespace: Namespace) -> bool:
    """Whether the newest line of a person is charged by what its pod says."""
    line = wait_for(lambda: (found := lines_of(two.service, person.user_name)[0]).state == "settled" and found, 90)
    state = namespace.pod_of(line.hold)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert line.started_at is not None
    assert line.ended_at is not None
    times = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (line.started_at, line.ended_at)]
    seconds = math.ceil((line.ended_at - line.started_at).total_seconds())
    return times == [state["startedAt"], state["finishedAt"]] and line.charged == seconds * 1000


def attempts(namespace: Namespace) -> set[str]:
    return {pod["metadata"]["labels"]["nbfed/attempt"] for pod in namespace.all("pods")}


def test_a_session_runs_where_it_was_placed_and_nowhere_else(two: Two) -> None:
    first, first_kernel, first_session = started(two, "researcher", "here")
    second, second_kernel, second_session = started(two, "trainer", "there")
    assert (first_session.site, second_session.site) == ("here", "there")
    assert first_session.attempt in attempts(two.here) - attempts(two.there)
    assert second_session.attempt in attempts(two.there) - attempts(two.here)
    for person, kernel, namespace in ((first, first_kernel, two.here), (second, second_kernel, two.there)):
        kernel.close()
        assert person.stop().status_code == 200
        assert is_exact(two, person, namespace)


@pytest.mark.parametrize("hangs", [pytest.param(False, id="gone"), pytest.param(True, id="hanging")])
def test_an_api_server_that_is_away_hinders_neither_the_other_site_nor_what_runs(two: Two, hangs: bool) -> None:
    person, kernel, session = started(two, "reviewer-1", "there")
    with two.second.without_api(hangs=hangs):
        backend = two.service.house.backends["there"].asks
        assert backend.observe(session.attempt).life is Life.UNKNOWN

        refused = Person(two.service.base_url).sign_in("operator")
        options = {"flavour": "small", "environment": ENVIRONMENT, "site": "there"}
        answer = refused.api("POST", f"users/{refused.user_name}/server", json=options)
        if answer.is_success:
            wait_for(lambda: refused.status()["state"] == "failed", 60)
        else:
            assert (answer.status_code, answer.reason_phrase) == (503, "site-away"), answer.text

        other, other_kernel, _ = started(two, "reviewer-2", "here")
        other_kernel.close()
        assert other.stop().status_code == 200
        assert is_exact(two, other, two.here)

        assert kernel.run("print(6 * 7)").strip() == "42", "its traffic does not pass the API server"
        assert two.service.house.sessions.get(session.attempt).end_reason is None
        assert lines_of(two.service, person.user_name)[0].state in ("running", "unknown")
    kernel.close()
    wait_for(lambda: backend.observe(session.attempt).life is Life.RUNNING, 30)
    assert person.stop().status_code == 200
    assert is_exact(two, person, two.there)
    wait_for(lambda: {line.state for line in lines_of(two.service, refused.user_name)} == {"released"}, 90)
    wait_for(lambda: refused.status()["state"] != "starting", 60)


def test_a_hub_that_starts_while_a_site_is_away_loses_none_of_its_sessions(two: Two) -> None:
    person, kernel, session = started(two, "site-operator", "there")
    with two.second.without_api(hangs=False):
        two.service.kill("hub")
        two.service.wait_for_child("hub")
        two.service.wait_until_up()
        assert person.status()["state"] == "ready"
        assert kernel.run("print(6 * 7)").strip() == "42"
    kernel.close()
    assert session_of(two.service, person).attempt == session.attempt
    assert person.stop().status_code == 200
    assert is_exact(two, person, two.there)
