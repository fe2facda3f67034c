"""Why a start would be admitted or refused: what is said is what a start would be told, and every figure is there."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.database import Database
from federation.i18n import use_language
from federation.persons import Person
from federation.terms import accept, publish
from quota.amounts import from_unit_hours
from quota.errors import NO_GRANT, NOT_IN_DEFAULT, POOL_USED_UP, QUOTA_HELD, QUOTA_USED_UP, SESSIONS_CAP, SITE_FULL
from quota.settings import DefaultGrant, Limit, LimitsSection, Pool
from spawners.explaining import Explanation, Line, explain
from spawners.findings import Findings, find
from spawners.paying import owner_of, pool_owner
from spawners.sessions import Server
from tests.hub_config.test_cli import Commands
from tests.support.books import MINUTE, dump
from tests.support.fakes import COMMUNITY, HUB, MEMBER, Installation, with_limit
from vetting.errors import NOT_ELIGIBLE
from vetting.placement import Wish

HOUR = timedelta(hours=1)
OCEAN = Pool(
    title={"en": "Ocean group", "es": "Grupo Océano"}, community=COMMUNITY, amount_hours=5, flavours=["small", "medium"],
    limit=Limit(sessions=3),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    yield
    use_language("en")


@pytest.fixture
def house(database: Database) -> Installation:
    return Installation(database)


@pytest.fixture
def ana(house: Installation) -> Person:
    return house.member()


def found(house: Installation, person: Person, flavour: str = "small", site: str | None = None) -> Findings:
    return find(house.admission, house.database, hub=HUB, person=person, flavour=flavour, site=site, now=house.clock())


def explained(house: Installation, person: Person, *more: Any) -> Explanation:
    return explain(found(house, person, *more))


def lines(said: Explanation, code: str) -> list[Line]:
    return [line for part in said.parts for line in part.lines if line.code == code]


def line(said: Explanation, code: str) -> Line:
    (one,) = lines(said, code)
    return one


def codes(said: Explanation) -> list[str]:
    return [reason.problem.code for reason in said.reasons]


# --- the answer is admission's ------------------------------------------------------------------------------------


def test_a_newcomer_with_a_default_would_be_admitted_at_its_expense(house: Installation, ana: Person) -> None:
    said = explained(house, ana)
    assert said.admitted
    assert codes(said) == []
    assert said.answer == (
        "A session of the flavour small would be started now. The own quota would pay; the first 45 minutes would be set "
        "aside, and more as it runs."
    )
    assert line(said, "default").figure == "10 unit-hours each month"
    assert line(said, "grant").heading == "Default quota of this period"
    assert line(said, "left").amount == from_unit_hours(10)


def test_looking_changes_nothing_but_gives_the_default(house: Installation, ana: Person) -> None:
    house.admission.give_default(ana)
    before = dump(house.database)
    for flavour in ("small", "medium"):
        found(house, ana, flavour)
    assert dump(house.database) == before


@pytest.mark.parametrize("sessions", [0, 1, 2])
def test_what_is_said_is_what_a_start_is_told(house: Installation, ana: Person, sessions: int) -> None:
    for n in range(sessions):
        house.run(ana, f"s{n}")
    said = explained(house, ana)
    wish = Wish(flavour="small", environment="python")
    try:
        house.admission.reserve("a", ana, Server(HUB, ana.user_name, "new"), wish, "here")
        told = None
    except Exception as failure:  # noqa: BLE001
        told = failure
    assert said.admitted == (told is None)
    assert [str(reason) for reason in said.reasons] == ([] if told is None else [str(told)])


def test_a_server_of_the_default_name_is_not_in_the_way(house: Installation, ana: Person) -> None:
    house.run(ana, "")
    assert explained(house, ana).admitted


def test_every_reason_is_told(database: Database) -> None:
    house = Installation(database, limits=with_limit(sessions=2))
    ana = house.member()
    house.books.grant(from_unit_hours(1), owner_of(ana))
    for n in range(2):
        house.run(ana, f"s{n}")
    house.books.grant(1, owner_of(ana))
    for grant in house.books.standing(owner_of(ana)).grants:
        house.ledger.revoke(grant.id, actor="olga", reason="")
    said = explained(house, ana)
    assert codes(said)[:2] == [SESSIONS_CAP.code, SITE_FULL.code]
    assert len(codes(said)) == 3
    full = [each.code for part in said.parts for each in part.lines if each.is_obstacle]
    assert full == ["left", "cap-user-sessions", "cap-site-sessions"]


def test_somebody_without_a_tier_is_told_what_is_missing_and_that_there_is_no_quota(house: Installation) -> None:
    guest = house.books.person("guest")
    said = explained(house, guest)
    assert codes(said) == [NOT_ELIGIBLE.code, NO_GRANT.code]
    assert line(said, "tier").figure == "T0"
    assert f"Missing: membership of one of these communities: {COMMUNITY}" in line(said, "flavour-tier").note
    assert line(said, "place").figure == "none"
    assert line(said, "default").figure == "0 unit-hours"


def test_a_flavour_that_the_default_does_not_pay_for_is_told(house: Installation, ana: Person) -> None:
    said = explained(house, ana, "medium")
    assert codes(said) == [NOT_IN_DEFAULT.code]
    assert "pays for: small" in line(said, "default").note


def test_a_named_site_is_looked_at(house: Installation, ana: Person) -> None:
    assert line(explained(house, ana, "small", "here"), "place").figure == "This machine"


# --- figures ------------------------------------------------------------------------------------------------------


def test_grants_sessions_and_what_is_owed_are_each_a_line(house: Installation, ana: Person) -> None:
    house.admission.give_default(ana)
    house.books.grant(from_unit_hours(20), owner_of(ana))
    house.run(ana, "work")
    said = explained(house, ana)
    assert [(one.heading, one.figure) for one in lines(said, "grant")] == [
        ("Default quota of this period", "10 of 10 unit-hours left"),
        ("a test", "20 of 20 unit-hours left"),
    ]
    held = line(said, "held")
    assert (held.heading, held.figure, held.amount) == (
        "Session work", "0.75 unit-hours set aside", from_unit_hours(1) * 3 // 4,
    )  # fmt: skip
    assert line(said, "left").amount == from_unit_hours(29) + from_unit_hours(1) // 4
    assert line(said, "cap-user-sessions").figure == "1 of 2 in use"
    assert lines(said, "owed") == []


def test_what_is_owed_is_a_line(house: Installation, ana: Person) -> None:
    house.admission.give_default(ana)
    session = house.run(ana)
    house.ledger.settle(
        session.attempt, started_at=house.clock(), ended_at=house.clock() + 12 * HOUR, source="launcher"
    )
    assert line(explained(house, ana), "owed").amount == from_unit_hours(2)


def test_figures_of_limits_have_units_that_people_know(database: Database) -> None:
    limits = LimitsSection(
        per_user=Limit(memory_gib=5), per_site={"here": Limit(cpu=9)}, per_flavour={"small": Limit(sessions=7)}
    )
    house = Installation(database, limits=limits)
    ana = house.member()
    house.run(ana)
    said = explained(house, ana)
    shown = {each.code: (each.heading, each.figure, each.note) for part in said.parts for each in part.lines}
    assert shown["cap-user-memory_mib"] == ("The person: GiB memory", "2 of 5 in use", "This flavour takes 2.")
    assert shown["cap-site-cpu"][:2] == ("Place “This machine”: CPU", "1 of 9 in use")
    assert shown["cap-flavour-sessions"][:2] == ("Flavour “small”: sessions", "1 of 7 in use")


def test_pools_are_shown_with_what_is_left_and_whether_they_pay(database: Database) -> None:
    other = Pool(title="Others", community=COMMUNITY, amount_hours=1, flavours=["small"])
    house = Installation(database, pools={"ocean": OCEAN, "others": other})
    ana = house.member()
    said = explained(house, ana, "medium")
    assert said.admitted
    assert "The pool “Ocean group” would pay" in said.answer
    assert [(one.heading, one.figure) for one in lines(said, "pool")] == [
        ("Ocean group", "5 of 5 unit-hours left"), ("Others", "1 of 1 unit-hours left"),
    ]  # fmt: skip
    assert lines(said, "pool")[1].note == "It does not pay for this flavour."
    assert [(one.heading, one.note) for one in lines(said, "payer")] == [("1. Ocean group", "It would pay.")]
    assert line(said, "cap-group-sessions").figure == "0 of 3 in use"


def test_the_own_quota_is_asked_before_the_pool_and_both_refusals_are_told(database: Database) -> None:
    house = Installation(database, pools={"ocean": OCEAN})
    ana = house.member()
    assert [one.heading for one in lines(explained(house, ana), "payer")] == ["1. Own quota", "2. Ocean group"]
    for owner in (owner_of(ana), pool_owner("ocean")):
        for grant in house.books.standing(owner).grants:
            house.ledger.change(
                grant.id,
                key=grant.id,
                amount=1,
                starts_at=house.clock(),
                ends_at=grant.ends_at,
                actor="olga",
                reason="",
            )
    assert codes(explained(house, ana)) == [QUOTA_USED_UP.code, POOL_USED_UP.code]


def test_what_is_held_by_others_of_ones_own_is_told_as_such(house: Installation, ana: Person) -> None:
    house.admission.give_default(ana)
    (grant,) = house.books.standing(owner_of(ana)).grants
    house.ledger.change(
        grant.id, key="less", amount=from_unit_hours(1), starts_at=house.clock(), ends_at=grant.ends_at, actor="olga",
        reason="",
    )  # fmt: skip
    house.run(ana, "one")
    house.run(ana, "two")
    assert QUOTA_HELD.code in codes(explained(house, ana))


def test_how_long_it_lasts_is_told_while_something_runs(house: Installation, ana: Person) -> None:
    said = explained(house, ana)
    assert line(said, "lasts").figure == "10"
    assert lines(said, "lasts-until") == []
    house.run(ana)
    house.clock.move(30 * MINUTE)
    assert line(explained(house, ana), "lasts-until").figure == "until Mar 2, 2026, 7:00:00\u202fPM UTC"


@pytest.mark.parametrize(("language", "answer"), [("es", "Grupo Océano"), ("pt", "Ocean group")])
def test_it_speaks_the_language_of_the_reader(database: Database, language: str, answer: str) -> None:
    house = Installation(database, pools={"ocean": OCEAN})
    ana = house.member()
    english = explained(house, ana, "medium")
    use_language(language)
    said = explained(house, ana, "medium")
    assert answer in said.answer
    same = [
        (one.code, one.heading)
        for part, in_english in zip(said.parts, english.parts, strict=True)
        for one, other in zip(part.lines, in_english.lines, strict=True)
        if one.heading == other.heading and one.code not in ("pool", "payer")
    ]
    assert same == []


# --- nbfed quota explain ------------------------------------------------------------------------------------------


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands(tmp_path, monkeypatch)
    assert commands.house
    yield commands
    commands.close()


@pytest.fixture
def ines(nbfed: Commands) -> Person:
    assurance = ("https://refeds.org/assurance/IAP/medium",)
    who = nbfed.person("ines", name="Inês Carvalho", assurance=assurance, **MEMBER)
    with nbfed.house.database.write() as connection:
        publish(connection, "2026-11", {"en": "Be kind."}, nbfed.now)
        accept(connection, person_id=who.id, version="2026-11", language="pt", now=nbfed.now)
    return who


def test_the_command_says_the_answer_first_and_then_each_line(nbfed: Commands, ines: Person) -> None:
    answer = nbfed("quota", "explain", "ines", "medium")
    assert answer.exit_code == 0
    shown = answer.stdout.splitlines()
    assert shown[0].startswith(f"Inês Carvalho ({ines.user_name}), 2026-11-23T10:00:00Z")
    assert shown[1].startswith("A session of the flavour Medium would be started now.")
    assert any(row.split()[:2] == ["1.", "Own"] for row in shown)


def test_a_refusal_of_the_command_is_an_answer_and_has_all_reasons(nbfed: Commands) -> None:
    nbfed.person("guest", name="Guest")
    answer = nbfed("quota", "explain", "guest", "small")
    assert answer.exit_code == 0
    assert "would not be started now" in answer.stdout
    assert "- You have no quota for notebooks yet." in answer.stdout


def test_the_command_has_exact_amounts_for_programs(nbfed: Commands, ines: Person) -> None:
    said = json.loads(nbfed("quota", "explain", "ines", "small", "--json", "--site", "here").stdout)
    assert (said["admitted"], said["reasons"], said["flavour"]) == (True, [], "small")
    own = next(part for part in said["parts"] if part["code"] == "own")
    assert own["lines"][-1]["milli_unit_seconds"] == from_unit_hours(100)
    nbfed.person("guest", name="Guest")
    said = json.loads(nbfed("quota", "explain", "guest", "small", "--json").stdout)
    assert [reason["code"] for reason in said["reasons"]] == ["not-eligible", "no-grant"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("ines", "huge"), "There is no flavour 'huge'. Those of federation.yaml: medium, small."),
        (("ines", "small", "--site", "moon"), "There is no site 'moon'. Those of federation.yaml: here."),
        (("zoe", "small"), "nobody 'zoe' here"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    nbfed: Commands, ines: Person, arguments: tuple[str, ...], complaint: str
) -> None:
    answer = nbfed("quota", "explain", *arguments)
    assert answer.exit_code == 1
    assert complaint in answer.stderr


def test_a_flavour_without_a_weight_is_told_with_what_to_do(nbfed: Commands, ines: Person) -> None:
    settings = yaml.safe_load(nbfed.file.read_text())
    settings["flavours"]["large"] = {"cpu": 8, "memory_gib": 32, "weight": 16}
    nbfed.file.write_text(yaml.safe_dump(settings))
    answer = nbfed("quota", "explain", "ines", "large")
    assert answer.exit_code == 1
    assert "has no weight in the books yet; `nbfed up` takes it from federation.yaml" in answer.stderr


def test_a_default_for_everybody_is_shown_with_its_tier(database: Database) -> None:
    house = Installation(database, defaults={"T0": DefaultGrant(amount_hours=1, period="week", flavours=["small"])})
    said = explained(house, house.books.person("guest"))
    assert line(said, "default").figure == "1 unit-hours each week"
    assert line(said, "default").note.startswith("Of the tier T0; pays for: small.")
