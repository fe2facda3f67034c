"""Homes are kept until an operator removes them, and people are told until when; nothing is removed by itself."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from federation import persons
from federation.audit import AuditTable
from federation.database import Database
from federation.outbox import OutboxTable
from federation.persons import Person, PersonTable
from federation.settings import KubernetesSite
from spawners.home_rounds import HomeRounds
from spawners.homes import Home, HomeError, Homes, WhyKept
from tests.support.fakes import MEMBER, Installation
from vetting.settings import Tier

DAY = timedelta(days=1)
CLOUD = KubernetesSite.model_validate(
    {"kind": "kubernetes", "title": {"en": "The cloud"}, "flavours": ["small"], "namespace": "notebooks",
     "homes": {"size_gib": 10, "per_tier": {"T1": 20, "T2": 50}, "kept_days": 30, "unused_days": 100}}
)  # fmt: skip


class Volumes:
    """What a cluster has; `fails` lets one removal fail."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.fails = False

    def remove(self, name: str) -> None:
        if self.fails:
            self.fails = False
            raise OSError("the cluster is away")
        self.names.discard(name)


@pytest.fixture
def house(database: Database) -> Installation:
    tiers = {
        "T0": Tier(), "T1": Tier(communities=["urn:mace:example.org:group:demo"]),
        "T2": Tier(needs="T1", assurance="IAP/medium"),
    }  # fmt: skip
    return Installation(database, sites={"cloud": CLOUD}, tiers=tiers)


@pytest.fixture
def homes(house: Installation) -> Homes:
    return Homes(house.database, clock=house.clock)


@pytest.fixture
def ana(house: Installation, homes: Homes) -> Person:
    """Has a home at the cloud since now."""
    person = house.member()
    homes.used(person.id, "cloud", volume="home-ana", size_gib=20)
    return person


def rounds(house: Installation) -> HomeRounds:
    return HomeRounds(
        database=house.database, homes=Homes(house.database, clock=house.clock), admission=house.admission,
        clock=house.clock,
    )  # fmt: skip


def only(homes: Homes) -> Home:
    (home,) = homes.found()
    return home


def told(house: Installation) -> list[tuple[str, str]]:
    with house.database.read() as connection:
        rows = connection.execute(select(OutboxTable.__table__).order_by(OutboxTable.created_at)).all()
    return [(row.kind, row.figures["why"]) for row in rows]


def loses_everything(house: Installation, **facts: Any) -> None:
    with house.database.write() as connection:
        connection.execute(update(PersonTable).values(facts=facts))


def audited(house: Installation) -> list[Any]:
    with house.database.read() as connection:
        return list(connection.execute(select(AuditTable).where(AuditTable.act == "operator:home:removed")).all())


@pytest.mark.parametrize(
    ("facts", "size"),
    [
        pytest.param({}, 10, id="no-tier-with-a-size-of-its-own"),
        pytest.param(MEMBER, 20, id="a-tier-with-one"),
        pytest.param({**MEMBER, "assurance": ("https://refeds.org/assurance/IAP/medium",)}, 50, id="the-higher-of-two"),
    ],
)
def test_the_size_is_that_of_the_highest_tier_that_has_one(
    house: Installation, facts: dict[str, Any], size: int
) -> None:
    assert house.admission.home_gib(house.books.person("ana", **facts), "cloud") == size


def test_who_only_did_not_sign_in_for_a_while_keeps_their_home(house: Installation, homes: Homes, ana: Person) -> None:
    house.clock.move(99 * DAY)
    rounds(house).run_once()
    assert only(homes).why_kept is None
    assert told(house) == []


def test_when_access_ends_the_time_begins_to_run_and_is_told_once_and_once_before_its_end(
    house: Installation, homes: Homes, ana: Person
) -> None:
    loses_everything(house)
    for _ in range(3):
        rounds(house).run_once()
    home = only(homes)
    assert (home.why_kept, home.kept_until) == (WhyKept.ACCESS, house.clock() + 30 * DAY)
    assert told(house) == [("home-kept", "access")]
    house.clock.move(16 * DAY)
    for _ in range(3):
        rounds(house).run_once()
    assert told(house) == [("home-kept", "access")] * 2
    assert not only(homes).is_due(house.clock())
    house.clock.move(14 * DAY)
    rounds(house).run_once()
    assert only(homes).is_due(house.clock()), "and it is there still"
    assert len(told(house)) == 2


def test_a_home_that_nobody_used_for_long_is_told_of_and_a_session_frees_it(
    house: Installation, homes: Homes, ana: Person
) -> None:
    house.clock.move(100 * DAY)
    rounds(house).run_once()
    assert only(homes).why_kept is WhyKept.UNUSED
    assert told(house) == [("home-kept", "unused")]
    homes.used(ana.id, "cloud", volume="home-ana", size_gib=50)
    home = only(homes)
    assert (home.why_kept, home.kept_until, home.size_gib) == (None, None, 50)
    assert home.made_at == house.clock() - 100 * DAY


def test_access_that_comes_back_frees_the_home_and_a_second_loss_is_told_again(
    house: Installation, homes: Homes, ana: Person
) -> None:
    loses_everything(house)
    rounds(house).run_once()
    loses_everything(house, memberships=["urn:mace:example.org:group:demo"])
    rounds(house).run_once()
    assert only(homes).kept_until is None
    house.clock.move(DAY)
    loses_everything(house)
    rounds(house).run_once()
    assert told(house) == [("home-kept", "access")] * 2


def test_of_a_person_whose_data_was_removed_the_home_waits_too_and_nobody_is_written_to(
    house: Installation, homes: Homes, ana: Person
) -> None:
    with house.database.write() as connection:
        persons.forget(connection, ana, house.clock())
    rounds(house).run_once()
    assert only(homes).why_kept is WhyKept.REMOVED
    assert told(house) == []


def test_a_session_that_begins_while_it_is_looked_at_is_not_overruled(
    house: Installation, homes: Homes, ana: Person
) -> None:
    seen = only(homes)
    house.clock.move(DAY)
    homes.used(ana.id, "cloud", volume="home-ana", size_gib=20)
    with house.database.write() as connection:
        assert not homes.keep(connection, seen, WhyKept.UNUSED, house.clock())
    assert only(homes).why_kept is None


def test_a_home_is_removed_when_it_is_due_with_a_reason_in_the_audit_trail(
    house: Installation, homes: Homes, ana: Person
) -> None:
    volumes = Volumes("home-ana")
    loses_everything(house)
    rounds(house).run_once()
    with pytest.raises(HomeError, match="still to be kept"):
        homes.remove(only(homes), volumes.remove, by="op", reason="left")
    assert (volumes.names, audited(house)) == ({"home-ana"}, [])
    house.clock.move(30 * DAY)
    home = only(homes)
    homes.remove(home, volumes.remove, by="op", reason="left")
    assert (volumes.names, homes.found()) == (set(), [])
    (row,) = audited(house)
    assert (row.actor, row.target, row.reason) == ("op", f"person:{ana.id}", "left")
    assert row.details == {"site": "cloud", "volume": "home-ana", "size_gib": 20, "early": False}
    with pytest.raises(HomeError, match="already"):
        homes.remove(home, volumes.remove, by="op", reason="again")


def test_an_operator_may_remove_one_early_and_the_audit_trail_says_so(
    house: Installation, homes: Homes, ana: Person
) -> None:
    volumes = Volumes("home-ana")
    homes.remove(only(homes), volumes.remove, by="op", reason="asked for it", early=True)
    assert volumes.names == set()
    assert audited(house)[0].details["early"] is True


def test_a_removal_that_did_not_end_is_known_and_taken_up_again(house: Installation, homes: Homes, ana: Person) -> None:
    volumes = Volumes("home-ana")
    volumes.fails = True
    with pytest.raises(OSError, match="away"):
        homes.remove(only(homes), volumes.remove, by="op", reason="asked for it", early=True)
    assert only(homes).removing_at == house.clock()
    loses_everything(house)
    rounds(house).run_once()
    assert told(house) == [], "it is not kept any more"
    homes.remove(only(homes), volumes.remove, by="op", reason="asked for it")
    assert (volumes.names, homes.found(), len(audited(house))) == (set(), [], 1)


def test_a_home_that_a_session_uses_is_not_removed(house: Installation, homes: Homes, ana: Person) -> None:
    house.intend(ana, site="cloud")
    volumes = Volumes("home-ana")
    with pytest.raises(HomeError, match="session"):
        homes.remove(only(homes), volumes.remove, by="op", reason="x", early=True)
    assert volumes.names == {"home-ana"}
    assert audited(house) == []


def test_who_comes_back_after_a_removal_gets_a_new_home(house: Installation, homes: Homes, ana: Person) -> None:
    homes.remove(only(homes), lambda name: None, by="op", reason="x", early=True)
    house.clock.move(DAY)
    homes.used(ana.id, "cloud", volume="home-ana", size_gib=20)
    assert only(homes).made_at == house.clock()
    assert homes.found(site="elsewhere") == homes.found(person_id="nobody") == []
