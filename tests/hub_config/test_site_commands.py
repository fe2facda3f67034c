"""`nbfed site list|certify|suspend|downtime`: what an operator types about the life of a site."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.hub_config.test_cli import NOW, Commands
from vetting import sites
from vetting.sites import Event

ANDES: dict[str, Any] = {
    "kind": "batch", "title": "HPC Andes", "dialect": "slurm", "flavours": ["small"], "nodes": ["c[001-064]"],
    "login": {"host": "login.example.org", "host_key_file": "andes.pub"}, "ports": "20000-29999", "walltime_hours": 12,
}  # fmt: skip


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    here = {"kind": "local", "title": "Here", "flavours": ["small"]}
    commands = Commands(tmp_path, monkeypatch, sites={"andes": ANDES, "here": here})
    assert commands.house
    yield commands
    commands.close()


def passed(nbfed: Commands) -> None:
    with nbfed.house.database.write() as connection:
        site = nbfed.house.settings.yaml.sites["andes"]
        sites.change(connection, "andes", site, event=Event.PASS, by="test", now=nbfed.now)


def row(nbfed: Commands, name: str) -> list[str]:
    """The row of a site in the list, cell by cell."""
    header, *lines = nbfed("site", "list").output.splitlines()
    assert header.split() == ["SITE", "KIND", "STATE", "SINCE", "BY", "CHECKED", "AWAY", "REASON"]
    return next(re.split(r" {2,}", line) for line in lines if line.startswith(name))


def test_the_list_shows_how_far_each_site_is(nbfed: Commands) -> None:
    assert row(nbfed, "andes") == ["andes", "batch", "candidate", "-", "-", "-", "-", "-"]
    assert row(nbfed, "here")[:3] == ["here", "local", "certified"]
    passed(nbfed)
    assert nbfed("site", "certify", "andes", "--reason", "met them").exit_code == 0
    when = "2026-11-23T10:00:00Z"
    assert row(nbfed, "andes") == ["andes", "batch", "certified", when, "cli:ana", when, "-", "met them"]


def test_a_candidate_is_not_certified_and_is_told_what_comes_first(nbfed: Commands) -> None:
    done = nbfed("site", "certify", "andes", "--reason", "met them")
    assert done.exit_code == 1
    assert "has to pass its check first. `nbfed site check andes` makes it. Nothing was changed." in done.stderr


def test_suspending_says_what_goes_on_and_is_not_done_twice(nbfed: Commands) -> None:
    done = nbfed("site", "suspend", "here", "--reason", "an incident")
    assert done.exit_code == 0
    assert "What runs or waits there goes on." in done.output
    again = nbfed("site", "suspend", "here", "--reason", "an incident")
    assert again.exit_code == 1
    assert "here is suspended already. Nothing was changed." in again.stderr


@pytest.mark.parametrize("command", ["certify", "suspend"])
def test_a_change_needs_a_reason_and_a_site_that_there_is(nbfed: Commands, command: str) -> None:
    assert nbfed("site", command, "here").exit_code == 2
    done = nbfed("site", command, "hear", "--reason", "x")
    assert done.exit_code == 1
    assert "There is no site 'hear'; federation.yaml has" in done.stderr


def test_a_downtime_is_announced_shown_and_ended(nbfed: Commands) -> None:
    done = nbfed("site", "downtime", "announce", "andes", "--until", "2026-11-24", "--reason", "cooling")
    assert done.exit_code == 0
    downtime = re.findall(r"downtime (\S{36})\.", done.output)[0]
    assert "until 2026-11-25T00:00:00Z" in done.output
    assert row(nbfed, "andes")[6] == "until 2026-11-25T00:00:00Z"
    assert downtime in nbfed("site", "downtime", "list").output
    assert "No downtimes now or later" in nbfed("site", "downtime", "list", "here").output
    nbfed.now = NOW + timedelta(hours=1)
    assert nbfed("site", "downtime", "end", downtime, "--reason", "done").exit_code == 0
    assert row(nbfed, "andes")[6] == "-"
    assert "No downtimes now or later" in nbfed("site", "downtime", "list").output
    assert downtime in nbfed("site", "downtime", "list", "--all").output
    assert nbfed("site", "downtime", "end", downtime, "--reason", "done").exit_code == 1


def test_a_downtime_to_come_is_in_the_list_with_its_beginning(nbfed: Commands) -> None:
    announced = ("--from", "2026-12-01", "--until", "2026-12-01", "--reason", "cooling")
    assert nbfed("site", "downtime", "announce", "here", *announced).exit_code == 0
    assert row(nbfed, "here")[6] == "from 2026-12-01T00:00:00Z"


def test_a_downtime_in_the_past_is_refused(nbfed: Commands) -> None:
    done = nbfed("site", "downtime", "announce", "here", "--until", "2026-11-01", "--reason", "cooling")
    assert done.exit_code == 1
    assert "ends after it begins, and not in the past. Nothing was changed." in done.stderr
