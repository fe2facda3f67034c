"""What our side of a start costs: time within `FederatedSpawner.start` that is not the child's start.

Twenty starts one after the other, then fifty at once, with empty books and with full ones.
"""

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from federation import migrations
from federation.state import StateFolder
from hub_config.settings import DEMO_FILE, load
from hub_config.wiring import house
from tests.bench.books import fill, people
from tests.bench.in_hub import STUB_SITE
from tests.bench.installation import Installation, new_folder
from tests.bench.report import Report, in_turn, percentile, progress

__all__ = ["measure"]

ALONE = 20
BURST_USERS, BURST_EACH = 10, 5
GRANTS, PAST_SESSIONS, PAST_OF_THE_OTHERS = 4, 1000, 100
BOOKS = ("empty books", "full books")


def measure(runs: int, seed: int) -> Report:
    """Run the part."""
    report = Report(f"start: our time in one start ({ALONE} alone; {BURST_USERS * BURST_EACH} at once by REST)")
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        states = {books: _state(Path(folder) / books.split()[0], full=books == BOOKS[1]) for books in BOOKS}
        for run, books in in_turn(BOOKS, runs, seed):
            progress(f"start, run {run + 1}, {books}")
            for what, value in _one_run(states[books]).items():
                found.setdefault((books, what), []).append(value)
    goals = {"alone, p50": 30, "at once, p99": 500}
    for (books, what), values in sorted(found.items()):
        report.add(f"{books}: {what}", "ms", values, goals.get(what))
    return report


def _state(folder: Path, *, full: bool) -> Path:
    """A state folder to copy: people, and for full books what they did before. In memory: the filling is not measured."""
    settings = load(DEMO_FILE, StateFolder(folder))
    yaml = settings.yaml
    default = yaml.defaults["T1"].model_copy(update={"amount_hours": 1_000_000, "sessions": None})
    settings = type(settings)(settings.file, yaml.model_copy(update={"defaults": {"T1": default}}), settings.state)
    parts = house(settings, actor="bench")
    migrations.upgrade(parts.database)
    parts.publish_rates()
    first, *others = people(parts, 1 + BURST_USERS)
    if full:
        progress("start: filling the books")
        fill(settings, first, grants=GRANTS, sessions=PAST_SESSIONS)
        for person in others:
            fill(settings, person, grants=GRANTS, sessions=PAST_OF_THE_OTHERS)
    parts.database.dispose()
    return folder


def _one_run(state: Path) -> dict[str, float]:
    with new_folder() as root, Installation(root, state=state) as hub:
        first, *others = [person.user_name for person in people(hub.house, 1 + BURST_USERS)]
        hub.start_hub()
        hub.make_users([first, *others])
        hub.start_server(first, "warm", site=STUB_SITE)
        options = {"site": STUB_SITE, "environment": "minimal", "flavour": "small"}
        begun = time.monotonic()
        requests = [hub.start_server(first, f"a{number}", **options) for number in range(ALONE)]
        between = time.monotonic()
        servers = [(user, f"b{number}") for number in range(BURST_EACH) for user in others]
        with ThreadPoolExecutor(len(servers)) as pool:
            burst = list(pool.map(lambda one: hub.start_server(*one, **options), servers))
        ended = time.monotonic()
        while hub.ready_servers() < 1 + len(requests) + len(servers):
            time.sleep(0.1)
        times = [json.loads(line) for line in hub.times.read_text().splitlines()]
    alone, at_once = _ours(times, begun, between), _ours(times, between, ended)
    late = [seconds for what, _, at, seconds in times if what == "late" and between <= at < ended]
    in_ms = {
        "alone, p50": percentile(alone, 50),
        "alone, p99": percentile(alone, 99),
        "alone, whole request, p50": percentile(requests, 50),
        "at once, p50": percentile(at_once, 50),
        "at once, p99": percentile(at_once, 99),
        "at once, whole request, p99": percentile(burst, 99),
        "at once, longest that the event loop was blocked": max(late, default=0.0),
    }
    return {what: 1000 * seconds for what, seconds in in_ms.items()}


def _ours(times: list[list], begun: float, ended: float) -> list[float]:
    """For each start in this span of time: what was not the child's."""
    child = {which: seconds for what, which, _, seconds in times if what == "child"}
    return [seconds - child[which] for what, which, at, seconds in times if what == "whole" and begun <= at < ended]
