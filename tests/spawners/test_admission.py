"""Admission: who, where and within which quota; what costs something fails closed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from federation.database import Database
from federation.errors import DATABASE_AWAY, Failure, Problem
from federation.i18n import use_language
from federation.persons import Person
from federation.settings import Environment, LocalSite
from quota.amounts import from_unit_hours
from quota.answers import Admitted
from quota.errors import NOT_IN_DEFAULT, QUOTA_SPENT, QUOTA_USED_UP, SERVER_BUSY, SESSIONS_CAP, SITE_FULL
from quota.ledger import Ledger
from quota.settings import DefaultGrant, LimitsSection
from quota.tables import GrantTable, HoldTable
from spawners.admission import Admission
from spawners.errors import PERSON_UNKNOWN, SITE_AWAY, SITE_DRAINED
from spawners.paying import owner_of
from spawners.sessions import Server
from tests.support.batch import hpc, map_to
from tests.support.books import MINUTE, START, MovableClock
from tests.support.fakes import COMMUNITY, HUB, Installation, policy, with_limit
from vetting import mappings
from vetting.errors import NO_PLACE, NOT_ELIGIBLE, SITE_DOWNTIME, SITE_NOT_OPEN
from vetting.placement import Wish
from vetting.settings import Tier
from vetting.sites import Event, announce_downtime, change

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SMALL, MEDIUM = Wish(flavour="small", environment="python"), Wish(flavour="medium", environment="python")


@pytest.fixture
def house(database: Database) -> Installation:
    return Installation(database)


@pytest.fixture
def ana(house: Installation) -> Person:
    return house.member()


def ask(house: Installation, person: Person, wish: Wish = SMALL, server: str = "", attempt: str = "a") -> Admitted:
    return house.admission.reserve(attempt, person, Server(HUB, person.user_name, server), wish, "here")


def refused(house: Installation, person: Person, *asked: Any, **more: Any) -> Failure:
    """The refusal; nothing was reserved."""
    with pytest.raises(Failure) as caught:
        ask(house, person, *asked, **more)
    return caught.value


def defaults(house: Installation) -> list[Any]:
    return [row for row in house.books.rows(GrantTable) if row.key.startswith("default:")]


def give(house: Installation, person: Person, hours: int = 100, **options: Any) -> str:
    return house.books.grant(from_unit_hours(hours), owner_of(person), **options)


# --- persons ------------------------------------------------------------------------------------------------------


def test_a_person_is_found_by_the_hubs_user_name(house: Installation, ana: Person) -> None:
    assert house.admission.person(ana.user_name) == ana


@pytest.mark.parametrize("name", ["", "nobody", "ANA", "ana"])
def test_a_user_name_that_nobody_has_is_refused(house: Installation, ana: Person, name: str) -> None:
    with pytest.raises(Failure) as caught:
        house.admission.person(name)
    assert caught.value.problem is PERSON_UNKNOWN
    assert caught.value.problem.status == 403


def test_the_account_is_the_persons_and_not_the_names(house: Installation, ana: Person) -> None:
    assert (owner_of(ana).kind, owner_of(ana).ref) == ("user", ana.id)


# --- defaults -----------------------------------------------------------------------------------------------------


def test_a_default_is_given_at_the_first_start_and_only_once_in_its_period(house: Installation, ana: Person) -> None:
    for n, day in enumerate((2, 3, 31)):
        house.clock.now = START.replace(day=day)
        ask(house, ana, server=f"s{n}", attempt=f"a{n}")
        house.ledger.release(f"a{n}", reason="")
    (grant,) = defaults(house)
    assert (grant.amount, grant.created_by) == (from_unit_hours(10), "system")
    assert (grant.starts_at, grant.ends_at) == (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))


def test_each_period_is_a_new_default_and_nothing_is_carried_over(house: Installation, ana: Person) -> None:
    ask(house, ana)
    house.books.settle("a", HOUR)
    house.clock.now = datetime(2026, 4, 1, tzinfo=UTC)
    house.admission.give_default(ana)
    assert len(defaults(house)) == 2
    assert house.books.standing(owner_of(ana)).left == from_unit_hours(10)


def test_each_person_has_a_default_of_their_own(house: Installation, ana: Person) -> None:
    for person in (ana, house.member("anna")):
        house.admission.give_default(person)
    assert len({grant.account_id for grant in defaults(house)}) == 2


def test_the_default_is_that_of_the_highest_tier_that_has_one(database: Database) -> None:
    tiers = {"T0": Tier(), "T1": Tier(communities=[COMMUNITY]), "T2": Tier(needs="T1")}
    given = {
        name: DefaultGrant(amount_hours=hours, period="month", flavours=["small"])
        for name, hours in (("T1", 10), ("T0", 1))
    }
    house = Installation(database, tiers=tiers, defaults=given)
    for person in (house.member(), house.books.person("guest")):
        house.admission.give_default(person)
    assert sorted(grant.amount for grant in defaults(house)) == [from_unit_hours(1), from_unit_hours(10)]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="the-tier-has-none"),
        pytest.param({"T1": DefaultGrant(amount_hours=0, flavours=["small"])}, id="of-nothing"),
    ],
)
def test_without_a_default_quota_has_to_be_given(database: Database, given: dict[str, DefaultGrant]) -> None:
    house = Installation(database, defaults=given)
    ana = house.member()
    assert refused(house, ana).problem.code == "no-grant"
    assert house.books.rows(GrantTable) == []
    give(house, ana)
    assert isinstance(ask(house, ana), Admitted)


def test_who_has_no_tier_with_a_default_is_given_none(house: Installation) -> None:
    guest = house.books.person("guest")
    house.admission.give_default(guest)
    assert defaults(house) == []
    assert house.admission.returns_at(guest, START) is None


def test_new_quota_comes_at_the_end_of_the_period(house: Installation, ana: Person) -> None:
    assert house.admission.returns_at(ana, START) == datetime(2026, 4, 1, tzinfo=UTC)


# --- what the default pays for ------------------------------------------------------------------------------------


def test_the_default_pays_only_for_its_flavours(house: Installation, ana: Person) -> None:
    failure = refused(house, ana, MEDIUM)
    assert failure.problem is NOT_IN_DEFAULT
    assert "Medium" in failure.message
    assert house.books.rows(HoldTable) == []
    assert isinstance(ask(house, ana, SMALL), Admitted)


def test_a_refusal_names_the_flavour_in_the_readers_language(house: Installation, ana: Person) -> None:
    use_language("pt")
    try:
        assert refused(house, ana, MEDIUM).figures == {"flavour": "Média"}
    finally:
        use_language("en")


def test_a_grant_pays_for_any_flavour(house: Installation, ana: Person) -> None:
    give(house, ana)
    assert ask(house, ana, MEDIUM).weight_milli == 4000


def test_a_grant_pays_from_the_moment_at_which_it_begins(house: Installation, ana: Person) -> None:
    give(house, ana, begins=HOUR)
    assert refused(house, ana, MEDIUM).problem is NOT_IN_DEFAULT
    house.clock.move(HOUR)
    assert isinstance(ask(house, ana, MEDIUM), Admitted)


@pytest.mark.parametrize("how", ["ended", "revoked"])
def test_a_grant_that_is_over_pays_for_nothing(house: Installation, ana: Person, how: str) -> None:
    grant = give(house, ana, lasts=DAY)
    ask(house, ana, MEDIUM)
    house.ledger.release("a", reason="")
    if how == "ended":
        house.clock.move(DAY)
    else:
        house.ledger.revoke(grant, actor="olga", reason="")
    assert refused(house, ana, MEDIUM, attempt="b").problem is NOT_IN_DEFAULT


def test_anybodys_grant_is_for_nobody_else(house: Installation, ana: Person) -> None:
    give(house, house.member("anna"))
    assert refused(house, ana, MEDIUM).problem is NOT_IN_DEFAULT


# --- caps ---------------------------------------------------------------------------------------------------------


def test_a_person_has_as_many_sessions_as_the_tier_allows(house: Installation, ana: Person) -> None:
    for n in range(2):
        ask(house, ana, server=f"s{n}", attempt=f"a{n}")
    failure = refused(house, ana, server="s2", attempt="a2")
    assert failure.problem is SESSIONS_CAP
    assert "already have 2 of 2" in failure.message
    assert isinstance(ask(house, house.member("anna"), attempt="b"), Admitted)
    house.ledger.release("a0", reason="")
    assert isinstance(ask(house, ana, server="s2", attempt="a3"), Admitted)


def test_the_cap_on_a_persons_sessions_can_be_left_out(database: Database) -> None:
    unlimited = DefaultGrant(amount_hours=100, sessions=None, flavours=["small"])
    house = Installation(database, defaults={"T1": unlimited})
    ana = house.member()
    for n in range(5):
        ask(house, ana, server=f"s{n}", attempt=f"a{n}")


@pytest.mark.parametrize(
    ("limit", "fit", "said"),
    [
        pytest.param({"sessions": 1}, 1, "This machine is full: 1 of 1 sessions", id="sessions"),
        pytest.param({"cpu": 5}, 2, "4 of 5 cpu", id="cpu-that-does-not-divide"),
        pytest.param({"memory_gib": 12}, 2, "12288 of 12288 memory_mib", id="memory"),
        pytest.param({"gpu": 1}, 3, None, id="gpu-that-nobody-wants"),
        pytest.param({"sessions": 3, "cpu": 2}, 1, "2 of 2 cpu", id="the-one-that-is-reached-first"),
    ],
)
def test_a_site_takes_as_much_as_its_limit_allows(
    database: Database, limit: dict[str, int], fit: int, said: str | None
) -> None:
    house = Installation(database, limits=with_limit(**limit))
    people = [house.member(f"p{n}") for n in range(4)]
    for person in people:
        give(house, person)
    for n, person in enumerate(people[:fit]):
        ask(house, person, MEDIUM, attempt=f"a{n}")
    if said is None:
        ask(house, people[fit], MEDIUM, attempt="one more")
        return
    failure = refused(house, people[fit], MEDIUM, attempt="one more")
    assert failure.problem is SITE_FULL
    assert said in failure.message


def test_a_limit_on_another_site_is_none_on_this_one(database: Database) -> None:
    sites = {name: LocalSite(kind="local", title=name, flavours=["small"]) for name in ("here", "there")}
    limits = LimitsSection.model_validate({"per_site": {"there": {"sessions": 1}}})
    house = Installation(database, sites=sites, limits=limits)
    ana = house.member()
    for n in range(2):
        ask(house, ana, server=f"s{n}", attempt=f"a{n}")


# --- leases and figures -------------------------------------------------------------------------------------------


def test_a_lease_and_what_it_occupies_are_those_of_the_settings(database: Database) -> None:
    house = Installation(database, limits=LimitsSection(lease_minutes=20))
    ana = house.member()
    give(house, ana)
    assert ask(house, ana, MEDIUM, server="one") == Admitted("a", START + 20 * MINUTE, 4000)
    hold = house.books.row("a")
    assert (hold.gauge_sessions, hold.gauge_cpu, hold.gauge_memory_mib, hold.gauge_gpu) == (1, 2, 6144, 0)
    assert (hold.hub, hold.user, hold.server, hold.site) == (HUB, ana.user_name, "one", "here")


def test_the_shortest_lease_is_that_of_the_settings(database: Database) -> None:
    house = Installation(database, defaults={}, limits=LimitsSection(shortest_lease_minutes=10))
    ana = house.member()
    house.books.grant(10 * 60_000 - 1, owner_of(ana))
    failure = refused(house, ana)
    assert failure.problem is QUOTA_SPENT
    assert "at least 0.167" in failure.message
    house.books.grant(1, owner_of(ana))
    assert ask(house, ana).lease_until == START + 10 * MINUTE


def test_used_up_says_when_more_comes_and_when_to_try_again(house: Installation, ana: Person) -> None:
    house.admission.give_default(ana)
    ask(house, ana)
    house.books.settle("a", 10 * HOUR)
    failure = refused(house, ana, attempt="b")
    assert failure.problem is QUOTA_USED_UP
    assert "of 10 unit-hours you have used 10, and 0 are set aside" in failure.message
    assert failure.retry_after_seconds == (datetime(2026, 4, 1, tzinfo=UTC) - START).total_seconds()


def test_the_same_attempt_again_is_the_same_hold(house: Installation, ana: Person) -> None:
    first = ask(house, ana)
    before = house.books.dump()
    house.clock.move(10 * MINUTE)
    assert ask(house, ana) == first
    assert house.books.dump() == before


def test_another_attempt_for_a_server_that_has_one_is_refused(house: Installation, ana: Person) -> None:
    ask(house, ana)
    assert refused(house, ana, attempt="b").problem is SERVER_BUSY


def test_five_refusals_in_a_row_change_nothing(house: Installation, ana: Person) -> None:
    ask(house, ana)
    before = house.books.dump()
    for n in range(5):
        refused(house, ana, attempt=f"b{n}")
    assert house.books.dump() == before


# --- places -------------------------------------------------------------------------------------------------------


def test_a_place_is_the_first_that_takes_the_wish(house: Installation, ana: Person) -> None:
    assert house.admission.place(ana, SMALL) == "here"


@pytest.mark.parametrize(
    ("kinds", "facts", "problem"),
    [
        pytest.param({"local"}, {}, NOT_ELIGIBLE, id="not-of-the-tier"),
        pytest.param({"kubernetes"}, {"memberships": (COMMUNITY,)}, NO_PLACE, id="no-backend-for-the-kind"),
    ],
)
def test_without_a_place_the_refusal_says_why(
    house: Installation, kinds: set[str], facts: dict[str, Any], problem: Problem
) -> None:
    person = house.books.person("p", **facts)
    admission = Admission(house.database, house.ledger, policy(), kinds, house.clock)
    with pytest.raises(Failure) as caught:
        admission.place(person, SMALL)
    assert caught.value.problem is problem


# --- outages ------------------------------------------------------------------------------------------------------


@pytest.fixture
def away(tmp_path: Any) -> Admission:
    """Admission whose database cannot be reached."""
    database = Database(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'db'}")
    return Admission(database, Ledger(database), policy(), {"local"}, MovableClock())


def test_an_outage_is_told_as_one_and_nothing_is_started(house: Installation, ana: Person, away: Admission) -> None:
    calls = [
        lambda: away.person(ana.user_name),
        lambda: away.reserve("a", ana, Server(HUB, ana.user_name, ""), SMALL, "here"),
    ]
    for call in calls:
        with pytest.raises(Failure) as caught:
            call()
        assert caught.value.problem is DATABASE_AWAY
        assert caught.value.problem.status == 503
        assert "not your quota" in caught.value.message


def test_books_that_somebody_else_writes_to_for_too_long_are_an_outage_too(house: Installation, ana: Person) -> None:
    house.admission.give_default(ana)
    waiting = Database(house.database.url, busy_seconds=0.05)
    admission = Admission(waiting, Ledger(waiting, clock=house.clock), house.policy, {"local"}, house.clock)
    with house.database.write(), pytest.raises(Failure) as caught:
        admission.reserve("a", ana, Server(HUB, ana.user_name, ""), SMALL, "here")
    waiting.dispose()
    assert caught.value.problem is DATABASE_AWAY
    assert house.books.rows(HoldTable) == []


# --- places that take nothing just now ---------------------------------------------------------------------------


def test_a_place_that_takes_nothing_just_now_is_no_place_and_says_why(house: Installation, ana: Person) -> None:
    admission = Admission(
        house.database, house.ledger, house.policy, {"local"}, house.clock,
        closed=lambda: {"here": Failure(SITE_AWAY, {"site": "This machine"})},
    )  # fmt: skip
    with pytest.raises(Failure) as refused:
        admission.place(ana, SMALL)
    assert refused.value.problem is SITE_AWAY


def test_what_refused_this_start_counts_more_than_what_is_known_of_it(house: Installation, ana: Person) -> None:
    away = {"here": Failure(SITE_DRAINED, {"site": "This machine"})}
    [option] = house.admission.options(ana, SMALL, away)
    assert option.why_not is away["here"]


# --- what is recorded of sites ----------------------------------------------------------------------------------------


def test_a_batch_site_takes_sessions_only_when_it_is_certified(database: Database) -> None:
    python = Environment.model_validate({"title": "Python", "batch": {"path": "/apps/python"}})
    house = Installation(database, sites={"hpc": hpc()}, environments={"python": python})
    admission = Admission(database, house.ledger, house.policy, {"batch"}, house.clock)
    ana = house.member()
    map_to(house, ana, mappings.Event.ACCEPT)

    def why_not() -> Problem | None:
        failure = admission.options(ana, SMALL)[0].why_not
        return failure.problem if failure else None

    seen = [why_not()]
    for event in (Event.PASS, Event.CERTIFY, Event.SUSPEND):
        with database.write() as connection:
            change(connection, "hpc", house.policy.sites["hpc"], event=event, by="test", now=house.clock())
        seen.append(why_not())
    assert seen == [SITE_NOT_OPEN, SITE_NOT_OPEN, None, SITE_NOT_OPEN]


def test_a_downtime_closes_a_place_until_it_is_over(house: Installation, ana: Person) -> None:
    with house.database.write() as connection:
        announce_downtime(
            connection, "here", starts_at=START, ends_at=START + HOUR, reason="cooling", by="test", now=START
        )
    house.clock.now = START + HOUR / 2
    with pytest.raises(Failure) as refusal:
        house.admission.place(ana, SMALL)
    assert (refusal.value.problem, refusal.value.retry_after_seconds) == (SITE_DOWNTIME, 1800)
    house.clock.now = START + HOUR
    assert house.admission.place(ana, SMALL) == "here"
