"""What our side of a start costs: time within `FederatedSpawner.start` that is not the child's start.

Twenty starts one after the other, then fifty at once, with empty books and with full ones; and the same requests to
JupyterHub alone. Of what fifty at once take, a part is waiting until the hub's event loop is free from JupyterHub's own
work for the other starts: that part is shown by itself.
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
BARE = "JupyterHub alone"


def measure(runs: int, seed: int) -> Report:
    """Run the part."""
    report = Report(f"start: our time in one start ({ALONE} alone; {BURST_USERS * BURST_EACH} at once by REST)")
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        states = {books: _state(Path(folder) / books.split()[0], full=books == BOOKS[1]) for books in BOOKS}
        for run, kind in in_turn([*BOOKS, BARE], runs, seed):
            progress(f"start, run {run + 1}, {kind}")
            for what, value in _one_run(states.get(kind)).items():
                found.setdefault((kind, what), []).append(value)
    goals = {"alone, p50": 30, "at once, p99": 500}
    for (kind, what), values in sorted(found.items()):
        report.add(f"{kind}: {what}", "ms", values, goals.get(what))
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


def _one_run(state: Path | None) -> dict[str, float]:
    """Milliseconds. Without a state folder: JupyterHub alone."""
    with new_folder() as root, Installation(root / "hub", "ours" if state else "bare", state) as hub:
        if state:
            first, *others = [person.user_name for person in people(hub.house, 1 + BURST_USERS)]
        else:
            first, *others = [f"p{number:03d}-abcdef" for number in range(1 + BURST_USERS)]
        hub.start_hub()
        hub.make_users([first, *others])
        options = {"site": STUB_SITE, "environment": "minimal", "flavour": "small"}
        hub.start_server(first, "warm", **options)
        begun = time.monotonic()
        requests = [hub.start_server(first, f"a{number}", **options) for number in range(ALONE)]
        between = time.monotonic()
        servers = [(user, f"b{number}") for number in range(BURST_EACH) for user in others]
        with ThreadPoolExecutor(len(servers)) as pool:
            burst = list(pool.map(lambda one: hub.start_server(*one, **options), servers))
        ended = time.monotonic()
        while hub.ready_servers() < 1 + len(requests) + len(servers):
            time.sleep(0.1)
        found = {"alone, whole request, p50": percentile(requests, 50)}
        found["at once, whole request, p99"] = percentile(burst, 99)
        if state:
            watched = Watched(hub.times)
            found |= watched.alone(begun, between) | watched.at_once(between, ended)
    return {what: 1000 * seconds for what, seconds in found.items()}


class Watched:
    """What the stop-watches in the hub wrote; all in seconds."""

    def __init__(self, file: Path) -> None:
        self._times = [json.loads(line) for line in file.read_text().splitlines()]
        self._child = self._sums("child")
        self._waiting = self._sums("waiting")

    def alone(self, begun: float, ended: float) -> dict[str, float]:
        """Of the starts one after the other."""
        ours = list(self._ours(begun, ended).values())
        return {"alone, p50": percentile(ours, 50), "alone, p99": percentile(ours, 99)}

    def at_once(self, begun: float, ended: float) -> dict[str, float]:
        """Of the starts at once."""
        ours = self._ours(begun, ended)
        working = [seconds - self._waiting.get(which, 0.0) for which, seconds in ours.items()]
        late = [seconds for what, _, at, seconds in self._times if what == "late" and begun <= at < ended]
        return {
            "at once, p50": percentile(list(ours.values()), 50),
            "at once, p99": percentile(list(ours.values()), 99),
            "at once, without waiting for the event loop, p99": percentile(working, 99),
            "at once, longest that the event loop was busy": max(late, default=0.0),
        }

    def _ours(self, begun: float, ended: float) -> dict[str, float]:
        """For each start in this span of time: what was not the child's."""
        return {
            which: seconds - self._child[which]
            for what, which, at, seconds in self._times
            if what == "whole" and begun <= at < ended
        }

    def _sums(self, wanted: str) -> dict[str, float]:
        sums: dict[str, float] = {}
        for what, which, _, seconds in self._times:
            if what == wanted:
                sums[which] = sums.get(which, 0.0) + seconds
        return sums
