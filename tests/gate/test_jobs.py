"""The gate on two real Slurm sites: one job from submit to its end, however that comes."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from spawners.gateway.protocol import ErrorCode, GateRefusal, JobState, Source, Submitted
from tests.support.gate import Gate, new_attempt
from tests.support.slurm import until


def test_a_site_says_what_it_is_and_allows(gate: Gate) -> None:
    before = time.time()
    pong = gate.ping()
    assert pong.dialect == "slurm"
    assert pong.scheduler_version.startswith("slurm")
    assert not pong.drained
    assert pong.limits.partitions == ["notebooks"]
    assert (pong.limits.minutes, pong.limits.cpus, pong.limits.memory_mib) == (120, 8, 16384)
    assert before <= pong.time <= time.time()


def test_a_job_runs_as_its_account_with_a_clean_environment_and_its_secret(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    folder = gate.session_folder(account, attempt)
    done = gate.submit(
        account, attempt, "#!/bin/sh\nid -un; env; stat -c '%a %U %n' .nbfed/sessions/*/secret; cat; sleep 60\n"
    )
    assert not done.existed
    until(lambda: (row := gate.row(attempt)) and row.state is JobState.RUNNING)
    row = gate.row(attempt)
    assert row is not None
    assert (row.job, row.account, row.node) == (done.job, account, gate.site.node)
    assert row.started_at is not None
    assert row.ends_by_at == row.started_at + 600
    until(lambda: (folder / "job.log").exists() and "secret" in (folder / "job.log").read_text())
    log = (folder / "job.log").read_text()
    assert log.startswith(f"{account}\n")
    assert f"600 {account} .nbfed/sessions/{attempt}/secret" in log
    environment = dict(line.split("=", 1) for line in log.splitlines() if "=" in line)
    assert environment["HOME"] == str(folder.parents[2])
    assert environment["SLURM_CONF"] == str(gate.site.configuration)
    assert not {"SLURM_EXPORT_ENV", "BASH_ENV", "SUDO_USER", "SUDO_COMMAND", "SLURM_TIME_FORMAT"} & set(environment)
    assert gate.cancel(done.job, attempt, account)
    until(lambda: (row := gate.row(attempt)) and row.state is JobState.ENDED)
    assert not (folder / "secret").exists()


def test_the_same_attempt_again_is_the_same_job(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    first = gate.submit(account, attempt)
    again = gate.submit(account, attempt)
    assert (first.existed, again.existed) == (False, True)
    assert first.job == again.job
    gate.cancel(first.job, attempt, account)


def test_two_submits_at_the_same_moment_are_one_job(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    request = gate.submission(account, attempt).line()
    with ThreadPoolExecutor(4) as pool:
        answers = [Submitted.parse(line) for line in pool.map(gate.raw, [request] * 4)]
    assert len({answer.job for answer in answers}) == 1
    assert sorted(answer.existed for answer in answers) == [False, True, True, True]
    assert gate.site.job_ids(f"nbfed-{attempt}") == [answers[0].job]
    gate.cancel(answers[0].job, attempt, account)


def test_both_sites_know_their_own_jobs_only(gate: Gate, forgetful_gate: Gate) -> None:
    here, there = new_attempt(), new_attempt()
    first = gate.submit(gate.site.accounts[0], here)
    second = forgetful_gate.submit(forgetful_gate.site.accounts[0], there)
    assert gate.row(here) is not None
    assert gate.row(there) is None
    assert forgetful_gate.row(there) is not None
    gate.cancel(first.job, here, gate.site.accounts[0])
    forgetful_gate.cancel(second.job, there, forgetful_gate.site.accounts[0])


# --- how jobs end -------------------------------------------------------------------------------------------------


def started(gate: Gate, account: str, attempt: str, script: str = "#!/bin/sh\nexec sleep 60\n") -> str:
    """A job that runs."""
    job = gate.submit(account, attempt, script).job
    until(lambda: state_of(gate, attempt) is JobState.RUNNING, what=gate.site.logs())
    return job


def state_of(gate: Gate, attempt: str) -> JobState | None:
    row = gate.row(attempt)
    return row.state if row else None


def test_a_walltime_that_ends_is_in_the_records(gate: Gate) -> None:
    account, attempt = gate.site.accounts[1], new_attempt()
    job = started(gate, account, attempt)
    gate.site.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    until(lambda: state_of(gate, attempt) is JobState.ENDED, 60)
    (past,) = gate.history((job, attempt, account))
    assert past.scheduler_state == "TIMEOUT"
    assert (past.source, past.estimated) == (Source.COMPLETION, False)
    assert [(run.started_at, run.ended_at) for run in past.runs] == [(past.started_at, past.ended_at)]


def test_a_job_that_its_administrator_cancels_ends_with_its_times(gate: Gate) -> None:
    account, attempt = gate.site.accounts[1], new_attempt()
    job = started(gate, account, attempt)
    gate.site.run("scancel", job)
    until(lambda: state_of(gate, attempt) is JobState.ENDED)
    (past,) = gate.history((job, attempt, account))
    assert past.scheduler_state == "CANCELLED"
    assert past.runs
    assert not gate.cancel(job, attempt, account)


def test_a_job_that_ends_by_itself_says_how(gate: Gate) -> None:
    account, attempt = gate.site.accounts[1], new_attempt()
    job = gate.submit(account, attempt, "#!/bin/sh\necho last words >&2\nexit 3\n").job
    until(lambda: state_of(gate, attempt) is JobState.ENDED)
    (past,) = gate.history((job, attempt, account))
    assert (past.scheduler_state, past.exit_code, past.signal) == ("FAILED", 3, 0)
    assert past.log_tail == "last words\n"


def test_a_job_that_waits_and_is_cancelled_never_ran(gate: Gate) -> None:
    account, attempt = gate.site.accounts[1], new_attempt()
    gate.site.run("scontrol", "update", f"NodeName={gate.site.node}", "State=DRAIN", "Reason=mending")
    try:
        job = gate.submit(account, attempt).job
        until(lambda: (row := gate.row(attempt)) and row.reason not in {None, "Priority"})
        row = gate.row(attempt)
        assert row is not None
        assert (row.state, row.started_at, row.node) == (JobState.PENDING, None, None)
        assert (gate.session_folder(account, attempt) / "secret").exists()
        assert gate.cancel(job, attempt, account)
    finally:
        gate.site.run("scontrol", "update", f"NodeName={gate.site.node}", "State=RESUME")
    assert not (gate.session_folder(account, attempt) / "secret").exists()
    (past,) = gate.history((job, attempt, account))
    assert (past.state, past.started_at, past.runs) == (JobState.ENDED, None, [])


def test_a_node_that_is_drained_lets_its_jobs_go_on(gate: Gate) -> None:
    account, attempt = gate.site.accounts[1], new_attempt()
    job = started(gate, account, attempt)
    gate.site.run("scontrol", "update", f"NodeName={gate.site.node}", "State=DRAIN", "Reason=mending")
    try:
        assert state_of(gate, attempt) is JobState.RUNNING
    finally:
        gate.site.run("scontrol", "update", f"NodeName={gate.site.node}", "State=RESUME")
    gate.cancel(job, attempt, account)


def test_a_job_that_the_administrator_starts_again_has_two_runs_in_its_history(gate: Gate) -> None:
    account, attempt = gate.site.accounts[1], new_attempt()
    job = started(gate, account, attempt)
    time.sleep(1.1)  # a run that the scheduler, which counts in seconds, can see
    gate.site.run("scontrol", "update", f"JobId={job}", "Requeue=1")
    gate.site.run("scontrol", "requeue", job)
    until(lambda: gate.history((job, attempt, account))[0].runs, what="the record of the first run")
    (between,) = gate.history((job, attempt, account))
    assert between.state is not JobState.ENDED
    assert between.source is Source.SCHEDULER
    gate.site.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    until(lambda: gate.site.job_state(job) == "RUNNING", 150)
    assert gate.cancel(job, attempt, account)
    until(lambda: state_of(gate, attempt) is JobState.ENDED)
    (past,) = gate.history((job, attempt, account))
    assert len(past.runs) == 2
    assert past.runs[0].ended_at <= past.runs[1].started_at


def test_a_job_that_dies_in_the_prolog_costs_nothing(gate: Gate) -> None:
    account, attempt = gate.site.accounts[1], new_attempt()
    gate.site.set_prolog("exit 1")
    try:
        job = gate.submit(account, attempt).job
        until(lambda: state_of(gate, attempt) is JobState.ENDED)
    finally:
        gate.site.set_prolog("exit 0")
        gate.site.run("scontrol", "update", f"NodeName={gate.site.node}", "State=RESUME")
    (past,) = gate.history((job, attempt, account))
    assert past.scheduler_state in {"CANCELLED", "FAILED", "NODE_FAIL"}
    assert sum(run.ended_at - run.started_at for run in past.runs) <= 1


# --- when the scheduler has forgotten -----------------------------------------------------------------------------


def forgotten(gate: Gate, account: str, script: str) -> tuple[str, str, str]:
    """A job that ended and that the scheduler does not know any more."""
    attempt = new_attempt()
    job = gate.submit(account, attempt, script).job
    until(lambda: gate.row(attempt), what="the job")
    until(lambda: gate.row(attempt) is None, 150, "the scheduler forgets")
    return job, attempt, account


def test_a_forgotten_job_is_found_in_the_completion_file_and_is_not_submitted_again(forgetful_gate: Gate) -> None:
    job, attempt, account = forgotten(forgetful_gate, forgetful_gate.site.accounts[0], "#!/bin/sh\nsleep 1\n")
    (past,) = forgetful_gate.history((job, attempt, account))
    assert (past.source, past.scheduler_state, past.estimated) == (Source.COMPLETION, "COMPLETED", False)
    assert past.runs
    again = forgetful_gate.submit(account, attempt)
    assert (again.job, again.existed) == (job, True)


def test_without_records_the_launcher_says_when_a_forgotten_job_ended(forgetful_gate: Gate) -> None:
    forgetful_gate.change_policy(history="launcher")
    writes = """#!/bin/sh
cd .nbfed/sessions/*%s || exit
echo '{"attempt": "%s", "started_at": 1000.5}' > started.json
echo '{"ended_at": 1060.25, "ran_seconds": 59.75, "exit_code": -15}' > ended.json
"""
    attempts = [new_attempt(), new_attempt()]
    account = forgetful_gate.site.accounts[1]
    scripts = [writes % (attempts[0][-4:], attempts[0]), "#!/bin/sh\necho only a log\n"]
    jobs = [forgetful_gate.submit(account, *pair).job for pair in zip(attempts, scripts, strict=True)]
    until(lambda: all(forgetful_gate.session_folder(account, each).joinpath("job.log").exists() for each in attempts))
    until(lambda: not forgetful_gate.queue().jobs, 150, "the scheduler forgets")
    told, silent, unknown = forgetful_gate.history(
        (jobs[0], attempts[0], account), (jobs[1], attempts[1], account), ("999999", new_attempt(), account)
    )
    assert (told.source, told.estimated, told.exit_code) == (Source.LAUNCHER, False, -15)
    assert [(run.started_at, run.ended_at) for run in told.runs] == [(1000.5, 1060.25)]
    assert (silent.source, silent.estimated, silent.log_tail) == (Source.LAST_SEEN, True, "only a log\n")
    assert silent.ended_at is not None
    assert (unknown.source, unknown.estimated, unknown.ended_at) == (Source.NONE, True, None)


def test_a_controller_that_is_away_is_an_error_and_ends_no_job(forgetful_gate: Gate) -> None:
    account, attempt = forgetful_gate.site.accounts[0], new_attempt()
    job = started(forgetful_gate, account, attempt)
    forgetful_gate.site.stop_controller(signal.SIGKILL)
    try:
        with pytest.raises(GateRefusal) as refused:
            forgetful_gate.queue()
        with pytest.raises(GateRefusal):
            forgetful_gate.submit(account, new_attempt())
    finally:
        forgetful_gate.site.start_controller()
    assert refused.value.error in {ErrorCode.SCHEDULER, ErrorCode.TIMEOUT}
    until(lambda: state_of(forgetful_gate, attempt) is JobState.RUNNING)
    forgetful_gate.cancel(job, attempt, account)
