"""`nbfed home`: what it shows, and what it refuses. With a real cluster: tests/kubernetes/test_homes.py."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from federation.persons import Person
from hub_config.wiring import home_rounds
from spawners.homes import Homes
from tests.hub_config.test_cli import Commands
from tests.support.api_server import ApiServer, kubeconfig


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    cloud = {"kind": "kubernetes", "title": "The cloud", "namespace": "notebooks", "flavours": ["small"],
             "kubeconfig_file": str(kubeconfig(tmp_path, "http://127.0.0.1:1")), "homes": {"size_gib": 5}}  # fmt: skip
    commands = Commands(tmp_path, monkeypatch, sites={"cloud": cloud})
    yield commands
    commands.close()


@pytest.fixture
def ana(nbfed: Commands) -> Person:
    """Was told that she may not use the cloud any more."""
    person = nbfed.person("ana", name="Ana Ruiz")
    Homes(nbfed.house.database, clock=nbfed.house.clock).used(
        person.id, "cloud", volume=f"home-{person.id}", size_gib=5
    )
    home_rounds(nbfed.house).run_once()
    return person


def test_homes_are_listed_with_until_when_and_why_they_are_kept(nbfed: Commands, ana: Person) -> None:
    shown = nbfed("home", "list").stdout
    assert ana.user_name in shown
    assert f"home-{ana.id}" in shown
    assert "2027-02-21T10:00:00Z" in shown, "ninety days later"
    assert "access" in shown
    assert nbfed("home", "list", "--due").stdout == "No homes are due.\n"
    nbfed.now += timedelta(days=90)
    assert ana.user_name in nbfed("home", "list", "--due", "--site", "cloud", "--person", "ana").stdout
    assert nbfed("home", "list", "--site", "here").stdout == "No homes.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["ana", "here"], "has no home at 'here', and has one at cloud", id="another-site"),
        pytest.param(["ana", "cloud"], "still to be kept", id="before-its-time"),
        pytest.param(["ana", "cloud", "--early"], "The cluster does not answer", id="cluster-away"),
    ],
)
def test_a_home_that_cannot_be_removed_is_there_still(
    nbfed: Commands, ana: Person, words: list[str], said: str
) -> None:
    done = nbfed("home", "remove", *words, "--reason", "left")
    assert done.exit_code == 1
    assert said in done.output
    assert ana.user_name in nbfed("home", "list").stdout


def test_without_a_reason_nothing_is_removed(nbfed: Commands, ana: Person) -> None:
    assert nbfed("home", "remove", "ana", "cloud").exit_code == 2
    assert nbfed("home", "remove", "ana", "cloud", "--reason", " ").exit_code == 2


def test_an_account_that_may_not_remove_volumes_is_told_to_name_another(
    nbfed: Commands, ana: Person, tmp_path: Path
) -> None:
    server = ApiServer()
    server.answer = lambda token: (403, {"message": "persistentvolumeclaims is forbidden"})
    (tmp_path / "other").mkdir()
    file = kubeconfig(tmp_path / "other", server.url)
    done = nbfed("home", "remove", "ana", "cloud", "--early", "--reason", "left", "--kubeconfig", str(file))
    server.close()
    assert done.exit_code == 1
    assert "persistentvolumeclaims is forbidden" in done.output
    assert "Name an account that may with --kubeconfig" in done.output
