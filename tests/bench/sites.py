"""A batch site of ours beside batchspawner as it comes, on the same real Slurm, in one run.

- Click to ready on an idle partition, in pairs.
- With 1, 25 and 200 jobs in the queue of each: what the scheduler is asked a minute, by its own count (`sdiag`), and
  how long a request takes meanwhile that has nothing to do with them. One side is frozen while the other is measured.
- The gateway's forwards beside `ssh -L`.
- Starts at one site while the login node of the other one is dead: it takes connections and says nothing.
"""

import contextlib
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psutil

from federation.state import StateFolder
from spawners.gateway.answers import SiteState
from tests.bench.bare_hub import until
from tests.bench.batch_sides import SITE, Ours, Side, Stock, as_it_comes, frozen
from tests.bench.report import Report, in_turn, percentile, progress
from tests.bench.ways import measure_ways
from tests.support.federation import Federation, running_federation
from tests.support.slurm import SlurmSite, running_sites, why_not

__all__ = ["measure"]

LEVELS = (0, 1, 25, 200)
WINDOW_SECONDS, SETTLE_SECONDS = 15.0, 3.0
REQUESTS_PER_SECOND = 10
ROUNDS = 2
STARTS = 6
OTHER_SITE = "costa"
_MANY = {"amount_hours": 1_000_000, "period": "month", "sessions": None, "flavours": ["small", "medium"]}
_QUERY = re.compile(r"REQUEST_JOB(?:_USER)?_INFO\S*\s.*?count:(\d+)")


def measure(runs: int, seed: int) -> Report:
    """Run the part."""
    report = Report(f"site: ours and batchspawner on the same Slurm ({runs} pairs of starts)")
    if reason := why_not():
        progress(f"site: not measured, {reason}")
        return report
    minimal = Path(os.environ["NBFED_ENVIRONMENTS"]) / "minimal"
    with (
        running_sites() as slurm,
        running_federation(slurm, defaults={"T1": _MANY}) as federation,
        as_it_comes(slurm[SITE], minimal) as stock,
    ):
        try:
            _all_of_it(report, federation, stock, runs, seed)
        except BaseException:
            progress(f"site: not all was measured\n{report}")
            raise
    return report


def _all_of_it(report: Report, federation: Federation, stock: Stock, runs: int, seed: int) -> None:
    ours, slurm = Ours(federation), federation.slurm[SITE]
    _ready(report, [ours, stock], runs, seed)
    measure_ways(report, federation, runs, seed)
    _beside_a_dead_site(report, ours, runs)
    with _held(slurm):
        _waiting(report, ours, [ours, stock], slurm, seed)
        slurm.run("scancel", "--partition=notebooks")


def _ready(report: Report, sides: Sequence[Side], runs: int, seed: int) -> None:
    """The first start of each is not measured: it fills the caches of files."""
    took: dict[str, list[float]] = defaultdict(list)
    by_name = {side.name: side for side in sides}
    for side in sides:
        side.start("warm")
        side.end(["warm"])
    for run, name in in_turn(list(by_name), runs, seed):
        progress(f"site, start {run + 1}, {name}")
        server = f"ready-{run}"
        took[name].append(1000 * by_name[name].start(server))
        by_name[name].end([server])
    ours, stock = (took[side.name] for side in sides)
    for side in sides:
        report.add(f"{side.name}: click to ready", "ms", took[side.name])
    report.add("  of batchspawner's, pair by pair", "ratio", [a / b for a, b in zip(ours, stock, strict=True)], 1.0)


# --- the queue ------------------------------------------------------------------------------------------------------


def _waiting(report: Report, ours: Ours, sides: Sequence[Side], slurm: SlurmSite, seed: int) -> None:
    by_name, waiting = {side.name: side for side in sides}, 0
    for level in LEVELS:
        servers = [f"waits-{number}" for number in range(waiting, level)]
        for name, side in by_name.items():
            progress(f"site, {level} waiting, {name} begins")
            other = next(each for each in sides if each is not side)
            with frozen(other):
                side.begin(servers)
        waiting = level
        windows: dict[str, list[_Window]] = defaultdict(list)
        for turn, name in in_turn(list(by_name), ROUNDS, seed + level):
            progress(f"site, {level} waiting, window {turn + 1}, {name}")
            other = next(each for each in sides if each.name != name)
            with frozen(other):
                windows[name].append(_Window(by_name[name], slurm, ours))
        for name, found in windows.items():
            _told(report, f"{name}, {level} waiting", found, is_ours=name == ours.name)


def _told(report: Report, what: str, windows: Sequence["_Window"], *, is_ours: bool) -> None:
    report.add(f"{what}: scheduler queries", "1/min", [window.queries_per_minute for window in windows])
    if is_ours:
        polled = [window.queries / window.polls for window in windows if window.polls]
        report.add("  queries in an interval", "", polled, 1)
    every = [1000 * each for window in windows for each in window.requests]
    report.add("  other requests, median", "ms", [percentile(every, 50)])
    report.add("  other requests, p95", "ms", [percentile(every, 95)], 50 if is_ours else None)
    report.add("  processor time of its processes", "% of a core", [window.busy for window in windows])


class _Window:
    """What happened in a while."""

    def __init__(self, side: Side, slurm: SlurmSite, ours: Ours) -> None:
        time.sleep(SETTLE_SECONDS)
        side.ask()
        queries, polls, busy = _queries(slurm), _polls(ours) if side is ours else 0, _busy(side)
        self.requests: list[float] = []
        begun = time.monotonic()
        while (now := time.monotonic()) < begun + WINDOW_SECONDS:
            side.ask()
            took = time.monotonic() - now
            self.requests.append(took)
            time.sleep(max(0.0, 1 / REQUESTS_PER_SECOND - took))
        seconds = time.monotonic() - begun
        self.busy = 100 * (_busy(side) - busy) / seconds
        self.queries = _queries(slurm) - queries
        self.polls = _polls(ours) - polls if side is ours else 0
        self.queries_per_minute = 60 * self.queries / seconds


def _queries(slurm: SlurmSite) -> int:
    """How often the controller was asked about jobs since it runs, by its own count."""
    return sum(int(count) for count in _QUERY.findall(slurm.run("sdiag")))


def _polls(ours: Ours) -> int:
    """How often the gateway asked the site."""
    socket = StateFolder(ours.federation.service.state.root).gateway_socket
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://gateway") as client:
        text = client.get("/metrics").raise_for_status().text
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("nbfed_gateway_polls_total{") and f'site="{SITE}"' in line
    )


def _busy(side: Side) -> float:
    """Processor time of its processes and of those that they ran and waited for, in seconds."""
    times = [process.cpu_times() for process in side.processes()]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


@contextlib.contextmanager
def _held(slurm: SlurmSite) -> Iterator[None]:
    """The partition starts no jobs."""
    slurm.run("scontrol", "update", "PartitionName=notebooks", "State=DOWN")
    try:
        yield
    finally:
        slurm.run("scontrol", "update", "PartitionName=notebooks", "State=UP")


# --- a dead site ----------------------------------------------------------------------------------------------------


def _beside_a_dead_site(report: Report, ours: Ours, runs: int) -> None:
    """Alive, dead, dead, alive, and again, so that what changes slowly is in both alike."""
    took: dict[bool, list[float]] = {True: [], False: []}
    site = ours.federation.slurm[SITE]
    with _held(site):
        for block, is_alive in enumerate((True, False, True)):
            progress(f"site, starts while the other one is {'alive' if is_alive else 'dead'}")
            with contextlib.nullcontext() if is_alive else _dead(ours.federation):
                servers = [f"beside-{block}-{number}" for number in range(runs * STARTS // (1 + is_alive))]
                took[is_alive] += [_until_submitted(ours, server) for server in servers]
                ours.end(servers)
    alive, dead = (percentile(took[is_alive], 50) for is_alive in (True, False))
    report.add("a start until it is submitted, the other site alive", "ms", took[True])
    report.add("  the other site dead", "ms", took[False])
    report.add("  more, of the medians", "ms", [dead - alive], 5)


def _until_submitted(ours: Ours, server: str) -> float:
    """From the attempt's intent until the scheduler's id of its job was kept, by the hub's own clock; milliseconds."""
    ours.begin([server])
    sessions = ours.federation.service.house.sessions.open_on("hub")
    session = next(one for one in sessions if one.server.name == server)
    assert session.submitted_at is not None, "begin waits for it"
    return 1000 * (session.submitted_at - session.created_at).total_seconds()


@contextlib.contextmanager
def _dead(federation: Federation) -> Iterator[None]:
    """The login node of the other site takes connections and says nothing; until the gateway has noticed, and after it
    until it is in order again.
    """
    sshd = federation.sshd[OTHER_SITE]
    assert sshd.process is not None
    stopped = [psutil.Process(sshd.process.pid), *sshd.freeze()]
    stopped[0].send_signal(signal.SIGSTOP)
    try:
        until(lambda: federation.client.sites()[OTHER_SITE].state is SiteState.OPEN_BREAKER)
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
        until(lambda: federation.client.sites()[OTHER_SITE].state is SiteState.OK, seconds=400)
