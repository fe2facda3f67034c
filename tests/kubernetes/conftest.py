"""A cluster for all tests of this folder. Without one they are skipped, with the reason, except in CI."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from federation.ids import new_id
from spawners.backends.cluster import Cluster
from spawners.backends.kubernetes_pods import Pods, pod_name
from spawners.backends.pods import ATTEMPT, FINALIZER, HUB
from tests.kubernetes.cluster.programs import ClusterMissing
from tests.kubernetes.place import ENVIRONMENT, Namespace, Place, running_place
from tests.support.missing import skip_or_fail
from tests.support.service import Service, running_service

OTHERS = "example.org/of-somebody-else"
"""A finalizer that is not ours."""

Make = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/kubernetes/" in item.nodeid:
            item.add_marker(pytest.mark.kubernetes)


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """The cluster."""
    running = running_place()
    try:
        made = running.__enter__()
    except ClusterMissing as missing:
        skip_or_fail(f"no cluster: {missing}")
    try:
        yield made
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def namespace(place: Place) -> Iterator[Namespace]:
    """A namespace with room for the homes of a few people."""
    with place.namespace(homes=8) as made:
        yield made


@pytest.fixture(scope="session")
def service(namespace: Namespace) -> Iterator[Service]:
    """An installation whose only site is the cluster. One of its environments has an image that nobody has."""
    images = {ENVIRONMENT: namespace.place.image, "missing": "localhost/nobody-has-this:1"}
    with running_service(
        sites={"here": namespace.site()},
        environments={name: {"title": name.title(), "kubernetes": {"image": image}} for name, image in images.items()},
        # The node of our own has two cores, and a few things run on it besides.
        flavours={"medium": {"cpu": 1, "memory_gib": 3, "weight": 4, "title": "Medium"}},
        listen={"hub_ip": namespace.place.hub_ip},
    ) as running:
        yield running


@pytest.fixture(scope="session")
def pods(namespace: Namespace) -> Iterator[Pods]:
    """The backend, for an installation of its own name."""
    cluster = Cluster(namespace.name, kubeconfig=namespace.kubeconfig)
    yield Pods(cluster, "tests")
    cluster.close()


@pytest.fixture
def make(namespace: Namespace) -> Iterator[Make]:
    """Makes the pod of an attempt that runs a Python program; it is gone after the test."""
    made: list[str] = []

    def pod(
        program: str = "import time; time.sleep(600)", *, hub: str = "tests", image: str | None = None, **spec: Any
    ) -> str:
        attempt = new_id()
        memory = "1Gi" if image else "200Mi"  # the images are tried at what they are for
        context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsUser": 1000,
                   "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
        container = {"name": "notebook", "image": image or namespace.place.image, "args": ["python", "-c", program],
                     "securityContext": context, "ports": [{"name": "notebook-port", "containerPort": 8888}],
                     "resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "500m", "memory": memory}}}  # fmt: skip
        namespace.make(
            "pods",
            {
                "metadata": {"name": pod_name(attempt), "labels": {ATTEMPT: attempt, HUB: hub},
                             "finalizers": [FINALIZER, OTHERS] if spec.pop("shared", False) else [FINALIZER]},
                "spec": {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False,
                         **spec},
            },
        )  # fmt: skip
        made.append(attempt)
        return attempt

    yield pod
    for attempt in made:
        namespace.force_away(pod_name(attempt))
