"""From the request to a session that answers in a pod, with the image on the node: ours, and KubeSpawner as it comes.

Both hubs run at the same time on one cluster and take turns, so what slows one slows the other.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import httpx

from hub_config.children import NODE
from hub_config.proxy_install import PROXY_SCRIPT
from tests.bench.report import Report, in_turn, progress
from tests.kubernetes.cluster.programs import ClusterMissing
from tests.kubernetes.place import ENVIRONMENT, Namespace, Place, running_place
from tests.support.person import Person
from tests.support.service import free_ports, running_service

__all__ = ["measure"]

PAIRS_IN_A_RUN = 2
LOOK_SECONDS = 0.05
MOST_SECONDS = 180
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
            _until(lambda: person.status()["state"] == "ready", begun)
            seconds = time.monotonic() - begun
            person.api("DELETE", path)
            _until(lambda: _is_free(namespace), time.monotonic())
            return seconds

        yield start


@contextlib.contextmanager
def bare(place: Place) -> Iterator[Start]:
    """The same with KubeSpawner as it comes."""
    public, api, hub = free_ports(3)
    with place.namespace() as namespace, tempfile.TemporaryDirectory(prefix="nbfed-bench-") as folder:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "KUBECONFIG": str(place.kubeconfig),
            "CONFIGPROXY_AUTH_TOKEN": "of-the-proxy",
            "NBFED_BENCH_PUBLIC_URL": f"http://127.0.0.1:{public}",
            "NBFED_BENCH_HUB_URL": f"http://{place.hub_ip}:{hub}",
            "NBFED_BENCH_PROXY_URL": f"http://127.0.0.1:{api}",
            "NBFED_BENCH_PROXY_TOKEN": "of-the-proxy",
            "NBFED_BENCH_TOKEN": "of-the-bench",
            "NBFED_BENCH_DATABASE": f"{folder}/hub.sqlite",
            "NBFED_BENCH_NAMESPACE": namespace.name,
            "NBFED_BENCH_IMAGE": place.image,
        }
        proxy = [str(NODE), str(PROXY_SCRIPT), "--ip", "127.0.0.1", "--port", str(public), "--api-ip", "127.0.0.1",
                 "--api-port", str(api), "--log-level", "warn"]  # fmt: skip
        config = Path(__file__).with_name("bare_kube_config.py")
        hub_command = [sys.executable, "-m", "jupyterhub", "-f", str(config)]
        with (
            _running(proxy, environment, folder),
            _running(hub_command, environment, folder),
            httpx.Client(
                base_url=f"http://{place.hub_ip}:{hub}/hub/api", headers={"Authorization": "token of-the-bench"},
                trust_env=False, timeout=60,
            ) as client,
        ):  # fmt: skip
            _until(lambda: _answers(client), time.monotonic())
            client.post("/users/bench").raise_for_status()

            def is_ready() -> bool:
                server = client.get("/users/bench").raise_for_status().json()["servers"].get("")
                return bool(server and server["ready"])

            def start() -> float:
                begun = time.monotonic()
                client.post("/users/bench/server").raise_for_status()
                _until(is_ready, begun)
                seconds = time.monotonic() - begun
                client.delete("/users/bench/server")
                _until(lambda: _is_free(namespace), time.monotonic())
                return seconds

            yield start


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], folder: str) -> Iterator[None]:
    with (Path(folder) / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _is_free(namespace: Namespace) -> bool:
    """Ours stay readable for a while after they ended."""
    return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in namespace.all("pods"))


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").is_success
    except httpx.TransportError:
        return False


def _until(holds: Callable[[], bool], since: float) -> None:
    while not holds():
        if time.monotonic() - since > MOST_SECONDS:
            raise RuntimeError(f"not within {MOST_SECONDS} s")
        time.sleep(LOOK_SECONDS)
