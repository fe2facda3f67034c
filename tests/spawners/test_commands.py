"""`nbfed sessions`: what is open, what ended and why, and what a reference stands for."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from federation.ids import new_id, reference
from federation.persons import Person
from spawners.sessions import Server, Sessions
from spawners.tables import EndReason
from tests.hub_config.test_cli import Commands

SECRET = "5ec2e7" * 10


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands(tmp_path, monkeypatch)
    yield commands
    commands.close()


@pytest.fixture
def ana(nbfed: Commands) -> Person:
    return nbfed.person("ana")


def intend(nbfed: Commands, person: Person, server: str = "", site: str = "here") -> str:
    attempt = new_id()
    nbfed.now += timedelta(seconds=1)
    nbfed.house.sessions.intend(
        attempt=attempt, server=Server("hub", person.user_name, server), person_id=person.id, site=site,
        flavour="small", environment="python", options={}, secret_hash=SECRET,
    )  # fmt: skip
    return attempt


def run(nbfed: Commands, attempt: str) -> Sessions:
    """It answers, a second after it was submitted."""
    sessions = nbfed.house.sessions
    sessions.submitted(attempt, "1")
    nbfed.now += timedelta(seconds=1)
    sessions.located(attempt, host="127.0.0.1", port=4321, started_at=nbfed.now)
    sessions.answered(attempt)
    return sessions


def end(nbfed: Commands, attempt: str, reason: EndReason, detail: str = "") -> None:
    nbfed.now += timedelta(seconds=1)
    nbfed.house.sessions.ending(attempt, reason, detail)
    nbfed.house.sessions.ended(attempt, started_at=None, ended_at=nbfed.now)


def rows(nbfed: Commands, *options: str) -> list[list[str]]:
    """The cells of the table, without its header."""
    answer = nbfed("sessions", *options)
    assert answer.exit_code == 0
    return [re.split(" {2,}", line) for line in answer.stdout.splitlines()[1:]]


def test_open_sessions_are_shown_newest_first_with_their_state(nbfed: Commands, ana: Person) -> None:
    intent = intend(nbfed, ana, "first")
    submitted = intend(nbfed, ana, "second")
    nbfed.house.sessions.submitted(submitted, "1")
    running = intend(nbfed, ana)
    run(nbfed, running)
    ending = intend(nbfed, ana, "fourth")
    run(nbfed, ending).ending(ending, EndReason.IDLE)
    end(nbfed, intend(nbfed, ana, "fifth"), EndReason.STOPPED)
    name = ana.user_name
    assert rows(nbfed) == [
        [reference(ending), name, "fourth", "here", "small", "ending", "2026-11-23T10:00:06Z", "idle"],
        [reference(running), name, "(default)", "here", "small", "running", "2026-11-23T10:00:04Z", "-"],
        [reference(submitted), name, "second", "here", "small", "submitted", "2026-11-23T10:00:02Z", "-"],
        [reference(intent), name, "first", "here", "small", "intent", "2026-11-23T10:00:01Z", "-"],
    ]


def test_a_person_and_a_site_can_be_asked_for(nbfed: Commands, ana: Person) -> None:
    bob = nbfed.person("bob")
    of_ana, of_bob = intend(nbfed, ana), intend(nbfed, bob, site="there")
    assert [row[0] for row in rows(nbfed, "--person", "ana")] == [reference(of_ana)]
    assert [row[0] for row in rows(nbfed, "--site", "there")] == [reference(of_bob)]
    answer = nbfed("sessions", "--person", "ana", "--site", "there")
    assert answer.exit_code == 0
    assert answer.stdout == f"No open sessions of {ana.user_name} on 'there'; --all shows ended ones, too.\n"


def test_all_adds_the_last_fifty_that_ended_after_the_open_ones(nbfed: Commands, ana: Person) -> None:
    ended = [intend(nbfed, ana, f"s{number}") for number in range(52)]
    for attempt in ended:
        end(nbfed, attempt, EndReason.QUOTA)
    opened = intend(nbfed, ana)
    shown = rows(nbfed, "--all")
    assert [row[0] for row in shown] == [reference(opened), *(reference(attempt) for attempt in ended[:1:-1])]
    assert {(row[5], row[7]) for row in shown[1:]} == {("ended", "quota")}
    assert len(rows(nbfed)) == 1


def test_without_sessions_it_says_so(nbfed: Commands, ana: Person) -> None:
    assert "No open sessions" in nbfed("sessions").stdout
    assert nbfed("sessions", "--all").stdout == "No sessions.\n"


def test_a_reference_leads_to_everything_but_secrets(nbfed: Commands, ana: Person) -> None:
    attempt = intend(nbfed, ana, "deep")
    intend(nbfed, ana, "other")
    run(nbfed, attempt)
    end(nbfed, attempt, EndReason.EXITED, "exit code 9\x1b[2J")
    answer = nbfed("sessions", "--reference", reference(attempt))
    facts = dict(re.split(": +", line, maxsplit=1) for line in answer.stdout.splitlines())
    assert facts["attempt"] == attempt
    assert facts["person"] == f"{ana.user_name} (id {ana.id})"
    assert facts["server"] == "deep on hub"
    assert facts["address"] == "127.0.0.1:4321"
    assert (facts["state"], facts["ended because"], facts["detail"]) == ("ended", "exited", "exit code 9\\x1b[2J")
    assert facts["exchanged"] == "-"
    assert SECRET not in answer.output


def test_a_reference_is_found_however_it_was_read_out(nbfed: Commands, ana: Person) -> None:
    attempts = [intend(nbfed, ana, f"s{number}") for number in range(30)]
    misread = str.maketrans("OIB", "018")
    for attempt in attempts:
        for code in (reference(attempt).lower(), f" {reference(attempt).translate(misread)} "):
            assert attempt in nbfed("sessions", "--reference", code).stdout


@pytest.mark.parametrize("code", ["AAAAAAAA", "", "%", "\x1b[2J"])
def test_an_unknown_reference_is_said(nbfed: Commands, ana: Person, code: str) -> None:
    intend(nbfed, ana)
    answer = nbfed("sessions", "--reference", code)
    assert answer.exit_code == 1
    assert "No session has the reference" in answer.stderr
    assert "\x1b" not in answer.stderr


def test_a_reference_goes_alone(nbfed: Commands) -> None:
    assert nbfed("sessions", "--reference", "AAAAAAAA", "--all").exit_code == 2
