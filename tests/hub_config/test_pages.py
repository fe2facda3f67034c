"""Pages: where a choice of language leads, what the views say, and that every template has all that it names."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined, Undefined
from jupyterhub._data import DATA_FILES_PATH
from sqlalchemy import insert

from federation.errors import DATABASE_AWAY, Failure
from federation.i18n import LANGUAGES, use_language
from federation.ids import new_id
from federation.persons import Facts, Person, remember
from federation.pictures import steps
from federation.state import StateFolder
from federation.terms import accept
from hub_config.look import TEMPLATES_FOLDER
from hub_config.pages import _for_templates, configure_pages, duration
from hub_config.pages.access import AccessView, FlavourView, SiteView, TierView, Wanted
from hub_config.pages.endings import advice_text, notice_text, reason_text
from hub_config.pages.form_view import BatchChoices, Choice, StartForm
from hub_config.pages.language import own_page
from hub_config.pages.terms import Notices, TermsView, TermsViews, as_html
from hub_config.pages.views import (
    EndedView,
    HomeView,
    PoolView,
    QuotaView,
    RunningView,
    Views,
    _quota,
)
from hub_config.settings import DEMO_FILE, load
from hub_config.sign_in.page import ProviderChoice
from hub_config.wiring import House
from quota.amounts import from_unit_hours, to_unit_hours
from quota.course_picture import CoursePicture
from quota.page import GrantStanding
from quota.statement import Standing, standing
from spawners.backends.child import Wait
from spawners.explaining import Explanation, Line, Part
from spawners.paying import owner_of
from spawners.stages import Stage
from spawners.tables import EndReason, SessionState, SessionTable
from tests.hub_config.conftest import MakeHouse
from vetting.desk.own import OwnSummary
from vetting.sites import Event as SiteEvent
from vetting.sites import announce_downtime, change
from vetting.transitions import State

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
HOME = "/hub/home"
OF_A_BROWSER = "https://hub.example.org/hub/language"
COMMUNITY = "urn:mace:example.org:group:demo"
MEMBER = Facts(
    name="Inês Carvalho", home_organisation="example.org", memberships=(COMMUNITY,),
    assurance=("https://refeds.org/assurance/IAP/medium",),
)  # fmt: skip


# --- where a choice of language leads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(HOME, id="home"),
        pytest.param("/hub/spawn/ana/second", id="deep"),
        pytest.param("/hub/ask?about=quota-held&x=1", id="query"),
        pytest.param("/hub/ask?next=//evil.example.org", id="address-in-the-query"),
        pytest.param("/hub/home#quota", id="fragment"),
        pytest.param("/hub/spawn/ana%40example.org", id="encoded"),
        pytest.param("/hub/spawn/inês", id="letters"),
        pytest.param("/services/desk/ask?kind=quota", id="access-desk"),
    ],
)
def test_a_page_of_the_hub_is_gone_back_to(target: str) -> None:
    assert own_page(target, "/hub/") == target


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("", id="nothing"),
        pytest.param("home", id="relative"),
        pytest.param("//evil.example.org", id="another-host"),
        pytest.param("///evil.example.org", id="three-slashes"),
        pytest.param("////evil.example.org", id="four-slashes"),
        pytest.param("/\\evil.example.org", id="backslash"),
        pytest.param("\\/evil.example.org", id="backslash-first"),
        pytest.param("\\\\evil.example.org", id="two-backslashes"),
        pytest.param("/hub/\\evil.example.org", id="backslash-inside"),
        pytest.param("https://evil.example.org/hub/home", id="https"),
        pytest.param("https:evil.example.org", id="https-without-slashes"),
        pytest.param("https:/evil.example.org", id="https-with-one-slash"),
        pytest.param("HTTPS://evil.example.org", id="capitals"),
        pytest.param("javascript:alert(1)", id="script"),
        pytest.param("JavaScript:alert(1)//hub", id="script-in-capitals"),
        pytest.param("data:text/html,<script>", id="data"),
        pytest.param(" //evil.example.org", id="leading-blank"),
        pytest.param("\t//evil.example.org", id="leading-tab"),
        pytest.param("/\t/evil.example.org", id="tab-between-slashes"),
        pytest.param("/\n/evil.example.org", id="line-break-between-slashes"),
        pytest.param("/hub/home\r\nSet-Cookie: x=1", id="header"),
        pytest.param("/\x00/evil.example.org", id="nul"),
        pytest.param("/\u2028/evil.example.org", id="line-separator"),
        pytest.param("/\u200b/evil.example.org", id="zero-width-space"),
        pytest.param("\u202e//evil", id="right-to-left-override"),
        pytest.param("@evil.example.org", id="at"),
        pytest.param(".evil.example.org", id="dot"),
        pytest.param("?//evil.example.org", id="query-alone"),
        pytest.param("//" + "x" * 100_000, id="very-long"),
        pytest.param(
            "//[evil", id="half-an-ipv6-address",
        ),
        pytest.param(
            "http://evil\u2100.example.org", id="host-that-unicode-changes",
        ),
        pytest.param(
            "/user/eve/files/page.html", id="a-page-of-somebodys-server",
        ),
        pytest.param(
            "/hub/../user/eve/", id="out-of-the-hub",
        ),
    ],
)  # fmt: skip
def test_anything_else_is_the_home_page(target: str) -> None:
    assert own_page(target, "/hub/") == HOME


@given(st.text(st.sampled_from("/\\:@.?#ehx \t\n%[]"), max_size=12).filter(lambda text: not re.search(r"[\[\]]", text)))
@example("/%09/evil")
@example("/.//evil")
@example("/%5cevil")
def test_no_target_leads_to_another_host(target: str) -> None:
    found = own_page(target, "/hub/")
    # What browsers do first: a backslash is a slash, tabs and line breaks are nothing (WHATWG URL).
    seen = re.sub(r"[\t\r\n]", "", found).replace("\\", "/").strip()
    address = urlsplit(urljoin(OF_A_BROWSER, seen))
    assert (address.scheme, address.netloc) == ("https", "hub.example.org")


# --- why a session ended --------------------------------------------------------------------------------------


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """The reader's."""
    use_language(request.param)
    yield request.param
    use_language("en")


@pytest.mark.parametrize("reason", EndReason)
def test_every_reason_has_a_text_of_its_own(reason: EndReason, language: str) -> None:
    text = reason_text(reason, 60)
    assert text.endswith(".")
    assert "{" not in text
    assert [other for other in EndReason if reason_text(other, 60) == text] == [reason]


@pytest.mark.parametrize("reason", [EndReason.IDLE, EndReason.QUOTA, EndReason.ACCESS, EndReason.WALLTIME])
def test_a_stop_that_nobody_asked_for_is_told_before_and_says_what_to_do_next(reason: EndReason, language: str) -> None:
    before, after = notice_text(reason), advice_text(reason)
    assert before.count("{time}") == 1
    assert before.endswith(".")
    assert {"en": "files are kept", "es": "archivos se conservan", "pt": "arquivos"}[language] in after
    asks = {"en": "My access", "es": "Mi acceso", "pt": "Meu acesso"}[language]
    assert (asks in after) is (reason in (EndReason.QUOTA, EndReason.ACCESS))


def test_a_session_that_was_lost_may_be_started_anew(language: str) -> None:
    assert advice_text(EndReason.LOST) == advice_text(EndReason.IDLE) != ""


ADVISED = {
    EndReason.WALLTIME, EndReason.IDLE, EndReason.QUOTA, EndReason.ACCESS, EndReason.LOST, EndReason.MEMORY,
    EndReason.EVICTED, EndReason.SUSPENDED,
}  # fmt: skip
EXPLAINED = set(EndReason) - ADVISED


@pytest.mark.parametrize("reason", [None, *sorted(EXPLAINED)])
def test_an_end_that_explains_itself_has_no_advice(reason: EndReason | None) -> None:
    assert advice_text(reason) == ""


def test_who_was_stopped_by_support_reads_their_words() -> None:
    assert "“It mines coins.”" in reason_text(EndReason.SUSPENDED, None, "It mines coins.")


@pytest.mark.parametrize("reason", [EndReason.MEMORY, EndReason.EVICTED])
def test_an_end_by_its_place_says_that_files_are_kept(reason: EndReason, language: str) -> None:
    kept = {"en": "Your files are kept.", "es": "Sus archivos se conservan.", "pt": "Seus arquivos são mantidos."}
    assert advice_text(reason).startswith(kept[language])
    assert reason_text(reason, 60) != reason_text(EndReason.EXITED, 60)


def test_no_reason_is_an_end_by_itself() -> None:
    assert reason_text(None, 60) == "It ended by itself."


@pytest.mark.parametrize(
    ("minutes", "words"), [(60, "for 60 minutes"), (0.5, "for 0.5 minutes"), (90.0, "for 90 minutes")]
)
def test_an_idle_stop_says_after_how_long(minutes: float, words: str) -> None:
    assert words in reason_text(EndReason.IDLE, minutes)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00"), (1, "0:00:01"), (59, "0:00:59"), (60, "0:01:00"), (3600, "1:00:00"), (3599, "0:59:59"),
     (360_000, "100:00:00"), (-5, "0:00:00")],
)  # fmt: skip
def test_a_duration_is_read_as_on_a_clock(seconds: int, shown: str) -> None:
    assert duration(seconds) == shown


# --- quota ----------------------------------------------------------------------------------------------------


def grant(amount: int, left: int) -> GrantStanding:
    return GrantStanding(
        id="g", amount=amount, left=left, starts_at=NOW, ends_at=NOW + timedelta(days=7), active=True, taken_in=True,
        is_default=True, reason="r",
    )  # fmt: skip


def quota(granted: int, left: int, held: int = 0) -> QuotaView:
    return _quota(Standing(grants=(grant(granted, left),), held=held))


@pytest.mark.parametrize(
    ("granted", "left", "held", "used_percent", "held_percent", "shown_left"),
    [
        pytest.param(100, 100, 0, 0, 0, 100, id="nothing-used"),
        pytest.param(100, 75, 0, 25, 0, 75, id="a-quarter-used"),
        pytest.param(100, 75, 50, 25, 50, 25, id="half-held"),
        pytest.param(100, 0, 0, 100, 0, 0, id="all-used"),
        pytest.param(100, 100, 100, 0, 100, 0, id="all-held"),
        pytest.param(3, 2, 0, pytest.approx(100 / 3), 0, 2, id="a-third"),
    ],
)
def test_quota_in_hours_and_percent(
    granted: int, left: int, held: int, used_percent: float, held_percent: float, shown_left: float
) -> None:
    view = quota(*map(from_unit_hours, (granted, left, held)))
    assert (view.used_percent, view.held_percent, view.left) == (used_percent, held_percent, shown_left)
    assert view.ends_at == NOW + timedelta(days=7)


def test_without_quota_all_is_zero() -> None:
    view = _quota(Standing())
    assert view == QuotaView(granted=0, used=0, held=0, left=0, ends_at=None)
    assert (view.used_percent, view.held_percent) == (0, 0)


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        pytest.param(from_unit_hours(1) - 1, 0.99, id="almost-an-hour"),
        pytest.param(from_unit_hours(1) // 100 - 1, 0, id="almost-a-hundredth"),
        pytest.param(from_unit_hours(1) // 100, 0.01, id="a-hundredth"),
        pytest.param(from_unit_hours(29) // 100, 0.29, id="what-floats-cannot-say"),
        pytest.param(1, 0, id="next-to-nothing"),
    ],
)
def test_what_is_left_is_never_rounded_up(left: int, shown: float) -> None:
    assert quota(from_unit_hours(10), left).left == shown


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_what_is_left_is_never_more_than_there_is(left: int, held: int) -> None:
    shown = quota(10**15, left, held).left
    assert 0 <= shown <= float(to_unit_hours(max(0, left - held)))


# --- the views ------------------------------------------------------------------------------------------------

FLAVOURS = {
    "small": {"cpu": 1, "memory_gib": 2, "weight": 1, "title": {"en": "Small", "es": "Pequeña"}},
    "medium": {"cpu": 2, "memory_gib": 6, "weight": 4},
    "gpu": {"cpu": 8, "memory_gib": 32, "gpu": 1, "weight": 20, "tier": "T2"},
    "large": {"cpu": 8, "memory_gib": 32, "weight": 8},
}
CHANGES: dict[str, Any] = {
    "tiers": {"T2": {"needs": "T1", "evidence": "recorded"}},
    "flavours": FLAVOURS,
    "sites": {
        "here": {"kind": "local", "title": "This machine", "flavours": ["small", "medium", "gpu"]},
        "there": {"kind": "local", "title": "Another", "flavours": ["small"], "files": "Files stay there."},
    },
    "environments": {"cloud-only": {"title": "Cloud only", "kubernetes": {"image": "x"}}},
    "defaults": {"T1": {"amount_hours": 100, "period": "month", "sessions": 2, "flavours": ["small", "gpu", "large"]}},
}


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    return make_house(**CHANGES)


def person(house: House, subject: str = "ines", facts: Facts = MEMBER, *, agrees: bool = True) -> Person:
    """Somebody who signed in, and accepted the terms."""
    with house.database.write() as connection:
        who = remember(
            connection, issuer="https://idp.example.org", subject=subject, preferred=subject, facts=facts, now=NOW
        )
        if agrees:
            accept(connection, person_id=who.id, version="2026-11", language="en", now=NOW)
    return who


def form(house: House, who: Person | None = None, typed: dict[str, str] | None = None) -> StartForm:
    return Views(house).form((who or person(house)).user_name, typed or {})


def test_every_flavour_is_shown_and_those_that_are_closed_say_why(house: House) -> None:
    found = form(house)
    assert [(choice.name, choice.title, bool(choice.why_not)) for choice in found.flavours] == [
        ("small", "Small", False),
        ("medium", "medium", True),
        ("gpu", "gpu", True),
        ("large", "large", True),
    ]
    why_not = {choice.name: choice.why_not for choice in found.flavours}
    assert "The default quota does not pay for the flavour medium" in why_not["medium"]
    assert "for people of tier T2; yours is T1" in why_not["gpu"]
    assert "does not offer the flavour large" in why_not["large"]
    assert found.is_open


def test_a_flavour_that_other_quota_pays_for_is_open(house: House) -> None:
    who = person(house)
    house.ledger.grant(
        key="x", owner=owner_of(who), amount=from_unit_hours(10), starts_at=NOW, ends_at=NOW + timedelta(days=1),
        created_by="test", reason="r",
    )  # fmt: skip
    why_not = {choice.name: choice.why_not for choice in form(house, who).flavours}
    assert why_not["medium"] == ""
    assert why_not["gpu"] != ""


def test_a_site_that_is_suspended_or_away_says_so_in_the_form(house: House) -> None:
    sites = house.settings.yaml.sites
    assert [choice.name for choice in form(house).sites if choice.why_not] == []
    with house.database.write() as connection:
        who: dict[str, Any] = {"by": "test", "reason": "x", "now": NOW}
        change(connection, "here", sites["here"], event=SiteEvent.SUSPEND, **who)
        announce_downtime(connection, "there", starts_at=NOW, ends_at=NOW + timedelta(hours=2), **who)
    found = form(house, person(house))
    why_not = {choice.name: choice.why_not for choice in found.sites}
    assert why_not["here"].startswith("This machine takes no sessions at the moment: it is not certified.")
    assert why_not["there"].startswith("Another is down for maintenance until ")
    assert not found.is_open


POOLED: dict[str, Any] = {
    **CHANGES, "pools": {"ocean": {"title": "Ocean", "community": COMMUNITY, "amount_hours": 8, "flavours": ["medium"]}}
}  # fmt: skip


def test_a_flavour_that_a_pool_pays_for_is_open_and_says_which(make_house: MakeHouse) -> None:
    house = make_house(**POOLED)
    who = person(house)
    view = Views(house).home(who.user_name, "", {})
    shown = {choice.name: (choice.why_not, choice.pool, choice.lasts_hours) for choice in view.form.flavours}
    assert shown["medium"] == ("", "Ocean", 2.0)
    assert shown["small"] == ("", "", 100.0)
    assert view.pools == [PoolView(title="Ocean", granted=8, left=8)]


def test_where_the_own_quota_is_used_up_the_pool_that_pays_is_named(make_house: MakeHouse) -> None:
    house = make_house(**POOLED, limits={"lease_minutes": 45})
    who = person(house)
    house.admission.give_default(who)
    house.ledger.grant(
        key="x", owner=owner_of(who), amount=1, starts_at=NOW, ends_at=NOW + timedelta(days=1), created_by="test",
        reason="r",
    )  # fmt: skip
    assert {c.name: c.pool for c in form(house, who).flavours}["medium"] == "", "it is asked first, and has enough"
    with house.database.read() as connection:
        (default, _other) = sorted(standing(connection, owner_of(who), NOW).grants, key=lambda grant: -grant.amount)
    house.ledger.revoke(default.id, actor="test", reason="r")
    assert {c.name: c.pool for c in form(house, who).flavours}["medium"] == "Ocean"


def test_why_is_told_for_the_flavour_that_is_asked_about(house: House) -> None:
    who = person(house)
    assert Views(house).why(who.user_name, "small").admitted
    assert not Views(house).why(who.user_name, "gpu").admitted
    for unknown in ("", "huge", "<script>"):
        with pytest.raises(KeyError):
            Views(house).why(who.user_name, unknown)


def test_somebody_without_access_sees_all_and_can_start_nothing(house: House) -> None:
    found = form(house, person(house, "nobody", Facts()))
    assert not found.is_open
    assert all("notebooks are not open to you yet" in choice.why_not for choice in found.flavours)
    assert not any(choice.chosen for choice in found.flavours)


def test_size_weight_and_how_long_the_quota_lasts(house: House) -> None:
    small, _medium, gpu, _large = form(house).flavours
    assert (small.text, small.weight, small.lasts_hours) == ("1 CPU, 2 GiB memory", 1.0, 100.0)
    assert (gpu.text, gpu.weight, gpu.lasts_hours) == ("8 CPU, 32 GiB memory, 1 GPU", 20.0, 5.0)


def chosen(choices: list[Choice]) -> list[str]:
    return [choice.name for choice in choices if choice.chosen]


@pytest.mark.parametrize(
    ("typed", "flavour", "environment", "site"),
    [
        pytest.param({}, "small", "python", "auto", id="nothing-typed"),
        pytest.param(
            {"flavour": "small", "environment": "minimal", "site": "there"}, "small", "minimal", "there", id="all"
        ),
        pytest.param({"environment": "minimal"}, "small", "minimal", "auto", id="one"),
        pytest.param({"flavour": "gpu"}, "small", "python", "auto", id="a-closed-flavour"),
        pytest.param(
            {"flavour": "huge", "environment": "../x", "site": "moon"}, "small", "python", "auto", id="unknown"
        ),
        pytest.param({"environment": "cloud-only"}, "small", "python", "auto", id="an-environment-that-no-place-has"),
        pytest.param({"flavour": "<script>"}, "small", "python", "auto", id="markup"),
    ],
)
def test_what_was_typed_is_chosen_again_where_it_can_be(
    house: House, typed: dict[str, str], flavour: str, environment: str, site: str
) -> None:
    found = form(house, typed=typed)
    assert (chosen(found.flavours), chosen(found.environments), chosen(found.sites)) == (
        [flavour],
        [environment],
        [site],
    )


def test_the_name_that_was_typed_is_kept(house: House) -> None:
    assert form(house, typed={"server": "second"}).server == "second"
    assert form(house).server == ""


def test_only_environments_that_a_place_has_are_shown(house: House) -> None:
    assert [choice.name for choice in form(house).environments] == ["python", "minimal"]


def test_of_several_places_the_first_that_fits_may_be_chosen(house: House) -> None:
    assert [(choice.name, choice.title) for choice in form(house).sites] == [
        ("auto", "The first that fits"), ("here", "This machine"), ("there", "Another"),
    ]  # fmt: skip


def test_one_place_is_the_only_choice(make_house: MakeHouse) -> None:
    assert [choice.name for choice in form(make_house()).sites] == ["here"]


@pytest.mark.parametrize(
    ("sessions", "may_name"), [pytest.param(1, False, id="one"), pytest.param(2, True, id="two"),
                               pytest.param(None, True, id="no-cap")]
)  # fmt: skip
def test_a_name_is_asked_for_where_there_can_be_several_sessions(
    make_house: MakeHouse, sessions: int | None, may_name: bool
) -> None:
    defaults = {"T1": {"amount_hours": 1, "sessions": sessions, "flavours": ["small"]}}
    assert form(make_house(defaults=defaults)).may_name is may_name


def test_titles_are_in_the_readers_language(house: House) -> None:
    use_language("es")
    try:
        assert form(house).flavours[0].title == "Pequeña"
    finally:
        use_language("en")


def test_the_home_page_of_somebody_new(house: House) -> None:
    who = person(house)
    view = Views(house).home(who.user_name, f"/user/{who.user_name}/", {})
    assert (view.name, view.running, view.ended) == ("Inês Carvalho", [], [])
    assert (view.quota.granted, view.quota.left) == (100, 100)
    again = Views(house).home(who.user_name, f"/user/{who.user_name}/", {})
    assert again.quota.granted == 100


def test_somebody_without_a_name_is_called_by_the_user_name(house: House) -> None:
    who = person(house, "x", replace(MEMBER, name=""))
    assert Views(house).home(who.user_name, "", {}).name == who.user_name


def session(house: House, who: Person, **changes: Any) -> str:
    """An attempt in the table."""
    attempt = new_id()
    row = {
        "attempt": attempt, "session_id": attempt, "hub": "hub", "user": who.user_name, "server": "", "site": "here",
        "person_id": who.id, "flavour": "small", "environment": "python", "options": {}, "secret_hash": "x",
        "state": SessionState.RUNNING.value, "token_ids": [], "created_at": NOW - timedelta(hours=1),
        "started_at": NOW - timedelta(hours=1),
    }  # fmt: skip
    with house.database.write() as connection:
        connection.execute(insert(SessionTable).values(row | changes))
    return attempt


def test_a_session_that_runs(house: House) -> None:
    who = person(house)
    session(house, who, server="second")
    view = Views(house).home(who.user_name, f"/user/{who.user_name}/", {}).running[0]
    assert (view.server, view.url) == ("second", f"/user/{who.user_name}/second/")
    assert (view.flavour, view.environment, view.site) == ("Small", "Python for science", "This machine")
    assert (view.ready, view.ending, view.elapsed_seconds) == (True, False, 3600)


def test_a_session_of_what_is_no_longer_configured_is_still_shown(house: House) -> None:
    who = person(house)
    session(house, who, flavour="old", environment="older", site="oldest")
    view = Views(house).home(who.user_name, "/user/x/", {}).running[0]
    assert (view.flavour, view.environment, view.site) == ("old", "older", "oldest")


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason is not EndReason.REFUSED])
def test_a_session_that_ended_says_why(house: House, reason: EndReason) -> None:
    who = person(house)
    ended = {"state": SessionState.ENDED.value, "ended_at": NOW, "end_reason": reason.value}
    session(house, who, **ended)
    view = Views(house).home(who.user_name, "/user/x/", {}).ended[0]
    assert view.reason == reason_text(reason, house.settings.yaml.idle.stop_after_minutes)
    assert (view.seconds, view.charged) == (3600, 0)
    last = Views(house).last_session(who.user_name, "")
    assert (last["known"], last["open"], last["reason"], last["refused"]) == (True, False, view.reason, False)


def test_a_refused_start_is_no_session_of_the_past(house: House) -> None:
    who = person(house)
    refused = {
        "state": SessionState.ENDED.value,
        "ended_at": NOW,
        "end_reason": EndReason.REFUSED.value,
        "started_at": None,
    }
    session(house, who, **refused)
    assert Views(house).home(who.user_name, "", {}).ended == []
    assert Views(house).last_session(who.user_name, "")["refused"] is True


def test_what_became_of_a_server_that_nobody_started(house: House) -> None:
    assert Views(house).last_session(person(house).user_name, "none") == {"known": False, "open": False}


# --- templates ------------------------------------------------------------------------------------------------

USER = SimpleNamespace(
    name="ines-abc234", escaped_name="ines-abc234", json_escaped_name="ines-abc234", admin=False,
    url="/user/ines-abc234/", spawner=SimpleNamespace(typed={}),
)  # fmt: skip
EVIL = "<script>alert(1)</script>"
FORM = StartForm(
    flavours=[
        Choice(name="small", title="Small", text="1 CPU", weight=1, lasts_hours=2.96, chosen=True),
        Choice(name="gpu", title="GPU", why_not="For tier T2."),
        Choice(name="shared", title="Shared", weight=1, lasts_hours=2.96, pool="Ocean"),
    ],
    environments=[Choice(name="python", title="Python", text="numpy")],
    sites=[Choice(name="here", title="Here", text="Files stay.")],
    server="second",
    may_name=True,
)
CLOSED = StartForm(flavours=[Choice(name="gpu", title="GPU", why_not="No.")], environments=[], sites=[])
RUNNING = RunningView(
    server="second", url="/user/x/second/", flavour="Small", environment="Python", site="Here", ready=True, ending=False,
    started_at=NOW, elapsed_seconds=60, weight=1.0, cost=0.0167, reference="ABCDEFGH",
)  # fmt: skip
ENDED = EndedView(
    server="", flavour="Small", started_at=NOW, seconds=60, charged=0.0167, estimated=True, reason="You stopped it.",
    advice="", reference="ABCDEFGH",
)  # fmt: skip
QUOTA = QuotaView(granted=100, used=1, held=2, left=97, ends_at=NOW)
HOME_VIEW = HomeView(
    name="Inês", quota=replace(QUOTA, lasts_until=NOW), pools=[PoolView(title="Ocean", granted=5, left=4.5)],
    running=[
        RUNNING, replace(RUNNING, ready=False, started_at=None), replace(RUNNING, ending=True),
        replace(RUNNING, runs_until=NOW), replace(RUNNING, lasts_hours=9.5),
        replace(RUNNING, notice="Until {time} or so.", stop_at=NOW, may_keep=True),
    ],
    ended=[ENDED, replace(ENDED, server="second")], form=FORM,
)  # fmt: skip
EMPTY_VIEW = HomeView(name="Inês", quota=_quota(Standing()), pools=[], running=[], ended=[], form=CLOSED)
STEPS = steps([(NOW, 3.0)], begin=NOW, end=NOW + timedelta(days=30), top=5)
COURSE = CoursePicture(
    begins_at=NOW, now=NOW, ends_at=NOW + timedelta(days=30), past=STEPS, ahead=STEPS, today_x=44, left=3.0,
    left_at_end=3.0, rows=[(NOW, 3.0), (NOW + timedelta(days=30), 3.0)],
)  # fmt: skip
ACCESS_VIEW = AccessView(
    name="Inês", user_name="ines-abc234", email="ines@example.org", organisation="example.org", provider="demo",
    subject="0a" * 32, facts_at=NOW, is_stale=False, communities=[COMMUNITY], affiliations=["faculty@example.org"],
    unchecked_affiliations=["staff@other.org"], assurance=["IAP/medium"], mfa=True, roles=["reviewer"],
    not_understood=["urn:?"], tier="T1", quota=QUOTA, course=COURSE, pools=[],
    tiers=[
        TierView(name="T0", holds=True, gives=[], asks=[]),
        TierView(name="T1", holds=True, gives=["100 unit-hours"], asks=[Wanted(text="the membership", holds=True)]),
        TierView(name="T2", holds=False, gives=["the GPU"], asks=[Wanted(text="evidence", holds=False, where="desk")]),
    ],
    sites=[
        SiteView(
            name="here", title="Here", country="Peru", mapping="The site has accepted you.",
            flavours=[
                FlavourView(name="small", title="Small", text="1 CPU", weight=1, lasts_hours=2.96, missing=[]),
                FlavourView(
                    name="gpu", title="GPU", text="8 CPU", weight=1, lasts_hours=2.96, why_not="For tier T2.",
                    missing=["evidence"], where="desk", code="flavour-needs-tier",
                ),
                FlavourView(
                    name="free", title="Free", text="1 CPU", weight=1, lasts_hours=1, why_not="The terms.",
                    missing=["your acceptance"], where="terms", code="terms-not-accepted",
                ),
                FlavourView(name="off", title="Off", text="1 CPU", weight=1, lasts_hours=1, why_not="Down.", missing=[]),
            ],
        )
    ],
    terms_accepted_at=NOW,
    requests=[
        OwnSummary(id="019ab1", state=State.SUSPENDED, reference="ABCD2345", about="500 unit-hours", how_far="suspended",
                   since=NOW, ends_at=NOW, words="A look at the load."),
        OwnSummary(id="019ab2", state=State.WITHDRAWN, reference="EFGH2345", about="the tier T2", how_far="withdrawn",
                   since=NOW, ends_at=None, words=""),
    ],
)  # fmt: skip
NOTHING_VIEW = replace(
    ACCESS_VIEW, email="", organisation="", communities=[], affiliations=[], unchecked_affiliations=[], assurance=[],
    mfa=False, roles=[], not_understood=[], tier="", quota=_quota(Standing()), course=None, tiers=[], sites=[],
    terms_accepted_at=None, is_stale=True, requests=[],
)  # fmt: skip
TERMS_VIEW = TermsView(version="2026-11", since=NOW, html=as_html("# Be *kind*"), language="es")
WHY = Explanation(
    at=NOW, flavour="Small", admitted=False, answer="No.", reasons=(Failure(DATABASE_AWAY),),
    parts=(
        Part(
            code="own", title="Own quota",
            lines=(
                Line(code="a", heading="A", figure="1", is_obstacle=True),
                Line(code="b", heading="B", figure="2", note="N"),
            ),
        ),
    ),
)  # fmt: skip
CHOICE = ProviderChoice(
    id="x", title="Check-in", address="/hub/oauth_login?provider=x", logo="/x", used_last=True, away=False
)
BATCH = BatchChoices(
    walltimes=[30, 60], partitions=["fat"], accounts=["proj-1"], reservations=["school"],
    typed={"walltime_minutes": "60", "cores": "8", "partition": "fat"},
)  # fmt: skip
SPAWNER = SimpleNamespace(name="second", stage=Stage.STARTING, waits_for=None)
QUEUED = SimpleNamespace(name="second", stage=Stage.QUEUED, waits_for=Wait(reason="Priority", expected_start_at=NOW))
ENDED_SESSION = {"known": True, "open": False, "reason": "You stopped it.", "advice": "",
                 "may_ask": False, "refused": False, "reference": "ABCDEFGH"}  # fmt: skip
ERROR = {"status_message": "x", "message": "Words.", "message_html": "", "extra_error_html": "", "exception": None}
NOT_RUNNING = {"server_name": "", "spawn_url": "/hub/spawn", "auth_state": None, "implicit_spawn_seconds": 0}
FAILED = {"failed": True, "failed_message": "", "failed_html_message": "", "exception": None}
SPAWN = {"for_user": USER, "auth_state": None, "spawner_options_form": "", "spawner": SPAWNER,
         "url": "/hub/spawn/ines-abc234/second?_xsrf=x", "error_message": "", "html_error_message": ""}  # fmt: skip


@pytest.fixture
def templates(tmp_path: Path, untouched_jupyterhub: None) -> Environment:
    """Jinja as JupyterHub sets it up for our templates, except that a name that is not there is an error."""
    hubs_own = Path(DATA_FILES_PATH) / "templates"
    made = Environment(
        loader=ChoiceLoader(
            [PrefixLoader({"templates": FileSystemLoader(hubs_own)}), FileSystemLoader([TEMPLATES_FOLDER, hubs_own])]
        ),
        autoescape=True, undefined=StrictUndefined, extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    house: Any = SimpleNamespace(settings=load(DEMO_FILE, StateFolder(tmp_path)))
    for name, value in _for_templates(house, Views(house), TermsViews(house)).items():
        made.globals[name] = value(USER) if callable(value) else value
    made.globals |= {
        "base_url": "/hub/", "prefix": "/", "user": USER, "login_url": "/hub/login", "login_service": "x",
        "logout_url": "/hub/logout",
        "static_url": lambda name, **_options: f"/static/{name}", "version_hash": "x", "services": [], "parsed_scopes": {},
        "expanded_scopes": set(), "xsrf": "x", "xsrf_token": "the-xsrf-token",
        "notices": lambda _user: Notices(), "start_form": lambda _user: FORM,
        "last_session": lambda _user, _server: ENDED_SESSION,
        "place_of": lambda _user, _server: {
            "site": "HPC Andes", "why_not_elsewhere": ["Here is full."], "may_be_told": True, "is_told": False,
        },
    }  # fmt: skip
    return made


ASKED = {"provider": "Check-in", "about": "quota-held", "asked": "GPU – Here", "desk_ask": "/services/desk/ask"}
READ = {"view": TERMS_VIEW, "back": "/hub/home", "is_other_version": False}
PAGES = [
    pytest.param("home.html", {"view": HOME_VIEW, "form": FORM, "error_html": ""}, id="home"),
    pytest.param("home.html", {"view": EMPTY_VIEW, "form": CLOSED, "error_html": "<b>No.</b>"}, id="home-of-a-newcomer"),
    pytest.param("access.html", {"view": ACCESS_VIEW, **ASKED}, id="access-after-a-refusal"),
    pytest.param("access.html", {"view": NOTHING_VIEW, **ASKED, "about": "", "asked": ""}, id="access-with-nothing"),
    pytest.param("terms.html", READ, id="terms"),
    pytest.param("terms.html", {**READ, "is_other_version": True}, id="other-terms"),
    pytest.param("terms.html", {**READ, "view": replace(TERMS_VIEW, accepted_at=NOW)}, id="terms-accepted"),
    pytest.param("terms.html", {**READ, "view": replace(TERMS_VIEW, reaccept_by=NOW)}, id="terms-changed"),
    pytest.param("why.html", {"view": WHY}, id="why-not"),
    pytest.param("why.html", {"view": replace(WHY, admitted=True, reasons=())}, id="why"),
    pytest.param("spawn.html", SPAWN, id="spawn"),
    pytest.param("spawn.html", {**SPAWN, "error_message": "No."}, id="spawn-refused"),
    pytest.param("spawn.html", {**SPAWN, "html_error_message": "<b>No.</b>"}, id="spawn-refused-with-a-link"),
    pytest.param("spawn_pending.html", {"spawner": SPAWNER, "progress_url": "/x", "auth_state": None}, id="pending"),
    pytest.param("spawn_pending.html", {"spawner": QUEUED, "progress_url": "/x", "auth_state": None}, id="queued"),
    pytest.param(
        "home.html", {"view": HOME_VIEW, "form": replace(FORM, batch=BATCH), "error_html": ""}, id="home-with-batch-sites"
    ),
    pytest.param("stop_pending.html", {"spawner": SPAWNER, "auth_state": None}, id="stopping"),
    pytest.param("not_running.html", {**NOT_RUNNING, **FAILED}, id="failed"),
    pytest.param("not_running.html", {**NOT_RUNNING, **FAILED, "failed_html_message": "<b>No.</b>"}, id="refused"),
    pytest.param("login.html", {"providers": [CHOICE]}, id="login"),
    pytest.param("login.html", {"providers": [CHOICE, replace(CHOICE, logo="", away=True)]}, id="login-with-one-away"),
    pytest.param("logout.html", {"still": ""}, id="logout"),
    pytest.param("logout.html", {"still": "Check-in"}, id="logout-while-the-provider-is-away"),
    *(
        pytest.param("error.html", {"status_code": code, **ERROR}, id=f"error-{code}")
        for code in (400, 403, 404, 429, 500, 503)
    ),
    pytest.param(
        "error.html", {"status_code": 403, **ERROR, "exception": SimpleNamespace(heading="Not you")}, id="sign-in-refused"
    ),
    pytest.param("404.html", {"status_code": 404, **ERROR}, id="404"),
    pytest.param("error.html", {"status_code": 500, **ERROR, "message": ""}, id="error-without-a-message"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "context"), PAGES)
def test_every_page_has_all_that_it_names(
    templates: Environment, language: str, name: str, context: dict[str, Any]
) -> None:
    page = BeautifulSoup(templates.get_template(name).render(**context), "html.parser")
    assert page.html is not None
    assert page.html["lang"] == language
    assert len(page.select("h1")) == 1
    assert page.title is not None
    assert "Notebooks federation" in page.title.get_text()
    assert [f for f in page.select("form") if not f.select_one("input[name=_xsrf][value=the-xsrf-token]")] == []
    assert [f["method"] for f in page.select("form") if f["method"] != "post"] == []


def test_a_session_that_waits_says_why_until_when_and_why_not_elsewhere(templates: Environment) -> None:
    html = templates.get_template("spawn_pending.html").render(spawner=QUEUED, progress_url="/x", auth_state=None)
    page = BeautifulSoup(html, "html.parser")
    detail = page.select_one("#detail")
    assert detail is not None
    assert "Jobs of others go first. It is expected to start at" in detail.get_text()
    assert [time["datetime"] for time in detail.select("time")] == [NOW.isoformat()]
    assert [text.get_text() for text in page.select(".nb-why-not")] == ["Here is full."]
    assert "Place: HPC Andes" in page.get_text()
    assert [button.get_text() for button in page.select("#tell-form button")] == ["Tell me by mail when it runs"]
    assert page.select_one("#tell-form [name=wanted]")["value"] == "yes"


def test_what_was_asked_of_a_batch_system_is_still_there_when_the_form_comes_back(templates: Environment) -> None:
    html = templates.get_template("home.html").render(view=HOME_VIEW, form=replace(FORM, batch=BATCH), error_html="")
    form = start_form_of(html)
    assert form.select_one("#walltime_minutes option[selected]")["value"] == "60"
    assert form.select_one("#cores")["value"] == "8"
    assert form.select_one("#partition option[selected]")["value"] == "fat"
    assert form.select_one("#batch-choices").has_attr("open")
    fresh = templates.get_template("home.html").render(
        view=HOME_VIEW, form=replace(FORM, batch=replace(BATCH, typed={})), error_html=""
    )
    assert not start_form_of(fresh).select_one("#batch-choices").has_attr("open")


def test_a_place_that_takes_nothing_just_now_cannot_be_chosen_and_says_why(templates: Environment) -> None:
    sites = [Choice(name="here", title="Here", chosen=True), Choice(name="hpc", title="HPC", why_not="It is silent.")]
    html = templates.get_template("home.html").render(view=HOME_VIEW, form=replace(FORM, sites=sites), error_html="")
    form = start_form_of(html)
    assert [option["value"] for option in form.select("#site option[disabled]")] == ["hpc"]
    assert "It is silent." in form.get_text()


def test_every_template_of_ours_is_rendered_here_or_is_part_of_one() -> None:
    parts = {
        "_batch_choices.html",
        "_course.html",
        "_nav.html",
        "_nothing_to_start.html",
        "_notices.html",
        "_quota.html",
        "_start_form.html",
        "nbfed_page.html",
        "page.html",
    }
    tested = {str(param.values[0]) for param in PAGES}
    assert {path.name for path in TEMPLATES_FOLDER.iterdir()} == tested | parts


@pytest.mark.parametrize("path", sorted(TEMPLATES_FOLDER.iterdir()), ids=lambda path: path.name)
def test_every_template_compiles(templates: Environment, path: Path) -> None:
    assert templates.get_template(path.name)


def test_jupyterhubs_own_pages_are_in_our_frame(templates: Environment) -> None:
    lenient = templates.overlay(undefined=Undefined)  # for what JupyterHub's own templates ask for
    page = BeautifulSoup(lenient.get_template("page.html").render(), "html.parser")
    assert len(page.select("nav.nb-bar")) == 1


@pytest.mark.parametrize(
    ("last", "heading", "words"),
    [
        pytest.param(ENDED_SESSION, "This session is not running", "You stopped it.", id="ended"),
        pytest.param({"known": False, "open": False}, "This session is not running", "", id="never-started"),
        pytest.param(
            {**ENDED_SESSION, "open": True}, "Your session is starting", "taken up again", id="taken-up-again"
        ),
        pytest.param(
            {**ENDED_SESSION, "refused": True}, "This session is not running", "Reference: ABCDEFGH", id="refused"
        ),
    ],
)
def test_a_session_that_does_not_run_says_what_became_of_it(
    templates: Environment, last: dict[str, Any], heading: str, words: str
) -> None:
    templates.globals["last_session"] = lambda _user, _server: last
    lenient = templates.overlay(undefined=Undefined)  # JupyterHub says `failed` only where it is so
    page = BeautifulSoup(lenient.get_template("not_running.html").render(**NOT_RUNNING), "html.parser")
    assert page.h1 is not None
    assert page.h1.get_text() == heading
    assert words in page.get_text()
    assert ("You stopped it." in page.get_text()) is (words == "You stopped it.")


def test_a_session_that_will_be_stopped_says_when_and_can_be_kept(templates: Environment) -> None:
    page = BeautifulSoup(
        templates.get_template("home.html").render(view=HOME_VIEW, form=FORM, error_html=""), "html.parser"
    )
    (notice,) = page.select(".nb-notice")
    assert notice.select_one("time[datetime='2026-11-23T10:00:00+00:00']") is not None
    assert " ".join(notice.get_text().split()) == "Until Nov 23, 2026, 10:00:00 AM UTC or so. Keep it"
    form = notice.select_one("form[action='/hub/keep']")
    assert form is not None
    assert form.select_one("input[name=server][value=second]") is not None
    until = [" ".join(element.get_text().split()) for element in page.select(".nb-until")]
    assert until == [
        "It may run until Nov 23, 2026, 10:00:00 AM UTC.",
        "Your quota lasts for another 9.5 hours of this session.",
    ]


def test_a_notice_that_no_button_helps_against_has_none(templates: Environment) -> None:
    view = replace(HOME_VIEW, running=[replace(RUNNING, notice="At {time}.", stop_at=NOW)])
    page = templates.get_template("home.html").render(view=view, form=FORM, error_html="")
    assert "At <time" in page
    assert "/hub/keep" not in page


@pytest.mark.parametrize("may_ask", [True, False])
def test_the_page_after_a_stop_says_what_to_do_next(templates: Environment, may_ask: bool) -> None:
    last = {**ENDED_SESSION, "reason": "It was stopped.", "advice": "Your files are kept.", "may_ask": may_ask}
    templates.globals["last_session"] = lambda _user, _server: last
    lenient = templates.overlay(undefined=Undefined)
    page = BeautifulSoup(lenient.get_template("not_running.html").render(**NOT_RUNNING), "html.parser")
    reason = page.select_one("#end-reason")
    assert reason is not None
    assert reason.get_text() == "It was stopped. Your files are kept."
    assert bool(page.select("main a[href='/hub/ask']")) is may_ask


def test_what_others_wrote_is_no_markup(templates: Environment) -> None:
    evil_form = replace(FORM, server=EVIL, flavours=[replace(FORM.flavours[0], title=EVIL, why_not=EVIL)])
    view = replace(
        HOME_VIEW, name=EVIL, form=evil_form, running=[replace(RUNNING, server=EVIL, site=EVIL)],
        ended=[replace(ENDED, server=EVIL, reason=EVIL)],
    )  # fmt: skip
    page = templates.get_template("home.html").render(view=view, form=evil_form, error_html="")
    said = dict.fromkeys(("name", "email", "organisation", "subject", "user_name"), EVIL)
    heard = {
        name: [EVIL]
        for name in ("communities", "affiliations", "unchecked_affiliations", "assurance", "not_understood")
    }
    evil_request = replace(ACCESS_VIEW.requests[0], about=EVIL, words=EVIL, reference=EVIL)
    asking = templates.get_template("access.html").render(
        view=replace(ACCESS_VIEW, **said, **heard, requests=[evil_request]),
        provider=EVIL,
        about=EVIL,
        asked=EVIL,
        desk_ask="/services/desk/ask",
    )
    spawning = templates.get_template("spawn.html").render(**{**SPAWN, "error_message": EVIL})
    choosing = templates.get_template("login.html").render(providers=[replace(CHOICE, title=EVIL, away=True)])
    for html in (page, asking, spawning, choosing):
        assert EVIL not in html
        assert "&lt;script&gt;" in html


def start_form_of(html: str) -> BeautifulSoup:
    found = BeautifulSoup(html, "html.parser")
    assert found.select_one("#start-form") is not None
    return found


def test_a_closed_flavour_cannot_be_chosen_and_says_why(templates: Environment) -> None:
    page = start_form_of(templates.get_template("home.html").render(view=HOME_VIEW, form=FORM, error_html=""))
    small, gpu, _shared = page.select("input[name=flavour]")
    assert small.has_attr("checked")
    assert not small.has_attr("disabled")
    assert gpu.has_attr("disabled")
    assert gpu.parent is not None
    assert "For tier T2." in gpu.parent.get_text()
    name = page.select_one("input[name=server]")
    assert name is not None
    assert name["value"] == "second"


@pytest.mark.parametrize(("form", "flavours"), [(FORM, ["small", "gpu", "shared"]), (CLOSED, ["gpu"])])
def test_every_flavour_has_a_link_that_says_why(templates: Environment, form: StartForm, flavours: list[str]) -> None:
    for name, context in (("home.html", {"view": HOME_VIEW, "form": form, "error_html": ""}), ("spawn.html", SPAWN)):
        templates.globals["start_form"] = lambda _user: form
        page = BeautifulSoup(templates.get_template(name).render(**context), "html.parser")
        links = page.select("a.nb-why")
        assert [link["href"] for link in links] == [f"/hub/why?flavour={flavour}" for flavour in flavours]
        assert len({link["aria-label"] for link in links}) == len(flavours)


def test_who_pays_is_said_where_it_is_a_pool(templates: Environment) -> None:
    html = templates.get_template("home.html").render(view=HOME_VIEW, form=FORM, error_html="")
    page = start_form_of(html)
    assert "takes 1 from the quota of Ocean, which lasts for 2.9 hours" in page.get_text()
    assert "takes 1 from your quota, which lasts for 2.9 hours" in page.get_text()
    assert "Ocean, for all members together: 4.5 of 5 unit-hours left" in html


def test_a_form_that_comes_back_goes_to_the_same_server(templates: Environment) -> None:
    page = start_form_of(templates.get_template("spawn.html").render(**SPAWN))
    element = page.select_one("#start-form")
    assert element is not None
    assert element["action"] == "/hub/spawn/ines-abc234/second"


def test_how_long_the_quota_lasts_is_never_rounded_up(templates: Environment) -> None:
    page = start_form_of(templates.get_template("home.html").render(view=HOME_VIEW, form=FORM, error_html=""))
    assert "lasts for 2.9 hours" in page.get_text()


@pytest.mark.parametrize(
    ("percent", "said"),
    [
        pytest.param(None, "", id="nothing-to-tell"),
        pytest.param(80, "More than 80 % of your quota are spent or set aside.", id="80"),
        pytest.param(100, "Your quota is spent.", id="100"),
    ],
)
def test_the_home_page_tells_how_far_the_quota_is_spent(templates: Environment, percent: int | None, said: str) -> None:
    view = replace(HOME_VIEW, quota=replace(HOME_VIEW.quota, spent_percent=percent))
    page = BeautifulSoup(templates.get_template("home.html").render(view=view, form=FORM, error_html=""), "html.parser")
    notice = page.select_one("#quota-notice")
    assert (" ".join(notice.get_text().split()) if notice else "") == (f"{said} Where to ask" if said else "")


def test_the_pages_are_configured_for_the_settings(house: House, untouched_jupyterhub: None) -> None:
    c: Any = SimpleNamespace(JupyterHub=SimpleNamespace(), Spawner=SimpleNamespace())
    configure_pages(c, house)
    variables = c.JupyterHub.template_vars
    assert variables["languages"] == ["en", "es", "pt"]
    assert variables["is_demo"] is True
    assert re.fullmatch(r"/hub/nbfed/static/nbfed\.css\?v=[0-9a-f]{12}", variables["asset"](USER)("nbfed.css"))
    assert re.fullmatch(r"/hub/nbfed/hub\.css\?v=[0-9a-f]{12}", variables["hub_style"](USER)())


def test_nobody_has_no_home_page(house: House) -> None:
    with pytest.raises(Failure, match="person-unknown"):
        Views(house).home("nobody", "", {})


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "docs" / "templates").glob("acceptable-use.*.md")))
def test_the_templates_of_acceptable_use_can_be_shown_as_terms(file: Path) -> None:
    page = BeautifulSoup(as_html(file.read_text()), "html.parser")
    assert (len(page.select("h2, h3, h1")), len(page.select("li"))) == (3, 11)
    assert "{" in page.get_text(), "something is to be filled in"
