"""Many at once, threads and processes: exactly as many are admitted as the balance covers, and each end counts once."""

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from federation.database import Database
from quota.answers import Admitted
from quota.capping import Cap, Scope
from quota.errors import SITE_FULL
from quota.ledger import Ledger
from quota.reasons import Reason
from quota.tables import HoldState, HoldTable
from tests.support.books import ANN, ANNA, MINUTE, START, Books, MovableClock, discrepancies, open_books, units
from tests.support.databases import Databases

PROCESSES = 8
LEASE = 5 * MINUTE
PATIENCE_SECONDS = 60
"""Eight processes on two processors may keep one of them waiting for long; that is not what is tested here."""


def books_at(url: str) -> Books:
    """The same books for one more thread or process."""
    clock = MovableClock()
    database = Database(url, busy_seconds=PATIENCE_SECONDS)
    return Books(database, clock, Ledger(database, clock=clock, actor="test"))


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """Of books that nobody has open; they add up after the test."""
    url = databases.migrated()
    made = open_books(Database(url))
    made.database.dispose()
    yield url
    database = Database(url)
    assert discrepancies(database) == []
    database.dispose()


@pytest.fixture
def books(url: str) -> Iterator[Books]:
    books = books_at(url)
    yield books
    books.database.dispose()


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """The answers of calls that are made at the same moment, each in a thread of its own."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def admitted(answers: list[Any]) -> int:
    return sum(isinstance(answer, Admitted) for answer in answers)


# --- threads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False], ids=["one-engine", "an-engine-each"])
def test_of_more_starts_than_the_balance_covers_exactly_as_many_as_it_covers_are_admitted(
    url: str, books: Books, shared: bool
) -> None:
    covered, more = 12, 8
    books.grant(covered * units(300) + units(300) - 1)
    each = [books if shared else books_at(url) for _ in range(covered + more)]
    answers = together(
        [lambda n=n: each[n].reserve(f"thread-{n}", lease=LEASE, shortest=LEASE) for n in range(covered + more)]
    )
    assert admitted(answers) == covered
    assert books.balance()[2] == covered * units(300)
    if not shared:
        for one in each:
            one.database.dispose()


def test_of_starts_of_one_server_one_is_admitted(books: Books) -> None:
    books.grant(units(36_000))
    answers = together([lambda n=n: books.reserve(f"click-{n}", server="one") for n in range(8)])
    assert admitted(answers) == 1


def test_one_attempt_that_is_reserved_by_many_is_one_hold_and_one_answer(books: Books) -> None:
    books.grant(units(36_000))
    answers = together([lambda: books.reserve("one", server="one")] * 8)
    assert set(answers) == {Admitted("one", START + 45 * MINUTE, 1000)}
    assert books.entries("one") == [("hold", units(2700))]


def test_a_cap_on_a_site_holds_for_people_with_different_accounts(books: Books) -> None:
    cap = Cap(scope=Scope.SITE, ref="here", gauge="sessions", limit=3, reason=Reason(problem=SITE_FULL))
    for owner in (ANN, ANNA):
        books.grant(units(36_000), owner)
    answers = together(
        [lambda n=n: books.reserve(f"start-{n}", (ANN, ANNA)[n % 2], lease=LEASE, caps=(cap,)) for n in range(10)]
    )
    assert admitted(answers) == 3


def test_stop_by_person_worker_and_the_end_of_the_process_at_once_is_one_settlement(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.running()
    ends = [lambda n=n: books.settle(hold, (10 + n) * MINUTE, source=f"caller {n}") for n in range(6)]
    releases = [lambda: books.ledger.release(hold, reason="never ran")] * 2
    answers = together([*ends, *releases])
    assert len(set(answers)) == 1
    charged = answers[0].charged
    assert books.balance() == (units(36_000), charged, 0)
    assert Counter(kind for kind, _ in books.entries(hold)) <= Counter(["hold", "charge", "release"])


def test_grants_that_are_changed_and_revoked_while_sessions_end_do_not_wait_for_each_other_in_a_circle(
    books: Books,
) -> None:
    for n in range(10):
        grant = books.grant(units(36_000), key=f"grant-{n}")
        holds = [books.running(lease=LEASE) for _ in range(3)]
        change = {"key": f"c-{n}", "amount": units(60_000), "starts_at": START, "ends_at": START + 90 * MINUTE * 24}

        def changed(grant: str = grant, change: dict[str, Any] = change) -> None:
            with suppress(ValueError):  # the other one was first
                books.ledger.change(grant, actor="olga", reason="", **change)

        together(
            [
                changed,
                lambda grant=grant: books.ledger.revoke(grant, actor="otto", reason=""),
                *[lambda hold=hold: books.settle(hold, MINUTE) for hold in holds],
            ]
        )


def test_one_grant_that_is_given_by_many_is_given_once(books: Books) -> None:
    grants = together([lambda: books.grant(units(600), key="default:month:2026-03-01:ann")] * 8)
    assert len(set(grants)) == 1
    assert books.standing().granted == units(600)


def test_accounts_that_are_made_by_many_are_one(books: Books) -> None:
    together([lambda n=n: books.grant(units(1), key=f"gift-{n}") for n in range(8)])
    assert books.balance() == (units(8), 0, 0)


def test_renewals_and_starts_together_never_hold_more_than_there_is(books: Books) -> None:
    books.grant(units(3000))
    holds = [books.running(lease=LEASE) for _ in range(4)]
    until = START + 20 * MINUTE
    together(
        [
            *[lambda hold=hold: books.ledger.renew(hold, until=until) for hold in holds],
            *[lambda n=n: books.reserve(f"start-{n}", lease=LEASE, shortest=LEASE) for n in range(4)],
        ]
    )
    granted, used, held = books.balance()
    assert (granted, used) == (units(3000), 0)
    assert held <= granted


# --- processes ----------------------------------------------------------------------------------------------------


def one_process(url: str, number: int, start: Any, answers: Any) -> None:
    """What each of the processes does: three tries of starts, and then some time of everything."""
    books = books_at(url)
    start.wait()
    covered = [books.reserve(f"ann-{number}-{n}", lease=LEASE, shortest=LEASE) for n in range(5)]
    start.wait()
    same_server = books.reserve(f"anna-{number}", ANNA, server="one")
    start.wait()
    same_attempt = books.reserve("same", ANNA, server="same")
    start.wait()
    random, opened = Random(number), []
    for n in range(12):
        answer = books.reserve(f"mixed-{number}-{n}", random.choice((ANN, ANNA)), lease=LEASE)
        opened += [answer.hold] if isinstance(answer, Admitted) else []
        # Holds of the others too: everybody may settle everything.
        other = f"mixed-{random.randrange(PROCESSES)}-{random.randrange(n + 1)}"
        for hold in {other, *opened[-1:]} & {row.id for row in books.rows(HoldTable)}:
            if random.random() < 0.5:
                books.settle(hold, timedelta(seconds=random.randrange(600)))
            else:
                books.ledger.renew(hold, until=START + 2 * LEASE)
    books.database.dispose()
    answers.put((admitted(covered), admitted([same_server]), same_attempt))


def test_eight_processes_admit_exactly_what_the_balance_covers_and_settle_each_hold_once(url: str) -> None:
    covered = 20
    books = books_at(url)
    books.grant(covered * units(300) + units(300) - 1)
    books.grant(units(100_000), ANNA)
    books.database.dispose()
    spawning = multiprocessing.get_context("spawn")
    start, answers = spawning.Barrier(PROCESSES, timeout=PATIENCE_SECONDS), spawning.SimpleQueue()
    processes = [spawning.Process(target=one_process, args=(url, n, start, answers)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(2 * PATIENCE_SECONDS)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    seen = [answers.get() for _ in processes]
    assert sum(of_ann for of_ann, _, _ in seen) == covered
    assert sum(of_one_server for _, of_one_server, _ in seen) == 1
    assert len({answer for _, _, answer in seen}) == 1
    settled = [row for row in books.rows(HoldTable) if row.state == HoldState.SETTLED]
    assert len(settled) > PROCESSES
    books.database.dispose()
