"""What a PostgreSQL server must be like: each thing that is wrong with it is said, and nothing of one that is well."""

from dataclasses import replace
from typing import Any

import pytest

from federation.database import Database
from federation.postgres_server import Facts, complaints, facts

WELL = Facts(
    version="15.18", major=15, fsync="on", full_page_writes="on", synchronous_commit="on", encoding="UTF8",
    max_connections=100, standby=False, address="10.0.0.7", encrypted=True,
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as-it-should-be"),
        pytest.param({"encrypted": False, "address": "127.0.0.1"}, id="on-this-machine"),
        pytest.param({"encrypted": False, "address": "::1"}, id="on-this-machine-by-ipv6"),
        pytest.param({"encrypted": False, "address": None}, id="by-a-socket"),
        pytest.param({"synchronous_commit": "remote_apply"}, id="with-replicas"),
        pytest.param({"max_connections": 60}, id="just-enough-connections"),
        pytest.param({"major": 13}, id="the-oldest"),
    ],
)
def test_nothing_is_said_of_a_server_that_is_well(changes: dict[str, Any]) -> None:
    assert complaints(replace(WELL, **changes)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"major": 12, "version": "12.4"}, "version 12.4 is older than 13", id="too-old"),
        pytest.param({"fsync": "off"}, "fsync off", id="fsync"),
        pytest.param({"full_page_writes": "off"}, "full_page_writes off", id="full-page-writes"),
        pytest.param({"synchronous_commit": "off"}, "synchronous_commit off", id="synchronous-commit"),
        pytest.param({"fsync": "off", "full_page_writes": "off"}, "fsync and full_page_writes off", id="both"),
        pytest.param({"encoding": "SQL_ASCII"}, "its encoding is SQL_ASCII", id="encoding"),
        pytest.param({"max_connections": 59}, "59 connections are too few", id="connections"),
        pytest.param({"standby": True}, "it is a standby", id="standby"),
        pytest.param({"encrypted": False}, "is not encrypted", id="plain"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], said: str) -> None:
    (complaint,) = complaints(replace(WELL, **changes))
    assert said in complaint


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_real_server_is_asked(database: Database) -> None:
    found = facts(database)
    assert (found.encoding, found.address, found.fsync, found.standby) == ("UTF8", "127.0.0.1", "on", False)
    assert found.version.startswith(str(found.major))
    assert complaints(found) == []
