"""What is suggested after a refusal, and what is read of what people type."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import Failure
from quota.amounts import from_unit_hours
from tests.support.desk_pages import DeskPages
from vetting.asking import Kind
from vetting.desk.forms import Form
from vetting.desk.wishes import form_of, kinds_on_offer, read_asked, read_end, read_hours, suggested

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        pytest.param({"about": "quota-used-up"}, Kind.QUOTA, id="used-up"),
        pytest.param({"about": "no-grant"}, Kind.QUOTA, id="none"),
        pytest.param({"about": "site-asks-more", "site": "hpc"}, Kind.SITE, id="site"),
        pytest.param({"about": "flavour-needs-tier", "flavour": "gpu"}, Kind.TIER, id="tier"),
        pytest.param({"about": "flavour-needs-tier", "flavour": "small"}, None, id="a-tier-that-nobody-decides-about"),
        pytest.param({"about": "not-eligible", "flavour": "small"}, None, id="what-the-desk-does-not-give"),
        pytest.param({"about": "<script>"}, None, id="no-code"),
        pytest.param({"kind": "site"}, Kind.SITE, id="chosen"),
        pytest.param({"kind": "everything"}, None, id="no-kind"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_a_refusal_says_what_to_ask_for(pages: DeskPages, asked: dict[str, str], kind: Kind | None) -> None:
    form = suggested(pages.desk.offer, NOW, **asked)
    assert (form.kind if form else None) == kind


def test_what_was_refused_is_in_the_fields(pages: DeskPages) -> None:
    offer = pages.desk.offer
    quota = suggested(offer, NOW, about="quota-spent", flavour="gpu", site="hpc")
    assert quota is not None
    assert (quota.fields["hours"], quota.fields["until"], quota.fields["flavour"]) == ("2000", "2027-11-23", "gpu")
    site = suggested(offer, NOW, about="site-asks-more", flavour="gpu", site="hpc")
    assert site is not None
    assert (site.chosen_sites, site.fields["hours"]) == (("hpc",), "2000")
    only = suggested(offer, NOW, kind="site")
    assert only is not None
    assert only.fields["hours"] == ""
    tier = suggested(offer, NOW, about="flavour-needs-tier", flavour="gpu")
    assert tier is not None
    assert (tier.fields["tier"], tier.tiers) == ("T2", ("T2",))
    assert tier.asks_details


def test_what_is_in_the_address_and_does_not_exist_is_left_out(pages: DeskPages) -> None:
    form = suggested(pages.desk.offer, NOW, kind="site", flavour="<b>", site="<b>")
    assert form is not None
    assert (form.chosen_sites, form.fields["flavour"]) == ((), "")


def test_a_tier_is_on_offer_only_where_a_person_decides_about_one(pages: DeskPages) -> None:
    assert kinds_on_offer(pages.desk.offer) == [Kind.QUOTA, Kind.SITE, Kind.TIER]


@pytest.mark.parametrize(
    ("typed", "hours"), [("250", 250), ("12.5", 12.5), ("12,5", 12.5), ("", 0), ("0", 0), ("1e2", 100)]
)
def test_an_amount_is_read_as_people_write_it(typed: str, hours: float) -> None:
    assert read_hours(typed) == hours * 3_600_000


@pytest.mark.parametrize(
    "typed", ["much", "-1", "1/2", "NaN", "Infinity", "1e-9", "1.2.3", "9" * 30, "1 000", "0x10", "<b>"]
)
def test_what_is_no_amount_is_told(typed: str) -> None:
    with pytest.raises(Failure) as caught:
        read_hours(typed)
    assert caught.value.problem.code == "amount-unreadable"


@pytest.mark.parametrize("typed", ["", "tomorrow", "2027-02-30", "31.3.2027", "9999-12-31", "2027-3-1", "<b>"])
def test_what_is_no_day_is_told(typed: str) -> None:
    with pytest.raises(Failure) as caught:
        read_end(typed)
    assert caught.value.problem.code == "day-unreadable"


@given(st.text())
def test_whatever_is_typed_is_an_amount_or_is_told(typed: str) -> None:
    with suppress(Failure):
        assert read_hours(typed) >= 0


@given(
    st.integers(0, 10**9),
    st.dates(datetime(2000, 1, 1).date(), datetime(2999, 1, 1).date()),  # noqa: DTZ001 - days have no zone
)
def test_a_form_that_is_sent_as_it_stands_asks_for_the_same(milli_hours: int, day: object) -> None:
    amount = milli_hours * 3600
    form = Form({"hours": [f"{milli_hours / 1000:.3f}"], "until": [str(day)]})
    assert read_hours(form.text("hours")) == amount
    end = read_end(form.text("until"))
    assert (end - timedelta(microseconds=1)).date().isoformat() == str(day)


def test_what_stands_in_a_draft_comes_back_as_it_was(pages: DeskPages) -> None:
    offer = pages.desk.offer
    sent = Form(
        {"hours": ["12,5"], "until": ["2027-03-31"], "flavour": ["small"], "purpose": [" A\r\nB "], "contact": ["C"],
         "evidence": ["D"], "details": ["E"], "tier": ["T2"], "site": ["hpc"]}
    )  # fmt: skip
    asked = read_asked(offer, Kind.QUOTA, sent)
    assert (asked.purpose, asked.tier, asked.sites) == ("A\nB", "", ())
    assert asked.amount_milli_unit_seconds == from_unit_hours(12) + from_unit_hours(1) // 2
    again = form_of(offer, Kind.QUOTA, asked)
    assert read_asked(offer, Kind.QUOTA, Form({name: [value] for name, value in again.fields.items()})) == asked
