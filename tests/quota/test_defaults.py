"""The default quota of a period: which period a moment is in, and one key for each person and period."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from quota.defaults import DefaultOfPeriod, missing_default, period_bounds
from quota.page import GrantStanding
from quota.settings import DefaultGrant

DAY = timedelta(days=1)
PERIODS = ("day", "week", "month", "year")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def setting(**changes: Any) -> DefaultGrant:
    return DefaultGrant(**{"amount_hours": 100, "period": "month", "flavours": ["small"], **changes})


@pytest.mark.parametrize(
    ("period", "now", "starts_at", "ends_at"),
    [
        pytest.param("day", "2026-03-02T00:00", "2026-03-02", "2026-03-03", id="day-first-moment"),
        pytest.param("day", "2026-03-02T23:59:59.999999", "2026-03-02", "2026-03-03", id="day-last-moment"),
        pytest.param("day", "2028-02-29T12:00", "2028-02-29", "2028-03-01", id="leap-day"),
        pytest.param("week", "2026-03-02T00:00", "2026-03-02", "2026-03-09", id="week-monday"),
        pytest.param("week", "2026-03-08T23:59:59", "2026-03-02", "2026-03-09", id="week-sunday"),
        pytest.param("week", "2027-01-01T00:00", "2026-12-28", "2027-01-04", id="week-across-new-year"),
        pytest.param("month", "2026-02-28T23:00", "2026-02-01", "2026-03-01", id="february"),
        pytest.param("month", "2028-02-01T00:00", "2028-02-01", "2028-03-01", id="february-of-a-leap-year"),
        pytest.param("month", "2026-12-31T23:59:59.999999", "2026-12-01", "2027-01-01", id="december"),
        pytest.param("year", "2026-01-01T00:00", "2026-01-01", "2027-01-01", id="year-first-moment"),
        pytest.param("year", "2028-02-29T10:00", "2028-01-01", "2029-01-01", id="year-on-a-leap-day"),
    ],
)
def test_a_moment_is_in_one_period(period: str, now: str, starts_at: str, ends_at: str) -> None:
    assert period_bounds(period, at(now)) == (at(starts_at), at(ends_at))


def test_periods_are_those_of_utc_wherever_the_clock_is() -> None:
    evening_in_brazil = datetime(2026, 2, 28, 22, 0, tzinfo=timezone(timedelta(hours=-3)))
    assert period_bounds("month", evening_in_brazil) == (at("2026-03-01"), at("2026-04-01"))


@pytest.mark.parametrize("period", PERIODS)
@drawn(now=st.timedeltas(-100 * 365 * DAY, 100 * 365 * DAY).map(lambda since: at("2026-03-02") + since))
def test_periods_follow_each_other_without_gap_or_overlap(period: str, now: datetime) -> None:
    starts_at, ends_at = period_bounds(period, now)
    assert starts_at <= now < ends_at
    assert period_bounds(period, ends_at)[0] == ends_at
    assert period_bounds(period, starts_at - timedelta.resolution)[1] == starts_at


def test_a_time_without_zone_and_an_unknown_period_are_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        period_bounds("day", datetime(2026, 3, 2))  # noqa: DTZ001
    with pytest.raises(ValueError, match="decade"):
        period_bounds("decade", at("2026-03-02"))


def test_the_default_is_for_the_whole_period_whenever_it_is_first_given() -> None:
    assert missing_default(setting(), "ines", (), at("2026-03-17T15:20")) == DefaultOfPeriod(
        key="default:month:2026-03-01:ines",
        amount=100 * 3_600_000,
        starts_at=at("2026-03-01"),
        ends_at=at("2026-04-01"),
    )


def test_no_default_where_the_tier_gets_nothing() -> None:
    assert missing_default(setting(amount_hours=0), "ines", (), at("2026-03-17")) is None


def given(amount: int, *, active: bool = True, is_default: bool = True, ends_at: str = "2026-04-01") -> GrantStanding:
    return GrantStanding(
        id=str(amount), amount=amount, left=amount, starts_at=at("2026-02-01"), ends_at=at(ends_at),
        active=active, taken_in=True, is_default=is_default, reason="",
    )  # fmt: skip


HOUR = 3_600_000


@pytest.mark.parametrize(
    ("grants", "amount"),
    [
        pytest.param([given(100 * HOUR)], None, id="given-already"),
        pytest.param([given(200 * HOUR)], None, id="the-setting-shrank-and-what-was-given-stays"),
        pytest.param([given(60 * HOUR)], 40 * HOUR, id="the-setting-grew-or-the-tier-rose-and-the-difference-is-given"),
        pytest.param([given(60 * HOUR), given(40 * HOUR)], None, id="the-difference-was-given-already"),
        pytest.param(
            [given(100 * HOUR, active=False, ends_at="2026-03-01")], 100 * HOUR, id="that-of-the-period-before"
        ),
        pytest.param([given(100 * HOUR, active=False)], None, id="what-was-revoked-is-not-given-again"),
        pytest.param([given(500 * HOUR, is_default=False)], 100 * HOUR, id="other-grants-do-not-count"),
    ],
)
def test_of_the_default_is_given_what_is_missing(grants: list[GrantStanding], amount: int | None) -> None:
    default = missing_default(setting(), "ines", grants, at("2026-03-17"))
    assert (default.amount if default else None) == amount


def test_a_difference_has_a_key_of_its_own() -> None:
    first, difference = (
        missing_default(setting(), "ines", grants, at("2026-03-17")) for grants in ([], [given(60 * HOUR)])
    )
    assert first is not None
    assert difference is not None
    assert difference.key == f"{first.key}:{100 * HOUR}"


def test_the_key_is_the_same_all_through_a_period_and_another_in_the_next() -> None:
    keys = [
        missing_default(setting(), "ines", (), at(f"2026-{month:02}-{day:02}")).key  # type: ignore[union-attr]
        for month in range(1, 13)
        for day in (1, 14, 28)
    ]
    assert len(set(keys)) == 12
    assert sum(one == other for one, other in pairwise(keys)) == 24


def test_the_key_is_of_one_person_and_one_kind_of_period() -> None:
    now = at("2026-06-01")  # a Monday, and the first of a month
    keys = {
        missing_default(setting(period=period), person, (), now).key  # type: ignore[union-attr]
        for period in PERIODS
        for person in ("ines", "ana")
    }
    assert len(keys) == 8
