"""The worker: it renews, settles and stops by what the backends say, and writes the reason before it stops anything."""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from federation.database import Database
from federation.errors import DATABASE_AWAY, Failure
from federation.leader import LeadershipLost
from federation.persons import Facts, Person, PersonTable, remember
from quota.amounts import from_unit_hours
from quota.settings import DefaultGrant
from quota.tables import EntryTable, HoldState, HoldTable
from spawners.backends.base import Life, Observation
from spawners.paying import owner_of
from spawners.sessions import Server, Session
from spawners.tables import EndReason, SessionState
from spawners.upkeep import Decision, Rules, Situation, decide
from tests.support.books import MINUTE, START, discrepancies, units
from tests.support.fakes import HUB, LEASE, Installation
from vetting.placement import Wish

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
TICK = timedelta.resolution
RULES = Rules(lease=LEASE, idle_stop=HOUR)
NOW = START


# --- the rule ---------------------------------------------------------------------------------------------------------


def session_like(**changes: Any) -> Session:
    """A session that runs, was exchanged and answered ten minutes ago."""
    begun = NOW - 10 * MINUTE
    usual = Session(
        attempt="a", session_id="a", server=Server(HUB, "ana", ""), person_id="p", site="here", flavour="small",
        environment="python", options={}, state=SessionState.RUNNING, secret_hash="", exchanged_at=begun, token_ids=(),
        host="127.0.0.1", port=1, created_at=begun, submitted_at=begun, started_at=begun, ready_at=begun, ended_at=None,
        end_reason=None, end_detail=None,
    )  # fmt: skip
    return replace(usual, **changes)


def situation(life: Life = Life.RUNNING, **changes: Any) -> Situation:
    """Of a session that needs nothing; fields of the session may be changed too."""
    of_session = {name: changes.pop(name) for name in list(changes) if name in Session.__dataclass_fields__}
    usual = Situation(
        session=session_like(**of_session), seen=Observation(life=life, started_at=NOW - 10 * MINUTE),
        lease_until=NOW + LEASE, hold_state=HoldState.RUNNING, hub_has_it=True, last_activity=NOW, stopping_since=None,
    )  # fmt: skip
    return replace(usual, **changes)


INTENT = {"state": SessionState.INTENT, "exchanged_at": None, "ready_at": None}
WAITING = {"state": SessionState.SUBMITTED, "exchanged_at": None, "ready_at": None}
STOPPED = {"end_reason": EndReason.STOPPED}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param(situation(), Decision.WAIT, id="runs-and-needs-nothing"),
        # What is only meant.
        *(
            pytest.param(situation(life, **INTENT, created_at=NOW), Decision.WAIT, id=f"meant-just-now-and-{life}")
            for life in Life
        ),
        pytest.param(
            situation(Life.ENDED, **INTENT, created_at=NOW - MINUTE + TICK), Decision.WAIT, id="meant-almost-a-minute-ago"
        ),
        pytest.param(
            situation(Life.ENDED, **INTENT, created_at=NOW - MINUTE), Decision.CLOSE, id="meant-a-minute-ago-never-came"
        ),
        pytest.param(
            situation(Life.ENDED, **INTENT, created_at=NOW + HOUR), Decision.WAIT, id="meant-before-the-clock-stepped-back"
        ),
        # A job that is there while its hub is not: the hub died before it learned of it.
        pytest.param(
            situation(Life.PENDING, **{**INTENT, "hub_has_it": False, "created_at": NOW}, renews=False),
            Decision.START_AGAIN, id="a-job-that-only-was-meant-and-waits-although-its-hub-died",
        ),
        pytest.param(
            situation(Life.PENDING, **{**INTENT, "created_at": NOW}, renews=False),
            Decision.WAIT, id="a-job-that-only-was-meant-and-waits-while-its-hub-is-at-it",
        ),
        pytest.param(
            situation(Life.ENDED, **{**INTENT, "hub_has_it": False, "created_at": NOW - 2 * MINUTE}, renews=False,
                      handover=3 * MINUTE),
            Decision.WAIT, id="a-job-that-is-perhaps-on-its-way",
        ),
        # The walltime of a job.
        pytest.param(situation(renews=False, lease_until=NOW - 15 * MINUTE), Decision.WAIT, id="walltime-over-for-a-bit"),
        pytest.param(
            situation(renews=False, lease_until=NOW - 15 * MINUTE - TICK), Decision.STOP_WALLTIME, id="walltime-long-over"
        ),
        pytest.param(
            situation(Life.UNKNOWN, renews=False, lease_until=NOW - DAY), Decision.MARK_UNKNOWN, id="walltime-over-unknown"
        ),
        pytest.param(
            situation(renews=False, access_checked_at=NOW - LEASE / 2), Decision.WAIT, id="looked-at-half-a-lease-ago"
        ),
        pytest.param(
            situation(renews=False, access_checked_at=NOW - LEASE / 2 - TICK), Decision.CHECK_ACCESS, id="to-be-looked-at"
        ),
        # What is over is put into the books, whatever else.
        pytest.param(situation(Life.ENDED), Decision.CLOSE, id="ended"),
        pytest.param(situation(Life.ENDED, **STOPPED), Decision.CLOSE, id="ended-as-it-should"),
        pytest.param(situation(Life.ENDED, lease_until=None), Decision.CLOSE, id="ended-without-a-hold"),
        pytest.param(situation(Life.ENDED, lease_until=NOW - DAY), Decision.CLOSE, id="ended-after-its-lease"),
        pytest.param(situation(Life.ENDED, hub_has_it=None), Decision.CLOSE, id="ended-while-the-hub-is-away"),
        # What cannot be asked is neither stopped nor started.
        pytest.param(situation(Life.UNKNOWN), Decision.MARK_UNKNOWN, id="unknown"),
        pytest.param(situation(Life.UNKNOWN, lease_until=NOW - DAY), Decision.MARK_UNKNOWN, id="unknown-lease-over"),
        pytest.param(situation(Life.UNKNOWN, lease_until=None), Decision.MARK_UNKNOWN, id="unknown-without-a-hold"),
        pytest.param(situation(Life.UNKNOWN, **STOPPED), Decision.MARK_UNKNOWN, id="unknown-while-it-is-stopped"),
        pytest.param(
            situation(Life.UNKNOWN, ready_at=NOW - DAY, last_activity=None), Decision.MARK_UNKNOWN, id="unknown-and-idle"
        ),
        pytest.param(situation(Life.UNKNOWN, **WAITING, hub_has_it=False), Decision.MARK_UNKNOWN, id="unknown-not-at-hub"),
        # A stop that is under way.
        pytest.param(situation(**STOPPED), Decision.WAIT, id="stopping-since-this-look"),
        pytest.param(
            situation(**STOPPED, stopping_since=NOW - 30 * SECOND), Decision.WAIT, id="stopping-as-long-as-the-hub-may-take"
        ),
        pytest.param(
            situation(**STOPPED, stopping_since=NOW - 30 * SECOND - TICK), Decision.END_DIRECTLY, id="stopping-for-too-long"
        ),
        pytest.param(
            situation(**STOPPED, hub_has_it=None, stopping_since=NOW - MINUTE), Decision.END_DIRECTLY,
            id="stopping-while-the-hub-is-away",
        ),
        pytest.param(situation(**STOPPED, lease_until=NOW - DAY), Decision.WAIT, id="stopping-is-not-stopped-again"),
        pytest.param(
            situation(**STOPPED, **WAITING, hub_has_it=False), Decision.WAIT, id="stopping-is-not-started-again"
        ),
        # The lease.
        pytest.param(situation(lease_until=None), Decision.STOP_LEASE, id="runs-without-a-hold"),
        pytest.param(situation(Life.PENDING, lease_until=None), Decision.STOP_LEASE, id="waits-without-a-hold"),
        pytest.param(situation(lease_until=NOW + LEASE / 2), Decision.WAIT, id="half-of-its-lease-left"),
        pytest.param(situation(lease_until=NOW + LEASE / 2 - TICK), Decision.RENEW, id="less-than-half-left"),
        pytest.param(situation(lease_until=NOW), Decision.RENEW, id="lease-over-just-now"),
        pytest.param(situation(lease_until=NOW - DAY), Decision.RENEW, id="lease-over-while-no-worker-looked"),
        pytest.param(situation(Life.PENDING, **WAITING, lease_until=NOW), Decision.RENEW, id="waits-and-lease-is-over"),
        pytest.param(situation(hub_has_it=None, lease_until=NOW), Decision.RENEW, id="renewed-also-without-the-hub"),
        # A hub that was restarted.
        pytest.param(situation(**WAITING, hub_has_it=False), Decision.START_AGAIN, id="not-exchanged-and-not-at-the-hub"),
        pytest.param(situation(Life.PENDING, **WAITING, hub_has_it=False), Decision.START_AGAIN, id="queued-not-at-hub"),
        pytest.param(
            situation(**{**INTENT, "hub_has_it": False}), Decision.START_AGAIN, id="found-although-it-was-only-meant"
        ),
        pytest.param(situation(**WAITING), Decision.WAIT, id="not-exchanged-and-the-hub-is-at-it"),
        pytest.param(situation(**WAITING, hub_has_it=None), Decision.WAIT, id="not-exchanged-and-the-hub-is-away"),
        pytest.param(situation(hub_has_it=False), Decision.WAIT, id="exchanged-but-not-at-the-hub"),
        pytest.param(
            situation(hub_has_it=False, missing_since=NOW - 10 * MINUTE), Decision.WAIT, id="missing-for-just-ten-minutes"
        ),
        pytest.param(
            situation(hub_has_it=False, missing_since=NOW - 10 * MINUTE - TICK), Decision.END_LOST,
            id="missing-for-too-long",
        ),
        pytest.param(
            situation(hub_has_it=False, missing_since=NOW - HOUR, lease_until=NOW), Decision.END_LOST,
            id="missing-is-not-renewed-for-ever",
        ),
        pytest.param(
            situation(Life.UNKNOWN, hub_has_it=False, missing_since=NOW - HOUR), Decision.MARK_UNKNOWN,
            id="missing-and-cannot-be-asked",
        ),
        pytest.param(
            situation(**WAITING, hub_has_it=False, created_at=NOW - 10 * MINUTE - TICK), Decision.END_DIRECTLY,
            id="not-taken-up-for-too-long",
        ),
        # Nobody uses it.
        pytest.param(situation(ready_at=NOW - DAY, last_activity=NOW - HOUR), Decision.WAIT, id="idle-for-just-an-hour"),
        pytest.param(
            situation(ready_at=NOW - DAY, last_activity=NOW - HOUR - TICK), Decision.STOP_IDLE, id="idle-for-too-long"
        ),
        pytest.param(
            situation(ready_at=NOW - HOUR, last_activity=NOW - DAY), Decision.WAIT, id="activity-of-an-earlier-session"
        ),
        pytest.param(situation(ready_at=NOW - HOUR - TICK, last_activity=None), Decision.STOP_IDLE, id="never-used"),
        pytest.param(situation(**WAITING, last_activity=NOW - DAY), Decision.WAIT, id="not-ready-is-not-idle"),
        pytest.param(
            situation(ready_at=NOW - DAY, last_activity=None, hub_has_it=None), Decision.WAIT, id="idle-but-the-hub-is-away"
        ),
        pytest.param(
            situation(ready_at=NOW - DAY, last_activity=NOW - DAY, lease_until=NOW), Decision.STOP_IDLE,
            id="idle-is-not-renewed",
        ),
    ],
)  # fmt: skip
def test_what_a_session_needs(case: Situation, expected: Decision) -> None:
    assert decide(case, RULES, NOW) is expected


def test_without_an_idle_stop_nobody_is_idle() -> None:
    never = Rules(lease=LEASE, idle_stop=None)
    assert decide(situation(ready_at=NOW - DAY, last_activity=None), never, NOW) is Decision.WAIT


# --- the worker -------------------------------------------------------------------------------------------------------


@pytest.fixture
def house(database: Database) -> Any:
    """One site, one hub, and a person with the default quota of ten hours; its books add up at the end of the test."""
    yield Installation(database)
    assert discrepancies(database) == []


@pytest.fixture
def ana(house: Installation) -> Person:
    return house.member()


def pass_once(house: Installation) -> list[Decision]:
    """One pass of a worker that was just started."""
    return [decision for _, decision in house.upkeep().run_once()]


def with_hours(database: Database, hours: float) -> Installation:
    """An installation whose people have just that, and nothing by default."""
    house = Installation(database, defaults={})
    house.books.grant(int(from_unit_hours(1) * hours), owner_of(house.member()))
    return house


def run_where_no_site_is_any_more(house: Installation, person: Person) -> Session:
    """A session of a site that federation.yaml does not name any more."""
    house.policy.sites["gone"] = house.policy.sites["here"]
    session = house.run(person, site="gone")
    del house.policy.sites["gone"]
    return session


def only_person(house: Installation) -> Person:
    (row,) = house.books.rows(PersonTable)
    return house.admission.person(row.user_name)


def wish_of(session: Session) -> Wish:
    return Wish(flavour=session.flavour, environment=session.environment)


def test_a_session_that_needs_nothing_is_left_alone(house: Installation, ana: Person) -> None:
    house.run(ana)
    before = house.books.dump()
    assert pass_once(house) == [Decision.WAIT]
    assert house.books.dump() == before
    assert house.servers.asked == []


# settle


def test_what_ended_is_charged_by_the_backends_times_and_the_hub_is_told(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.clock.move(58.9 * SECOND)
    house.backend.is_over(session.attempt)
    house.clock.move(10 * MINUTE)  # until the worker looks
    assert pass_once(house) == [Decision.CLOSE]
    hold = house.books.row(session.attempt)
    assert (hold.state, hold.charged, hold.source) == ("settled", units(59), "launcher")
    ended = house.again(session)
    assert (ended.state, ended.end_reason, ended.end_detail) == (SessionState.ENDED, EndReason.EXITED, "exit code 0")
    assert ended.ended_at == START + 58.9 * SECOND
    assert house.servers.asked == [("stop", session.server)]


def test_a_second_pass_has_nothing_to_settle(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.backend.is_over(session.attempt)
    pass_once(house)
    before = house.books.dump()
    assert pass_once(house) == []
    assert house.books.dump() == before


def test_an_end_that_is_only_estimated_is_marked_as_such(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.clock.move(MINUTE)
    house.backend.is_over(session.attempt, estimated=True)
    pass_once(house)
    assert house.books.row(session.attempt).source == "last seen"


def test_what_never_ran_is_released(house: Installation, ana: Person) -> None:
    session = house.submit(ana)
    del house.backend.seen[session.attempt]
    assert pass_once(house) == [Decision.CLOSE]
    assert house.books.row(session.attempt).state == "released"
    assert house.again(session).end_reason is EndReason.FAILED


def test_a_crash_before_anything_was_submitted_is_released(house: Installation, ana: Person) -> None:
    session = house.intend(ana)
    house.admission.reserve(session.attempt, ana, session.server, wish_of(session), "here")
    assert pass_once(house) == [Decision.WAIT]
    house.clock.move(MINUTE)
    assert pass_once(house) == [Decision.CLOSE]
    assert house.books.row(session.attempt).state == "released"


def test_a_crash_before_anything_was_reserved_only_ends_the_row(house: Installation, ana: Person) -> None:
    session = house.intend(ana)
    house.clock.move(MINUTE)
    assert pass_once(house) == [Decision.CLOSE]
    assert house.again(session).ended_at is not None
    assert house.books.rows(HoldTable) == []


def test_a_session_that_the_hub_never_noticed_is_settled_without_it(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.servers.away = True
    house.clock.move(10 * MINUTE)
    house.backend.is_over(session.attempt)
    assert pass_once(house) == [Decision.CLOSE]
    assert house.books.row(session.attempt).charged == units(600)
    assert house.servers.asked == []


def test_a_session_that_is_over_does_not_stop_the_next_one_of_its_server(house: Installation, ana: Person) -> None:
    """Between the worker's look and its word to the hub, the hub settles the session, and the person starts again."""
    first = house.run(ana)
    house.backend.is_over(first.attempt)

    def start_again(attempt: str) -> None:
        house.backend.on_observe = lambda _: None
        house.sessions.ended(first.attempt, started_at=START, ended_at=START)
        house.ledger.settle(first.attempt, started_at=START, ended_at=START, source="launcher")
        house.run(ana)

    house.backend.on_observe = start_again
    assert pass_once(house) == [Decision.CLOSE]
    assert house.servers.asked == []
    assert house.sessions.open_of(first.server) is not None


# started, unknown


def test_a_session_that_the_hub_did_not_mark_as_running_is_marked(house: Installation, ana: Person) -> None:
    session = house.submit(ana)
    house.clock.move(3 * SECOND)
    house.backend.runs(session.attempt)
    house.clock.move(MINUTE)
    pass_once(house)
    hold = house.books.row(session.attempt)
    assert (hold.state, hold.started_at) == ("running", START + 3 * SECOND)


def test_a_running_session_never_expires_even_if_nobody_marked_it_before_its_lease_ended(
    house: Installation, ana: Person
) -> None:
    session = house.submit(ana)
    house.backend.runs(session.attempt)
    house.clock.move(2 * HOUR)
    house.upkeep().run_once()
    assert house.books.row(session.attempt).state == "running"


@pytest.mark.parametrize("what", ["silent-backend", "site-that-is-not-configured-any-more"])
def test_nothing_is_refunded_or_stopped_of_what_cannot_be_asked_about(
    house: Installation, ana: Person, what: str
) -> None:
    session = house.run(ana) if what == "silent-backend" else run_where_no_site_is_any_more(house, ana)
    house.backend.silent = True
    for hours in (0, 1, 24, 1000):
        house.clock.move(hours * HOUR)
        assert pass_once(house) == [Decision.MARK_UNKNOWN]
    hold = house.books.row(session.attempt)
    assert (hold.state, hold.charged) == ("unknown", None)
    assert house.books.balance(owner_of(ana))[2] == units(2700)
    assert house.again(session).ended_at is None
    assert house.servers.asked == house.backend.ended == []


def test_what_was_never_seen_running_and_cannot_be_asked_about_is_not_refunded_either(
    house: Installation, ana: Person
) -> None:
    session = house.submit(ana)
    house.backend.silent = True
    house.clock.move(DAY)
    pass_once(house)
    assert house.books.row(session.attempt).state == "unknown"


def test_a_session_that_can_be_asked_about_again_goes_on_and_is_charged_in_full(
    house: Installation, ana: Person
) -> None:
    session = house.run(ana)
    house.backend.silent = True
    house.clock.move(10 * MINUTE)
    pass_once(house)
    house.backend.silent = False
    house.clock.move(2 * HOUR)
    house.servers.servers[session.server] = house.clock()
    assert pass_once(house) == [Decision.RENEW]
    hold = house.books.row(session.attempt)
    assert (hold.state, hold.started_at, hold.lease_until) == ("running", START, house.clock() + LEASE)
    house.backend.is_over(session.attempt)
    pass_once(house)
    assert house.books.row(session.attempt).charged == units(600 + 7200)


# renew


def test_a_lease_is_renewed_once_less_than_half_of_it_is_left(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.clock.move(LEASE / 2)
    assert pass_once(house) == [Decision.WAIT]
    house.clock.move(SECOND)
    assert pass_once(house) == [Decision.RENEW]
    assert house.books.row(session.attempt).lease_until == house.clock() + LEASE
    assert pass_once(house) == [Decision.WAIT]


def test_a_session_that_is_used_all_day_is_renewed_all_day_and_holds_no_more_than_it_needs(
    house: Installation, ana: Person
) -> None:
    session, upkeep = house.run(ana), house.upkeep()
    for _ in range(9 * 12):
        house.clock.move(5 * MINUTE)
        house.servers.servers[session.server] = house.clock()
        upkeep.run_once()
        assert house.books.row(session.attempt).lease_until - house.clock() >= LEASE / 2 - 5 * MINUTE
    assert house.books.row(session.attempt).amount <= units(9 * 3600 + 2700)
    house.backend.is_over(session.attempt)
    upkeep.run_once()
    assert house.books.row(session.attempt).charged == units(9 * 3600)


def test_a_session_whose_renewal_is_short_runs_to_its_end_and_is_stopped_with_quota_as_the_reason(
    database: Database,
) -> None:
    house = with_hours(database, 1)
    session = house.run(only_person(house))
    upkeep = house.upkeep()
    house.clock.move(30 * MINUTE)
    assert [decision for _, decision in upkeep.run_once()] == [Decision.RENEW]
    assert house.books.row(session.attempt).lease_until == START + HOUR
    house.clock.move(30 * MINUTE - SECOND)
    house.servers.servers[session.server] = house.clock()
    assert [decision for _, decision in upkeep.run_once()] == [Decision.RENEW]
    assert (house.servers.asked, house.again(session).end_reason) == ([], None)
    house.clock.move(SECOND)
    upkeep.run_once()
    assert house.again(session).end_reason is EndReason.QUOTA
    assert house.servers.asked == [("stop", session.server)]
    house.backend.is_over(session.attempt, exit_code=-15)
    upkeep.run_once()
    assert house.books.balance(owner_of(only_person(house))) == (units(3600), units(3600), 0)
    assert house.again(session).end_reason is EndReason.QUOTA


def test_the_quota_of_a_new_period_renews_a_session_that_runs_into_it(database: Database) -> None:
    house = Installation(database, defaults={"T1": DefaultGrant(amount_hours=1, period="day", flavours=["small"])})
    house.clock.now = START.replace(hour=23, minute=30)
    session = house.run(house.member())
    house.clock.move(45 * MINUTE)
    assert pass_once(house) == [Decision.RENEW]
    assert house.books.row(session.attempt).lease_until == house.clock() + LEASE


@pytest.mark.parametrize("why", ["no-longer-a-member", "flavour-is-gone", "flavour-is-for-a-higher-tier"])
def test_who_may_not_use_it_any_more_keeps_the_lease_and_is_stopped_with_access_as_the_reason(
    house: Installation, ana: Person, why: str
) -> None:
    session, upkeep = house.run(ana), house.upkeep()
    if why == "no-longer-a-member":
        with house.database.write() as connection:
            remember(
                connection, issuer=ana.issuer, subject=ana.subject, preferred="ana", facts=Facts(), now=house.clock()
            )
    elif why == "flavour-is-gone":
        del house.policy.flavours["small"]
    else:
        house.policy.flavours["small"] = house.policy.flavours["small"].model_copy(update={"tier": "T9"})
    house.clock.move(LEASE - SECOND)
    upkeep.run_once()
    assert house.books.row(session.attempt).lease_until == START + LEASE
    assert (house.servers.asked, house.again(session).end_reason) == ([], None)
    house.clock.move(SECOND)
    upkeep.run_once()
    assert house.again(session).end_reason is EndReason.ACCESS
    assert house.servers.asked == [("stop", session.server)]


def test_the_session_of_somebody_whose_record_is_gone_is_stopped_at_the_end_of_its_lease(
    house: Installation, ana: Person
) -> None:
    session = house.run(ana)
    with house.database.write() as connection:
        connection.execute(delete(PersonTable))
    house.clock.move(LEASE)
    pass_once(house)
    assert house.again(session).end_reason is EndReason.ACCESS
    assert house.servers.asked == [("stop", session.server)]


def test_an_outage_while_somebodys_record_is_looked_up_stops_nobody(
    house: Installation, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = house.run(ana)
    house.clock.move(LEASE)

    def away(user_name: str) -> Person:
        raise Failure(DATABASE_AWAY)

    with monkeypatch.context() as outage:
        outage.setattr(house.admission, "person", away)
        assert pass_once(house) == [Decision.RENEW]
    assert (house.again(session).end_reason, house.servers.asked) == (None, [])
    pass_once(house)
    assert house.books.row(session.attempt).lease_until == house.clock() + LEASE


def test_a_lease_that_ended_while_no_worker_looked_is_renewed_late_and_the_gap_is_paid(
    house: Installation, ana: Person
) -> None:
    session = house.run(ana)
    house.clock.move(3 * HOUR)
    house.servers.servers[session.server] = house.clock()
    assert pass_once(house) == [Decision.RENEW]
    hold = house.books.row(session.attempt)
    assert (hold.lease_until, hold.amount) == (house.clock() + LEASE, units(3 * 3600 + 2700))
    assert house.again(session).end_reason is None


def test_a_late_renewal_that_does_not_reach_the_present_is_a_stop_and_what_was_used_is_charged(
    database: Database,
) -> None:
    house = with_hours(database, 2)
    session, upkeep = house.run(only_person(house)), house.upkeep()
    house.clock.move(3 * HOUR)
    house.servers.servers[session.server] = house.clock()
    for _ in range(2):
        upkeep.run_once()
    assert house.again(session).end_reason is EndReason.QUOTA
    house.backend.is_over(session.attempt)
    upkeep.run_once()
    assert house.books.balance(owner_of(only_person(house))) == (units(7200), units(10_800), 0)
    assert dict(house.books.entries(session.attempt))["overrun"] == units(3600)


def test_a_session_without_an_open_hold_is_stopped(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.ledger.release(session.attempt, reason="a mistake")
    assert pass_once(house) == [Decision.STOP_LEASE]
    assert house.again(session).end_reason is EndReason.QUOTA
    assert house.servers.asked == [("stop", session.server)]


# idle


def test_an_idle_session_has_its_reason_before_it_is_stopped(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.clock.move(HOUR + SECOND)
    reasons = []
    house.servers.on_stop = lambda server: reasons.append(house.again(session).end_reason)
    assert pass_once(house) == [Decision.STOP_IDLE]
    assert reasons == [EndReason.IDLE]
    house.backend.is_over(session.attempt, exit_code=-15)
    pass_once(house)
    assert house.again(session).end_reason is EndReason.IDLE
    assert house.books.row(session.attempt).charged == units(3601)


def test_a_session_that_somebody_uses_is_not_idle(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.clock.move(HOUR + SECOND)
    house.servers.servers[session.server] = house.clock() - HOUR
    assert pass_once(house) == [Decision.RENEW]


def test_a_session_that_the_person_stops_meanwhile_keeps_that_reason_and_is_not_stopped_twice(
    house: Installation, ana: Person
) -> None:
    session = house.run(ana)
    house.clock.move(HOUR + SECOND)
    house.backend.on_observe = lambda attempt: house.sessions.ending(attempt, EndReason.STOPPED)
    assert pass_once(house) == [Decision.STOP_IDLE]
    assert house.again(session).end_reason is EndReason.STOPPED
    assert house.servers.asked == []


# the hub


def test_while_the_hub_is_away_leases_are_renewed_and_nobody_counts_as_idle(house: Installation, ana: Person) -> None:
    session, upkeep = house.run(ana), house.upkeep()
    house.servers.away = True
    for _ in range(5):
        house.clock.move(30 * MINUTE)
        assert [decision for _, decision in upkeep.run_once()] == [Decision.RENEW]
    assert house.books.row(session.attempt).lease_until == house.clock() + LEASE


def test_a_hub_that_is_away_is_said_once_and_when_it_is_back(
    house: Installation, ana: Person, caplog: pytest.LogCaptureFixture
) -> None:
    upkeep = house.upkeep()
    with caplog.at_level(logging.INFO, logger="nbfed.worker"):
        for away in (True, True, True, False, False):
            house.servers.away = away
            upkeep.run_once()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_start_that_a_restart_of_the_hub_interrupted_is_made_again(house: Installation, ana: Person) -> None:
    session = house.submit(ana)
    del house.servers.servers[session.server]
    assert pass_once(house) == [Decision.START_AGAIN]
    assert house.servers.asked == [("start", session.server)]
    house.servers.servers[session.server] = None
    assert pass_once(house) == [Decision.WAIT]
    assert house.books.row(session.attempt).state == "held"


def test_a_start_that_is_never_taken_up_is_ended_by_the_worker_itself(house: Installation, ana: Person) -> None:
    session, upkeep = house.submit(ana), house.upkeep()
    house.backend.runs(session.attempt)
    del house.servers.servers[session.server]
    for _ in range(10):
        house.clock.move(MINUTE)
        assert [decision for _, decision in upkeep.run_once()] == [Decision.START_AGAIN]
    house.clock.move(SECOND)
    assert [decision for _, decision in upkeep.run_once()] == [Decision.END_DIRECTLY]
    assert house.backend.ended == [(session.attempt, 7)]
    ended = house.again(session)
    assert (ended.end_reason, ended.state) == (EndReason.FAILED, SessionState.ENDED)
    assert house.books.row(session.attempt).charged == units(601)


@pytest.mark.parametrize("hub", ["that-is-away", "that-does-not-obey"])
def test_a_stop_that_the_hub_does_not_carry_out_is_carried_out_by_the_worker(
    house: Installation, ana: Person, hub: str
) -> None:
    session, upkeep = house.run(ana), house.upkeep()
    house.sessions.ending(session.attempt, EndReason.STOPPED)
    house.servers.away = hub == "that-is-away"
    upkeep.run_once()
    house.clock.move(30 * SECOND)
    assert [decision for _, decision in upkeep.run_once()] == [Decision.WAIT]
    assert house.backend.ended == []
    house.clock.move(SECOND)
    assert [decision for _, decision in upkeep.run_once()] == [Decision.END_DIRECTLY]
    assert house.backend.ended == [(session.attempt, 7)]
    ended = house.again(session)
    assert (ended.end_reason, ended.end_detail, ended.state) == (EndReason.STOPPED, "", SessionState.ENDED)
    assert house.books.row(session.attempt).charged == units(31)


def test_a_worker_that_was_restarted_gives_the_hub_its_time_anew(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.sessions.ending(session.attempt, EndReason.STOPPED)
    for _ in range(3):
        house.clock.move(MINUTE)
        assert pass_once(house) == [Decision.WAIT]


def test_a_session_that_does_not_end_is_tried_again_and_not_settled(house: Installation, ana: Person) -> None:
    session, upkeep = house.run(ana), house.upkeep()
    house.sessions.ending(session.attempt, EndReason.STOPPED)
    house.backend.stubborn = True
    upkeep.run_once()
    house.clock.move(MINUTE)
    for _ in range(3):
        assert [decision for _, decision in upkeep.run_once()] == [Decision.END_DIRECTLY]
    assert house.books.row(session.attempt).state == "running"
    house.backend.stubborn = False
    upkeep.run_once()
    assert house.books.row(session.attempt).state == "settled"


def test_an_exchanged_session_that_the_hub_does_not_know_any_more_is_ended_with_that_reason(
    house: Installation, ana: Person
) -> None:
    """Its start could not be made again: sign-in at it would fail. Nobody can reach it, and it would never be idle."""
    session, upkeep = house.run(ana), house.upkeep()
    del house.servers.servers[session.server]
    for _ in range(11):
        assert [decision for _, decision in upkeep.run_once()] == [Decision.WAIT]
        house.clock.move(MINUTE)
    assert [decision for _, decision in upkeep.run_once()] == [Decision.END_LOST]
    assert house.backend.ended == [(session.attempt, 7)]
    assert house.again(session).end_reason is EndReason.LOST
    assert house.books.row(session.attempt).charged == units(11 * 60)


@pytest.mark.parametrize("hub", ["knows-it-again", "is-away"])
def test_a_hub_that_did_not_know_a_session_for_a_while_gets_its_time_anew(
    house: Installation, ana: Person, hub: str
) -> None:
    session, upkeep = house.run(ana), house.upkeep()
    activity = house.servers.servers.pop(session.server)
    for minute in range(18):
        house.servers.away = minute == 9 and hub == "is-away"
        if minute == 9 and hub == "knows-it-again":
            house.servers.servers[session.server] = activity
        assert [decision for _, decision in upkeep.run_once()] == [Decision.WAIT]
        house.servers.servers.pop(session.server, None)
        house.clock.move(MINUTE)
    assert house.again(session).end_reason is None


# clocks


def test_a_clock_that_is_set_back_makes_no_lease_longer(house: Installation, ana: Person) -> None:
    session, upkeep = house.run(ana), house.upkeep()
    house.clock.move(-HOUR)
    house.backend.ahead = HOUR
    house.servers.servers[session.server] = house.backend.time()
    for _ in range(8):
        assert [decision for _, decision in upkeep.run_once()] in ([Decision.WAIT], [Decision.RENEW])
        house.clock.move(10 * MINUTE)
    assert house.books.row(session.attempt).lease_until > house.backend.time()
    assert house.books.row(session.attempt).amount < units(80 * 60 + 2700 + 1)
    house.backend.is_over(session.attempt)
    upkeep.run_once()
    assert house.books.row(session.attempt).charged == units(80 * 60)
    assert house.again(session).end_reason is EndReason.EXITED


def test_a_session_that_is_used_is_not_idle_because_a_clock_was_set_back(house: Installation, ana: Person) -> None:
    """What JupyterHub calls the last activity is on the clock that was set."""
    session, upkeep = house.run(ana), house.upkeep()
    house.clock.move(-3 * HOUR)
    house.backend.ahead = 3 * HOUR
    for _ in range(12):
        house.servers.servers[session.server] = house.clock()
        upkeep.run_once()
        house.clock.move(10 * MINUTE)
    assert house.again(session).end_reason is None


def test_a_clock_that_is_set_back_during_a_stop_gives_the_hub_its_time_anew_and_no_more(
    house: Installation, ana: Person
) -> None:
    session, upkeep = house.run(ana), house.upkeep()
    house.sessions.ending(session.attempt, EndReason.STOPPED)
    upkeep.run_once()
    house.clock.move(-HOUR)
    house.backend.ahead = HOUR
    assert [decision for _, decision in upkeep.run_once()] == [Decision.WAIT]
    house.clock.move(30 * SECOND)
    assert [decision for _, decision in upkeep.run_once()] == [Decision.WAIT]
    house.clock.move(SECOND)
    assert [decision for _, decision in upkeep.run_once()] == [Decision.END_DIRECTLY]


# silence


def test_a_silent_site_is_an_error_once_when_its_patience_is_over_and_when_it_answers_all_goes_on(
    house: Installation, ana: Person, caplog: pytest.LogCaptureFixture
) -> None:
    session, other = house.run(ana), house.run(house.member("anna"))
    upkeep = house.upkeep()
    house.backend.silent = True
    levels = []
    with caplog.at_level(logging.INFO, logger="nbfed.worker"):
        for _ in range(13):
            upkeep.run_once()
            levels.append([record.levelname for record in caplog.records])
            house.clock.move(MINUTE)
    assert levels[9] == []
    assert levels[10] == levels[12] == ["ERROR"]
    assert "silent about 2 session(s) for 10 minutes" in caplog.text
    assert house.registry.get_sample_value("nbfed_silent_sessions", {"site": "here"}) == 2
    assert house.registry.get_sample_value("nbfed_unknown_observations_total", {"site": "here"}) == 26
    assert {house.books.row(one.attempt).state for one in (session, other)} == {"unknown"}
    house.backend.silent = False
    with caplog.at_level(logging.INFO, logger="nbfed.worker"):
        upkeep.run_once()
    assert caplog.records[-1].levelname == "INFO"
    assert house.registry.get_sample_value("nbfed_silent_sessions", {"site": "here"}) == 0
    assert house.books.row(session.attempt).state == "running"
    house.backend.is_over(session.attempt)
    upkeep.run_once()
    assert house.books.row(session.attempt).charged == units(13 * 60)


def test_a_hold_that_is_unknown_already_is_not_written_again(house: Installation, ana: Person) -> None:
    house.run(ana)
    house.backend.silent = True
    pass_once(house)
    before = house.books.dump()
    assert pass_once(house) == [Decision.MARK_UNKNOWN]
    assert house.books.dump() == before


# who leads, and numbers


def test_a_worker_that_does_not_lead_any_more_stops_between_two_sessions(house: Installation, ana: Person) -> None:
    sessions = [house.run(house.member(f"p{number}")) for number in range(3)]
    for session in sessions:
        house.backend.is_over(session.attempt)
    steps = []

    def guard() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise LeadershipLost

    with pytest.raises(LeadershipLost):
        house.upkeep(guard=guard).run_once()
    assert [house.books.row(session.attempt).state for session in sessions] == ["settled", "running", "running"]


def test_renewals_and_settlements_are_counted_by_how_they_went(database: Database) -> None:
    house = with_hours(database, 1)
    session, upkeep = house.run(only_person(house)), house.upkeep()
    for minutes in (30, 30, 1):
        house.clock.move(minutes * MINUTE)
        house.servers.servers[session.server] = house.clock()
        upkeep.run_once()
    house.backend.is_over(session.attempt)
    upkeep.run_once()
    counted = {
        outcome: house.registry.get_sample_value("nbfed_renewals_total", {"outcome": outcome})
        for outcome in ("renewed", "short", "refused")
    }
    assert counted == {"renewed": 0, "short": 1, "refused": 1}
    assert house.registry.get_sample_value("nbfed_settlements_total", {"source": "launcher"}) == 1


# all of them


def test_the_trouble_of_one_session_does_not_keep_the_others_waiting(house: Installation, ana: Person) -> None:
    house.run(ana, "idle")
    house.clock.move(HOUR + SECOND)
    other = house.run(house.member("anna"), "over")
    house.backend.is_over(other.attempt)

    def refuse(server: Server) -> None:
        raise OSError("500")

    house.servers.on_stop = refuse
    assert pass_once(house) == [Decision.STOP_IDLE, Decision.CLOSE]
    assert house.books.row(other.attempt).state == "settled"


def test_sessions_and_holds_of_another_hub_are_its_own_workers(house: Installation, ana: Person) -> None:
    theirs = house.run(ana, hub="other")
    house.backend.is_over(theirs.attempt)
    before = house.books.dump()
    assert pass_once(house) == []
    assert house.books.dump() == before
    assert [decision for _, decision in house.upkeep(hub="other").run_once()] == [Decision.CLOSE]


# the end of the service


def test_after_the_service_was_stopped_only_what_is_over_is_settled(house: Installation, ana: Person) -> None:
    over, alive = house.run(ana, "over"), house.run(ana, "alive")
    house.backend.is_over(over.attempt)
    house.upkeep().settle_ended()
    assert house.again(over).state is SessionState.ENDED
    assert (house.again(alive).state, house.again(alive).end_reason) == (SessionState.RUNNING, None)
    assert house.servers.asked == house.backend.ended == []


def test_ending_all_ends_and_settles_every_session_and_keeps_reasons_of_before(
    house: Installation, ana: Person
) -> None:
    one, two = house.run(ana, "one"), house.run(ana, "two")
    theirs = house.run(house.member("anna"), hub="other")
    house.sessions.ending(two.attempt, EndReason.IDLE)
    house.clock.move(10 * MINUTE)
    house.upkeep().end_all(EndReason.SERVICE)
    assert (house.again(one).end_reason, house.again(two).end_reason) == (EndReason.SERVICE, EndReason.IDLE)
    for session in (one, two):
        assert house.books.row(session.attempt).charged == units(600)
    assert house.again(theirs).ended_at is None


def test_what_runs_at_a_site_that_is_not_configured_any_more_is_not_taken_for_ended(
    house: Installation, ana: Person
) -> None:
    session = run_where_no_site_is_any_more(house, ana)
    house.upkeep().end_all(EndReason.SERVICE)
    assert (house.again(session).end_reason, house.again(session).ended_at) == (EndReason.SERVICE, None)
    assert house.books.row(session.attempt).state == "running"


def test_whatever_the_worker_does_each_hold_is_closed_once(house: Installation, ana: Person) -> None:
    sessions = [house.run(house.member(f"p{n}"), "one") for n in range(4)]
    upkeep = house.upkeep()
    for n, session in enumerate(sessions):
        house.clock.move(7 * MINUTE)
        house.backend.is_over(session.attempt)
        if n % 2:
            house.upkeep().settle_ended()
        upkeep.run_once()
    closing = [row for row in house.books.rows(EntryTable) if row.kind == "release"]
    assert sorted(row.hold_id for row in closing) == sorted(session.attempt for session in sessions)
