"""My access and the terms: what is told is what eligibility says, and where each missing thing is to be had."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from federation import terms
from federation.i18n import use_language
from federation.persons import Facts, Person
from federation.terms import publish
from hub_config.pages.access import AccessView, AccessViews, FlavourView
from hub_config.pages.terms import Notices, TermsViews, as_html
from hub_config.pages.views import Views
from hub_config.settings import SettingsError
from hub_config.wiring import House, request_rounds
from quota.amounts import from_unit_hours
from tests.hub_config.conftest import NOW, MakeHouse
from tests.hub_config.test_pages import MEMBER, person
from tests.support.desk import asked, decided
from vetting import decisions, mappings, sites
from vetting.asking import Actor, Given, Kind
from vetting.transitions import Event

OPERATOR = ("urn:mace:example.org:group:demo:role=operator", "urn:mace:example.org:group:demo:here:role=operator")
WHO: dict[str, Any] = {"by": "cli:olga", "now": NOW}


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    return make_house(
        tiers={"T2": {"needs": "T1", "evidence": "recorded"}},
        flavours={"gpu": {"cpu": 8, "memory_gib": 32, "gpu": 1, "weight": 20, "tier": "T2"}},
        sites={"here": {"kind": "local", "title": "This machine", "flavours": ["small", "gpu"], "country": "PE"}},
    )


def view(house: House, who: Person) -> AccessView:
    return AccessViews(house, Views(house)).view(who.user_name)


def flavours(shown: AccessView) -> dict[str, FlavourView]:
    return {flavour.name: flavour for site in shown.sites for flavour in site.flavours}


# --- my access ------------------------------------------------------------------------------------------------------


def test_what_is_open_and_what_is_missing_for_the_rest(house: House) -> None:
    shown = view(house, person(house))
    assert shown.tier == "T1"
    assert shown.quota.left == 100
    small, gpu = flavours(shown)["small"], flavours(shown)["gpu"]
    assert (small.why_not, small.missing, small.where, small.lasts_hours) == ("", [], "", 100)
    assert (gpu.missing, gpu.where, gpu.code) == (
        ["evidence that the support team has recorded"], "desk", "flavour-needs-tier",
    )  # fmt: skip


def test_where_only_the_terms_are_missing_the_way_leads_to_them(house: House) -> None:
    shown = view(house, person(house, agrees=False))
    small = flavours(shown)["small"]
    assert (small.missing, small.where, small.code) == (
        ["your acceptance of the terms of use"], "terms", "terms-not-accepted",
    )  # fmt: skip
    assert shown.terms_accepted_at is None
    assert shown.quota.granted == 0


def test_what_a_suspended_site_does_not_take_is_nothing_to_ask_for(house: House) -> None:
    with house.database.write() as connection:
        site = house.settings.yaml.sites["here"]
        sites.change(connection, "here", site, event=sites.Event.SUSPEND, by="test", reason="x", now=NOW)
    small = flavours(view(house, person(house)))["small"]
    assert (small.code, small.where) == ("site-not-open", "")


def test_who_has_nothing_is_told_all_that_is_missing(house: House) -> None:
    shown = view(house, person(house, facts=Facts(not_understood=("urn:?",)), agrees=False))
    assert (shown.tier, shown.communities, shown.roles, shown.not_understood) == ("T0", [], [], ["urn:?"])
    small = flavours(shown)["small"]
    assert len(small.missing) == 3
    assert (small.where, small.code) == ("desk", "not-eligible")


def test_roles_come_from_entitlements_and_go_with_a_suspension(house: House) -> None:
    who = person(house, facts=replace(MEMBER, memberships=OPERATOR))
    assert view(house, who).roles == ["operator of the federation", "operator of the site This machine"]
    with house.database.write() as connection:
        decisions.suspend(connection, person_id=who.id, reason="Mining.", **WHO)
    shown = view(house, who)
    assert shown.roles == []
    assert {flavour.where for flavour in flavours(shown).values()} == {""}  # nobody can ask a suspension away


def test_a_mapping_is_told_in_words(house: House) -> None:
    who = person(house)
    assert view(house, who).sites[0].mapping == ""
    with house.database.write() as connection:
        mappings.ask(connection, person_id=who.id, site="here", account="ines", **WHO)
    assert view(house, who).sites[0].mapping == "The site was asked to accept you, and has not answered yet."


def test_tiers_say_what_they_give_and_ask(house: House) -> None:
    tiers = {tier.name: tier for tier in view(house, person(house)).tiers}
    assert tiers["T1"].gives == ["100 unit-hours each month", "the flavours Small, Medium"]
    assert [(one.holds, one.where) for one in tiers["T2"].asks] == [(True, ""), (True, ""), (True, ""), (False, "desk")]


def test_countries_are_named_in_the_readers_language(house: House) -> None:
    use_language("es")
    try:
        assert view(house, person(house)).sites[0].country == "Perú"
    finally:
        use_language("en")


# --- notices and terms ----------------------------------------------------------------------------------------------


def change(house: House, version: str) -> None:
    with house.database.write() as connection:
        publish(connection, version, terms.words(connection), house.clock())


def test_requests_are_told_with_how_far_they_are_and_what_was_written(house: House) -> None:
    who = person(house)
    user, ben = Actor(name="cli:ana", person_id=who.id), Actor(name="cli:ben", is_reviewer=True)
    wish = asked(NOW + timedelta(days=365), 500)
    act = house.requests.act
    draft = house.requests.open(user, person_id=who.id, kind=Kind.QUOTA, asked=wish)
    assert [shown.how_far for shown in view(house, who).requests] == ["not sent yet"]
    act(draft.id, Event.SUBMIT, user)
    act(draft.id, Event.CLAIM, ben, Given(no_conflict=True))
    act(draft.id, Event.ASK, ben, Given(text="Which <data>?"))
    (shown,) = view(house, who).requests
    assert (shown.reference, shown.how_far, shown.words, shown.ends_at) == (
        draft.reference, "waits for your answer", "Which <data>?", None,
    )  # fmt: skip
    act(draft.id, Event.ANSWER, user, Given(text="Of penguins."))
    assert view(house, who).requests[0].words == ""
    decision = decided(draft, amount_milli_unit_seconds=from_unit_hours(400))
    act(draft.id, Event.APPROVE, ben, Given(text="Enjoy.", decision=decision))
    request_rounds(house).apply_all()
    use_language("es")
    (shown,) = view(house, who).requests
    use_language("en")
    assert (shown.how_far, shown.words, shown.ends_at) == ("aprobado y dado", "Enjoy.", wish.ends_at)
    assert shown.about.startswith("400 unidades-hora")


def test_what_has_to_be_known_first(house: House) -> None:
    views = TermsViews(house)
    who, other = person(house), person(house, "ana", agrees=False)
    assert views.notices(who.user_name) == Notices()
    assert views.notices(other.user_name) == Notices(terms_needed=True)
    change(house, "2027-01")
    assert views.notices(who.user_name) == Notices(reaccept_by=NOW + timedelta(days=30))
    change(house, "2027-02")
    assert views.notices(who.user_name) == Notices(terms_needed=True)
    with house.database.write() as connection:
        decisions.suspend(connection, person_id=who.id, reason="Mining.", **WHO)
    assert views.notices(who.user_name).suspended == "Mining."


def test_an_acceptance_opens_what_was_closed(house: House) -> None:
    views, who = TermsViews(house), person(house, agrees=False)
    wish = {"flavour": "small", "environment": "python"}
    assert views.keep_from_starting(who.user_name, wish)
    assert not views.accept(who.user_name, "2026-10", "en")
    assert not views.accept(who.user_name, "2026-11", "fr")
    assert views.keep_from_starting(who.user_name, wish)
    assert views.accept(who.user_name, "2026-11", "en")
    assert views.accept(who.user_name, "2026-11", "es")  # again is fine, and changes nothing
    assert not views.keep_from_starting(who.user_name, wish)
    shown = views.view(who.user_name)
    assert shown is not None
    assert shown.accepted_at == NOW


@pytest.mark.parametrize(
    ("facts", "options"),
    [
        pytest.param(Facts(), {"flavour": "small"}, id="who-misses-more"),
        pytest.param(MEMBER, {"flavour": "no-such"}, id="what-is-not-there"),
    ],
)
def test_who_is_kept_by_something_else_is_not_sent_to_the_terms(
    house: House, facts: Facts, options: dict[str, str]
) -> None:
    who = person(house, facts=facts, agrees=False)
    assert not TermsViews(house).keep_from_starting(who.user_name, options)


def test_without_terms_there_is_nothing_to_read_or_to_accept(make_house: MakeHouse) -> None:
    house = make_house(tiers={"T1": {}}, federation={"terms": None})
    who = person(house, agrees=False)
    assert TermsViews(house).view(who.user_name) is None
    assert TermsViews(house).notices(who.user_name) == Notices()
    assert flavours(view(house, who))["small"].why_not == ""


def test_terms_of_which_a_file_is_missing_stop_the_start(make_house: MakeHouse) -> None:
    with pytest.raises(SettingsError, match=r"federation\.terms\.files\.en: the file .*nowhere\.md cannot be read"):
        make_house(federation={"terms": {"version": "1", "files": {"en": "nowhere.md"}}})


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        pytest.param("# A\n\n## B", "<h2>A</h2>\n<h3>B</h3>\n", id="headings-below-the-pages-own"),
        pytest.param("###### F", "<h6>F</h6>\n", id="the-lowest-heading"),
        pytest.param("*kind*", "<p><em>kind</em></p>\n", id="emphasis"),
        pytest.param("<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>\n", id="html"),
        pytest.param("a <b>c</b>", "<p>a &lt;b&gt;c&lt;/b&gt;</p>\n", id="html-in-a-line"),
        pytest.param("[a](https://x.example.org)", '<p><a href="https://x.example.org">a</a></p>\n', id="link"),
        pytest.param("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>\n", id="script-in-a-link"),
        pytest.param("[a](data:text/html,x)", "<p>[a](data:text/html,x)</p>\n", id="data-in-a-link"),
    ],
)
def test_words_are_markdown_and_nothing_else(markdown: str, html: str) -> None:
    assert as_html(markdown) == html


def test_pictures_of_elsewhere_are_not_fetched() -> None:
    assert "<img" not in as_html("![x](https://evil.example.org/pixel.png)")
