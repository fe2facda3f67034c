"""Amounts: whole milli-unit-seconds, rounded up to the second that was begun, and nothing that is not a number."""

from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quota.amounts import charge, from_unit_hours, to_unit_hours, weight_milli, whole_seconds

MOST_UNIT_HOURS = 10_000_000


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        pytest.param(timedelta(seconds=-5), 0, id="negative"),
        pytest.param(timedelta(microseconds=-1), 0, id="negative-by-a-microsecond"),
        pytest.param(timedelta(0), 0, id="nothing"),
        pytest.param(timedelta(microseconds=1), 1, id="a-microsecond"),
        pytest.param(timedelta(seconds=1), 1, id="a-second"),
        pytest.param(timedelta(seconds=1, microseconds=1), 2, id="just-above-a-second"),
        pytest.param(timedelta(seconds=58.9), 59, id="the-example-of-the-documentation"),
        pytest.param(timedelta(days=365, microseconds=1), 31_536_001, id="just-above-a-year"),
        pytest.param(timedelta.max, 86_399_999_999_999 + 1, id="the-longest"),
    ],
)
def test_every_second_that_was_begun_counts(duration: timedelta, seconds: int) -> None:
    assert whole_seconds(duration) == seconds


@given(st.timedeltas())
def test_rounding_up_is_exact(duration: timedelta) -> None:
    seconds = whole_seconds(duration)
    if duration <= timedelta(0):
        assert seconds == 0
    else:
        microseconds = duration // timedelta(microseconds=1)
        assert (seconds - 1) * 1_000_000 < microseconds <= seconds * 1_000_000


def test_a_session_of_59_seconds_costs_59_times_its_weight() -> None:
    started = datetime(2026, 3, 2, 10, 0, 0, 200_000, tzinfo=UTC)
    assert charge(4000, started, started + timedelta(seconds=58.9)) == 236_000


class SummerUntilThree(tzinfo):
    """A zone whose clocks go back at 3 o'clock; `fold` tells the second time from the first."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1 if moment and moment.fold else 2)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


def test_a_session_while_the_clocks_go_back_costs_what_passed() -> None:
    before = datetime(2026, 10, 25, 2, 30, tzinfo=SummerUntilThree())
    assert charge(1000, before, before.replace(fold=1)) == 3_600_000


def test_times_without_zone_cost_nothing_but_an_error() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        charge(1000, datetime(2026, 3, 2), datetime(2026, 3, 3))  # noqa: DTZ001


# --- weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "thousandths"),
    [
        pytest.param("0.001", 1, id="the-least"),
        pytest.param("1", 1000, id="one"),
        pytest.param("1.000", 1000, id="one-with-zeros"),
        pytest.param("2.125", 2125, id="three-decimals"),
        pytest.param("1E+3", 1_000_000, id="with-an-exponent"),
        pytest.param("1000000", 10**9, id="the-most-of-the-settings"),
    ],
)
def test_a_weight_is_whole_in_thousandths(weight: str, thousandths: int) -> None:
    assert weight_milli(Decimal(weight)) == thousandths


@pytest.mark.parametrize(
    "weight",
    [
        pytest.param("0", id="zero"),
        pytest.param("-1", id="negative"),
        pytest.param("0.0001", id="four-decimals"),
        pytest.param("1." + "0" * 40 + "1", id="more-decimals-than-decimal-keeps"),
        pytest.param("NaN", id="nan"),
        pytest.param("sNaN", id="signalling-nan"),
        pytest.param("Infinity", id="infinite"),
    ],
)
def test_a_weight_that_is_not_positive_or_too_fine_is_refused(weight: str) -> None:
    with pytest.raises(ValueError, match="weight"):
        weight_milli(Decimal(weight))


# --- unit-hours ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "amount"),
    [
        pytest.param(0, 0, id="nothing"),
        pytest.param(1, 3_600_000, id="an-hour"),
        pytest.param(Decimal("0.001"), 3_600, id="three-decimals"),
        pytest.param(Decimal("0.0000025"), 9, id="finer-than-three-decimals-but-whole"),
        pytest.param(10**12, 36 * 10**17, id="huge"),
    ],
)
def test_unit_hours_are_kept_exactly(hours: Decimal | int, amount: int) -> None:
    assert from_unit_hours(hours) == amount


@pytest.mark.parametrize(
    "hours",
    [
        pytest.param(Decimal("0.0000001"), id="finer-than-the-unit"),
        pytest.param(Decimal("1." + "0" * 40 + "1"), id="more-decimals-than-decimal-keeps"),
        pytest.param(Decimal("NaN"), id="nan"),
        pytest.param(Decimal("sNaN"), id="signalling-nan"),
        pytest.param(Decimal("Infinity"), id="infinite"),
        pytest.param(Decimal("-Infinity"), id="minus-infinite"),
    ],
)
def test_unit_hours_that_are_not_whole_milli_unit_seconds_are_refused(hours: Any) -> None:
    with pytest.raises(ValueError, match="unit-hours"):
        from_unit_hours(hours)


@given(st.integers(min_value=0, max_value=MOST_UNIT_HOURS * 1000))
def test_what_is_given_in_thousandths_of_an_hour_reads_back_the_same(thousandths: int) -> None:
    hours = Decimal(thousandths) / 1000
    assert to_unit_hours(from_unit_hours(hours)) == hours
