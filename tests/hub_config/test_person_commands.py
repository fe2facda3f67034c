"""`nbfed mapping` and `nbfed person`: what they do, what they refuse, and what they say."""

import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from federation.persons import Person
from hub_config.cli import Installation, main
from tests.hub_config.test_cli import Commands

COMMUNITY = "urn:mace:example.org:group:demo"


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    review = {"T2": {"needs": "T1", "vetting": "review"}}
    commands = Commands(tmp_path, monkeypatch, tiers=review)
    assert commands("db", "upgrade").exit_code == 0
    yield commands
    commands.close()


@pytest.fixture
def ana(nbfed: Commands) -> Person:
    return nbfed.person(
        "ana", name="Ana Ruiz", email="ana@example.org", memberships=(COMMUNITY,), assurance=("x",), provider="demo"
    )


def said(nbfed: Commands, *words: str, code: int = 0) -> str:
    answer = nbfed(*words)
    assert answer.exit_code == code, answer.output
    return answer.output


# --- mappings -------------------------------------------------------------------------------------------------------


def test_a_mapping_from_the_question_to_its_end(nbfed: Commands, ana: Person) -> None:
    asked = said(nbfed, "mapping", "add", "ana", "here", "aruiz")
    assert "account aruiz: asked since 2026-11-23T10:00:00Z" in asked
    assert f"nbfed mapping accept {ana.user_name} here" in asked
    assert "accepted since" in said(nbfed, "mapping", "accept", "ana", "here")
    listed = said(nbfed, "mapping", "list")
    assert [line.split()[:4] for line in listed.splitlines()] == [
        ["PERSON", "SITE", "ACCOUNT", "STATE"], [ana.user_name, "here", "aruiz", "accepted"],
    ]  # fmt: skip
    assert "ended since" in said(nbfed, "mapping", "end", "ana", "here", "--reason", "moved")
    assert "--all shows others" in said(nbfed, "mapping", "list", "ana")
    assert "moved" in said(nbfed, "mapping", "list", "ana", "--all", "--site", "here")


def test_a_site_may_refuse_with_a_reason(nbfed: Commands, ana: Person) -> None:
    said(nbfed, "mapping", "add", "ana", "here", "aruiz")
    assert nbfed("mapping", "refuse", "ana", "here").exit_code == 2
    assert "refused since" in said(nbfed, "mapping", "refuse", "ana", "here", "--reason", "no project there")
    assert "Nothing was changed." in said(nbfed, "mapping", "accept", "ana", "here", code=1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(
            ("add", "ana", "nowhere", "aruiz"), "There is no site 'nowhere'; federation.yaml has here", id="site"
        ),
        pytest.param(("add", "nobody", "here", "aruiz"), "There is nobody 'nobody' here", id="person"),
        pytest.param(
            ("add", "ana", "here", "root"), "'root' cannot be mapped: it is an account of the system", id="root"
        ),
        pytest.param(("add", "ana", "here", "A!"), "an account begins with a letter or _", id="account"),
        pytest.param(
            ("accept", "ana", "here"), "There is no mapping at here. Nothing was changed.", id="nothing-asked"
        ),
    ],
)
def test_what_cannot_be_mapped(nbfed: Commands, ana: Person, words: tuple[str, ...], told: str) -> None:
    assert told in said(nbfed, "mapping", *words, code=1)


# --- decisions ------------------------------------------------------------------------------------------------------


def test_suspend_show_and_restore(nbfed: Commands, ana: Person) -> None:
    assert nbfed("person", "suspend", "ana").exit_code == 2
    assert "suspended. Nothing can be started" in said(nbfed, "person", "suspend", "ana", "--reason", "Mining.")
    assert "suspended already" in said(nbfed, "person", "suspend", "ana", "--reason", "Again.", code=1)
    shown = said(nbfed, "person", "show", "ana")
    assert "Mining." in shown
    assert "the end of your suspension" in shown
    assert "restored" in said(nbfed, "person", "restore", "ana", "--reason", "It was not.")
    assert "is not suspended" in said(nbfed, "person", "restore", "ana", "--reason", "?", code=1)
    assert "Mining." not in said(nbfed, "person", "show", "ana")


def test_a_person_is_shown_with_what_they_were_called_before(nbfed: Commands, ana: Person) -> None:
    nbfed.now += timedelta(days=1)
    nbfed.person("ana", name="Ana Soto", email="soto@example.org", memberships=(COMMUNITY,))
    shown = said(nbfed, "person", "show", "Ana Soto")
    assert "until 2026-11-24T10:00:00Z: Ana Ruiz, ana@example.org" in " ".join(shown.split())


def test_only_tiers_that_need_a_decision_take_one(nbfed: Commands, ana: Person) -> None:
    told = said(nbfed, "person", "admit", "ana", "T1", "--reason", "known", code=1)
    assert "'T1' is no tier that needs a decision; those that need one are T2" in told
    admitted = said(nbfed, "person", "admit", "ana", "T2", "--reason", "known")
    assert "admitted to T2" in admitted
    assert "What is still missing for it: a sign-in that is vouched for better" in admitted
    assert "admitted already" in said(nbfed, "person", "admit", "ana", "T2", "--reason", "known", code=1)
    assert "no longer admitted" in said(nbfed, "person", "admit", "ana", "T2", "--reason", "moved", "--end")
    assert "is not admitted" in said(nbfed, "person", "admit", "ana", "T2", "--reason", "moved", "--end", code=1)


def test_evidence_is_added_listed_and_ended(nbfed: Commands, ana: Person) -> None:
    add = ("person", "evidence", "add", "ana", "--what", "a letter")
    assert "would never count" in said(nbfed, *add, "--until", "2026-11-01", code=2)
    added = said(nbfed, *add, "--until", "2027-11-01")
    identifier = added.split("evidence ")[1].split()[0]
    assert "counts" in said(nbfed, "person", "evidence", "list", "ana")
    assert "no more" in said(nbfed, "person", "evidence", "end", "ana", identifier, "--reason", "forged")
    assert "ended" in said(nbfed, "person", "evidence", "list", "ana")
    assert "nothing was changed" in said(nbfed, "person", "evidence", "end", "ana", identifier, "--reason", "x", code=1)


# --- personal data --------------------------------------------------------------------------------------------------


def test_an_export_goes_to_a_new_file_of_ones_own_and_is_audited(nbfed: Commands, ana: Person, tmp_path: Path) -> None:
    file = tmp_path / "ana.json"
    assert "Keep it to yourself." in said(nbfed, "person", "export", "ana", "--output", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "Choose a new file." in said(nbfed, "person", "export", "ana", "--output", str(file), code=1)
    content = json.loads(said(nbfed, "person", "export", "ana"))
    assert content["person"]["facts"]["name"] == "Ana Ruiz"
    assert [row["act"] for row in content["audit"]] == ["operator:person:exported"]


def remove(nbfed: Commands, monkeypatch: pytest.MonkeyPatch, *words: str, away: bool = False, typed: str = "") -> Any:
    """`nbfed person remove`, beside a hub that is there or away; what it was asked to forget."""
    forgotten: list[str] = []

    def forget(_self: Installation, user_name: str) -> None:
        if away:
            raise OSError("connection refused")
        forgotten.append(user_name)

    monkeypatch.setattr(Installation, "forget_at_hub", forget)
    installation = Installation(clock=lambda: nbfed.now)
    try:
        answer = CliRunner().invoke(
            main, ["person", "remove", *words, "--reason", "asked for it"], obj=installation, input=typed,
            catch_exceptions=False,
        )  # fmt: skip
    finally:
        installation.close()
    return answer, forgotten


def test_a_removal_says_before_what_will_happen_and_asks(
    nbfed: Commands, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, forgotten = remove(nbfed, monkeypatch, "ana", typed="n\n")
    assert answer.exit_code == 1
    assert "stays:" in answer.output
    assert forgotten == []
    assert "Ana Ruiz" in said(nbfed, "person", "show", "ana")
    answer, forgotten = remove(nbfed, monkeypatch, "ana", "--yes")
    assert answer.exit_code == 0
    assert forgotten == [ana.user_name]
    assert "There is nobody" in said(nbfed, "person", "show", ana.user_name, code=1)
    name = answer.output.split("the person is ")[1].split()[0]
    answer, forgotten = remove(nbfed, monkeypatch, name, "--yes")
    assert "was removed before; nothing was changed" in answer.output
    assert forgotten == []


def test_nothing_is_removed_while_the_hub_cannot_remove_its_record(
    nbfed: Commands, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, _ = remove(nbfed, monkeypatch, "ana", "--yes", away=True)
    assert answer.exit_code == 1
    assert "Nothing was removed. Start the service and try again." in answer.output
    assert "Ana Ruiz" in said(nbfed, "person", "show", "ana")
