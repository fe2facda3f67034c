"""History on a site with real accounting (slurmdbd): records outlive the scheduler's memory, and are asked for first."""

import time
from collections.abc import Iterator

import pytest

from spawners.gateway.protocol import ErrorCode, GateRefusal, JobState, Source
from tests.support.gate import Gate, new_attempt
from tests.support.slurm import until
from tests.support.slurm_accounting import AccountedSite


@pytest.fixture(scope="module")
def gate(accounted_site: AccountedSite) -> Iterator[Gate]:
    made = Gate(accounted_site, accounted_site.folder / "gate")
    yield made
    made.remove()


def test_the_records_of_a_job_that_the_scheduler_forgot(gate: Gate) -> None:
    account, attempt, waiting = gate.site.accounts[0], new_attempt(), new_attempt()
    job = gate.submit(account, attempt, "#!/bin/sh\nsleep 2\nexit 3\n").job
    gate.site.run("scontrol", "update", f"NodeName={gate.site.node}", "State=DRAIN", "Reason=test")
    never = gate.submit(account, waiting).job
    assert gate.cancel(never, waiting, account)
    gate.site.run("scontrol", "update", f"NodeName={gate.site.node}", "State=RESUME")
    until(lambda: gate.queue().jobs == [], 150, "the scheduler forgets")
    keys = ((job, attempt, account), (never, waiting, account), (job, waiting, account))
    until(lambda: all(row.source is Source.ACCOUNTING for row in gate.history(*keys[:2])), what="the records")
    past, unstarted, wrong = gate.history(*keys)
    assert (past.scheduler_state, past.exit_code, past.signal, past.estimated) == ("FAILED", 3, 0, False)
    assert [run.ended_at - run.started_at for run in past.runs] == [pytest.approx(2, abs=2)]
    assert past.submitted_at is None or past.submitted_at <= past.runs[0].started_at
    assert (unstarted.state, unstarted.started_at, unstarted.runs) == (JobState.ENDED, None, [])
    assert unstarted.scheduler_state.startswith("CANCELLED")
    assert wrong.source is Source.LAST_SEEN or wrong.source is Source.NONE


def test_both_runs_of_a_job_that_was_started_again(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    job = gate.submit(account, attempt).job
    until(lambda: gate.site.job_state(job) == "RUNNING")
    time.sleep(1.1)
    gate.site.start_again(job)
    time.sleep(1.1)
    assert gate.cancel(job, attempt, account)
    key = (job, attempt, account)
    until(lambda: gate.history(key)[0].state is JobState.ENDED and len(gate.history(key)[0].runs) == 2, 60)
    (past,) = gate.history(key)
    assert past.source is Source.ACCOUNTING
    assert past.runs[0].ended_at <= past.runs[1].started_at


def test_accounting_that_is_away_is_an_error_and_no_poorer_source_is_taken(
    accounted_site: AccountedSite, gate: Gate
) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    job = gate.submit(account, attempt).job
    accounted_site.stop_accounting()
    try:
        with pytest.raises(GateRefusal) as refused:
            gate.history((job, attempt, account))
        assert gate.row(attempt) is not None
    finally:
        accounted_site.start_accounting()
    assert refused.value.error in {ErrorCode.SCHEDULER, ErrorCode.TIMEOUT}
    gate.cancel(job, attempt, account)
