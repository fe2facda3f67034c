"""How often a site is asked: often after news, seldom in calm, never too often, and not at all while it fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spawners.gateway.pace import Breaker, BreakerState, interval_seconds

seconds = st.floats(min_value=0, max_value=10_000, allow_nan=False)


@pytest.mark.parametrize(
    ("since_news", "expected"),
    [
        pytest.param(0, 1.5, id="just-submitted"),
        pytest.param(7.9, 1.5, id="some-seconds-later"),
        pytest.param(8, 5, id="calmer"),
        pytest.param(60, 15, id="calm"),
        pytest.param(300, 30, id="quiet"),
        pytest.param(1e9, 30, id="never-any-news"),
    ],
)
def test_it_is_asked_the_less_the_longer_nothing_happens(since_news: float, expected: float) -> None:
    assert interval_seconds(since_news=since_news, query_seconds=0, failing=False, chance=0.5) == pytest.approx(
        expected
    )


@given(seconds, seconds, st.booleans(), st.floats(min_value=0, max_value=1))
def test_it_is_never_asked_sooner_than_five_times_the_last_query(
    since_news: float, query: float, failing: bool, chance: float
) -> None:
    found = interval_seconds(since_news=since_news, query_seconds=query, failing=failing, chance=chance)
    assert found >= 5 * query
    assert found >= 1.35
    assert found <= max(33.0, 5 * query)


@given(seconds, st.floats(min_value=0, max_value=1))
def test_jitter_is_a_tenth(since_news: float, chance: float) -> None:
    plain = interval_seconds(since_news=since_news, query_seconds=0, failing=False, chance=0.5)
    found = interval_seconds(since_news=since_news, query_seconds=0, failing=False, chance=chance)
    assert 0.899 * plain <= found <= 1.101 * plain


def test_a_site_that_failed_once_is_asked_again_soon() -> None:
    assert interval_seconds(since_news=1e9, query_seconds=0.1, failing=True, chance=1) < 2.5


# --- the breaker ------------------------------------------------------------------------------------------------


def test_one_failure_does_not_open_it_and_two_do() -> None:
    once = Breaker().failed(100)
    assert once.state is BreakerState.CLOSED
    twice = once.failed(101)
    assert twice.state is BreakerState.OPEN
    assert not twice.lets_through(115.9)
    assert twice.lets_through(116)


def test_when_its_time_is_over_one_question_is_let_through_and_no_second_one() -> None:
    trying = Breaker().failed(0).failed(0).trying()
    assert trying.state is BreakerState.HALF_OPEN
    assert not trying.lets_through(1e9)
    assert trying.succeeded() == Breaker()
    assert trying.failed(15).open_until == 45
    assert trying.forgotten().lets_through(15)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now, self.breaker, self.under_way = 0.0, Breaker(), 0

    @rule(by=st.floats(min_value=0, max_value=400))
    def time_passes(self, by: float) -> None:
        self.now += by

    @rule()
    def somebody_asks(self) -> None:
        if self.breaker.lets_through(self.now):
            self.breaker = self.breaker.trying()
            self.under_way += 1
            if self.breaker.state is BreakerState.HALF_OPEN:
                assert not self.breaker.lets_through(self.now)

    @rule(answered=st.booleans())
    def a_question_ends(self, answered: bool) -> None:
        if self.under_way:
            self.under_way -= 1
            self.breaker = self.breaker.succeeded() if answered else self.breaker.failed(self.now)
            if answered:
                assert self.breaker.lets_through(self.now)

    @invariant()
    def it_never_stays_open_for_ever(self) -> None:
        if self.breaker.state is BreakerState.OPEN:
            assert self.breaker.open_until is not None
            assert self.breaker.lets_through(self.now + 300)

    @invariant()
    def it_is_open_only_after_two_failures_in_a_row(self) -> None:
        assert self.breaker.state is BreakerState.CLOSED or self.breaker.failures >= 2


TestBreaker = BreakerMachine.TestCase
