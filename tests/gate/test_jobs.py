"""The gate on two real Slurm sites: one job from submit to its end, however that comes."""

import time
from concurrent.futures import ThreadPoolExecutor

from spawners.gateway.protocol import JobState, Submitted
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
