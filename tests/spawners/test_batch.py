"""The batch backend against a gateway of the contract: what is found, what is ended, and what is kept when nobody knows."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.database import Database
from federation.ids import new_check_id, new_id
from quota.answers import Denied
from spawners.backends.base import Life
from spawners.backends.batch import BatchJobs
from spawners.errors import SITE_AWAY, SITE_DRAINED
from spawners.gateway.answers import GatewayAway, GatewayRefused
from spawners.gateway.client import GatewayClient
from spawners.gateway.door import Door
from spawners.launcher import address_proof
from spawners.leases import reserved_minutes
from spawners.sessions import Server, Session
from spawners.tables import EndReason, SessionState
from spawners.upkeep import Decision
from tests.support.batch import SECRET, WANTED, Place, batch_place, map_to
from tests.support.books import MINUTE, START, discrepancies, units
from tests.support.fakes import HUB
from vetting.mappings import Event
from vetting.placement import Wish
from vetting.resources import Resources

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.fixture
def place(database: Database) -> Iterator[Place]:
    """Its books add up at the end of the test."""
    with batch_place(database) as made:
        yield made
    assert discrepancies(database) == []


@pytest.fixture
def ana(place: Place) -> Any:
    """Somebody whom the site accepted."""
    person = place.house.member()
    map_to(place.house, person, Event.ACCEPT)
    return person


# --- from submission to the end -----------------------------------------------------------------------------------


def test_the_job_s_id_is_in_the_row_at_once_and_the_same_attempt_is_the_same_job(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    assert (session.state, session.backend_ref) == (SessionState.SUBMITTED, "1000")
    place.hand_over(session)
    assert len(place.system.jobs) == 1


def test_a_job_is_seen_waiting_running_and_ended(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    waiting = place.jobs.observe(session.attempt)
    assert (waiting.life, waiting.reason) == (Life.PENDING, "Priority")
    assert waiting.expected_start_at == START + 10 * MINUTE
    place.house.clock.move(MINUTE)
    place.system.begin(session.attempt)
    assert place.jobs.observe(session.attempt).started_at == START + MINUTE
    assert list(place.jobs.living()) == [session.attempt]
    place.house.clock.move(MINUTE)
    place.system.finish(session.attempt, exit_code=3)
    seen = place.jobs.observe(session.attempt)
    assert (seen.life, seen.started_at, seen.ended_at, seen.exit_code, seen.source) == (
        Life.ENDED, START + MINUTE, START + 2 * MINUTE, 3, "scheduler",
    )  # fmt: skip
    assert list(place.jobs.living()) == []
    assert place.jobs.log_tail(session.attempt, 100) == "the end"


def test_what_was_never_handed_over_never_ran(place: Place, ana: Any) -> None:
    seen = place.jobs.observe(place.intend(ana).attempt)
    assert (seen.life, seen.started_at) == (Life.ENDED, None)


@pytest.mark.parametrize("verb", ["job", "history"])
@pytest.mark.parametrize("fault", ["away", "silent", "lost", "internal"])
def test_who_cannot_be_asked_is_unknown_whatever_was_known_before(
    place: Place, ana: Any, verb: str, fault: str
) -> None:
    session = place.submit(ana)
    place.system.begin(session.attempt)
    place.system.finish(session.attempt)
    place.system.faults[verb] = [fault]
    assert place.jobs.observe(session.attempt).life is Life.UNKNOWN
    assert place.jobs.observe(session.attempt).life is Life.ENDED


def test_a_gateway_that_is_gone_is_unknown_and_lists_nothing(place: Place, ana: Any, tmp_path: Any) -> None:
    jobs = BatchJobs("hpc", GatewayClient(Door(tmp_path / "none.sock")), place.house.sessions, place.house.clock)
    session = place.submit(ana)
    assert jobs.observe(session.attempt).life is Life.UNKNOWN
    assert list(jobs.living()) == []
    assert jobs.end(session.attempt, patience_seconds=3600).life is Life.UNKNOWN, "and is not waited for"
    assert jobs.end(new_id(), patience_seconds=0).life is Life.UNKNOWN
    closed = jobs.closed("HPC Andes")
    assert closed is not None
    assert closed.problem is SITE_AWAY


# --- a submission whose answer was lost ---------------------------------------------------------------------------


def test_a_job_whose_id_nobody_learned_is_found_by_its_attempt_and_can_be_ended(place: Place, ana: Any) -> None:
    session = place.intend(ana)
    place.system.faults["submit"] = ["lost"]
    with pytest.raises(GatewayAway):
        place.hand_over(session)
    seen = place.jobs.observe(session.attempt)
    assert (seen.life, seen.reference) == (Life.PENDING, "1000")
    assert place.jobs.end(session.attempt, patience_seconds=0).life is Life.ENDED
    assert place.system.jobs[session.attempt].scheduler_state == "CANCELLED"


def test_a_job_whose_id_was_learned_late_is_charged_from_its_start(place: Place, ana: Any) -> None:
    session = place.intend(ana)
    place.reserve(session, ana, walltime_minutes=60)
    place.system.held = False
    place.system.faults["submit"] = ["lost"]
    with pytest.raises(GatewayAway):
        place.hand_over(session)
    place.house.clock.move(20 * MINUTE)
    place.house.sessions.submitted(session.attempt, "1000")
    place.house.clock.move(MINUTE)
    place.system.finish(session.attempt)
    place.close(session)
    assert place.house.books.row(session.attempt).charged == units(21 * 60)


def test_what_the_site_refused_is_not_there(place: Place, ana: Any) -> None:
    session = place.intend(ana)
    place.system.faults["submit"] = ["not-mapped"]
    with pytest.raises(GatewayRefused):
        place.hand_over(session)
    assert place.house.again(session).backend_ref is None
    assert place.jobs.observe(session.attempt).life is Life.ENDED


# --- ending -------------------------------------------------------------------------------------------------------


def test_without_a_job_no_cancel_is_sent(place: Place, ana: Any) -> None:
    assert place.jobs.end(place.intend(ana).attempt, patience_seconds=0).life is Life.ENDED
    assert "cancel" not in place.system.asked


def test_only_the_job_with_our_id_and_owner_is_cancelled(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    place.system.jobs[session.attempt].account = "somebody-else"
    assert place.jobs.end(session.attempt, patience_seconds=0).life is Life.PENDING
    assert place.system.jobs[session.attempt].state == "pending"


def test_ending_twice_is_ending_once(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    place.system.begin(session.attempt)
    place.house.clock.move(MINUTE)
    first = place.jobs.end(session.attempt, patience_seconds=0)
    place.house.clock.move(MINUTE)
    assert place.jobs.end(session.attempt, patience_seconds=0) == first
    assert first.ended_at == START + MINUTE


def test_a_cancel_that_cannot_be_sent_keeps_everything(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    place.system.faults["cancel"] = ["silent"]
    assert place.jobs.end(session.attempt, patience_seconds=0).life is Life.PENDING
    assert place.house.books.row(session.attempt).state == "held"


def test_what_ended_needs_no_way_any_more(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    place.system.begin(session.attempt)
    place.system.listens(session.attempt, 4242, address_proof(SECRET, "127.0.0.1", 4242))
    assert place.jobs.address(session.attempt, session.secret_hash) == ("127.0.0.1", 4242)
    assert session.attempt in place.system.forwards
    place.system.finish(session.attempt)
    place.jobs.observe(session.attempt)
    assert place.system.forwards == {}


def test_an_address_without_the_proof_of_the_secret_is_none(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    place.system.begin(session.attempt)
    for proof in (address_proof("another secret", "127.0.0.1", 4242), address_proof(SECRET, "127.0.0.1", 4243)):
        place.system.listens(session.attempt, 4242, proof)
        assert place.jobs.address(session.attempt, session.secret_hash) is None
    assert "forward" not in place.system.asked


@pytest.mark.parametrize(
    ("state", "problem"), [("ok", None), ("unknown", None), ("open-breaker", SITE_AWAY), ("drained", SITE_DRAINED)]
)
def test_a_site_is_closed_while_it_does_not_answer_or_takes_nothing(place: Place, state: str, problem: Any) -> None:
    place.system.site_state = state
    closed = place.jobs.closed("HPC Andes")
    assert (closed.problem if closed else None) is problem


# --- the books ----------------------------------------------------------------------------------------------------


def test_the_whole_walltime_is_set_aside_and_the_queue_is_free(place: Place, ana: Any) -> None:
    session = place.submit(ana, walltime_minutes=90)
    hold = place.house.books.row(session.attempt)
    assert (hold.amount, hold.lease_until) == (units(90 * 60), START + 24 * HOUR + 90 * MINUTE)
    with place.house.database.read() as connection:
        assert reserved_minutes(connection, session.attempt) == 90
    place.house.clock.move(5 * HOUR)
    place.house.ledger.started(session.attempt, started_at=place.house.clock())
    assert place.house.books.row(session.attempt).lease_until == START + 5 * HOUR + 90 * MINUTE


def test_who_chooses_no_walltime_gets_the_longest_and_less_where_the_quota_is_less(place: Place, ana: Any) -> None:
    sessions = [place.intend(ana, server) for server in ("a", "b", "c")]
    for session in sessions:
        place.reserve(session, ana)
    amounts = [place.house.books.row(session.attempt).amount for session in sessions]
    assert amounts == [units(4 * 3600), units(4 * 3600), units(2 * 3600)]


def test_a_walltime_that_the_quota_does_not_cover_is_refused_not_shortened(place: Place, ana: Any) -> None:
    for server in ("a", "b"):
        place.reserve(place.intend(ana, server), ana, walltime_minutes=240)
    wish = Wish(flavour="small", environment="python", resources=Resources(walltime_minutes=240))
    denied = place.house.admission.preview(ana, Server(HUB, ana.user_name, "d"), wish, "hpc")
    assert isinstance(denied, Denied)


def test_a_requeued_job_is_charged_for_each_of_its_runs(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    place.system.begin(session.attempt)
    place.house.clock.move(10 * MINUTE)
    place.system.requeue(session.attempt)
    assert place.jobs.observe(session.attempt).life is Life.PENDING
    place.house.clock.move(HOUR)
    place.system.begin(session.attempt)
    place.house.clock.move(5 * MINUTE)
    place.system.finish(session.attempt)
    place.close(session)
    hold = place.house.books.row(session.attempt)
    assert (hold.state, hold.charged, hold.source) == ("settled", units(15 * 60), "scheduler")


@pytest.mark.parametrize("skew_minutes", [-10, 10])
def test_a_site_s_clock_that_is_wrong_changes_no_charge_and_ends_nothing_early(
    place: Place, ana: Any, skew_minutes: int
) -> None:
    place.system.skew = skew_minutes * 60
    session, upkeep = place.submit(ana), place.house.upkeep()
    place.system.begin(session.attempt)
    for _ in range(6):
        assert [decision for _, decision in upkeep.run_once()] == [Decision.WAIT]
        place.house.sessions.claim(session.attempt, session.secret_hash, "nonce")
        place.house.sessions.confirm(session.attempt, session.secret_hash, "nonce")
        place.house.clock.move(3 * MINUTE)
    place.system.finish(session.attempt, scheduler_state="TIMEOUT")
    assert [decision for _, decision in upkeep.run_once()] == [Decision.CLOSE]
    assert place.house.books.row(session.attempt).charged == units(18 * 60)


def test_a_job_of_which_nothing_is_left_is_charged_up_to_when_it_was_last_seen(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    place.system.begin(session.attempt)
    place.house.clock.move(7 * MINUTE)
    place.house.reconciler().run_once()
    place.house.clock.move(7 * MINUTE)
    place.system.forgotten.add(session.attempt)
    place.house.upkeep().run_once()
    hold = place.house.books.row(session.attempt)
    assert (hold.state, hold.charged, hold.source) == ("settled", units(7 * 60), "last seen")


def test_a_job_that_belongs_to_no_open_attempt_is_ended(place: Place, ana: Any) -> None:
    session = place.intend(ana)
    place.system.faults["submit"] = ["lost"]
    with pytest.raises(GatewayAway):
        place.hand_over(session)
    place.house.sessions.ended(session.attempt, started_at=None, ended_at=START)
    place.house.reconciler().run_once()
    assert place.system.jobs[session.attempt].state == "ended"


def test_an_answer_that_is_older_than_an_end_makes_no_stray_of_it(place: Place, ana: Any) -> None:
    session = place.submit(ana)
    place.system.begin(session.attempt)
    place.house.clock.move(MINUTE)
    place.system.stop_asking()
    place.system.finish(session.attempt)
    place.close(session)
    assert list(place.jobs.living()) == []
    place.house.reconciler().run_once()
    assert "cancel" not in place.system.asked
    place.system.faults["history"] = ["away"]
    assert list(place.jobs.living()) == []


# --- the worker's rounds ------------------------------------------------------------------------------------------


def run(place: Place, ana: Any) -> Session:
    """A session that runs and answered."""
    session = place.submit(ana)
    place.system.begin(session.attempt)
    place.house.sessions.claim(session.attempt, session.secret_hash, "nonce")
    place.house.sessions.confirm(session.attempt, session.secret_hash, "nonce")
    place.house.sessions.located(session.attempt, host="127.0.0.1", port=1, started_at=place.house.clock())
    place.house.sessions.answered(session.attempt)
    return place.house.again(session)


def passing(place: Place, session: Session, minutes: int, upkeep: Any) -> list[Decision]:
    """What the worker decides, minute by minute, while the person works."""
    found = []
    for _ in range(minutes):
        place.house.clock.move(MINUTE)
        place.house.servers.servers[session.server] = place.house.clock()
        found += [decision for _, decision in upkeep.run_once()]
    return found


def test_a_walltime_is_never_renewed_and_the_scheduler_ends_it(place: Place, ana: Any) -> None:
    session, upkeep = run(place, ana), place.house.upkeep()
    decisions = passing(place, session, 75, upkeep)
    assert set(decisions) == {Decision.WAIT, Decision.CHECK_ACCESS}
    assert place.house.books.row(session.attempt).amount == units(3600)
    assert place.house.servers.asked == []
    assert passing(place, session, 1, upkeep) == [Decision.STOP_WALLTIME]
    assert place.house.servers.asked == [("stop", session.server)]
    assert place.house.again(session).end_reason is EndReason.WALLTIME


@pytest.mark.parametrize("what", ["community", "mapping"])
def test_who_may_not_use_it_any_more_is_stopped_within_half_a_lease(place: Place, ana: Any, what: str) -> None:
    session, upkeep = run(place, ana), place.house.upkeep()
    if what == "mapping":
        map_to(place.house, ana, Event.END)
    else:
        place.house.books.person("ana", memberships=())
    passing(place, session, 23, upkeep)
    assert place.house.again(session).end_reason is EndReason.ACCESS


def test_a_job_that_waited_for_hours_is_taken_up_again_after_its_hub_died(place: Place, ana: Any) -> None:
    session, upkeep = place.submit(ana), place.house.upkeep()
    place.house.clock.move(5 * HOUR)
    del place.house.servers.servers[session.server]
    for _ in range(10):
        assert [decision for _, decision in upkeep.run_once()] == [Decision.START_AGAIN]
        place.house.clock.move(MINUTE)
    place.house.clock.move(SECOND)
    assert [decision for _, decision in upkeep.run_once()] == [Decision.END_DIRECTLY]
    assert place.system.jobs[session.attempt].scheduler_state == "CANCELLED"
    assert place.house.books.row(session.attempt).state == "released"


def test_a_silent_site_changes_nothing_and_nothing_is_lost(place: Place, ana: Any) -> None:
    session, upkeep = run(place, ana), place.house.upkeep()
    place.system.faults["job"] = ["away"] * 100
    assert set(passing(place, session, 90, upkeep)) == {Decision.MARK_UNKNOWN}
    assert place.house.books.row(session.attempt).state == "unknown"
    assert place.system.jobs[session.attempt].state == "running"
    place.system.faults.clear()
    place.system.finish(session.attempt, scheduler_state="TIMEOUT")
    assert passing(place, session, 1, upkeep) == [Decision.CLOSE]
    assert place.house.again(session).end_reason is EndReason.WALLTIME


steps = st.lists(
    st.sampled_from(["begin", "requeue", "finish", "silent", "worker", "reconcile", "minute", "lost-hub", "found-hub"]),
    max_size=14,
)


@given(steps=steps)
@settings(max_examples=25)
def test_whatever_happens_in_whatever_order_the_charge_is_the_sum_of_the_scheduler_s_runs(
    tables: Path, steps: list[str]
) -> None:
    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{copy(tables, folder)}")
        try:
            _history(database, steps)
        finally:
            database.dispose()


def _history(database: Database, steps: list[str]) -> None:
    with batch_place(database, stop_seconds=0) as place:
        house, system = place.house, place.system
        session, upkeep = place.submit(house.member()), house.upkeep()
        job, servers = system.jobs[session.attempt], house.servers.servers
        actions: dict[str, Callable[[], object]] = {
            "begin": lambda: job.state == "pending" and system.begin(session.attempt),
            "requeue": lambda: job.state == "running" and system.requeue(session.attempt),
            "finish": lambda: job.state != "ended" and system.finish(session.attempt),
            "silent": lambda: system.faults.update(job=["silent"]),
            "worker": upkeep.run_once,
            "reconcile": lambda: house.reconciler().run_once(),
            "minute": lambda: house.clock.move(MINUTE),
            "lost-hub": lambda: servers.pop(session.server, None),
            "found-hub": lambda: servers.update({session.server: None}),
        }
        for step in steps:
            actions[step]()
        system.faults.clear()
        if job.state != "ended":
            system.finish(session.attempt)
        house.upkeep().run_once()
        hold = house.books.row(session.attempt)
        ran = sum(round(one["ended_at"] - one["started_at"]) for one in job.runs)
        assert hold.state in ("settled", "released")
        assert (hold.charged or 0) == units(ran)
        assert discrepancies(database) == []


def test_the_job_of_a_check_is_nobody_s_session_and_no_stray(place: Place) -> None:
    for attempt in (new_check_id(), new_id()):
        place.jobs.gateway.submit(
            "hpc", attempt=attempt, account="ana", secret=SECRET, script="#!/bin/bash\n", resources=WANTED
        )
    assert place.jobs.living() == [attempt]
