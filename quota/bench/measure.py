"""What is measured, on one database, all in one run: kinds of work take turns, in an order that is drawn for each run, so
that whatever else the machine does meanwhile is in all of them alike.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from sqlalchemy import event

from federation.figures import Report, percentile
from quota import verify
from quota.answers import Admitted
from quota.bench.crew import HOT, Done, crew, own
from quota.bench.scratch import AMOUNT, Scratch, caps_of, fill, give, open_scratch, prepare
from quota.owners import Owner
from quota.tables import OwnerKind

__all__ = ["Plan", "measure"]

PER_SECOND = 25
BURST, COVERED = 50, 37
CLOSED = (100, 10_000, 100_000)
_PAIRS_AT_A_TIME = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured: `seconds` of each kind of work in each of `runs`."""

    runs: int = 5
    seconds: float = 1.5
    open_loop_seconds: float = 8
    processes: int = 8
    seed: int = 1
    closed: tuple[int, ...] = CLOSED


def measure(url: str, plan: Plan, progress: Callable[[str], None]) -> Report:
    """Fill an empty database, measure, and add everything up in the end.

    Raises
    ------
    quota.bench.scratch.NotEmpty
        If it is not empty.
    """
    prepare(url)
    scratch = open_scratch(url)
    processes = 1 if scratch.database.is_sqlite else plan.processes
    give(scratch.ledger, HOT)
    for number in range(processes):
        give(scratch.ledger, own(number))
    report = Report(
        f"the ledger on {scratch.database.place}, {processes} {'process' if processes == 1 else 'processes'} at a time"
    )
    try:
        _throughput(report, url, plan, processes, progress)
        _open_loop(report, scratch, plan, progress)
        _burst(report, scratch, plan, progress)
        _long_histories(report, scratch, plan, progress)
        _verified(report, scratch, progress)
    finally:
        scratch.database.dispose()
    return report


def _throughput(report: Report, url: str, plan: Plan, processes: int, progress: Callable[[str], None]) -> None:
    kinds = ["raw", "own", "caps"] if processes == 1 else ["raw", "own", "hot", "caps"]
    done: dict[str, list[Done]] = defaultdict(list)
    with crew(url, processes) as workers:
        for kind in kinds:
            workers.work(kind, 0.2)
        for run, kind in _in_turn(kinds, plan):
            progress(f"run {run + 1}: {kind}")
            done[kind].append(workers.work(kind, plan.seconds))
    names = {
        "raw": "one-row inserts", "own": "reserve and settle, own accounts", "hot": "reserve and settle, one hot account",
        "caps": "reserve and settle, with caps on person and site",
    }  # fmt: skip
    goals = {"own": 0.3, "hot": 0.12}
    for kind in kinds:
        report.add(names[kind], "1/s", [each.per_second for each in done[kind]])
        if kind != "raw":
            ratios = [each.per_second / raw.per_second for each, raw in zip(done[kind], done["raw"], strict=True)]
            report.add("  of one-row inserts", "ratio", ratios, goals.get(kind), at_least=True)
        report.add("  of which in the program", "CPU ms each", [each.own_ms for each in done[kind]])


def _in_turn(kinds: list[str], plan: Plan) -> Iterator[tuple[int, str]]:
    chance = random.Random(plan.seed)
    for run in range(plan.runs):
        yield from ((run, kind) for kind in chance.sample(kinds, len(kinds)))


def _open_loop(report: Report, scratch: Scratch, plan: Plan, progress: Callable[[str], None]) -> None:
    """Starts that come whether or not those before them are done; late ones are counted from when they were due."""
    progress(f"{PER_SECOND} reserves per second for {plan.open_loop_seconds:g} s")
    owners = [Owner(OwnerKind.USER, f"person-{number}") for number in range(PER_SECOND)]
    for owner in owners:
        give(scratch.ledger, owner)
        scratch.pair(owner, caps_of(owner))

    def start(number: int) -> tuple[float, str]:
        due = begun + number / PER_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        owner = owners[number % len(owners)]
        answer = scratch.reserve(owner, caps=caps_of(owner))
        assert isinstance(answer, Admitted), answer
        return time.monotonic() - due, answer.hold

    with ThreadPoolExecutor(PER_SECOND) as threads:
        begun = time.monotonic() + 0.1
        answers = list(threads.map(start, range(int(PER_SECOND * plan.open_loop_seconds))))
    for _, hold in answers:
        scratch.settle(hold)
    latencies = [1000 * latency for latency, _ in answers]
    report.add(f"reserve at {PER_SECOND} per second", "ms", latencies)
    report.add("  99th percentile", "ms", [percentile(latencies, 99)], 25)


def _burst(report: Report, scratch: Scratch, plan: Plan, progress: Callable[[str], None]) -> None:
    """Fifty starts at once, on one account that covers fewer."""
    drained, over = [], []
    for run in range(plan.runs):
        progress(f"burst {run + 1}")
        owner = Owner(OwnerKind.GROUP, f"burst-{run}")
        give(scratch.ledger, owner, COVERED * AMOUNT + AMOUNT - 1)
        with ThreadPoolExecutor(BURST) as threads:
            begun = time.monotonic()
            answers = list(threads.map(lambda _: scratch.reserve(owner), range(BURST)))  # noqa: B023 - all end here
            drained.append(time.monotonic() - begun)
        admitted = [answer.hold for answer in answers if isinstance(answer, Admitted)]
        over.append(len(admitted) - COVERED)
        for hold in admitted:
            scratch.settle(hold)
    report.add(f"a burst of {BURST} reserves on one account", "s", drained, 0.5)
    report.add(f"  admitted beyond the {COVERED} that it covers", "", over, 0)


def _long_histories(report: Report, scratch: Scratch, plan: Plan, progress: Callable[[str], None]) -> None:
    """What a pair costs people with few and with many closed sessions, in turn."""
    owners = {closed: Owner(OwnerKind.USER, f"with-{closed}") for closed in plan.closed}
    for closed, owner in owners.items():
        progress(f"{closed} closed sessions")
        give(scratch.ledger, owner)
        fill(scratch, owner, closed)
        scratch.pair(owner, caps_of(owner))
    if not scratch.database.is_sqlite:
        with scratch.database.write() as connection:  # as autovacuum does where it is on
            connection.exec_driver_sql("ANALYZE")
    took: dict[int, list[float]] = defaultdict(list)
    for _, kind in _in_turn([str(closed) for closed in plan.closed] * _PAIRS_AT_A_TIME, plan):
        begun = time.monotonic()
        owner = owners[int(kind)]
        scratch.pair(owner, caps_of(owner))
        took[int(kind)].append(1000 * (time.monotonic() - begun))
    few = percentile(took[plan.closed[0]], 50)
    for closed in plan.closed:
        report.add(f"reserve and settle after {closed} closed", "ms", took[closed])
        if closed != plan.closed[0]:
            report.add(f"  of that after {plan.closed[0]}", "ratio", [percentile(took[closed], 50) / few], 1.2)


def _verified(report: Report, scratch: Scratch, progress: Callable[[str], None]) -> None:
    """Everything is added up anew; and how many statements a pair is, besides beginning and commit."""
    progress("verifying")
    with scratch.database.read() as connection:
        found = list(verify.discrepancies(connection))
    report.add("what verify finds in the books afterwards", "", [len(found)], 0)
    for sentence in found[:5]:
        report.find(sentence)
    statements = count()
    with scratch.database.write() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", lambda *_: next(statements))
    scratch.pair(HOT)
    report.add("statements of a reserve and a settle", "", [next(statements)])
