"""The access desk when much is in it: a queue of 10,000 requests, and an audit trail of 100,000 rows.

Pages are asked for within this process, without a network: the time is that of the program and of its database.
"""

import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import insert

from federation.audit import Act, AuditTable
from federation.database import Database
from federation.ids import new_id
from federation.persons import PersonTable
from federation.trail import Wanted, as_lines
from tests.bench.report import Report, in_turn, progress
from tests.support.databases import with_tables
from tests.support.desk_pages import Browser, DeskPages
from tests.support.postgres import running_postgres, why_not
from vetting.request_tables import RequestTable
from vetting.transitions import State

__all__ = ["measure"]

REQUESTS, PEOPLE, ROWS = 10_000, 4_000, 100_000
GOAL_PAGE_MS, GOAL_AUDIT_S, GOAL_MEMORY_MIB = 300, 1.0, 16
_AT_ONCE = 5_000
_WAITING = (State.SUBMITTED, State.IN_REVIEW, State.AWAITING_SECOND, State.NEEDS_INFO)


def measure(runs: int, seed: int) -> Report:
    """Run the part, on SQLite and, where it is installed, on PostgreSQL."""
    report = Report(f"desk: {REQUESTS} requests that wait, {ROWS} rows of audit trail; no network")
    with tempfile.TemporaryDirectory(prefix="nbfed-bench-") as folder:
        url = f"sqlite:///{folder}/bench.sqlite"
        with_tables(url)
        _measure(report, "SQLite", url, runs, seed)
    if reason := why_not():
        report.find(f"not measured on PostgreSQL: {reason}")
        return report
    with running_postgres() as server:
        url = server.url(server.create())
        with_tables(url)
        _measure(report, "PostgreSQL", url, runs, seed)
    return report


def _measure(report: Report, name: str, url: str, runs: int, seed: int) -> None:
    progress(f"desk, {name}: filling it")
    with _desk(url) as pages:
        fill(pages, random.Random(seed))
        reviewer, operator = pages.browser("rita", "reviewer"), pages.browser("olga", "operator")
        person = pages.store.people["rita"].id
        figures: dict[str, tuple[Callable[[], object], float]] = {
            "the queue": (lambda: _page(reviewer, "queue"), GOAL_PAGE_MS / 1000),
            "one kind of it, a page in the middle": (
                lambda: _page(reviewer, "queue", kind="quota", offset="2000"), GOAL_PAGE_MS / 1000,
            ),
            "one request": (lambda: _page(reviewer, f"review/{_first(pages)}"), GOAL_PAGE_MS / 1000),
            "the audit trail": (lambda: _page(operator, "audit"), GOAL_AUDIT_S),
            "what one person did": (lambda: _page(operator, "audit", actor=f"person:{person}"), GOAL_AUDIT_S),
            "what was done to one": (lambda: _page(operator, "audit", target="request:none"), GOAL_AUDIT_S),
            "one kind of act": (lambda: _page(operator, "audit", act=Act.PAGE_REFUSED.value), GOAL_AUDIT_S),
            "all of it as JSON Lines": (lambda: _read(pages.desk.database), GOAL_AUDIT_S),
        }  # fmt: skip
        tracemalloc.start()
        _read(pages.desk.database)
        memory = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        times: dict[str, list[tuple[float, float]]] = {what: [] for what in figures}
        for run, what in in_turn(list(figures), runs + 1, seed):
            begun, used = time.perf_counter(), time.process_time()
            figures[what][0]()
            if run:  # the first one compiles queries and templates
                times[what].append((time.perf_counter() - begun, time.process_time() - used))
        for what, (_work, goal) in figures.items():
            report.add(f"{name}: {what}", "ms", [1000 * took for took, _ in times[what]], 1000 * goal)
            report.add("  of which in the program", "ms", [1000 * used for _, used in times[what]])
        report.add(f"{name}: most memory for the export", "MiB", [memory], GOAL_MEMORY_MIB)


def fill(pages: DeskPages, chance: random.Random) -> None:
    """Put people, requests that wait and the trail into an empty desk."""
    now = pages.store.clock()
    for name, role in (("rita", "reviewer"), ("olga", "operator")):
        pages.person(name, role)
    row = dict(pages.store.row(pages.store.submitted("ana"))._mapping)
    ana = dict(pages.store.rows(PersonTable, PersonTable.subject == "ana")[0]._mapping)
    people = [
        {**ana, "id": new_id(), "subject": f"s{number}", "user_name": f"user{number}"} for number in range(PEOPLE)
    ]
    reviewers = ["", "", *(f"person:{person['id']}" for person in people[:20])]
    requests = []
    for number in range(REQUESTS):
        state, at = chance.choice(_WAITING), now - timedelta(minutes=chance.randint(0, 40_000))
        requests.append(
            {
                **row, "id": new_id(), "state": state.value, "person_id": people[number % PEOPLE]["id"],
                "kind": ("quota", "tier", "site")[number // PEOPLE],  # a person has one open request of each kind
                "reviewer": "" if state is State.SUBMITTED else chance.choice(reviewers),
                "opened_at": at, "submitted_at": at, "due_at": at + timedelta(days=3), "changed_at": at,
            }
        )  # fmt: skip
    ids = [person["id"] for person in people] + [person.id for person in pages.store.people.values()]
    acts, names = list(Act), [f"person:{person_id}" for person_id in ids]
    trail = [
        {
            "at": now - timedelta(seconds=ROWS - number), "act": chance.choice(acts).value,
            "actor": chance.choice(names), "target": f"request:{chance.choice(requests)['id']}",
            "reason": "It is for the course on the ecology of penguins, as agreed.",
            "details": {"state": "approved", "amount_milli_unit_seconds": number},
        }
        for number in range(ROWS)
    ]  # fmt: skip
    for table, rows in ((PersonTable, people), (RequestTable, requests), (AuditTable, trail)):
        for begin in range(0, len(rows), _AT_ONCE):
            with pages.desk.database.write() as connection:
                connection.execute(insert(table), rows[begin : begin + _AT_ONCE])


@contextmanager
def _desk(url: str) -> Iterator[DeskPages]:
    database = Database(url)
    pages = DeskPages(database)
    try:
        with pages.runner:
            yield pages
    finally:
        database.dispose()


def _page(browser: Browser, path: str, **parameters: Any) -> None:
    answer = browser.get(path, **parameters)
    assert answer.status_code == 200, answer.text[:2000]


def _first(pages: DeskPages) -> str:
    """The request that is due first."""
    return pages.store.requests.found(states=[State.SUBMITTED], limit=1)[0].id


def _read(database: Database) -> None:
    """As a browser takes it, piece by piece; nothing of it is kept."""
    lines = sum(piece.count("\n") for piece in as_lines(database, Wanted()))
    assert lines >= ROWS
