"""The cases that the ledger must own; each was seen going wrong in a public system. What shows each of them:

k+n parallel starts on a balance for k, in threads and in processes: exactly k are admitted
    tests/quota/test_concurrency.py::test_of_more_starts_than_the_balance_covers_exactly_as_many_as_it_covers_are_admitted
    tests/quota/test_concurrency.py::test_of_two_hundred_starts_in_each_of_eight_processes_exactly_the_137_are_admitted_that_the_balance_covers
    tests/services/test_admission.py::test_of_twenty_parallel_starts_on_a_balance_for_three_exactly_three_run
a crash before the backend starts: released at the end of the lease, at the latest
    tests/quota/test_cases.py::test_crash_before_the_backend_starts_is_released_at_lease_end
    tests/spawners/test_upkeep.py::test_a_crash_before_anything_was_submitted_is_released
    tests/spawners/test_reconciler.py::test_a_hold_that_nothing_belongs_to_is_given_back_at_the_end_of_its_lease
a crash after the start, before its state is saved: adopted
    tests/services/test_crashes.py::test_a_start_that_a_killed_hub_forgot_is_taken_up_by_the_worker
    tests/spawners/test_upkeep.py::test_a_start_that_a_restart_of_the_hub_interrupted_is_made_again
the hub is down while a session ends, or runs on: charged from the backend's times
    tests/services/test_absences.py::test_while_the_hub_is_away_one_session_ends_and_another_runs_on
    tests/spawners/test_upkeep.py::test_while_the_hub_is_away_leases_are_renewed_and_nobody_counts_as_idle
a poll error at a restart: unknown, no refund, no second session on the same budget
    tests/quota/test_cases.py::test_poll_error_at_restart_is_unknown_without_refund_or_second_session
    tests/spawners/test_upkeep.py::test_nothing_is_refunded_or_stopped_of_what_cannot_be_asked_about
a stop by the user, the culler and the job's end at once: one settlement
    tests/quota/test_concurrency.py::test_stop_by_person_worker_and_the_end_of_the_process_at_once_is_one_settlement
the pod died by itself, Spawner.stop was never called: settled by the worker
    tests/services/test_absences.py::test_a_process_that_died_by_itself_is_settled_to_the_second
    tests/spawners/test_upkeep.py::test_a_session_that_the_hub_never_noticed_is_settled_without_it
a session of 59 seconds, and one shorter than any sampling interval: charged
    tests/quota/test_cases.py::test_short_sessions_are_charged_by_the_second
    tests/services/test_session.py::test_a_session_of_seconds_costs_its_seconds
a grant ends or is revoked in mid-session: the session runs to its lease
    tests/quota/test_ledger.py::test_a_session_keeps_what_it_holds_of_a_grant_that_ends_meanwhile
    tests/services/test_session_end.py::test_it_is_told_at_once_and_ends_at_the_lease
a price changes in mid-session: the old price
    tests/quota/test_ledger.py::test_a_price_that_changes_in_mid_session_does_not_touch_it
a limit is lowered below what is used: running sessions stay legal, new ones are refused
    tests/quota/test_ledger.py::test_a_limit_lowered_below_what_is_used_refuses_only_new_ones
    tests/quota/test_changes.py::test_a_limit_below_what_is_held_leaves_running_sessions_what_they_hold_and_no_more
joining a group: never makes anybody poorer
    tests/quota/test_payers.py::test_joining_a_group_never_makes_anybody_poorer
the clock steps back; duplicate and reordered calls; a replay of any prefix: the same books
    tests/quota/test_ledger.py::test_a_clock_that_steps_back_changes_nothing_about_what_a_session_costs
    tests/quota/test_ledger.py::test_calls_that_come_in_another_order_leave_the_same_books
    tests/quota/test_cases.py::test_replay_of_any_prefix_at_times_that_step_back_leaves_the_same_books
    tests/services/test_absences.py::test_the_clock_is_set_back_an_hour_in_mid_session_and_nothing_is_lost_or_doubled
the database is away: every start fails closed with 503, an outage
    tests/quota/test_ledger.py::test_a_database_that_is_away_is_an_outage_and_not_an_answer
    tests/spawners/test_admission.py::test_an_outage_is_told_as_one_and_nothing_is_started
    tests/services/test_postgres_outage.py::test_sessions_go_on_while_postgresql_is_away_and_are_settled_exactly_when_it_is_back
user ann and user anna; names with @, unicode, 255 characters: never share a hold
    tests/quota/test_ledger.py::test_names_that_look_alike_never_share_a_hold
    tests/spawners/test_sessions.py::test_servers_that_look_alike_are_different_servers
five refusals in a row: the hub lives, and they count as no failed spawns
    tests/services/test_admission.py::test_five_refusals_in_a_row_are_no_failures_of_the_hub
    tests/spawners/test_admission.py::test_five_refusals_in_a_row_change_nothing
"""

import ast
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from federation.database import Database
from quota.answers import Admitted, Denied
from quota.errors import QUOTA_HELD, SERVER_BUSY
from quota.owners import Owner
from quota.tables import BalanceTable, GrantBalanceTable, GrantTable, HoldTable
from tests.conftest import ROOT
from tests.support.books import ANN, ANNA, MINUTE, START, Books, discrepancies, open_books, units
from tests.support.databases import Databases

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
LEASE = 45 * MINUTE


def _table() -> dict[str, list[str]]:
    """The tests of each case."""
    rows = (__doc__ or "").partition("\n\n")[2].splitlines()
    cases: dict[str, list[str]] = {}
    for row in rows:
        if row.startswith(" "):
            cases[next(reversed(cases))].append(row.strip())
        elif row:
            cases[row] = []
    return cases


def test_each_case_has_tests_that_exist() -> None:
    cases = _table()
    assert len(cases) == 16
    for case, tests in cases.items():
        assert tests, case
        for test in tests:
            file, _, name = test.partition("::")
            tree = ast.parse((ROOT / file).read_text())
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


@pytest.fixture
def books(database: Database) -> Any:
    """The books; whatever a test does to them, they add up at its end."""
    books = open_books(database)
    yield books
    assert discrepancies(database) == []


def test_crash_before_the_backend_starts_is_released_at_lease_end(books: Books) -> None:
    books.grant(units(2700))
    hold = books.hold(server="one")
    assert books.ledger.expire(START + LEASE - SECOND) == []
    assert isinstance(books.reserve(server="other"), Denied)
    assert books.ledger.expire(START + LEASE) == [hold]
    assert books.balance() == (units(2700), 0, 0)
    assert isinstance(books.reserve(server="one"), Admitted)


def test_poll_error_at_restart_is_unknown_without_refund_or_second_session(books: Books) -> None:
    books.grant(units(2700))
    hold = books.running(server="one")
    books.ledger.unknown(hold)
    books.clock.move(100 * HOUR)
    assert books.ledger.expire(books.clock()) == []
    assert books.balance() == (units(2700), 0, units(2700))
    refused = books.reserve(server="other")
    assert isinstance(refused, Denied)
    assert [reason.problem for reason in refused.reasons] == [QUOTA_HELD]
    books.grant(units(36_000))
    refused = books.reserve(server="one")
    assert isinstance(refused, Denied)
    assert [reason.problem for reason in refused.reasons] == [SERVER_BUSY]
    assert books.settle(hold, 100 * HOUR).charged == units(360_000)


@pytest.mark.parametrize(
    ("ran", "seconds"),
    [
        pytest.param(59 * SECOND, 59, id="59-seconds"),
        pytest.param(timedelta(milliseconds=250), 1, id="shorter-than-any-sampling-interval"),
    ],
)
def test_short_sessions_are_charged_by_the_second(books: Books, ran: timedelta, seconds: int) -> None:
    books.grant(units(36_000))
    assert books.settle(books.running(flavour="medium"), ran).charged == 4000 * seconds


# --- replays ------------------------------------------------------------------------------------------------------


def give(key: str, amount: int, *, owner: Owner = ANN, lasts: timedelta = 720 * HOUR) -> Callable[[Books], Any]:
    return lambda books: books.ledger.grant(
        key=key, owner=owner, amount=amount, starts_at=START, ends_at=START + lasts, created_by="olga", reason=""
    )


def revoke(key: str) -> Callable[[Books], Any]:
    return lambda books: books.ledger.revoke(
        books.rows(GrantTable, GrantTable.key == key)[0].id, actor="olga", reason=""
    )


def reserve(name: str, owner: Owner = ANN, **options: Any) -> Callable[[Books], Any]:
    return lambda books: books.reserve(name, owner, server=name, **options)


def started(name: str, minute: int) -> Callable[[Books], Any]:
    return lambda books: books.ledger.started(name, started_at=START + minute * MINUTE)


def renew(name: str, minute: int) -> Callable[[Books], Any]:
    return lambda books: books.ledger.renew(name, until=START + minute * MINUTE)


def settle(name: str, begin: int, end: int) -> Callable[[Books], Any]:
    times = {"started_at": START + begin * MINUTE, "ended_at": START + end * MINUTE}
    return lambda books: books.ledger.settle(name, source="launcher", **times)


HISTORY: list[tuple[int, Callable[[Books], Any]]] = [
    (0, give("short", units(3000), lasts=HOUR)),
    (0, give("long", units(36_000))),
    (0, give("anna's", units(6000), owner=ANNA)),
    (1, reserve("one")),
    (2, reserve("of-anna", ANNA, flavour="medium", shortest=MINUTE)),
    (3, started("one", 2)),
    (4, lambda books: books.publish({"small": 2000, "medium": 4000})),
    (5, reserve("never-ran")),
    (30, renew("one", 75)),
    (31, started("of-anna", 3)),
    (40, lambda books: books.ledger.unknown("one")),
    (55, lambda books: books.ledger.expire(START + 55 * MINUTE)),
    (56, settle("of-anna", 3, 56)),
    (61, reserve("two")),
    (62, started("two", 62)),
    (80, settle("one", 2, 80)),
    (81, lambda books: books.ledger.correct("one", amount=-units(60), key="mend", actor="olga", reason="a test")),
    (90, revoke("long")),
    (95, renew("two", 150)),
    (99, settle("two", 62, 99)),
    (99, lambda books: books.ledger.release("two", reason="too late")),
]
"""In which minute each call is made first, and what it is."""


def play(books: Books, calls: Iterable[tuple[int, Callable[[Books], Any]]]) -> None:
    """Make the calls, each at its own minute: also back to it."""
    for minute, call in calls:
        books.clock.now = START + minute * MINUTE
        with suppress(ValueError):  # "a new try needs a new attempt", of an attempt that is over
            call(books)


def summary(books: Books) -> Any:
    """The books without what is made up anew each time: ids of grants, seals, and how often somebody wrote."""
    keys = {row.id: row.key for row in books.rows(GrantTable)}
    holds = books.rows(HoldTable)
    return (
        [(row.account_id, row.granted, row.used, row.held) for row in books.rows(BalanceTable)],
        sorted((keys[row.grant_id], row.charged, row.lapsed) for row in books.rows(GrantBalanceTable)),
        [(row.id, row.state, row.amount, row.charged, row.lease_until, row.weight_milli) for row in holds],
        books.entries(),
    )


def test_replay_of_any_prefix_at_times_that_step_back_leaves_the_same_books(databases: Databases) -> None:
    """After each call everything up to it is made once more, at the times of then, before the next one is made."""
    once, again = (open_books(Database(databases.migrated())) for _ in range(2))
    for length in range(1, len(HISTORY) + 1):
        play(once, HISTORY[length - 1 : length])
        play(again, HISTORY[:length])
        assert summary(again) == summary(once), f"after call {length}"
    assert {row.state for row in once.rows(HoldTable)} == {"settled", "expired"}
    for books in (once, again):
        assert discrepancies(books.database) == []
        books.database.dispose()
