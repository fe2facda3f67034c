"""The hub from our image as a pod, with our values, the rights of our chart, and PostgreSQL; worker, access desk
and gateway from our chart beside. A pod of the hub is replaced, and no session notices; a pod of the gateway, and its
forwards are there again.
"""

import contextlib
import math
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from federation.database import Database
from federation.ids import new_id
from federation.persons import find_by_user_name
from quota.statement import Line, statement
from spawners.gateway.answers import SiteState
from spawners.paying import owner_of
from tests.kubernetes.deployment import Deployed, deployed
from tests.kubernetes.place import ENVIRONMENT, Place
from tests.services.test_desk import desk, page, send
from tests.services.test_session import wait_for
from tests.spawners.gateway.test_gateway import Session
from tests.support.databases import postgres_or_skip
from tests.support.gateway_rig import running_rig
from tests.support.helm import helm_or_skip
from tests.support.person import Kernel, Person
from tests.support.postgres import running_postgres
from tests.support.sshd import NODES, account_or_skip

pytestmark = pytest.mark.timeout(1200)

PEOPLE = ("researcher", "trainer", "reviewer-1", "reviewer-2", "operator")
SECONDS = 180


@pytest.fixture(scope="module")
def federation(place: Place) -> Iterator[Deployed]:
    if place.node is None:  # never in CI, which names no cluster
        pytest.skip("KUBECONFIG names a cluster whose network is another one")
    postgres_or_skip()
    account_or_skip()
    helm = helm_or_skip()
    with (
        running_postgres() as postgres,
        running_rig("andes") as rig,
        place.namespace() as sessions,
        deployed(place, sessions, rig.sshd["andes"], helm, postgres) as made,
    ):
        yield made


def test_the_doctor_in_the_pod_finds_nothing_wrong(federation: Deployed) -> None:
    done = federation.nbfed("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answers for namespace" in done.stdout
    assert "PostgreSQL" in done.stdout
    assert f"answers at http://nbfed-desk:{federation.desk}" in done.stdout


def test_people_sign_in_to_the_desk_through_the_proxy_and_go_on_while_its_pod_is_replaced(federation: Deployed) -> None:
    assert "The cloud" in desk(Person(federation.base_url)).get_text(), "nobody has to sign in for that"
    person = Person(federation.base_url).sign_in("operator")
    shown = desk(person, "ask?kind=quota")
    federation.replace("desk")
    kept = send(person, shown, "#ask-form", "[value=keep]", purpose="Kept")
    assert page(kept).select_one("#state")["data-state"] == "draft"


def test_forwards_to_a_batch_site_are_there_again_when_the_gateways_pod_is_replaced(
    federation: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    client, job, attempt = federation.gateway_client, Session(), new_id()
    wait_for(lambda: client.sites()["andes"].state is SiteState.OK, 60)
    host, port = client.open_forward("andes", attempt, node=NODES[0], port=job.port)
    assert host == "nbfed-gateway", "as hub and proxy find it"

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((federation.node.address, port), timeout=2) as way:
            way.sendall(b"said\n")
            return way.recv(100) == b"said\n"
        return False

    assert answers()
    pod = federation.pod_of("gateway")
    assert pod is not None
    federation.place.api("DELETE", f"/api/v1/namespaces/{federation.name}/pods/{pod['metadata']['name']}")
    begun = time.monotonic()
    wait_for(lambda: not answers())
    wait_for(answers, 120)
    with capsys.disabled():
        print(f"\na forward answers again {time.monotonic() - begun:.1f} s after the gateway's pod was deleted")
    assert client.open_forward("andes", attempt, node=NODES[0], port=job.port) == (host, port), "on the same port"
    client.close_forward("andes", attempt)
    job.server.close()


def test_sessions_of_five_people_live_on_while_the_hubs_pod_is_replaced(federation: Deployed) -> None:
    people = {name: Person(federation.base_url).sign_in(name) for name in PEOPLE}
    kernels: dict[str, Kernel] = {}
    for person in people.values():
        options = {"flavour": "small", "environment": ENVIRONMENT, "site": "here"}
        answer = person.api("POST", f"users/{person.user_name}/server", json=options)
        assert answer.status_code in (201, 202), answer.text + federation.logs()
    for name, person in people.items():
        try:
            person.wait_until_ready(seconds=SECONDS)
        except AssertionError as error:
            raise AssertionError(federation.logs()) from error
        kernels[name] = person.kernel()
        assert kernels[name].run(f"said = {name!r}; print(said)").strip() == name
    before = {pod["metadata"]["name"] for pod in federation.sessions.all("pods")}
    assert len(before) == len(PEOPLE)

    federation.replace_hub()

    assert {pod["metadata"]["name"] for pod in federation.sessions.all("pods")} == before
    for name, person in people.items():
        assert kernels[name].run("print(said)").strip() == name, "over the connection of before"
        wait_for(lambda who=person: who.status()["state"] == "ready", 60)
        kernels[name].close()
        assert person.stop().status_code == 200
    for person in people.values():
        (line,) = wait_for(lambda who=person: closed(federation, who), 90)
        assert line.started_at is not None
        assert line.ended_at is not None
        assert line.charged == math.ceil((line.ended_at - line.started_at).total_seconds()) * 1000


def closed(federation: Deployed, person: Person) -> list[Line]:
    """The lines of a person in the books; empty until they are settled."""
    database = Database(federation.books)
    with database.read() as connection:
        found = find_by_user_name(connection, person.user_name)
        assert found is not None
        now = datetime.now(UTC)
        lines = list(statement(connection, owner_of(found), now, since=now - timedelta(days=1)).lines)
    database.dispose()
    return lines if all(line.state == "settled" for line in lines) else []
