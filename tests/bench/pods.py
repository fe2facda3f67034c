"""From the request to a session that answers in a pod, with the image on the node: ours, and KubeSpawner as it comes.

Both hubs run at the same time on one cluster and take turns, so what slows one slows the other.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from tests.bench.bare_hub import running_bare_hub, until
from tests.bench.report import Report, in_turn, progress
from tests.kubernetes.cluster.programs import ClusterMissing
from tests.kubernetes.place import ENVIRONMENT, Namespace, Place, running_place
from tests.support.person import Person
from tests.support.service import running_service

__all__ = ["measure"]

PAIRS_IN_A_RUN = 2
GOAL = 1.05

Start = Callable[[], float]


def measure(runs: int, seed: int) -> Report:
    """Run the part."""
    report = Report(f"pods: request to a session that answers, warm ({PAIRS_IN_A_RUN * runs} pairs)")
    try:
        with running_place() as place, ours(place) as our_start, bare(place) as bare_start:
            kinds: dict[str, Start] = {"ours": our_start, "KubeSpawner alone": bare_start}
            found: dict[str, list[float]] = {name: [] for name in kinds}
            for start in kinds.values():
                start()  # the first one is not warm
            for pair, name in in_turn(list(kinds), PAIRS_IN_A_RUN * runs, seed):
                progress(f"pods, pair {pair + 1}, {name}")
                found[name].append(kinds[name]())
    except ClusterMissing as missing:
        progress(f"pods: not measured, {missing}")
        return report
    for name, seconds in found.items():
        report.add(f"{name}: ready after", "ms", [1000 * each for each in seconds])
    ratios = [one / other for one, other in zip(*found.values(), strict=True)]
    report.add("ours, as a part of KubeSpawner alone, pair by pair", "%", [100 * each for each in ratios], 100 * GOAL)
    progress(f"pods: median of the pairs {median(ratios):.3f}")
    return report


@contextlib.contextmanager
def ours(place: Place) -> Iterator[Start]:
    """Starts a session, stops it, and returns how long it took until it answered."""
    with (
        place.namespace() as namespace,
        running_service(
            sites={"here": namespace.site(homes=None)},
            environments={ENVIRONMENT: {"title": "Minimal", "kubernetes": {"image": place.image}}},
            flavours={"small": {"cpu": 1, "memory_gib": 1, "weight": 1}},
            listen={"hub_ip": place.hub_ip},
        ) as service,
    ):
        person = Person(service.base_url).sign_in("researcher")
        path = f"users/{person.user_name}/server"

        def start() -> float:
            begun = time.monotonic()
            answer = person.api("POST", path, json={"flavour": "small", "environment": ENVIRONMENT})
            answer.raise_for_status()
            until(lambda: person.status()["state"] == "ready")
            seconds = time.monotonic() - begun
            person.api("DELETE", path)
            until(lambda: _is_free(namespace))
            return seconds

        yield start


@contextlib.contextmanager
def bare(place: Place) -> Iterator[Start]:
    """The same with KubeSpawner as it comes."""
    config = Path(__file__).with_name("bare_kube_config.py")
    with place.namespace() as namespace:
        environment = {
            "KUBECONFIG": str(place.kubeconfig),
            "NBFED_BENCH_NAMESPACE": namespace.name,
            "NBFED_BENCH_IMAGE": place.image,
        }
        with running_bare_hub(config, environment, place.hub_ip) as hub:
            hub.api.post("/hub/api/users/bench").raise_for_status()

            def start() -> float:
                begun = time.monotonic()
                if (answer := hub.api.post("/hub/api/users/bench/server")).is_error:
                    raise RuntimeError(f"{answer.status_code}: {answer.text}\n{hub.log.read_text()[-4000:]}")
                until(lambda: hub.is_ready("bench"))
                seconds = time.monotonic() - begun
                hub.api.delete("/hub/api/users/bench/server")
                until(lambda: _is_free(namespace))
                return seconds

            yield start


def _is_free(namespace: Namespace) -> bool:
    """Ours stay readable for a while after they ended."""
    return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in namespace.all("pods"))
