"""Minutes without the API server, and a node that is silent until its pods are given up: nothing is lost, and each end is
charged by what the node wrote down.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from spawners.tables import EndReason
from tests.kubernetes.cluster.node import Node, running_node
from tests.kubernetes.images import prepare_image, tag_of
from tests.kubernetes.place import ENVIRONMENT, Namespace, Place
from tests.kubernetes.test_session import session_of, started
from tests.kubernetes.test_troubles import ended, is_exact, is_told
from tests.services.test_session import lines_of
from tests.support.gateway_rig import wait_until
from tests.support.service import Service, running_service

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PATIENCE_SECONDS = 10
AWAY_SECONDS = 120


@dataclass
class Cluster:
    node: Node
    namespace: Namespace
    service: Service


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster, and an installation whose only site it is."""
    with running_cluster() as made:
        yield made


@pytest.fixture
def impatient() -> Iterator[Cluster]:
    """The same, but the cluster gives up a silent node after seconds."""
    with running_cluster(PATIENCE_SECONDS) as made:
        yield made


@contextlib.contextmanager
def running_cluster(patience_seconds: int | None = None) -> Iterator[Cluster]:
    image = f"singleuser-{ENVIRONMENT}"
    with running_node(patience_seconds=patience_seconds) as node:
        node.load(prepare_image(image))
        place = Place(node.kubeconfig, tag_of(image), node.address, node)
        with (
            place.namespace(homes=4) as namespace,
            running_service(
                sites={"here": namespace.site()},
                environments={ENVIRONMENT: {"title": "Minimal", "kubernetes": {"image": place.image}}},
                listen={"hub_ip": place.hub_ip},
                limits={"lease_minutes": 5},
            ) as service,
        ):
            yield Cluster(node, namespace, service)


def test_minutes_without_the_api_server_end_nothing_and_refund_nothing(cluster: Cluster) -> None:
    service, namespace = cluster.service, cluster.namespace
    person, kernel = started(service, "researcher")
    attempt = session_of(service, person).attempt
    namespace.keep(attempt)
    with cluster.node.without_api(hangs=False):
        until = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < until:
            assert kernel.run("print(6 * 7)").strip() == "42"
            (line,) = lines_of(service, person.user_name)
            assert line.state in ("running", "unknown")
            time.sleep(5)
    assert session_of(service, person).attempt == attempt
    kernel.close()
    wait_until(lambda: person.status()["state"] == "ready", told=lambda: f"{person.status()}\n{service.all_logs()}")
    assert person.stop().status_code == 200
    assert is_exact(ended(service, person), namespace)


def test_a_node_that_is_silent_until_its_pods_are_given_up_charges_to_their_last_second(impatient: Cluster) -> None:
    service, namespace = impatient.service, impatient.namespace
    person, kernel = started(service, "trainer")
    kernel.close()
    attempt = session_of(service, person).attempt
    namespace.keep(attempt)

    def is_given_up() -> bool:
        conditions = namespace.pod_of(attempt)["status"]["conditions"]
        return any(one["type"] == "DisruptionTarget" and one["status"] == "True" for one in conditions)

    with impatient.node.without_kubelet():
        wait_until(is_given_up, 120, told=impatient.node.logs)
        (line,) = lines_of(service, person.user_name)
        assert line.state in ("running", "unknown"), "nobody knows yet when it ended"
    line = ended(service, person)
    assert is_exact(line, namespace)
    assert is_told(service, person, attempt, EndReason.EVICTED)
