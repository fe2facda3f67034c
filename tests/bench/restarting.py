"""What a killed hub costs: from its start until it answers and calls every session ready again.

Ours against JupyterHub alone, each with two hundred stub sessions that were started by REST, so that both databases hold
what JupyterHub itself writes. Then ours once more, with five real sessions beside them.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.books import people
from tests.bench.in_hub import STUB_SITE
from tests.bench.installation import Installation, new_folder
from tests.bench.report import Report, in_turn, progress

__all__ = ["measure"]

STUBS, REAL = 200, 5
RATIO = 1.2
_AT_ONCE = 10
_READY_SECONDS = 180
_SHORT = httpx.Timeout(20)
TITLES = {"ours": "ours", "bare": "JupyterHub alone"}


@dataclass(frozen=True)
class Restart:
    """Seconds until the API answered and until all were ready, the hub's CPU seconds by then, and how many are ready."""

    answered: float
    ready: float
    cpu: float
    left: int


def measure(runs: int, seed: int) -> Report:
    """Run the part."""
    report = Report(f"restart: a killed hub and {STUBS} sessions")
    found: dict[str, list[Restart]] = {kind: [] for kind in TITLES}
    with new_folder() as root, ExitStack() as stack:
        hubs = {kind: stack.enter_context(_with_stubs(root / kind, kind)) for kind in TITLES}
        for run, kind in in_turn(list(hubs), runs, seed):
            hub, names = hubs[kind]
            progress(f"restart, run {run + 1}, {kind}")
            found[kind].append(_restart(hub, names[-1], STUBS))
        for kind, title in TITLES.items():
            _add(report, title, STUBS, found[kind])
        pairs = list(zip(found["ours"], found["bare"], strict=True))
        report.add("ours / JupyterHub alone, run by run", "", [a.ready / b.ready for a, b in pairs], RATIO)
        report.add("the same by the CPU's time", "", [a.cpu / b.cpu for a, b in pairs])
        report.add("sessions that ours lost", "", [STUBS - one.left for one in found["ours"]], 0)
        progress("restart: with real sessions")
        _with_real_sessions(*hubs["ours"], report)
    return report


@contextmanager
def _with_stubs(root: Path, kind: str) -> Iterator[tuple[Installation, list[str]]]:
    """An installation whose hub runs, with all stub sessions ready."""
    with Installation(root, kind) as hub:
        if kind == "ours":
            names = [person.user_name for person in people(hub.house, STUBS)]
        else:
            names = [f"p{number:03d}-abcdef" for number in range(STUBS)]
        hub.start_hub()
        hub.make_users(names)
        progress(f"restart: starting {STUBS} sessions, {kind}")
        options = {"site": STUB_SITE, "environment": "minimal", "flavour": "small"}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: hub.start_server(name, **options), names))
        _wait_for(hub, names[-1], STUBS, time.monotonic())
        yield hub, names


def _add(report: Report, title: str, count: int, restarts: list[Restart]) -> None:
    report.add(f"{title}: until the API answers", "s", [one.answered for one in restarts])
    report.add(f"{title}: until all {count} are ready", "s", [one.ready for one in restarts])
    report.add(f"{title}: the hub's CPU by then", "s", [one.cpu for one in restarts])


def _restart(hub: Installation, last: str, count: int) -> Restart:
    """Kill and start the hub."""
    before = hub.ready_servers()
    if before != count:
        raise RuntimeError(f"{before} of {count} sessions are ready before the restart")
    hub.kill_hub()
    begun, answered = hub.start_hub()
    ready = _wait_for(hub, last, count, begun)
    return Restart(answered, ready, hub.hub_cpu_seconds(), hub.ready_servers())


def _wait_for(hub: Installation, last: str, count: int, begun: float) -> float:
    """Seconds since `begun` until so many servers are ready, or no more come.

    Asks for one user first: the list of all is work that would slow down what is measured.
    """
    while time.monotonic() - begun < _READY_SECONDS:
        if hub.is_ready(last) and hub.ready_servers() >= count:
            break
        time.sleep(0.05)
    return time.monotonic() - begun


def _with_real_sessions(hub: Installation, names: list[str], report: Report) -> None:
    owners = names[:REAL]
    for name in owners:
        hub.start_server(name, "real", site="here", environment="minimal", flavour="small")
    before = _answering(hub, owners, wait_seconds=90)
    _wait_for(hub, names[-1], STUBS + REAL, time.monotonic())
    restart = _restart(hub, names[-1], STUBS + REAL)
    after = _answering(hub, owners)
    _add(report, f"ours with {REAL} real sessions", STUBS + REAL, [restart])
    report.add("sessions lost then", "", [STUBS + REAL - restart.left], 0)
    report.add(f"real sessions that answered before and not after ({before} answered)", "", [before - after], 0)


def _answering(hub: Installation, owners: list[str], wait_seconds: float = 0) -> int:
    """How many of the real sessions answer through the proxy."""
    deadline = time.monotonic() + wait_seconds
    with httpx.Client(trust_env=False, timeout=_SHORT) as client:
        while True:
            addresses = [f"{hub.settings.base_url}user/{name}/real/api" for name in owners]
            found = sum(_is_jupyter(client, address) for address in addresses)
            if found == len(owners) or time.monotonic() > deadline:
                return found
            time.sleep(0.5)


def _is_jupyter(client: httpx.Client, address: str) -> bool:
    answer = client.get(address)
    return answer.status_code == 200 and answer.json().get("version", "stub") != "stub"
