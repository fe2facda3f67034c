"""OpenPBS and PBS Professional, by what real servers printed; where from: tests/data/dialects/pbs/README.md."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from spawners.gate.acting import Result
from spawners.gate.pbs import Pbs
from spawners.gate.refusal import Refusal
from tests.spawners.gate.recorded import DATA, GIVEN, LOG, NAME, Recorded, person


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PBS prints times of its server's zone."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def printed(name: str) -> Result:
    return Result(0, (DATA / "pbs" / f"{name}.json").read_text(), "")


def jobs(name: str, account: str, **policy: Any) -> list[dict[str, Any]]:
    return Recorded(Pbs, printed(name), **policy).dialect.jobs([person(account)])


def test_a_job_that_runs() -> None:
    (job,) = jobs("running-19.0.0", "jan_brezina")
    assert (job["job"], job["name"]) == ("12860476.meta-pbs.metacentrum.cz", "swrap_01")
    assert (job["state"], job["scheduler_state"], job["node"]) == ("running", "R", "charon24")
    assert job["submitted_at"] == 1664918600
    assert job["started_at"] == 1664918613
    assert job["ends_by_at"] == job["started_at"] + 60
    assert (job["ended_at"], job["exit_code"], job["signal"]) == (None, None, None)


def test_a_job_that_is_held_waits() -> None:
    (job,) = jobs("held-19.0.0", "pbsuser")
    assert (job["state"], job["scheduler_state"], job["started_at"], job["node"]) == ("pending", "H", None, None)


def test_a_job_that_ended() -> None:
    (job,) = jobs("ended-22.05.11", "pbsuser")
    assert (job["state"], job["exit_code"], job["signal"]) == ("ended", 0, 0)
    assert (job["started_at"], job["ended_at"]) == (1665476025, 1665476027)
    assert job["expected_start_at"] is None


@pytest.mark.parametrize(
    ("status", "exit_code", "signal"),
    [("-29", -29, 0), ("265", 0, 9), ("3", 3, 0), ("271", 0, 15), ('"x"', None, None)],
)
def test_an_exit_status_as_number_text_or_signal(status: str, exit_code: int | None, signal: int | None) -> None:
    for written in (status, f'"{status}"') if '"' not in status else (status,):
        output = printed("ended-22.05.11").output.replace('"Exit_status": 0', f'"Exit_status": {written}')
        (job,) = Recorded(Pbs, Result(0, output, "")).dialect.jobs([person("pbsuser")])
        assert (job["exit_code"], job["signal"]) == (exit_code, signal)


def test_without_the_moment_of_the_end_the_length_says_it() -> None:
    output = printed("ended-22.05.11").output.replace('"obittime"', '"x"').replace('"00:00:00"', '"01:00:07"')
    (job,) = Recorded(Pbs, Result(0, output, "")).dialect.jobs([person("pbsuser")])
    assert job["ended_at"] == job["started_at"] + 3607


def test_other_peoples_jobs_are_left_out_and_little_is_enough() -> None:
    assert jobs("running-19.0.0", "alice") == []
    assert jobs("ended-2022.0.0", "alice") == []


def test_a_server_without_jobs_has_none() -> None:
    assert jobs("away-22.05.11", "alice") == []


def test_a_server_that_is_away_says_nothing_about_any_job() -> None:
    said = "Connection refused\nqstat: cannot connect to server 6cfab3a0b8ac (errno=15010)"
    away = Result(255, printed("away-22.05.11").output, said)
    with pytest.raises(Refusal) as refused:
        Recorded(Pbs, away).dialect.jobs([person("alice")])
    assert refused.value.code == "scheduler"
    assert "cannot connect to server" in refused.value.detail


@pytest.mark.parametrize("output", ['{"Jobs"', '{"Jobs": []}', '{"Jobs": {"1.a": {}}}', '{"Jobs": {"1.a": 5}}'])
def test_what_cannot_be_read_is_no_empty_list(output: str) -> None:
    with pytest.raises(Refusal):
        Recorded(Pbs, Result(0, output, "")).dialect.jobs([person("alice")])


@pytest.mark.parametrize(("history", "words"), [("accounting", ["-x"]), ("launcher", [])])
def test_there_is_one_question_whatever_the_number_of_people(history: str, words: list[str]) -> None:
    recorded = Recorded(Pbs, printed("running-19.0.0"), history=history)
    recorded.dialect.jobs([person("alice"), person("bob"), person("jan_brezina")])
    assert recorded.asked == [["qstat", *words, "-f", "-F", "json"]]


def test_submit_makes_each_word_and_lets_no_line_of_the_script_be_one() -> None:
    recorded = Recorded(Pbs, Result(0, "1063.725ccdf1a5fb\n", ""), options=["-V"])
    given = {**GIVEN, "gpus": 2, "partition": "workq", "account": "physics"}
    assert recorded.dialect.submit(person("alice"), NAME, LOG, given, "#!/bin/sh\n") == "1063.725ccdf1a5fb"
    assert recorded.asked == [
        ["qsub", "-N", NAME, "-C", "", "-l", "select=1:ncpus=4:mem=2048mb:ngpus=2", "-l", "walltime=1:30:00", "-r", "n",
         "-m", "n", "-j", "oe", "-o", f"/home/alice/{LOG}", "-W", "umask=0077", "-q", "workq", "-A", "physics", "-V"]
    ]  # fmt: skip
    assert recorded.texts == ["#!/bin/sh\n"]


def test_a_reservation_is_a_queue() -> None:
    recorded = Recorded(Pbs, Result(0, "7.s\n", ""))
    recorded.dialect.submit(
        person("a"), NAME, LOG, {**GIVEN, "partition": "workq", "reservation": "R12"}, "#!/bin/sh\n"
    )
    assert recorded.asked[0][-2:] == ["-q", "R12"]


@pytest.mark.parametrize(
    "answer", [Result(0, "no id here", ""), Result(1, "", "qsub: Unknown queue"), Result(0, "", "")]
)
def test_a_submit_without_an_id_failed(answer: Result) -> None:
    with pytest.raises(Refusal):
        Recorded(Pbs, answer).dialect.submit(person("alice"), NAME, LOG, GIVEN, "#!/bin/sh\n")


def test_cancel_and_version() -> None:
    recorded = Recorded(
        Pbs, Result(0, "", ""), Result(0, "pbs_version = 18.2.3.20181206140456\n", ""), Result(35, "", "x")
    )
    recorded.dialect.cancel(person("alice"), "7.s", NAME)
    assert recorded.dialect.version() == "pbs_version = 18.2.3.20181206140456"
    with pytest.raises(Refusal):
        recorded.dialect.cancel(person("alice"), "7.s", NAME)
    assert recorded.asked == [["qdel", "7.s"], ["qstat", "--version"], ["qdel", "7.s"]]


def test_the_past_is_in_the_servers_history() -> None:
    asked = [{"job": "0.725ccdf1a5fb", "attempt": "a", "account": "pbsuser"}]
    recorded = Recorded(Pbs, printed("ended-22.05.11"))
    (job,) = recorded.dialect.past(asked, {"pbsuser": person("pbsuser")})
    assert (job["state"], job["ended_at"]) == ("ended", 1665476027)
