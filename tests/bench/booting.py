"""How long a warm start of the whole service takes, and a session's until its own API answers through the proxy."""

import time

import httpx

from tests.bench.report import Report, in_turn, progress
from tests.support.person import Person
from tests.support.service import Service, running_service

__all__ = ["measure"]

ENVIRONMENTS = ("python", "minimal")
_SESSION_SECONDS = 120


def measure(runs: int, seed: int) -> Report:
    """Run the part."""
    report = Report("boot: `nbfed up` and sessions")
    up: list[float] = []
    sessions: dict[str, list[float]] = {name: [] for name in ENVIRONMENTS}
    with running_service() as service:
        Person(service.base_url).sign_in("researcher")  # so that there is something in the state folder
        for run in range(runs):
            progress(f"boot, run {run + 1}")
            service.stop()
            begun = time.monotonic()
            service.start()
            up.append(time.monotonic() - begun)
        person = Person(service.base_url).sign_in("researcher")
        for _, environment in in_turn(ENVIRONMENTS, runs, seed):
            progress(f"boot, a session of {environment}")
            sessions[environment].append(_one_session(service, person, environment))
    report.add("nbfed up, warm, until the hub answers", "s", up)
    for environment, values in sessions.items():
        report.add(f"session of {environment}, until its API answers", "s", values)
    return report


def _one_session(service: Service, person: Person, environment: str) -> float:
    address = f"{person.user_url}bench/api"
    begun = time.monotonic()
    answer = person.api("POST", f"users/{person.user_name}/servers/bench", json={"environment": environment})
    if answer.status_code not in (201, 202):
        raise RuntimeError(f"{answer.status_code} {answer.text[:500]}")
    with httpx.Client(trust_env=False, timeout=10) as client:
        while time.monotonic() - begun < _SESSION_SECONDS:
            answer = client.get(address)
            if answer.status_code == 200 and "version" in answer.text:
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{environment} did not answer\n{service.all_logs()}")
    seconds = time.monotonic() - begun
    path = f"users/{person.user_name}/servers/bench"
    while person.api("DELETE", path).status_code not in (204, 404):
        time.sleep(0.2)
    return seconds
