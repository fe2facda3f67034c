"""The outlook: when a session will be stopped, why, and whether to say so now; and that the worker does just that."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from federation.database import Database
from federation.persons import Facts, Person, remember
from quota.amounts import from_unit_hours
from quota.forecast import Fund
from quota.settings import DefaultGrant
from spawners.admission import owner_of
from spawners.outlook import Account, Outlook, Prospect, Stop, StopRules, look_ahead
from spawners.outlooks import Outlooks
from spawners.sessions import Session
from spawners.tables import EndReason
from tests.support.books import MINUTE, START, discrepancies, units
from tests.support.fakes import LEASE, Installation

HOUR, SECOND, DAY = timedelta(hours=1), timedelta(seconds=1), timedelta(days=1)
NOW = START
RULES = StopRules(lease=LEASE, idle_stop=HOUR, idle_notice=10 * MINUTE)
TICK = timedelta.resolution


def fund(minutes: float, *, begins: timedelta = -DAY, ends: timedelta = 30 * DAY) -> Fund:
    """What pays so many minutes of weight 1; counted from now."""
    return Fund(left=units(60 * minutes), starts_at=NOW + begins, ends_at=NOW + ends)


def account(*funds: Fund, held: float = 45, others: int = 0) -> Account:
    """With so many minutes held, for this session or others."""
    return Account(funds=funds, taken=units(60 * held), others_weight_milli=others)


RICH = account(fund(10_000))


def prospect(**changes: Any) -> Prospect:
    """Of a session that was used just now, with a lease of 45 minutes, all of it left, and plenty to go on."""
    usual: dict[str, Any] = {
        "lease_until": NOW + LEASE, "weight_milli": 1000, "eligible": True, "account": RICH,
        "ready_at": NOW - DAY, "last_activity": NOW,
    }  # fmt: skip
    return Prospect(**{**usual, **changes})


def stop(after: timedelta, reason: EndReason) -> Stop:
    return Stop(NOW + after, reason)


IDLE, QUOTA, ACCESS = EndReason.IDLE, EndReason.QUOTA, EndReason.ACCESS
SPENT = account(fund(45))
USED_BEFORE = {"ready_at": NOW - DAY}


@pytest.mark.parametrize(
    ("case", "expected", "is_due"),
    [
        # Idle: an hour after it was last used; said ten minutes before.
        pytest.param(prospect(), stop(HOUR, IDLE), False, id="used-just-now"),
        pytest.param(prospect(last_activity=NOW - 50 * MINUTE + TICK), stop(10 * MINUTE + TICK, IDLE), False,
                     id="idle-a-moment-before-the-notice"),
        pytest.param(prospect(last_activity=NOW - 50 * MINUTE), stop(10 * MINUTE, IDLE), True, id="idle-notice"),
        pytest.param(prospect(last_activity=NOW - HOUR), stop(timedelta(0), IDLE), True, id="idle-now"),
        pytest.param(prospect(last_activity=NOW - 2 * HOUR), stop(-HOUR, IDLE), True, id="idle-and-nobody-looked"),
        pytest.param(prospect(ready_at=NOW - MINUTE, last_activity=None), stop(59 * MINUTE, IDLE), False,
                     id="never-used"),
        pytest.param(prospect(ready_at=NOW - MINUTE, last_activity=NOW - DAY), stop(59 * MINUTE, IDLE), False,
                     id="activity-of-an-earlier-session"),
        pytest.param(prospect(ready_at=None, last_activity=NOW - DAY), None, False, id="not-ready-is-not-idle"),
        # Quota: the end of the lease, once nothing is left to renew it; said a quarter of an hour before.
        pytest.param(prospect(account=SPENT, ready_at=None), stop(45 * MINUTE, QUOTA), False, id="nothing-left"),
        pytest.param(prospect(account=SPENT), stop(45 * MINUTE, QUOTA), False, id="nothing-left-comes-before-idle"),
        pytest.param(prospect(account=SPENT, lease_until=NOW + 15 * MINUTE + TICK), stop(15 * MINUTE + TICK, QUOTA),
                     False, id="nothing-left-a-moment-before-the-notice"),
        pytest.param(prospect(account=SPENT, lease_until=NOW + 15 * MINUTE), stop(15 * MINUTE, QUOTA), True,
                     id="nothing-left-notice"),
        pytest.param(prospect(account=SPENT, lease_until=NOW + 5 * MINUTE), stop(5 * MINUTE, QUOTA), True,
                     id="a-short-lease-is-told-at-once"),
        pytest.param(prospect(account=SPENT, lease_until=NOW), stop(timedelta(0), QUOTA), True, id="lease-over-now"),
        pytest.param(prospect(account=SPENT, lease_until=NOW - HOUR), stop(-HOUR, QUOTA), True, id="lease-over-long-ago"),
        pytest.param(prospect(account=account(fund(45 + 10)), ready_at=None), stop(55 * MINUTE, QUOTA), False,
                     id="ten-more-minutes-left"),
        pytest.param(prospect(account=account(fund(45 + 10)), weight_milli=4000, ready_at=None),
                     stop(47.5 * MINUTE, QUOTA), False, id="ten-more-minutes-at-weight-four"),
        pytest.param(prospect(account=account(fund(180)), ready_at=None), stop(180 * MINUTE, QUOTA), False,
                     id="several-renewals"),
        pytest.param(prospect(account=account(fund(45, ends=MINUTE)), ready_at=None), stop(45 * MINUTE, QUOTA), False,
                     id="what-is-held-outlasts-its-grant"),
        pytest.param(prospect(account=account(fund(10_000, ends=22 * MINUTE)), ready_at=None),
                     stop(45 * MINUTE, QUOTA), False, id="the-grant-ends-before-the-first-renewal"),
        pytest.param(prospect(account=account(fund(10_000, ends=23 * MINUTE)), ready_at=None),
                     stop(67.5 * MINUTE, QUOTA), False, id="the-grant-ends-after-the-first-renewal"),
        pytest.param(prospect(account=account(fund(10_000, ends=timedelta(0))), ready_at=None),
                     stop(45 * MINUTE, QUOTA), False, id="the-grant-was-revoked"),
        pytest.param(prospect(account=account(fund(45, ends=MINUTE), fund(10_000)), ready_at=None), None, False,
                     id="another-grant-goes-on-paying"),
        pytest.param(prospect(account=account(fund(45), fund(600, begins=45 * MINUTE)), ready_at=None),
                     stop(645 * MINUTE, QUOTA), False, id="a-grant-begins-just-in-time"),
        pytest.param(prospect(account=account(fund(45), fund(600, begins=45 * MINUTE + TICK)), ready_at=None),
                     stop(45 * MINUTE, QUOTA), False, id="a-grant-begins-a-moment-too-late"),
        pytest.param(prospect(account=account(fund(90), held=90), ready_at=None), stop(45 * MINUTE, QUOTA), False,
                     id="the-rest-is-held-for-another-session"),
        pytest.param(prospect(account=account(fund(120), held=45, others=1000), ready_at=None),
                     stop(75 * MINUTE, QUOTA), False, id="another-session-spends-as-well"),
        pytest.param(prospect(account=account(fund(45), held=60), ready_at=None), stop(45 * MINUTE, QUOTA), False,
                     id="more-owed-than-left"),
        # Access: the end of the lease, whatever is left.
        pytest.param(prospect(eligible=False), stop(45 * MINUTE, ACCESS), False, id="no-longer-eligible"),
        pytest.param(prospect(eligible=False, lease_until=NOW + 15 * MINUTE), stop(15 * MINUTE, ACCESS), True,
                     id="no-longer-eligible-notice"),
        pytest.param(prospect(eligible=False, account=SPENT, lease_until=NOW + MINUTE), stop(MINUTE, ACCESS), True,
                     id="no-longer-eligible-and-nothing-left"),
        # Two at once: the first that is due is told.
        pytest.param(prospect(eligible=False, lease_until=NOW + 9 * MINUTE, last_activity=NOW - 52 * MINUTE),
                     stop(8 * MINUTE, IDLE), True, id="idle-before-the-lease-ends"),
        pytest.param(prospect(eligible=False, lease_until=NOW + 7 * MINUTE, last_activity=NOW - 52 * MINUTE),
                     stop(7 * MINUTE, ACCESS), True, id="the-lease-ends-before-it-is-idle"),
    ],
)  # fmt: skip
def test_when_a_session_will_be_stopped_and_why(case: Prospect, expected: Stop | None, is_due: bool) -> None:
    outlook = look_ahead(case, RULES, NOW)
    assert outlook.stop == expected
    assert outlook.notice == (expected if is_due else None)


def test_a_notice_that_is_due_is_told_although_another_stop_comes_first() -> None:
    case = prospect(eligible=False, lease_until=NOW + 14 * MINUTE, last_activity=NOW - 48 * MINUTE)
    outlook = look_ahead(case, RULES, NOW)
    assert (outlook.stop, outlook.notice) == (stop(12 * MINUTE, IDLE), stop(14 * MINUTE, ACCESS))


def test_where_nobody_is_idle_only_the_lease_counts() -> None:
    rules = StopRules(lease=LEASE, idle_stop=None, idle_notice=10 * MINUTE)
    assert look_ahead(prospect(last_activity=NOW - DAY), rules, NOW).stop is None


@pytest.mark.parametrize(
    ("idle_for", "is_due"),
    [(timedelta(0), False), (3 * SECOND - TICK, False), (3 * SECOND, True)],
)
def test_a_notice_that_is_longer_than_the_idle_time_comes_at_half_of_it(idle_for: timedelta, is_due: bool) -> None:
    rules = StopRules(lease=LEASE, idle_stop=6 * SECOND, idle_notice=10 * MINUTE)
    assert (look_ahead(prospect(last_activity=NOW - idle_for), rules, NOW).notice is not None) is is_due


@pytest.mark.parametrize(
    ("case", "runs_until", "lasts"),
    [
        pytest.param(prospect(), None, 10_000 * MINUTE, id="further-than-the-horizon"),
        pytest.param(prospect(weight_milli=4000, account=account(fund(10_000 + 180), held=180)), None,
                     2500 * MINUTE + LEASE, id="at-weight-four"),
        pytest.param(prospect(account=account(fund(10_000), others=1000)), None, LEASE + (10_000 - 45) / 2 * MINUTE,
                     id="shared-with-another-session"),
        pytest.param(prospect(account=account(fund(100))), 100 * MINUTE, 100 * MINUTE, id="until-all-is-spent"),
        pytest.param(prospect(eligible=False), LEASE, LEASE, id="until-the-lease-ends"),
        pytest.param(prospect(account=SPENT, lease_until=NOW - MINUTE), -MINUTE, timedelta(0), id="never-negative"),
    ],
)  # fmt: skip
def test_until_when_it_runs_if_it_is_used(case: Prospect, runs_until: timedelta | None, lasts: timedelta) -> None:
    outlook = look_ahead(case, RULES, NOW)
    assert outlook.runs_until == (None if runs_until is None else NOW + runs_until)
    assert outlook.lasts == lasts


# --- what is announced is what the worker does ------------------------------------------------------------------------


def outlooks(house: Installation) -> Outlooks:
    rules = StopRules(lease=house.rules.lease, idle_stop=house.rules.idle_stop, idle_notice=10 * MINUTE)
    return Outlooks(house.database, house.admission, rules)


def outlook_of(house: Installation, session: Session) -> Outlook | None:
    """As the hub would answer now."""
    known = house.servers.servers
    return outlooks(house).of(
        house.again(session), house.clock(), hub_has_it=session.server in known, last_activity=known.get(session.server)
    )


def run_until_stopped(house: Installation, session: Session, step: timedelta) -> list[Outlook]:
    """Let the worker look again and again; what was announced before each look, until it stopped the session."""
    upkeep, announced = house.upkeep(), []
    while house.again(session).end_reason is None:
        house.clock.move(step)
        outlook = outlook_of(house, session)
        assert outlook is not None
        announced.append(outlook)
        assert len(announced) < 1000, "never stopped"
        upkeep.run_once()
    return announced


STEP = MINUTE


@settings(max_examples=25)
@given(
    granted=st.lists(
        st.tuples(st.integers(1, 200), st.integers(-60, 180), st.integers(10, 400)), min_size=1, max_size=4
    ),
    flavour=st.sampled_from(["small", "medium"]),
    idle_after=st.sampled_from([None, 47, 90]),
    lost_after=st.sampled_from([None, 33]),
    period=st.sampled_from([None, "day"]),
)
@example(granted=[(10, 0, 400)], flavour="small", idle_after=None, lost_after=None, period=None)
@example(granted=[(200, 0, 23), (5, 22, 400)], flavour="small", idle_after=None, lost_after=None, period=None)
@example(granted=[(60, 0, 400)], flavour="small", idle_after=90, lost_after=None, period="day")
def test_what_was_announced_is_what_the_worker_does(
    tables: Path,
    granted: Sequence[tuple[int, int, int]],
    flavour: str,
    idle_after: int | None,
    lost_after: int | None,
    period: str | None,
) -> None:
    """Grants (minutes, begin, length in minutes), other quota by the day, and a membership that is lost on the way:
    from the moment when nothing changes any more, the announced stop is the one that comes, at most one look late.
    """
    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{copy(tables, folder)}")
        defaults = {"T1": DefaultGrant(amount_hours=1, period="day", flavours=["small"])} if period else {}
        house = Installation(database, defaults=defaults)
        house.clock.now = START.replace(hour=22)
        ana = house.member()
        house.books.grant(units(60 * 5 * 4), owner_of(ana))
        for minutes, begins, lasts in granted:
            house.books.grant(units(60 * minutes), owner_of(ana), begins=begins * MINUTE, lasts=lasts * MINUTE)
        house.rules = type(house.rules)(lease=LEASE, idle_stop=idle_after * MINUTE if idle_after else None)
        session, upkeep = house.run(ana, flavour=flavour), house.upkeep()
        for _ in range(lost_after or 0):
            house.clock.move(STEP)
            upkeep.run_once()
        if lost_after and house.again(session).end_reason is None:
            leave(house, ana)
        if house.again(session).end_reason is None:
            check_announcements(house, session)
        database.dispose()


def leave(house: Installation, person: Person) -> None:
    """The person is no member any more."""
    with house.database.write() as connection:
        remember(
            connection, issuer=person.issuer, subject=person.subject, preferred="ana", facts=Facts(), now=house.clock()
        )


def check_announcements(house: Installation, session: Session) -> None:
    announced = run_until_stopped(house, session, STEP)
    stopped_at, reason = house.clock(), house.again(session).end_reason
    last = announced[-1]
    assert last.stop is not None
    assert last.notice is not None, "stopped without a notice"
    rivals = {outlook.at for outlook in (last.stop, last.notice)}
    assert reason in {last.stop.reason, last.notice.reason}
    if len(rivals) == 1:
        assert reason == last.stop.reason
    assert last.stop.at <= stopped_at <= last.stop.at + STEP
    for outlook in announced:
        # Each renewal comes up to one look late, and a grant may end in between: the stop is announced to that.
        assert outlook.stop is None or abs(outlook.stop.at - last.stop.at) <= LEASE / 2 + STEP
    due = [outlook for outlook in announced if outlook.notice is not None]
    assert all(outlook.notice is not None for outlook in announced[announced.index(due[0]) :]), (
        "a notice was taken back"
    )


def test_a_session_that_is_being_ended_has_no_outlook(database: Database) -> None:
    house = Installation(database)
    session = house.run(house.member())
    assert outlook_of(house, session) is not None
    house.sessions.ending(session.attempt, EndReason.STOPPED)
    assert outlook_of(house, session) is None


def test_what_is_not_admitted_yet_has_no_outlook(database: Database) -> None:
    house = Installation(database)
    assert outlook_of(house, house.intend(house.member())) is None


def test_a_grant_that_is_revoked_in_mid_session_is_announced_at_once_and_pays_to_the_end_of_the_lease(
    database: Database,
) -> None:
    house = Installation(database, defaults={})
    ana = house.member()
    grant = house.books.grant(from_unit_hours(50), owner_of(ana))
    session = house.run(ana)
    house.clock.move(40 * MINUTE)
    house.servers.servers[session.server] = house.clock()
    assert outlook_of(house, session).notice is None
    house.ledger.revoke(grant, actor="operator", reason="a test")
    assert outlook_of(house, session).notice == Stop(START + LEASE, QUOTA)
    run_until_stopped(house, session, SECOND)
    assert (house.clock(), house.again(session).end_reason) == (START + LEASE, QUOTA)
    house.backend.is_over(session.attempt)
    house.upkeep().run_once()
    assert house.books.row(session.attempt).charged == units(45 * 60)
    assert discrepancies(database) == []


def test_a_lost_membership_is_announced_at_once_and_ends_at_the_lease(database: Database) -> None:
    house = Installation(database)
    ana = house.member()
    session = house.run(ana)
    house.clock.move(35 * MINUTE)
    house.servers.servers[session.server] = house.clock()
    leave(house, ana)
    assert outlook_of(house, session).notice == Stop(START + LEASE, ACCESS)
    run_until_stopped(house, session, SECOND)
    assert (house.clock(), house.again(session).end_reason) == (START + LEASE, ACCESS)


def test_the_default_quota_of_this_period_counts_before_it_was_given(database: Database) -> None:
    """The worker gives it when it renews; nobody has to open the home page first."""
    house = Installation(database, defaults={"T1": DefaultGrant(amount_hours=1, period="day", flavours=["small"])})
    house.clock.now = START.replace(hour=23, minute=30)
    session = house.run(house.member())
    house.servers.servers[session.server] = house.clock()
    before = outlook_of(house, session)
    assert before.runs_until == START.replace(hour=23, minute=30) + timedelta(hours=2)
    house.clock.move(31 * MINUTE)
    assert outlook_of(house, session).runs_until == START.replace(hour=0) + DAY + timedelta(minutes=75)


# --- the walltime of a job ----------------------------------------------------------------------------------------


def test_a_walltime_is_not_renewed_and_its_end_is_told_a_quarter_of_an_hour_before() -> None:
    over = stop(LEASE, EndReason.WALLTIME)
    of_a_job = prospect(renews=False)
    early, late = look_ahead(of_a_job, RULES, NOW), look_ahead(of_a_job, RULES, NOW + LEASE - 15 * MINUTE)
    assert (early.stop, early.runs_until, early.lasts, early.notice) == (over, over.at, LEASE, None)
    assert (late.notice, late.lasts) == (over, 15 * MINUTE)


def test_a_walltime_of_days_is_said_although_other_ends_are_looked_for_only_a_day_ahead() -> None:
    seen = look_ahead(prospect(renews=False, lease_until=NOW + 3 * DAY, last_activity=NOW), RULES, NOW)
    assert (seen.runs_until, seen.lasts) == (NOW + 3 * DAY, 3 * DAY)
    assert seen.stop == stop(HOUR, IDLE)


def test_who_lost_access_still_reads_when_the_walltime_is_over() -> None:
    seen = look_ahead(prospect(renews=False, eligible=False), RULES, NOW)
    assert seen.runs_until == NOW + LEASE
