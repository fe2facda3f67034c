"""The calls of the ledger: reserved before anything starts, settled once, refused without a trace."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from federation.audit import Act, AuditTable
from federation.database import Database, DatabaseUnavailable
from quota.answers import Admitted, Denied, NotRenewed, Payer, Place, Renewed, Settlement
from quota.capping import Cap, Gauges, Scope
from quota.errors import (
    GRANT_ENDED,
    NO_GRANT,
    QUOTA_HELD,
    QUOTA_SPENT,
    QUOTA_USED_UP,
    SERVER_BUSY,
    SESSIONS_CAP,
    SITE_FULL,
)
from quota.granting import GrantUnknown, KeyTaken
from quota.ledger import HoldUnknown, Ledger
from quota.owners import Owner
from quota.reasons import Reason
from quota.shelf import open_page
from quota.tables import OPEN_STATES, BalanceTable, EntryKind, EntryTable, GrantBalanceTable, HoldState, OwnerKind
from quota.writing import StalePage
from tests.support.books import (
    ANN,
    ANNA,
    MINUTE,
    START,
    Books,
    Crash,
    CrashingDatabase,
    discrepancies,
    open_books,
    units,
)
from tests.support.databases import locked

HOUR, DAY, SECOND = timedelta(hours=1), timedelta(days=1), timedelta(seconds=1)
LEASE = 45 * MINUTE
NAIVE = datetime(2026, 3, 2, 9, 0)  # noqa: DTZ001


@pytest.fixture
def books(database: Database) -> Any:
    """The books; whatever a test does to them, they add up at its end."""
    books = open_books(database)
    yield books
    assert discrepancies(database) == []


def reasons(answer: Admitted | Denied) -> list[str]:
    assert isinstance(answer, Denied), answer
    return [reason.problem.code for reason in answer.reasons]


def refusal(answer: Admitted | Denied) -> Reason:
    assert isinstance(answer, Denied), answer
    return answer.reasons[0]


def codes(*problems: Any) -> list[str]:
    return [problem.code for problem in problems]


# --- grants -------------------------------------------------------------------------------------------------


def test_a_grant_counts_from_its_start_to_its_end(books: Books) -> None:
    books.grant(units(3600), begins=HOUR, lasts=HOUR)
    assert reasons(books.reserve()) == codes(NO_GRANT)
    books.clock.move(HOUR)
    assert isinstance(books.reserve(lease=5 * MINUTE), Admitted)
    books.clock.move(HOUR)
    assert reasons(books.reserve()) == codes(GRANT_ENDED)


def test_the_same_key_again_gives_nothing_more(books: Books) -> None:
    given = books.grant(units(100), key="same")
    before = books.dump()
    assert books.grant(units(100), key="same", begins=DAY) == given
    assert books.dump() == before


@pytest.mark.parametrize(
    ("owner", "amount"), [pytest.param(ANNA, 100, id="another-owner"), pytest.param(ANN, 900, id="another-amount")]
)
def test_one_key_for_two_grants_is_refused_and_names_the_first(books: Books, owner: Owner, amount: int) -> None:
    given = books.grant(units(100), key="same")
    before = books.dump()
    with pytest.raises(KeyTaken) as refused:
        books.grant(units(amount), owner, key="same")
    assert refused.value.grant == given
    assert books.dump() == before


@pytest.mark.parametrize(
    "amount",
    [
        pytest.param(0, id="zero"),
        pytest.param(-1, id="negative"),
        pytest.param(2**53 + 1, id="more-than-all-clocks"),
        pytest.param(2**63, id="beyond-the-database"),
        pytest.param(math.nan, id="nan"),
        pytest.param(1.0, id="float"),
        pytest.param(True, id="bool"),
        pytest.param("1", id="text"),
        pytest.param(None, id="none"),
    ],
)
def test_an_amount_that_is_no_amount_is_refused(books: Books, amount: Any) -> None:
    before = books.dump()
    with pytest.raises(ValueError, match="whole positive number"):
        books.grant(amount)
    assert books.dump() == before


@pytest.mark.parametrize(
    ("starts_at", "ends_at"),
    [
        pytest.param(START, START - SECOND, id="end-before-start"),
        pytest.param(START, START, id="no-time-at-all"),
        pytest.param(NAIVE, START, id="start-without-zone"),
        pytest.param(START, NAIVE + DAY, id="end-without-zone"),
    ],
)
def test_times_that_are_no_times_are_refused(books: Books, starts_at: datetime, ends_at: datetime) -> None:
    before = books.dump()
    with pytest.raises(ValueError, match=r"ends after it starts|no time zone"):
        books.ledger.grant(
            key="k", owner=ANN, amount=1, starts_at=starts_at, ends_at=ends_at, created_by="o", reason=""
        )
    assert books.dump() == before


def test_the_greatest_amounts_together_are_still_a_sum(books: Books) -> None:
    for _ in range(5):
        books.grant(2**53)
    books.settle(books.hold(), MINUTE)
    assert books.balance() == (5 * 2**53, units(60), 0)


def test_every_grant_and_revocation_is_in_the_audit_trail_with_who_and_why(books: Books) -> None:
    grant = books.grant(units(100))
    books.ledger.revoke(grant, actor="olga", reason="left\nthe project")
    added, revoked = books.rows(AuditTable)
    assert (added.act, added.actor, added.target) == (Act.GRANT_ADDED, "operator", grant)
    assert added.details == {
        "owner": "user:ann", "amount_milli_unit_seconds": units(100), "priority": 0,
        "starts_at": "2026-03-02T09:00:00.000000+00:00", "ends_at": "2026-04-01T09:00:00.000000+00:00",
    }  # fmt: skip
    assert (revoked.act, revoked.actor, revoked.target) == (Act.GRANT_REVOKED, "olga", grant)
    assert revoked.reason == "left\\x0athe project"


def test_revoking_twice_is_once_and_an_unknown_grant_is_said_to_be(books: Books) -> None:
    grant = books.grant(units(3600))
    books.ledger.revoke(grant, actor="olga", reason="first")
    before = books.dump()
    books.clock.move(HOUR)
    books.ledger.revoke(grant, actor="otto", reason="second")
    assert books.dump() == before
    with pytest.raises(GrantUnknown):
        books.ledger.revoke("no-such-grant", actor="olga", reason="")


def test_what_is_left_of_an_ended_grant_lapses_and_is_not_carried_over(books: Books) -> None:
    first = books.grant(units(3600), lasts=DAY)
    books.grant(units(600), begins=DAY, lasts=DAY)
    books.settle(books.hold(), 10 * MINUTE)
    books.clock.move(DAY)
    assert books.reserve(lease=10 * MINUTE)
    assert ("lapse", -units(3000)) in books.entries()
    (row,) = books.rows(GrantBalanceTable, GrantBalanceTable.grant_id == first)
    assert (row.charged, row.lapsed) == (units(600), units(3000))
    assert reasons(books.reserve()) == codes(QUOTA_HELD)


@pytest.mark.parametrize("how", ["ended", "revoked"])
def test_a_session_keeps_what_it_holds_of_a_grant_that_ends_meanwhile(books: Books, how: str) -> None:
    grant = books.grant(units(7200), lasts=30 * MINUTE)
    hold = books.running()
    if how == "revoked":
        books.ledger.revoke(grant, actor="olga", reason="")
    else:
        books.clock.move(30 * MINUTE)
    assert reasons(books.reserve()) == codes(GRANT_ENDED)
    assert isinstance(books.ledger.renew(hold, until=START + 2 * HOUR), NotRenewed)
    assert books.row(hold).lease_until == START + LEASE
    books.settle(hold, LEASE)
    assert books.balance() == (units(2700), units(2700), 0)


def test_what_a_session_did_not_use_of_an_ended_grant_lapses_when_it_is_settled(books: Books) -> None:
    books.grant(units(7200), lasts=30 * MINUTE)
    hold = books.running()
    books.clock.move(30 * MINUTE)
    books.settle(hold, 10 * MINUTE)
    assert books.balance() == (units(600), units(600), 0)


def test_the_grant_that_ends_first_is_spent_first_then_the_higher_priority(books: Books) -> None:
    late = books.grant(units(600), lasts=30 * DAY)
    low = books.grant(units(600), lasts=10 * DAY)
    high = books.grant(units(600), lasts=10 * DAY, priority=5)
    hold = books.hold(lease=25 * MINUTE)
    books.settle(hold, 25 * MINUTE)
    charged = {row.grant_id: row.charged for row in books.rows(GrantBalanceTable)}
    assert charged == {high: units(600), low: units(600), late: units(300)}
    assert books.entries(hold) == [
        ("hold", units(1500)),
        ("charge", units(600)),
        ("charge", units(600)),
        ("charge", units(300)),
        ("release", -units(1500)),
    ]


def test_a_grant_that_was_revoked_before_it_began_never_counts(books: Books) -> None:
    grant = books.grant(units(600), begins=HOUR)
    books.ledger.revoke(grant, actor="olga", reason="")
    books.clock.move(2 * HOUR)
    assert isinstance(books.reserve(), Denied)
    assert books.rows(GrantBalanceTable) == []


# --- reserve ------------------------------------------------------------------------------------------------


def test_a_lease_is_set_aside_at_the_flavours_weight(books: Books) -> None:
    books.grant(units(20_000))
    answer = books.reserve("a", flavour="medium")
    assert answer == Admitted("a", START + LEASE, 4000)
    assert books.entries("a") == [("hold", 4 * units(2700))]
    assert books.balance() == (units(20_000), 0, 4 * units(2700))


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        pytest.param(units(2701), 2700, id="more-than-a-lease"),
        pytest.param(units(2700), 2700, id="exactly-a-lease"),
        pytest.param(units(2700) - 1, 2699, id="just-less-than-a-lease"),
        pytest.param(units(300), 300, id="exactly-the-shortest"),
        pytest.param(units(300) - 1, None, id="just-less-than-the-shortest"),
    ],
)
def test_a_lease_shrinks_to_what_is_left_down_to_the_shortest(books: Books, left: int, seconds: int | None) -> None:
    books.grant(left)
    answer = books.reserve("a")
    if seconds is None:
        assert reasons(answer) == codes(QUOTA_SPENT)
    else:
        assert answer == Admitted("a", START + seconds * SECOND, 1000)


def test_the_same_attempt_again_gets_the_first_answer_and_changes_nothing(books: Books) -> None:
    books.grant(units(3600))
    first = books.reserve("a", server="one")
    before = books.dump()
    books.publish({"small": 9000})
    with_new_rate = books.dump()
    books.clock.move(MINUTE)
    assert books.reserve("a", server="one") == first
    assert books.dump() == with_new_rate != before


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param({"server": "two"}, id="server"),
        pytest.param({"user": "anna"}, id="user"),
        pytest.param({"hub": "other"}, id="hub"),
        pytest.param({"site": "there"}, id="site"),
    ],
)
def test_the_same_attempt_for_another_place_is_a_mistake(books: Books, elsewhere: dict[str, str]) -> None:
    books.grant(units(3600))
    books.reserve("a", server="one")
    before = books.dump()
    with pytest.raises(ValueError, match="another place"):
        books.reserve("a", **{"server": "one", **elsewhere})
    assert books.dump() == before


@pytest.mark.parametrize("end", ["settled", "released", "expired"])
def test_an_attempt_that_is_over_cannot_be_reserved_again(books: Books, end: str) -> None:
    books.grant(units(3600))
    hold = books.hold(server="one")
    if end == "settled":
        books.settle(hold, MINUTE)
    elif end == "released":
        books.ledger.release(hold, reason="")
    else:
        books.ledger.expire(START + HOUR)
    before = books.dump()
    with pytest.raises(ValueError, match=end):
        books.reserve(hold, server="one")
    assert books.dump() == before


def test_a_server_has_one_open_hold(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.hold(server="one")
    assert reasons(books.reserve(server="one")) == codes(SERVER_BUSY)
    books.ledger.unknown(hold)
    assert reasons(books.reserve(server="one")) == codes(SERVER_BUSY)
    books.ledger.release(hold, reason="")
    assert isinstance(books.reserve(server="one"), Admitted)


NAMES = ["ann", "anna", "ann ", "Ann", "ann@example.org", "ann%40example.org", "añn", "an\u0303n", "a" * 255, "a" * 254]


def test_names_that_look_alike_never_share_a_hold(books: Books) -> None:
    holds = []
    for name in NAMES:
        owner = Owner(OwnerKind.USER, name)
        books.grant(units(3600), owner)
        holds.append(books.hold(owner, server="", user=name))
    for hold, name in zip(holds, NAMES, strict=True):
        assert books.row(hold).user == name
    books.settle(holds[0], MINUTE)
    assert [books.balance(Owner(OwnerKind.USER, name))[1] for name in NAMES] == [units(60)] + [0] * 9


def test_accounts_of_one_name_and_different_kind_are_different_accounts(books: Books) -> None:
    books.grant(units(3600), Owner(OwnerKind.GROUP, "ann"))
    assert reasons(books.reserve()) == codes(NO_GRANT)


def test_a_flavour_without_a_weight_is_a_mistake(books: Books) -> None:
    books.grant(units(3600))
    before = books.dump()
    with pytest.raises(KeyError, match="huge"):
        books.reserve(flavour="huge")
    assert books.dump() == before


@pytest.mark.parametrize(
    ("lease", "shortest"),
    [
        pytest.param(timedelta(0), timedelta(0), id="nothing"),
        pytest.param(-MINUTE, -HOUR, id="negative"),
        pytest.param(LEASE, timedelta(0), id="the-shortest-is-nothing"),
        pytest.param(5 * MINUTE, 6 * MINUTE, id="the-shortest-is-longer"),
    ],
)
def test_a_lease_that_is_no_lease_is_a_mistake_and_not_a_refusal(
    books: Books, lease: timedelta, shortest: timedelta
) -> None:
    books.grant(units(36_000))
    before = books.dump()
    with pytest.raises(ValueError, match="lease"):
        books.reserve(lease=lease, shortest=shortest)
    assert books.dump() == before


# --- refusals -----------------------------------------------------------------------------------------------


def test_a_refusal_changes_no_byte(books: Books) -> None:
    books.grant(units(400), lasts=HOUR)
    books.hold(lease=5 * MINUTE, server="one")
    books.clock.move(2 * HOUR)  # the grant ended: a page that is opened for writing would let it lapse
    before = books.dump()
    for _ in range(5):
        assert isinstance(books.reserve(server="one"), Denied)
        assert isinstance(books.reserve(owner=ANNA), Denied)
    assert books.dump() == before


def test_all_reasons_are_given_the_one_to_act_on_first(books: Books) -> None:
    books.grant(units(400))
    books.hold(lease=5 * MINUTE, server="one")
    full = Reason(problem=SESSIONS_CAP, resource="sessions")
    cap = Cap(scope=Scope.USER, ref="ann", gauge="sessions", limit=1, reason=full)
    assert reasons(books.reserve(server="one", caps=(cap,))) == codes(SERVER_BUSY, SESSIONS_CAP, QUOTA_HELD)


def test_used_up_says_the_figures_of_the_grants_that_count_now_and_when_more_comes(books: Books) -> None:
    books.grant(units(5000), lasts=DAY)
    books.settle(books.hold(), 20 * MINUTE)
    books.clock.move(DAY)
    books.grant(units(1000), lasts=DAY)
    books.settle(books.hold(lease=15 * MINUTE), 15 * MINUTE)
    comes = START + 2 * DAY
    reason = refusal(books.reserve(returns_at=comes))
    assert reason == Reason(
        problem=QUOTA_USED_UP, used=units(900), held=0, limit=units(1000), needed=units(300), returns_at=comes
    )


def test_spent_is_said_where_nothing_comes_by_itself(books: Books) -> None:
    books.grant(units(1000))
    books.settle(books.hold(lease=15 * MINUTE), 15 * MINUTE)
    assert reasons(books.reserve()) == codes(QUOTA_SPENT)


def test_held_is_said_where_stopping_a_session_helps(books: Books) -> None:
    books.grant(units(1000))
    hold = books.hold(lease=15 * MINUTE)
    reason = refusal(books.reserve(returns_at=START + DAY))
    assert (reason.problem, reason.used, reason.held, reason.limit) == (QUOTA_HELD, 0, units(900), units(1000))
    books.ledger.release(hold, reason="")
    assert isinstance(books.reserve(), Admitted)


def test_an_ended_grant_is_said_to_have_ended_also_while_a_session_still_holds_some_of_it(books: Books) -> None:
    books.grant(units(3600), lasts=30 * MINUTE)
    books.running()
    books.clock.move(30 * MINUTE)
    reason = refusal(books.reserve())
    assert (reason.problem, reason.returns_at) == (GRANT_ENDED, START + 30 * MINUTE)


@pytest.mark.parametrize("order", ["revoked-first", "ended-first"])
def test_the_end_that_is_told_is_that_of_the_grant_that_counted_longest(books: Books, order: str) -> None:
    revoked_at, ends_at = (START + HOUR, START + DAY) if order == "revoked-first" else (START + DAY, START + HOUR)
    books.grant(units(600), lasts=ends_at - START)
    long = books.grant(units(600), lasts=300 * DAY)
    books.clock.now = revoked_at
    books.ledger.revoke(long, actor="olga", reason="")
    books.clock.now = START + 3 * DAY
    assert refusal(books.reserve()).returns_at == START + DAY


def test_a_grant_that_ended_before_it_was_revoked_ended_at_its_end(books: Books) -> None:
    grant = books.grant(units(600), lasts=HOUR)
    books.clock.move(DAY)
    books.ledger.revoke(grant, actor="olga", reason="")
    assert refusal(books.reserve()).returns_at == START + HOUR


# --- caps ---------------------------------------------------------------------------------------------------


def cap(gauge: str, limit: int, *, column: str = "site", ref: str = "here") -> Cap:
    return Cap(scope=Scope(column), ref=ref, gauge=gauge, limit=limit, reason=Reason(problem=SITE_FULL, resource=gauge))


@pytest.mark.parametrize(
    ("gauge", "each", "limit", "fit"),
    [
        pytest.param("sessions", Gauges(), 2, 2, id="sessions"),
        pytest.param("cpu", Gauges(cpu=4), 10, 2, id="cpu-that-does-not-divide"),
        pytest.param("memory_mib", Gauges(memory_mib=2048), 6144, 3, id="memory"),
        pytest.param("gpu", Gauges(gpu=1), 1, 1, id="gpu"),
        pytest.param("gpu", Gauges(cpu=1), 0, 3, id="without-any-gpu-a-cap-on-them-is-no-cap"),
    ],
)
def test_a_cap_counts_what_open_holds_occupy(books: Books, gauge: str, each: Gauges, limit: int, fit: int) -> None:
    books.grant(units(10**6))
    answers = [books.reserve(gauges=each, caps=(cap(gauge, limit),)) for _ in range(3)]
    assert sum(isinstance(answer, Admitted) for answer in answers) == fit


@pytest.mark.parametrize("end", ["settle", "release", "expire"])
def test_what_a_closed_hold_occupied_is_free_again(books: Books, end: str) -> None:
    books.grant(units(36_000))
    hold = books.hold(gauges=Gauges(gpu=1))
    another = {"gauges": Gauges(gpu=1), "caps": (cap("gpu", 1),)}
    assert reasons(books.reserve(**another)) == codes(SITE_FULL)
    match end:
        case "settle":
            books.settle(hold, MINUTE)
        case "release":
            books.ledger.release(hold, reason="")
        case "expire":
            books.ledger.expire(START + HOUR)
    assert isinstance(books.reserve(**another), Admitted)


@pytest.mark.parametrize("state", ["held", "running", "unknown"])
def test_a_hold_occupies_its_place_in_every_open_state(books: Books, state: str) -> None:
    books.grant(units(36_000))
    hold = books.hold() if state != "running" else books.running()
    if state == "unknown":
        books.ledger.unknown(hold)
    assert books.row(hold).state == state
    assert isinstance(books.reserve(caps=(cap("sessions", 1),)), Denied)


def test_caps_on_a_user_and_on_a_site_count_their_own_only(books: Books) -> None:
    books.grant(units(36_000))
    books.grant(units(36_000), ANNA)
    books.hold(ANN, site="here")
    of_ann = cap("sessions", 1, column="user", ref="ann")
    of_anna = cap("sessions", 1, column="user", ref="anna")
    assert isinstance(books.reserve(owner=ANNA, caps=(of_anna,)), Admitted)
    assert isinstance(books.reserve(owner=ANN, caps=(of_ann,)), Denied)
    assert isinstance(books.reserve(owner=ANN, site="there", caps=(cap("sessions", 1, ref="there"),)), Admitted)


def test_a_cap_says_how_much_is_really_in_use(books: Books) -> None:
    books.grant(units(36_000))
    books.hold(gauges=Gauges(gpu=3))
    full = cap("gpu", 4)
    reason = refusal(books.reserve(gauges=Gauges(gpu=2), caps=(full,)))
    assert (reason.used, reason.limit) == (3, 4)


def test_a_limit_lowered_below_what_is_used_refuses_only_new_ones(books: Books) -> None:
    books.grant(units(36_000))
    holds = [books.running() for _ in range(3)]
    lowered = cap("sessions", 1)
    assert isinstance(books.ledger.renew(holds[0], until=START + HOUR), Renewed)
    reason = refusal(books.reserve(caps=(lowered,)))
    assert (reason.used, reason.limit) == (3, 1)


def test_a_full_gauge_refuses_only_those_who_want_some_of_it(books: Books) -> None:
    books.grant(units(36_000))
    books.hold(gauges=Gauges(gpu=2))
    lowered = cap("gpu", 1)
    assert isinstance(books.reserve(gauges=Gauges(cpu=1), caps=(lowered,)), Admitted)
    assert isinstance(books.reserve(gauges=Gauges(gpu=1), caps=(lowered,)), Denied)


# --- renew --------------------------------------------------------------------------------------------------


def test_a_renewal_sets_the_time_that_it_adds_aside(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.running()
    assert books.ledger.renew(hold, until=START + HOUR) == Renewed(START + HOUR, short=False)
    assert books.entries(hold) == [("hold", units(2700)), ("renew", units(900))]
    assert books.row(hold).amount == units(3600)


@pytest.mark.parametrize("until", [START + LEASE, START + MINUTE, START - DAY])
def test_a_lease_is_never_shortened_and_asking_twice_is_once(books: Books, until: datetime) -> None:
    books.grant(units(36_000))
    hold = books.running()
    before = books.dump()
    assert books.ledger.renew(hold, until=until) == Renewed(START + LEASE, short=False)
    assert books.dump() == before


def test_a_renewal_is_as_long_as_what_is_left_allows(books: Books) -> None:
    books.grant(units(3000) + 999)
    hold = books.running()
    ends = START + 3000 * SECOND
    assert books.ledger.renew(hold, until=START + 2 * HOUR) == Renewed(ends, short=True)
    before = books.dump()
    assert books.ledger.renew(hold, until=START + 2 * HOUR) == NotRenewed(ends, closed=False)
    assert books.dump() == before
    assert books.row(hold).state == "running"


def test_a_renewal_is_at_the_weight_of_the_reservation(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.running()
    books.publish({"small": 5000})
    books.ledger.renew(hold, until=START + HOUR)
    assert books.entries(hold)[-1] == ("renew", units(900))
    books.settle(hold, HOUR)
    assert books.row(hold).charged == units(3600)
    assert books.hold(lease=10 * MINUTE)
    assert books.balance()[2] == 5 * units(600)


def test_a_lease_that_is_over_can_still_be_renewed_and_the_gap_is_paid(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.running()
    books.clock.move(2 * HOUR)
    assert books.ledger.renew(hold, until=START + 2 * HOUR + LEASE) == Renewed(START + 2 * HOUR + LEASE, short=False)
    assert books.balance()[2] == units(7200 + 2700)


@pytest.mark.parametrize("end", ["settled", "released", "expired"])
def test_a_closed_hold_is_not_renewed(books: Books, end: str) -> None:
    books.grant(units(36_000))
    hold = books.hold()
    if end == "settled":
        books.settle(hold, MINUTE)
    elif end == "released":
        books.ledger.release(hold, reason="")
    else:
        books.ledger.expire(START + HOUR)
    before = books.dump()
    assert books.ledger.renew(hold, until=START + DAY) == NotRenewed(START + LEASE, closed=True)
    assert books.dump() == before


# --- settle -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ran", "seconds"),
    [
        pytest.param(timedelta(0), 0, id="no-time-at-all"),
        pytest.param(timedelta(microseconds=1), 1, id="shorter-than-any-sampling"),
        pytest.param(58.9 * SECOND, 59, id="59-begun-seconds"),
        pytest.param(LEASE, 2700, id="the-whole-lease"),
    ],
)
def test_a_session_is_charged_by_its_own_times(books: Books, ran: timedelta, seconds: int) -> None:
    books.grant(units(36_000))
    hold = books.running(flavour="medium")
    answer = books.settle(hold, ran)
    assert answer == Settlement(hold, HoldState.SETTLED, seconds * 4000, START, START + ran)
    assert books.balance() == (units(36_000), seconds * 4000, 0)


@pytest.mark.parametrize("other", [timedelta(0), HOUR, 100 * DAY])
def test_the_second_settlement_gets_the_first_ones_answer(books: Books, other: timedelta) -> None:
    books.grant(units(36_000))
    hold = books.running()
    first = books.settle(hold, 10 * MINUTE)
    before = books.dump()
    assert books.settle(hold, other, source="somebody else") == first
    assert books.ledger.release(hold, reason="too late") == first
    assert books.ledger.expire(START + DAY) == []
    assert books.dump() == before


def test_the_longer_run_is_charged_beyond_the_lease_from_what_is_free(books: Books) -> None:
    books.grant(units(36_000))
    books.settle(books.running(), 2 * HOUR)
    assert books.balance() == (units(36_000), units(7200), 0)
    assert "overrun" not in dict(books.entries())


def test_what_nothing_covers_is_an_overrun(books: Books) -> None:
    books.grant(units(2700))
    hold = books.running()
    books.settle(hold, HOUR)
    assert books.entries(hold) == [
        ("hold", units(2700)),
        ("charge", units(2700)),
        ("overrun", units(900)),
        ("release", -units(2700)),
    ]
    assert books.row(hold).charged == units(3600)
    assert books.balance() == (units(2700), units(3600), 0)


def test_an_overrun_does_not_touch_what_another_session_holds(books: Books) -> None:
    books.grant(units(5400))
    long, other = books.running(), books.running()
    books.settle(long, HOUR)
    assert dict(books.entries(long))["overrun"] == units(900)
    books.settle(other, LEASE)
    assert "overrun" not in dict(books.entries(other))
    assert books.balance() == (units(5400), units(6300), 0)


def test_an_overrun_is_paid_from_what_another_session_gives_back(books: Books) -> None:
    books.grant(units(5400))
    long, other = books.running(), books.running()
    books.settle(long, HOUR)
    books.settle(other, 10 * MINUTE)
    assert books.balance() == (units(5400), units(3600 + 600), 0)
    assert books.standing().left == units(5400 - 3600 - 600)
    assert books.reserve("a") == Admitted("a", START + 1200 * SECOND, 1000)


def test_an_overrun_is_paid_once_from_the_next_grant_and_not_again_from_those_after_it(books: Books) -> None:
    for month in range(4):
        books.grant(units(3600), begins=month * 30 * DAY, lasts=30 * DAY)
    books.settle(books.running(), 75 * MINUTE)  # 15 minutes more than there are
    left = []
    for _ in range(3):
        books.clock.move(30 * DAY)
        left.append(books.standing().left)
        answer = books.reserve(lease=HOUR)
        assert isinstance(answer, Admitted)
        assert books.row(answer.hold).amount == left[-1]
        books.ledger.release(answer.hold, reason="")
    assert left == [units(2700), units(3600), units(3600)]


def test_an_overrun_is_paid_before_the_rest_of_an_ended_grant_lapses(books: Books) -> None:
    books.grant(units(5400), lasts=HOUR)
    books.grant(units(3600), begins=DAY)
    long, other = books.running(), books.running()
    books.settle(long, HOUR)
    books.clock.move(2 * HOUR)
    books.settle(other, 10 * MINUTE)
    books.clock.move(DAY)
    assert books.standing().left == units(3600)


def test_a_hold_that_expired_although_its_session_ran_is_charged_after_all(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.hold()
    books.clock.move(HOUR)
    assert books.ledger.expire(books.clock()) == [hold]
    assert books.settle(hold, HOUR).charged == units(3600)
    assert books.balance() == (units(36_000), units(3600), 0)
    assert [kind for kind, _ in books.entries(hold)] == ["hold", "release", "charge"]


def test_a_session_that_was_released_as_never_run_stays_free(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.hold()
    first = books.ledger.release(hold, reason="never ran")
    assert first == Settlement(hold, HoldState.RELEASED, 0, None, None)
    before = books.dump()
    assert books.settle(hold, HOUR) == first
    assert books.dump() == before


def test_a_price_that_changes_in_mid_session_does_not_touch_it(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.running()
    books.publish({"small": 9000})
    assert books.settle(hold, 10 * MINUTE).charged == units(600)
    assert books.row(hold).rate_version == 1
    assert books.row(books.hold(lease=5 * MINUTE)).rate_version == 2


def test_a_clock_that_steps_back_changes_nothing_about_what_a_session_costs(books: Books) -> None:
    books.grant(units(36_000), begins=-2 * HOUR)
    hold = books.running()
    books.clock.move(-HOUR)
    assert isinstance(books.ledger.renew(hold, until=START + HOUR), Renewed)
    assert books.settle(hold, 50 * MINUTE).charged == units(3000)
    assert isinstance(books.reserve(), Admitted)


def test_calls_that_come_in_another_order_leave_the_same_books(books: Books) -> None:
    books.grant(units(36_000))
    early, late = books.hold(), books.hold()
    books.ledger.started(early, started_at=START)
    books.settle(early, 10 * MINUTE)
    books.settle(late, 10 * MINUTE)
    books.ledger.started(late, started_at=START + HOUR)
    books.ledger.unknown(late)
    of_early, of_late = books.row(early), books.row(late)
    for column in ("state", "charged", "started_at", "ended_at", "amount"):
        assert getattr(of_early, column) == getattr(of_late, column)


@pytest.mark.parametrize(
    ("started_at", "ended_at"),
    [
        pytest.param(START, START - timedelta(microseconds=1), id="end-before-start"),
        pytest.param(NAIVE, START + HOUR, id="start-without-zone"),
        pytest.param(START, NAIVE + HOUR, id="end-without-zone"),
    ],
)
def test_times_that_no_session_can_have_are_refused(books: Books, started_at: datetime, ended_at: datetime) -> None:
    books.grant(units(36_000))
    hold = books.running()
    before = books.dump()
    with pytest.raises(ValueError, match=r"before it starts|no time zone"):
        books.ledger.settle(hold, started_at=started_at, ended_at=ended_at, source="launcher")
    assert books.dump() == before


# --- started, unknown, release, expire ------------------------------------------------------------------------


def test_a_hold_whose_session_was_never_seen_expires_with_its_lease(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.hold()
    assert books.ledger.expire(START + LEASE - SECOND) == []
    assert books.ledger.expire(START + LEASE) == [hold]
    assert books.ledger.expire(START + LEASE) == []
    assert books.row(hold).state == "expired"
    assert books.balance() == (units(36_000), 0, 0)


@pytest.mark.parametrize("state", ["running", "unknown"])
def test_nothing_is_refunded_of_a_session_that_runs_or_cannot_be_asked_about(books: Books, state: str) -> None:
    books.grant(units(36_000))
    hold = books.running()
    if state == "unknown":
        books.ledger.unknown(hold)
    before = books.dump()
    assert books.ledger.expire(START + 100 * DAY) == []
    assert books.dump() == before
    assert books.row(hold).state == state


def test_unknown_keeps_what_is_set_aside_and_nothing_else_starts_on_it(books: Books) -> None:
    books.grant(units(2700))
    hold = books.running()
    books.ledger.unknown(hold)
    assert reasons(books.reserve()) == codes(QUOTA_HELD)
    books.ledger.started(hold, started_at=START)
    assert books.row(hold).state == "running"
    assert books.settle(hold, MINUTE).charged == units(60)


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda ledger, hold: ledger.renew(hold, until=START + 2 * HOUR), id="is-renewed"),
        pytest.param(lambda ledger, hold: ledger.started(hold, started_at=START), id="is-seen-running"),
        pytest.param(lambda ledger, hold: ledger.unknown(hold), id="becomes-unknown"),
    ],
)
def test_a_hold_does_not_expire_that_between_look_and_touch(
    books: Books, meanwhile: Callable[[Ledger, str], object]
) -> None:
    books.grant(units(36_000))
    hold = books.hold()

    class Slow(Database):
        """Between the read that finds what is due and the write that closes it, something happens."""

        def write(self) -> Any:
            meanwhile(books.ledger, hold)
            return super().write()

    slow = Slow(books.database.url)
    assert Ledger(slow, clock=books.clock).expire(START + HOUR) == []
    slow.dispose()
    assert books.row(hold).state in OPEN_STATES
    assert books.balance()[2] >= units(2700)


@pytest.mark.parametrize("kind_of_entry", ["release", "charge", "overrun"])
def test_the_database_itself_refuses_a_second_end_of_a_hold(books: Books, kind_of_entry: str) -> None:
    """Whatever program writes it, and whatever it read before."""
    books.grant(units(3600))
    hold = books.running()
    books.settle(hold, 2 * HOUR)
    before = books.dump()
    (end,) = books.rows(EntryTable, EntryTable.hold_id == hold, EntryTable.kind == kind_of_entry)
    again = {name: value for name, value in end._mapping.items() if name != "seq"}
    with pytest.raises(IntegrityError), books.database.write() as connection:
        connection.execute(insert(EntryTable).values(again))
    assert books.dump() == before


def test_releasing_twice_is_once(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.hold()
    first = books.ledger.release(hold, reason="never ran")
    before = books.dump()
    assert books.ledger.release(hold, reason="again") == first
    assert books.dump() == before


def test_an_unknown_hold_is_said_to_be(books: Books) -> None:
    before = books.dump()
    calls = [
        lambda: books.ledger.renew("nobody", until=START + HOUR),
        lambda: books.ledger.settle("nobody", started_at=START, ended_at=START, source=""),
        lambda: books.ledger.release("nobody", reason=""),
    ]
    for call in calls:
        with pytest.raises(HoldUnknown):
            call()
    books.ledger.started("nobody", started_at=START)
    books.ledger.unknown("nobody")
    assert books.dump() == before


def test_times_without_zone_are_refused_in_every_call(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.hold()
    before = books.dump()
    calls = [
        lambda: books.ledger.renew(hold, until=NAIVE + HOUR),
        lambda: books.ledger.started(hold, started_at=NAIVE),
        lambda: books.ledger.expire(NAIVE + HOUR),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="no time zone"):
            call()
    assert books.dump() == before


# --- two writers, crashes, outages ------------------------------------------------------------------------------


def test_a_page_that_somebody_else_wrote_meanwhile_is_not_saved(books: Books) -> None:
    books.grant(units(36_000))
    account = books.rows(BalanceTable)[0].account_id
    before = books.dump()

    def write_twice() -> None:
        with books.database.write() as connection, open_page(connection, account, START, "first") as first:
            first.post(EntryKind.LAPSE, -1)
            with open_page(connection, account, START, "second") as second:
                second.post(EntryKind.LAPSE, -1)

    with pytest.raises(StalePage, match="another transaction"):
        write_twice()
    assert books.dump() == before


CALLS = {
    "grant": lambda ledger, grant: ledger.grant(
        key="new", owner=ANNA, amount=9, starts_at=START, ends_at=START + DAY, created_by="o", reason=""
    ),
    "revoke": lambda ledger, grant: ledger.revoke(grant, actor="olga", reason=""),
    "reserve": lambda ledger, grant: ledger.reserve(
        attempt="new", payers=[Payer(owner=ANN)], place=Place(hub="hub", user="ann", server="new", site="here"),
        flavour="small", lease=LEASE, shortest=MINUTE, gauges=Gauges(),
    ),
    "started": lambda ledger, grant: ledger.started("held", started_at=START),
    "unknown": lambda ledger, grant: ledger.unknown("running"),
    "renew": lambda ledger, grant: ledger.renew("running", until=START + 3 * HOUR),
    "settle": lambda ledger, grant: ledger.settle("running", started_at=START, ended_at=START + 5 * HOUR, source="l"),
    "release": lambda ledger, grant: ledger.release("held", reason="never ran"),
    "expire": lambda ledger, grant: ledger.expire(START + HOUR),
}  # fmt: skip


@pytest.fixture
def eventful(books: Books) -> tuple[Books, str]:
    """Books in which each call has much to do, grants that begin and end included; and the id of a grant."""
    books.grant(units(4000), lasts=HOUR)
    books.hold(attempt="held")
    books.grant(units(5000), begins=30 * MINUTE)
    grant = books.grant(units(9000), begins=-HOUR)
    books.running(attempt="running")
    books.clock.move(2 * HOUR)
    return books, grant


@pytest.mark.parametrize("call", CALLS)
def test_a_crash_at_any_statement_leaves_the_books_as_they_were(eventful: tuple[Books, str], call: str) -> None:
    books, grant = eventful
    database = CrashingDatabase(books.database.url)
    ledger = Ledger(database, clock=books.clock)
    before = books.dump()
    for statement in count():
        database.crash_at = statement
        with pytest.raises(Crash):
            CALLS[call](ledger, grant)
        assert books.dump() == before
        if database.statements < statement:
            break  # this one crashed between its last statement and the commit
    assert database.statements >= (1 if call in ("started", "unknown") else 3)
    CALLS[call](ledger, grant)
    assert books.dump() != before
    database.dispose()


@pytest.mark.parametrize("call", CALLS)
def test_a_call_whose_answer_was_lost_after_the_commit_is_safe_to_repeat(
    eventful: tuple[Books, str], call: str
) -> None:
    books, grant = eventful
    database = CrashingDatabase(books.database.url)
    ledger = Ledger(database, clock=books.clock)
    database.lost = True
    with pytest.raises(Crash):
        CALLS[call](ledger, grant)
    once = books.dump()
    answer = CALLS[call](ledger, grant)
    assert books.dump() == once
    assert CALLS[call](ledger, grant) == answer
    database.dispose()


def test_a_database_that_is_away_is_an_outage_and_not_an_answer(books: Books, tmp_path: Any) -> None:
    away = Database(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'db'}")
    ledger = Ledger(away, clock=books.clock)
    for call in CALLS.values():
        with pytest.raises(DatabaseUnavailable):
            call(ledger, "some-grant")


def test_a_write_that_takes_too_long_is_an_outage_for_the_next(books: Books) -> None:
    books.grant(units(3600))
    waiting = Database(books.database.url, busy_seconds=0.05)
    with locked(books.database), pytest.raises(DatabaseUnavailable):
        CALLS["reserve"](Ledger(waiting, clock=books.clock), "")
    waiting.dispose()
    assert isinstance(books.reserve(), Admitted)
