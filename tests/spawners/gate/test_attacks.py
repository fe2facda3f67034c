"""What somebody may try who has the hub, the robot's key, or an account at the site. Real sites, one case each."""

import json
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from spawners.gateway.protocol import LARGEST_REQUEST_BYTES, Answer, ErrorCode, GateRefusal, JobState, Source
from spawners.site_files import PROGRAM, ROBOT
from tests.support.gate import Gate, new_attempt
from tests.support.missing import skip_or_fail
from tests.support.slurm import HOMES, until


def refusal(answer: bytes) -> ErrorCode:
    with pytest.raises(GateRefusal) as refused:
        Answer.parse(answer)
    return refused.value.error


def submission(gate: Gate, account: str, attempt: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gate.submission(account, attempt).line())
    return content


def as_account(account: str, *argv: str) -> None:
    """What a person does by themselves at the site."""
    person = pwd.getpwnam(account)
    subprocess.run(argv, user=person.pw_uid, group=person.pw_gid, extra_groups=[], cwd=person.pw_dir, check=True)


WORDS = ["x; rm -rf ~", "x\n--uid=0", "$(touch pwned)", "`id`", "-x", "--uid=root", "a,b", "a b", "../a", "ü", "x" * 65, "",
         "notebooks\n", "\x00", 7, ["notebooks"], {"a": 1}, True]  # fmt: skip


@pytest.mark.parametrize("word", WORDS, ids=ascii)
@pytest.mark.parametrize("key", ["partition", "account", "reservation"])
def test_a_name_cannot_carry_options_or_commands(gate: Gate, key: str, word: object) -> None:
    attempt = new_attempt()
    asked = submission(gate, gate.site.accounts[0], attempt)
    asked["resources"][key] = word
    assert refusal(gate.raw(json.dumps(asked).encode())) is ErrorCode.BAD_REQUEST
    assert not gate.session_folder(gate.site.accounts[0], attempt).exists()


@pytest.mark.parametrize("key", ["attempt", "account", "secret"])
@pytest.mark.parametrize(
    "text", ["../../etc", "..", "/etc/passwd", "a/b", "$(id)", "root\n", "-r", "\u202e", "x" * 600]
)
def test_no_text_of_a_request_leads_out_of_its_place(gate: Gate, key: str, text: str) -> None:
    asked = {**submission(gate, gate.site.accounts[0], new_attempt()), key: text}
    answer = gate.raw(json.dumps(asked).encode())
    assert refusal(answer) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\n#SBATCH --time=99\nsleep 1\n",
        "#!/bin/sh\n  # sbatch --array=1-9\n",
        "#!/bin/sh\n#PBS -l walltime=99:00:00\n",
        "#!/bin/sh\n#$ -l h_rt=99:00:00\n",
        "#!/bin/sh\r#SBATCH --time=99\n",
        "#!/bin/sh\u2028#SBATCH --time=99\n",
        "#!/bin/sh\x0b#SBATCH --time=99\n",
        "#!/bin/sh\n\ufeff#SBATCH --time=99\n",
        "#!/bin/sh\x00",
        "echo no interpreter\n",
        "#!/bin/sh\n" + "#" * 70_000,
    ],
    ids=ascii,
)
def test_a_script_brings_no_options_along(gate: Gate, script: str) -> None:
    asked = {**submission(gate, gate.site.accounts[0], new_attempt()), "script": script}
    assert refusal(gate.raw(json.dumps(asked).encode())) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("verb", ["shell", "exec", "__init__", "answer", "", "PING", None, 5, ["ping"]])
def test_there_are_five_verbs(gate: Gate, verb: object) -> None:
    assert refusal(gate.raw(json.dumps({"v": 1, "id": "t", "verb": verb}).encode())) is ErrorCode.BAD_VERB


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"[]", b"null", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'{"v": 2, "verb": "ping", "id": "t"}',
             b'{"v": true, "verb": "ping", "id": "t"}', b'{"v": 1, "verb": "ping", "id": "t", "more": 1}'],
)  # fmt: skip
def test_what_is_no_request_gets_an_answer(gate: Gate, text: bytes) -> None:
    assert refusal(gate.raw(text)) is ErrorCode.BAD_REQUEST


def test_a_request_that_is_too_big_is_not_read_to_its_end(gate: Gate) -> None:
    process = gate.start()
    assert process.stdin
    endless = (process.stdin.write(b"x" * LARGEST_REQUEST_BYTES) for _ in range(200))
    with pytest.raises(BrokenPipeError):
        sum(endless)
    assert process.stdout
    assert refusal(process.stdout.read()) is ErrorCode.TOO_BIG
    process.stdin = None
    process.wait(30)


@pytest.mark.parametrize("account", ["root", "daemon", "munge", ROBOT, "nobody-at-all"])
def test_only_people_on_the_list_are_acted_for(gate: Gate, account: str) -> None:
    asked = json.dumps(submission(gate, account, new_attempt())).encode()
    assert refusal(gate.raw(asked)) is ErrorCode.NOT_MAPPED
    if account != ROBOT:
        gate.write("accounts", f"{account}\n")
        assert refusal(gate.raw(asked)) is ErrorCode.NOT_MAPPED


def test_the_robot_may_call_the_gate_and_nothing_else(gate: Gate) -> None:
    person = pwd.getpwnam(ROBOT)
    program = str(gate.folder / PROGRAM)
    for argv in ([program, "--help"], ["/bin/sh", "-c", "id"], ["-u", gate.site.accounts[0], program], ["-E", program],
                 ["SLURM_CONF=/tmp/x", program], ["-s"]):  # fmt: skip
        done = subprocess.run(
            ["sudo", "-n", *argv], user=person.pw_uid, group=person.pw_gid, extra_groups=[], input=b"", cwd="/",
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0, argv
        assert not done.stdout, argv


def test_an_account_that_logs_in_itself_acts_for_itself_alone(gate: Gate) -> None:
    mine, other = gate.site.accounts[:2]
    attempt = new_attempt()
    job = gate.submit(other, attempt).job
    assert [row.account for row in gate.queue(by=mine).jobs if row.account != mine] == []
    assert refusal(gate.raw(gate.submission(other, new_attempt()).line(), by=mine)) is ErrorCode.NOT_MAPPED
    with pytest.raises(GateRefusal):
        gate.cancel(job, attempt, other, by=mine)
    own = new_attempt()
    answer = json.loads(gate.raw(gate.submission(mine, own).line(), by=mine))
    assert answer["ok"]
    assert own in [row.attempt for row in gate.queue(by=mine).jobs]
    assert gate.cancel(answer["job"], own, mine, by=mine)
    gate.cancel(job, attempt, other)


def test_somebody_elses_job_is_not_cancelled_by_its_id(gate: Gate) -> None:
    mine, other = gate.site.accounts[:2]
    theirs, attempt = new_attempt(), new_attempt()
    job = gate.submit(other, theirs).job
    own = gate.submit(mine, attempt).job
    assert not gate.cancel(job, theirs, mine)
    assert not gate.cancel(job, attempt, mine)
    assert not gate.cancel(own, theirs, mine)
    assert not gate.cancel(own, theirs, other)
    for one in (job, own):
        assert gate.site.job_state(one) in {"PENDING", "RUNNING"}
    gate.cancel(job, theirs, other)
    gate.cancel(own, attempt, mine)


def test_a_session_file_of_somebody_else_is_not_handed_on(gate: Gate) -> None:
    mine, other = gate.site.accounts[:2]
    attempt = new_attempt()
    job = gate.submit(mine, attempt).job
    until(lambda: (row := gate.row(attempt)) and row.state is JobState.RUNNING)
    session = json.dumps({"node": "127.0.0.1", "port": 22, "proof": "0" * 64})
    as_account(other, "mkdir", "-p", f".nbfed/sessions/{attempt}")
    as_account(other, "sh", "-c", f"echo '{session}' > .nbfed/sessions/{attempt}/session.json")
    row = gate.row(attempt)
    assert row is not None
    assert (row.account, row.session) == (mine, None)
    as_account(mine, "sh", "-c", f"echo '{session}' > .nbfed/sessions/{attempt}/session.json")
    row = gate.row(attempt)
    assert row is not None
    assert row.session is not None
    assert row.session.port == 22
    gate.cancel(job, attempt, mine)


@pytest.mark.parametrize("step", [".nbfed", ".nbfed/sessions", ".nbfed/sessions/ATTEMPT"])
def test_a_folder_that_is_a_link_is_not_followed(gate: Gate, step: str, tmp_path: Path) -> None:
    account, attempt = gate.site.accounts[2], new_attempt()
    home, target = HOMES / account, HOMES / gate.site.accounts[1] / "target"
    shutil.rmtree(home / ".nbfed", ignore_errors=True)
    path = home / step.replace("ATTEMPT", attempt)
    as_account(account, "mkdir", "-p", str(path.parent))
    as_account(account, "ln", "-s", str(target), str(path))
    try:
        assert refusal(gate.raw(gate.submission(account, attempt).line())) is ErrorCode.STAGE
        assert not target.exists()
        assert gate.site.job_ids(f"nbfed-{attempt}") == []
    finally:
        path.unlink()
        shutil.rmtree(home / ".nbfed", ignore_errors=True)


def test_a_folder_that_others_prepared_or_can_write_to_is_refused(gate: Gate) -> None:
    account = gate.site.accounts[2]
    folder = HOMES / account / ".nbfed"
    for prepare in (
        lambda: os.chown(folder, pwd.getpwnam(gate.site.accounts[1]).pw_uid, -1),
        lambda: folder.chmod(0o777),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        as_account(account, "mkdir", ".nbfed")
        folder.chmod(0o755)
        prepare()
        assert refusal(gate.raw(gate.submission(account, new_attempt()).line())) is ErrorCode.STAGE
    shutil.rmtree(folder)


def test_files_that_are_links_pipes_or_huge_say_nothing_and_hang_nothing(gate: Gate) -> None:
    account, attempt = gate.site.accounts[2], new_attempt()
    shutil.rmtree(HOMES / account / ".nbfed", ignore_errors=True)
    job = gate.submit(account, attempt).job
    until(lambda: (row := gate.row(attempt)) and row.state is JobState.RUNNING)
    inside = f".nbfed/sessions/{attempt}"
    as_account(account, "mkfifo", f"{inside}/session.json")
    as_account(account, "ln", "-sf", "/etc/shadow", f"{inside}/ended.json")
    as_account(account, "rm", "-f", f"{inside}/job.log")
    as_account(account, "ln", "-s", "/etc/passwd", f"{inside}/job.log")
    as_account(account, "truncate", "-s", "10G", f"{inside}/started.json")
    row = gate.row(attempt)
    assert row is not None
    assert (row.session, row.end) == (None, None)
    (past,) = gate.history((job, attempt, account))
    assert past.log_tail == ""
    gate.cancel(job, attempt, account)


def test_the_name_of_a_job_cannot_forge_a_row(gate: Gate) -> None:
    mine, other = gate.site.accounts[:2]
    attempt = new_attempt()
    job = gate.submit(mine, attempt).job
    row = f"{job}|{pwd.getpwnam(mine).pw_uid}|COMPLETED|None|1|1|2|n1|nbfed-{attempt}"
    name = f"x\n{row}\n{row.replace('|', '@')}"
    env = {**os.environ, **gate.site.environment}
    person = pwd.getpwnam(other)
    subprocess.run(
        ["sbatch", f"--job-name={name}", "--output=/dev/null", "--mem=10", "--wrap=sleep 5"],
        user=person.pw_uid, group=person.pw_gid, extra_groups=[], cwd=person.pw_dir, env=env, check=True,
    )  # fmt: skip
    rows = [each for each in gate.queue().jobs if each.attempt == attempt]
    assert [(each.job, each.state is JobState.ENDED) for each in rows] == [(job, False)]
    gate.cancel(job, attempt, mine)


def test_whatever_lies_in_the_folder_a_cancel_is_told_as_it_is(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    job = gate.submit(account, attempt).job
    as_account(account, "rm", f".nbfed/sessions/{attempt}/secret")
    as_account(account, "mkdir", f".nbfed/sessions/{attempt}/secret", f".nbfed/sessions/{attempt}/cancelled")
    assert gate.cancel(job, attempt, account)
    until(lambda: (row := gate.row(attempt)) and row.state is JobState.ENDED)


def test_no_secret_is_where_others_can_see_it(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    asked = gate.submission(account, attempt)
    job = json.loads(gate.raw(asked.line()))["job"]
    shown = gate.site.run("scontrol", "show", "job", "-dd", job) + gate.site.run("squeue", "--format=%all")
    shown += gate.site.run("scontrol", "write", "batch_script", job, "-") + gate.log.read_text()
    assert attempt in shown
    assert asked.secret not in shown
    secret = gate.session_folder(account, attempt) / "secret"
    assert secret.read_text() == asked.secret
    assert secret.stat().st_mode & 0o777 == 0o600
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in (secret.parent, secret.parents[1], secret.parents[2]))
    gate.cancel(job, attempt, account)


@pytest.mark.parametrize("name", ["policy.json", "accounts", "."])
def test_a_policy_that_others_can_change_is_none(gate: Gate, name: str) -> None:
    path = gate.folder / name
    mode = path.stat().st_mode
    path.chmod(mode | 0o002)
    try:
        answer = gate.raw(gate.submission(gate.site.accounts[0], new_attempt()).line())
        assert refusal(answer) is ErrorCode.INTERNAL
    finally:
        path.chmod(mode)


def test_a_full_disk_in_the_home_starts_nothing(gate: Gate) -> None:
    account, attempt = gate.site.accounts[2], new_attempt()
    folder = HOMES / account / ".nbfed"
    shutil.rmtree(folder, ignore_errors=True)
    as_account(account, "mkdir", ".nbfed")
    person = pwd.getpwnam(account)
    options = f"size=32k,mode=700,uid={person.pw_uid},gid={person.pw_gid}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False).returncode != 0:
        skip_or_fail("no file system can be mounted here")
    try:
        as_account(account, "mkdir", "-p", f".nbfed/sessions/{attempt}")
        as_account(account, "sh", "-c", "dd if=/dev/zero of=.nbfed/filling bs=1k 2>/dev/null || true")
        assert refusal(gate.raw(gate.submission(account, attempt).line())) is ErrorCode.STAGE
        assert gate.site.job_ids(f"nbfed-{attempt}") == []
        as_account(account, "rm", ".nbfed/filling")
        done = gate.submit(account, attempt)
        assert not done.existed
        gate.cancel(done.job, attempt, account)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_record_that_somebody_forged_charges_nobody(gate: Gate) -> None:
    mine, other = gate.site.accounts[:2]
    attempt = new_attempt()
    job = gate.submit(mine, attempt, "#!/bin/sh\nsleep 2\n").job
    until(lambda: (row := gate.row(attempt)) and row.state is JobState.ENDED)
    (true,) = gate.history((job, attempt, mine))
    assert true.source is Source.COMPLETION
    record = next(line for line in gate.site.completed_jobs.read_text().splitlines() if f"JobId={job} " in line)
    forged = re.sub(r"EndTime=\d{4}", "EndTime=2099", record)
    person = pwd.getpwnam(other)
    submitted = subprocess.run(
        ["sbatch", "--parsable", f"--job-name=x\n{forged}\ny", "--output=/dev/null", "--mem=10", "--wrap=true"],
        user=person.pw_uid, group=person.pw_gid, extra_groups=[], cwd=person.pw_dir, check=True, capture_output=True,
        text=True, env={**os.environ, **gate.site.environment},
    )  # fmt: skip
    assert submitted.stdout.strip().isdigit()
    until(lambda: "EndTime=2099" in gate.site.completed_jobs.read_text(), what="the forged record")
    (past,) = gate.history((job, attempt, mine))
    assert past.source is Source.SCHEDULER
    assert [(run.started_at, run.ended_at) for run in past.runs] == [(true.started_at, true.ended_at)]
