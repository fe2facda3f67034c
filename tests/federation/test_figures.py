"""Figures against their goals, and how they are printed."""

import pytest

from federation.figures import Report, Row, percentile


@pytest.mark.parametrize(
    ("values", "goal", "at_least", "reached"),
    [
        pytest.param([1, 2, 30], 2, False, True, id="the-median-is-the-goal"),
        pytest.param([1, 2.1, 30], 2, False, False, id="more-than-the-most"),
        pytest.param([0.1, 0.3, 0.4], 0.3, True, True, id="the-least"),
        pytest.param([0.1, 0.29, 0.4], 0.3, True, False, id="less-than-the-least"),
        pytest.param([0], 0, False, True, id="none-at-all"),
        pytest.param([1], None, False, None, id="no-goal"),
        pytest.param([], 1, False, None, id="nothing-measured"),
    ],
)
def test_a_goal_is_reached_by_the_median(
    values: list[float], goal: float | None, at_least: bool, reached: bool | None
) -> None:
    assert Row("a figure", "s", values, goal, at_least).reached is reached


def test_a_report_has_a_line_for_each_figure_and_each_sentence_once() -> None:
    report = Report("a machine")
    report.add("speed", "1/s", [90, 100, 1000], 99, at_least=True)
    report.add("wait", "ms", [0.126], 0.1)
    report.add("nothing", "ms", [], 0)
    for _ in range(2):
        report.find("something is not as it should be")
    assert str(report).splitlines() == [
        "",
        "== a machine",
        "         unit  median  min-max    n  goal    reached",
        "speed    1/s   100     90.0-1000  3  >= 99   yes",
        "wait     ms    0.13    0.13-0.13  1  <= 0.1  NO",
        "nothing  ms    -       -          0  <= 0    no",
        "  ! something is not as it should be",
    ]


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value
