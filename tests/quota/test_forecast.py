"""A forecast is what the books do if nothing changes: found by looking at every second, it is the same."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quota.amounts import from_unit_hours
from quota.forecast import HORIZON, Burn, Fund, defaults_to_come, forecast, lasts_until
from quota.settings import DefaultGrant

NOW = datetime(2026, 3, 30, 12, 0, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SPAN = 40
"""Seconds that are looked at one by one."""


def fund(left: int, begins: int = -1, ends: int = SPAN) -> Fund:
    """Seconds from now."""
    return Fund(left=left, starts_at=NOW + timedelta(seconds=begins), ends_at=NOW + timedelta(seconds=ends))


def until(*funds: Fund, each_second: int, used: int = 0, held: int = 0, owed: int = 0) -> int | None:
    """After how many seconds everything is used."""
    found = lasts_until(
        funds, taken=held + owed, owed=owed, burn=Burn(each_second=each_second, used=used), now=NOW,
        horizon=timedelta(seconds=SPAN),
    )  # fmt: skip
    return None if found is None else int((found - NOW).total_seconds())


def second_by_second(funds: list[Fund], *, each_second: int, used: int, held: int, owed: int) -> int | None:
    """The same, told by what the books would look like at every second."""
    left = {n: one.left for n, one in enumerate(funds)}
    in_spend_order = sorted(left, key=lambda n: funds[n].ends_at)
    gone = owed + used
    for second in range(SPAN):
        at = NOW + timedelta(seconds=second)
        begun = [n for n in in_spend_order if funds[n].starts_at <= at]
        taken = max(gone, held + owed)
        for n in begun:
            kept = min(left[n], taken)
            taken -= kept
            if at >= funds[n].ends_at:
                left[n] = kept
        if gone + each_second > sum(left[n] for n in begun):
            return second
        gone += each_second
    return None


FUNDS = st.lists(
    st.builds(
        lambda left, begins, lasts: fund(left, begins, begins + lasts),
        st.integers(0, 60), st.integers(-5, SPAN + 5), st.integers(1, SPAN),
    ),
    max_size=5,
)  # fmt: skip
AMOUNTS = {"used": st.integers(0, 30), "held": st.integers(0, 30), "owed": st.integers(0, 10)}


@given(FUNDS, st.integers(1, 7), st.fixed_dictionaries(AMOUNTS))
def test_it_is_what_looking_at_every_second_finds(funds: list[Fund], each_second: int, amounts: dict[str, int]) -> None:
    assert until(*funds, each_second=each_second, **amounts) == second_by_second(
        funds, each_second=each_second, **amounts
    )


@given(FUNDS, st.integers(1, 7), st.integers(0, 7), st.integers(0, 60))
def test_more_that_runs_never_lasts_longer_and_more_quota_never_less_long(
    funds: list[Fund], each_second: int, more: int, amount: int
) -> None:
    before = until(*funds, each_second=each_second)
    faster = until(*funds, each_second=each_second + more)
    richer = until(*funds, fund(amount), each_second=each_second)
    assert (SPAN if faster is None else faster) <= (SPAN if before is None else before)
    assert (SPAN if before is None else before) <= (SPAN if richer is None else richer)


def test_nothing_that_runs_lasts_for_ever() -> None:
    assert until(each_second=0) is None
    assert until(fund(10), each_second=0, used=5, owed=5) is None


@pytest.mark.parametrize(
    ("funds", "lasts"),
    [
        pytest.param([fund(20)], 20, id="one-grant"),
        pytest.param([fund(20, ends=5)], 5, id="until-the-grant-ends"),
        pytest.param([fund(20, ends=5), fund(10)], 15, id="what-is-left-at-the-end-of-a-grant-lapses"),
        pytest.param([fund(5), fund(10, begins=5)], 15, id="the-next-begins-in-the-second-in-which-all-is-used"),
        pytest.param([fund(5), fund(10, begins=6)], 5, id="the-next-begins-a-second-too-late"),
        pytest.param([], 0, id="nothing"),
        pytest.param([fund(SPAN)], None, id="beyond-the-horizon"),
    ],
)
def test_ends_of_grants_and_grants_to_come_count(funds: list[Fund], lasts: int | None) -> None:
    assert until(*funds, each_second=1) == lasts


def test_what_sessions_hold_of_a_grant_outlives_its_end() -> None:
    assert until(fund(20, ends=5), each_second=1, held=10) == 10


def test_what_is_owed_is_paid_first() -> None:
    assert until(fund(20), each_second=1, owed=15) == 5


def test_the_hours_of_a_flavour_are_what_is_left_by_its_weight() -> None:
    found = forecast(
        [Fund(left=from_unit_hours(10), starts_at=NOW - DAY, ends_at=NOW + DAY)],
        taken=from_unit_hours(2), owed=0, burn=Burn(), weight_milli=4000, now=NOW,
    )  # fmt: skip
    assert (found.seconds, found.burning, found.lasts_until) == (7200, False, None)


MONTHLY = DefaultGrant(amount_hours=10, period="month", flavours=["small"])


def test_the_defaults_of_the_coming_periods_are_counted() -> None:
    coming = list(defaults_to_come(MONTHLY, "ann", (), NOW, HORIZON))
    assert [one.starts_at for one in coming] == [datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5)]
    march = Fund(left=from_unit_hours(10), starts_at=coming[0].starts_at, ends_at=coming[0].ends_at)
    found = lasts_until(
        [march, *coming[1:]], taken=0, owed=0, burn=Burn(each_second=2000), now=NOW
    )  # 10 unit-hours last for 5 hours, until 17:00 on the 30th
    assert found == datetime(2026, 3, 30, 17, 0, tzinfo=UTC)
    later = lasts_until(coming, taken=0, owed=0, burn=Burn(each_second=250), now=NOW)
    # 0.25 an hour: 36 hours of March leave 1 unit-hour to lapse; those of April last for 40 hours.
    assert later == datetime(2026, 4, 2, 16, 0, tzinfo=UTC)


def test_no_default_is_none_to_come() -> None:
    assert list(defaults_to_come(None, "ann", (), NOW, HORIZON)) == []
