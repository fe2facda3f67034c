"""What a site says of a job becomes an observation: its own times, within what can be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawners.backends.base import Life, Observation
from spawners.backends.batch_rows import of_history, of_view
from spawners.gateway.answers import JobView
from spawners.gateway.protocol import HistoryRow

ATTEMPT = "01234567-89ab-cdef-0123-456789abcdef"
T0 = 1_790_000_000.0


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(T0 + seconds, UTC)


def row(**changes: Any) -> dict[str, Any]:
    common = {"job": "17", "attempt": ATTEMPT, "account": "ana", "state": "running", "scheduler_state": "RUNNING"}
    return {**common, **changes}


def past(*runs: tuple[float, float], **changes: Any) -> HistoryRow:
    said = {"state": "ended", "scheduler_state": "COMPLETED", "source": "accounting", "estimated": False}
    spans = [{"started_at": T0 + start, "ended_at": T0 + end} for start, end in runs]
    return HistoryRow.model_validate({**row(**said), "runs": spans, **changes})


def view(life: str, said: dict[str, Any] | None = None) -> JobView:
    return JobView.model_validate({"life": life, "row": said, "time": T0 + 100})


# --- waiting and running ------------------------------------------------------------------------------------------


def test_a_job_that_waits_says_why_and_until_when() -> None:
    said = row(state="pending", scheduler_state="PENDING", reason="Priority", expected_start_at=T0 + 600)
    assert of_view(view("pending", said)) == Observation(
        life=Life.PENDING, reference="17", reason="Priority", expected_start_at=at(600)
    )


def test_a_job_that_runs_says_since_when_and_all_times_are_of_the_site_s_clock() -> None:
    seen = of_view(view("running", row(started_at=T0 + 5)))
    assert seen == Observation(life=Life.RUNNING, started_at=at(5), reference="17")
    assert seen.at == at(100)


@pytest.mark.parametrize("life", ["unknown", "ended"])
def test_what_the_gateway_concludes_counts_more_than_the_last_row(life: str) -> None:
    assert of_view(view(life, row(started_at=T0))) == Observation(life=Life(life), reference="17")


# --- ended --------------------------------------------------------------------------------------------------------


def ended(said: HistoryRow, passed: float | None = 10_000) -> Observation:
    return of_history(said, passed=None if passed is None else timedelta(seconds=passed), at=at(9_999))


def test_an_end_is_charged_by_the_scheduler_s_times() -> None:
    seen = ended(past((10, 70), exit_code=3))
    assert (seen.started_at, seen.ended_at, seen.exit_code) == (at(10), at(70), 3)
    assert (seen.source, seen.estimated, seen.earlier_runs, seen.walltime_over) == ("scheduler", False, (), False)


def test_each_run_of_a_job_that_was_requeued_counts() -> None:
    seen = ended(past((200, 300), (10, 70)))
    assert (seen.started_at, seen.ended_at, seen.earlier_runs) == (at(200), at(300), ((at(10), at(70)),))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({"source": "launcher"}, ("launcher", False), id="launcher"),
        pytest.param({"source": "completion"}, ("scheduler", False), id="completion-file"),
        pytest.param({"source": "last-seen", "estimated": True}, ("scheduler", True), id="last-seen"),
    ],
)
def test_the_books_learn_whose_times_they_are(said: dict[str, Any], expected: tuple[str, bool]) -> None:
    seen = ended(past((10, 70), **said))
    assert (seen.source, seen.estimated) == expected


@pytest.mark.parametrize("word", ["TIMEOUT", "timeout", "DEADLINE"])
def test_the_end_of_the_walltime_is_told_from_other_ends(word: str) -> None:
    assert ended(past((0, 60), scheduler_state=word)).walltime_over
    assert not ended(past((0, 60), scheduler_state="CANCELLED by 0")).walltime_over


def test_a_signal_is_a_negative_code() -> None:
    assert ended(past((0, 60), exit_code=0, signal=9)).exit_code == -9


def test_what_never_ran_has_no_start() -> None:
    seen = ended(past(source="accounting"))
    assert (seen.life, seen.started_at, seen.ended_at, seen.estimated) == (Life.ENDED, None, None, False)


def test_history_that_finds_the_job_alive_after_all_ends_nothing() -> None:
    seen = ended(past(state="running", scheduler_state="RUNNING", started_at=T0))
    assert (seen.life, seen.ended_at) == (Life.RUNNING, None)


def test_nobody_is_charged_for_longer_than_has_passed_whatever_the_site_says() -> None:
    seen = ended(past((-1_000_000, 70)), passed=100)
    assert seen.ended_at - seen.started_at == timedelta(seconds=160)
    assert seen.estimated


moments = st.floats(-T0, 1_000_000_000)


@given(runs=st.lists(st.tuples(moments, moments), max_size=6), passed=st.none() | st.floats(-1_000, 1_000_000))
def test_whatever_a_site_says_the_charge_is_at_most_what_passed(
    runs: list[tuple[float, float]], passed: float | None
) -> None:
    seen = ended(past(*runs), passed)
    spans = [*seen.earlier_runs, *([(seen.started_at, seen.ended_at)] if seen.started_at else [])]
    assert len(spans) == len(runs)
    assert all(start <= end for start, end in spans)
    if passed is not None:
        assert sum((end - start for start, end in spans), timedelta()) <= max(
            timedelta(seconds=passed + 60.001), timedelta()
        )
