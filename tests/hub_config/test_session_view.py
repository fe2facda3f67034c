"""What a running session asks again and again: time and quota left, and whether it will be stopped, for its owner."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from federation.i18n import LANGUAGES, use_language
from federation.persons import Person
from hub_config.pages.session_view import SessionViews, hours
from hub_config.pages.views import Views
from hub_config.wiring import House
from quota.amounts import from_unit_hours
from spawners.admission import owner_of
from spawners.sessions import Server
from spawners.tables import EndReason
from tests.hub_config.conftest import NOW, MakeHouse
from tests.hub_config.test_pages import MEMBER, person
from vetting.placement import Wish

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """The reader's."""
    use_language(request.param)
    yield request.param
    use_language("en")


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    return make_house()


def run(house: House, who: Person, server: str = "", *, flavour: str = "medium") -> str:
    """A session that was admitted, and that runs since now."""
    attempt = f"attempt-of-{who.user_name}-{server}"[:36]
    key = Server("hub", who.user_name, server)
    house.sessions.intend(
        attempt=attempt, server=key, person_id=who.id, site="here", flavour=flavour, environment="python", options={},
        secret_hash="x",
    )  # fmt: skip
    house.admission.reserve(attempt, who, key, Wish(flavour=flavour, environment="python"), "here")
    house.sessions.submitted(attempt, "ref")
    house.sessions.located(attempt, host="127.0.0.1", port=1, started_at=NOW - 10 * MINUTE)
    house.sessions.answered(attempt)
    return attempt


def answer(house: House, who: Person, server: str = "", used: timedelta = timedelta(0)) -> dict[str, Any]:
    found = SessionViews(house).answer(who.user_name, server, hub_has_it=True, last_activity=NOW - used)
    assert found is not None
    return found


def test_time_cost_and_what_is_left(house: House) -> None:
    who = person(house)
    run(house, who)
    found = answer(house, who)
    assert (found["state"], found["flavour"], found["elapsed_seconds"]) == ("running", "Medium", 600)
    assert found["cost_unit_hours"] == round(600 * 4 / 3600, 4)
    assert found["left_unit_hours"] == 97  # of 100; a lease of 45 minutes at weight 4 is set aside
    assert found["lasts_hours"] == 25
    assert found["status"] == "25 h left · 97 unit-hours"
    assert found["detail"] == "This session has cost 0.6667 unit-hours so far."
    assert (found["notice"], found["runs_until"]) == (None, None)
    assert (found["reason"], found["stop_at"]) == (EndReason.IDLE, (NOW + 60 * MINUTE).isoformat())
    assert found["ask_again_seconds"] == 60


def test_a_stop_is_told_in_the_readers_language(house: House, language: str) -> None:
    who = person(house)
    run(house, who)
    with house.database.write() as connection:
        connection.exec_driver_sql("UPDATE person SET facts = '{}'")
        connection.exec_driver_sql(
            "UPDATE hold SET lease_until = ?", ((NOW + 10 * MINUTE).strftime("%Y-%m-%d %H:%M:%S.%f"),)
        )
    found = answer(house, who)
    words = {"en": "Your access has ended", "es": "Su acceso ha terminado", "pt": "acesso terminou"}[language]
    assert words in found["notice"]["text"]
    assert "{time}" in found["notice"]["text"]
    assert "{time}" in found["status"]
    assert (found["notice"]["reason"], found["reason"]) == (EndReason.ACCESS, EndReason.ACCESS)
    assert found["stop_at"] == (NOW + 10 * MINUTE).isoformat()
    assert found["language"] == language


def test_a_session_that_is_being_ended_or_is_over_says_why(house: House) -> None:
    who = person(house)
    attempt = run(house, who)
    house.sessions.ending(attempt, EndReason.QUOTA)
    ending = answer(house, who)
    assert (ending["state"], ending["status"]) == ("ending", "It was stopped because no quota was left to go on.")
    house.sessions.ended(attempt, started_at=NOW, ended_at=NOW)
    over = answer(house, who)
    assert (over["state"], over["reason"], over["notice"]) == ("ended", EndReason.QUOTA, None)


def test_a_server_that_never_was_has_no_answer(house: House) -> None:
    who, other = person(house), person(house, "other", MEMBER)
    run(house, other, "theirs")
    for name in ("", "theirs"):
        assert SessionViews(house).answer(who.user_name, name, hub_has_it=False, last_activity=None) is None


@pytest.mark.parametrize(
    ("minutes", "seconds"),
    [
        pytest.param(None, 60, id="never-idle"), pytest.param(60, 60, id="an-hour"), pytest.param(6, 60, id="six-minutes"),
        pytest.param(1, 10, id="a-minute"), pytest.param(0.01, 1, id="next-to-nothing"),
    ],
)  # fmt: skip
def test_it_is_asked_often_enough_to_see_the_notice(make_house: MakeHouse, minutes: float | None, seconds: int) -> None:
    house = make_house(idle={"stop_after_minutes": minutes})
    who = person(house)
    run(house, who)
    assert answer(house, who)["ask_again_seconds"] == seconds


@pytest.mark.parametrize(("minutes", "shown"), [(60, 1), (59.9, 0.9), (6, 0.1), (5.9, 0), (0, 0), (1499, 24.9)])
def test_hours_are_never_rounded_up(minutes: float, shown: float) -> None:
    assert hours(minutes * MINUTE) == shown


def test_the_home_page_says_the_same(make_house: MakeHouse) -> None:
    house = make_house(defaults={"T1": {"amount_hours": 0, "flavours": ["small"]}})
    who = person(house)
    house.ledger.grant(
        key="x", owner=owner_of(who), amount=from_unit_hours(1) // 4, starts_at=NOW, ends_at=NOW + timedelta(days=1),
        created_by="test", reason="r",
    )  # fmt: skip
    run(house, who, flavour="small")
    view = Views(house).home(who.user_name, "/user/x/", {}, {"": NOW}).running[0]
    found = answer(house, who)
    assert view.notice == found["notice"]["text"]
    assert view.stop_at is not None
    assert view.stop_at.isoformat() == found["stop_at"] == (NOW + 15 * MINUTE).isoformat()
    assert not view.may_keep
