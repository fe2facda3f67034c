"""Grid Engine, by what real installations printed; where from: tests/data/dialects/gridengine/README.md."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from spawners.gate.acting import Result
from spawners.gate.gridengine import GridEngine
from spawners.gate.policy import DEFAULTS
from spawners.gate.refusal import Refusal
from tests.spawners.gate.recorded import DATA, GIVEN, LOG, NAME, Recorded, person

NAMES = DEFAULTS["names"]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Grid Engine prints local times."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def printed(name: str) -> Result:
    return Result(0, (DATA / "gridengine" / name).read_text(), "")


def recorded(*answers: Result, **policy: Any) -> Recorded:
    return Recorded(GridEngine, *answers, names=NAMES, **policy)


@pytest.mark.parametrize(
    ("file", "started_at", "node", "account", "submitted_at"),
    [
        ("qstat-sge.xml", 1276904364, "ip-10-196-142-180.ec2.internal", "root", 1276904354),
        ("qstat-son-of-ge.xml", 1545392880, "pipeline-38415", "someUser", 1545395978),
    ],
)
def test_a_job_that_runs_and_one_that_waits(
    file: str, started_at: int, node: str, account: str, submitted_at: int
) -> None:
    running, waiting = recorded(printed(file)).dialect.jobs([person("root"), person("someUser")])
    assert (running["job"], running["state"], running["scheduler_state"]) == ("1", "running", "r")
    assert (running["account"], running["started_at"], running["node"]) == ("root", started_at, node)
    assert (waiting["state"], waiting["scheduler_state"], waiting["account"]) == ("pending", "qw", account)
    assert (waiting["submitted_at"], waiting["started_at"], waiting["node"]) == (submitted_at, None, None)


@pytest.mark.parametrize(
    ("letters", "state"),
    [("qw", "pending"), ("hqw", "pending"), ("Eqw", "pending"), ("r", "running"), ("t", "running"), ("Rr", "running"),
     ("dr", "running"), ("S", "running"), ("dt", "running"), ("xyz", "running")],
)  # fmt: skip
def test_only_what_waits_waits(letters: str, state: str) -> None:
    output = printed("qstat-sge.xml").output.replace("<state>r</state>", f"<state>{letters}</state>")
    job = recorded(Result(0, output, "")).dialect.jobs([person("root")])[0]
    assert job["state"] == state
    assert (job["reason"] is not None) == letters.startswith("E")


def test_there_is_one_question_for_all_people_and_none_for_nobody() -> None:
    asked = recorded(printed("qstat-sge.xml"))
    assert asked.dialect.jobs([person("alice"), person("bob")]) == []
    assert asked.dialect.jobs([]) == []
    assert asked.asked == [["qstat", "-u", "alice,bob", "-xml"]]


@pytest.mark.parametrize(
    "answer", [Result(1, "", "error: commlib error: got select error"), Result(0, "", ""), Result(0, "<job_info>", "")]
)
def test_a_master_that_is_away_says_nothing_about_any_job(answer: Result) -> None:
    with pytest.raises(Refusal) as refused:
        recorded(answer).dialect.jobs([person("alice")])
    assert refused.value.code == "scheduler"


def test_submit_makes_each_word_and_lets_no_line_of_the_script_be_one() -> None:
    asked = recorded(Result(0, "4711\n", ""), options=["-notify"])
    given = {**GIVEN, "memory_mib": 2050, "gpus": 1, "partition": "main.q", "account": "physics", "reservation": "12"}
    assert asked.dialect.submit(person("alice"), NAME, LOG, given, "#!/bin/bash -l\n") == "4711"
    assert asked.asked == [
        ["qsub", "-terse", "-N", NAME, "-C", "", "-S", "/bin/bash", "-r", "n", "-m", "n", "-j", "y", "-wd", "/home/alice",
         "-o", f"/home/alice/{LOG}", "-l", "h_rt=5400", "-l", "h_vmem=513M", "-pe", "smp", "4", "-l", "gpu=1",
         "-q", "main.q", "-P", "physics", "-ar", "12", "-notify"]
    ]  # fmt: skip
    assert asked.texts == ["#!/bin/bash -l\n"]


def test_one_core_needs_no_parallel_environment() -> None:
    asked = recorded(Result(0, "1\n", ""))
    asked.dialect.submit(person("alice"), NAME, LOG, {**GIVEN, "cpus": 1}, "#!/bin/sh\n")
    assert "-pe" not in asked.asked[0]


def test_an_interpreter_that_is_no_path_is_refused() -> None:
    asked = recorded()
    with pytest.raises(Refusal) as refused:
        asked.dialect.submit(person("alice"), NAME, LOG, GIVEN, "#!/$(id)\n")
    assert refused.value.code == "bad-request"
    assert asked.asked == []


@pytest.mark.parametrize(
    "answer", [Result(0, 'Your job 1 ("x") has been submitted', ""), Result(1, "", "Unable to run")]
)
def test_a_submit_without_an_id_failed(answer: Result) -> None:
    with pytest.raises(Refusal):
        recorded(answer).dialect.submit(person("alice"), NAME, LOG, GIVEN, "#!/bin/sh\n")


@pytest.mark.parametrize(
    ("file", "job", "account", "started_at", "ended_at", "node"),
    [
        ("qacct-sge.txt", "2", "root", 1279217921, 1279217981, "domU-12-31-38-00-A6-41.compute-1.internal"),
        ("qacct-son-of-ge.txt", "92500", "lcollado", 1567867216, 1567867259, "compute-089.cm.cluster"),
        ("qacct-uge.txt", "2701173", "s1919303", 1591881757.680, 1591882071.952, "node1c17.ecdf.ed.ac.uk"),
    ],
)
def test_the_records_of_three_versions(
    file: str, job: str, account: str, started_at: float, ended_at: float, node: str
) -> None:
    asked = recorded(printed(file))
    record = asked.dialect.past([{"job": job, "attempt": "a", "account": account}], {account: person(account)})[0]
    assert (record["job"], record["state"], record["node"]) == (job, "ended", node)
    assert (record["started_at"], record["ended_at"]) == (pytest.approx(started_at), pytest.approx(ended_at))
    assert (record["exit_code"], record["signal"]) == (0, 0)
    assert asked.asked == [["qacct", "-j", job]]


def test_a_signal_is_told_from_an_exit_code() -> None:
    output = printed("qacct-uge.txt").output.replace("exit_status  0", "exit_status  137 (Killed)")
    asked = recorded(Result(0, output, ""))
    (record,) = asked.dialect.past(
        [{"job": "2701173", "attempt": "a", "account": "s1919303"}], {"s1919303": person("s1919303")}
    )
    assert (record["exit_code"], record["signal"]) == (0, 9)


def test_a_job_without_a_record_has_none_and_no_accounting_is_an_error() -> None:
    job = {"job": "7", "attempt": "a", "account": "alice"}
    assert recorded(Result(1, "", "error: job id 7 not found")).dialect.past([job], {"alice": person("alice")}) == []
    with pytest.raises(Refusal):
        recorded(Result(1, "", "error: no accounting file")).dialect.past([job], {"alice": person("alice")})


def test_cancel_and_version() -> None:
    asked = recorded(Result(0, "", ""), Result(1, "SGE 8.1.9\nusage: qstat [options]\n", ""), Result(1, "denied", ""))
    asked.dialect.cancel(person("alice"), "7", NAME)
    assert asked.dialect.version() == "SGE 8.1.9"
    with pytest.raises(Refusal):
        asked.dialect.cancel(person("alice"), "7", NAME)
    assert [words[0] for words in asked.asked] == ["qdel", "qstat", "qdel"]
