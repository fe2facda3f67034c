"""One leader: on both databases, whoever dies how."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from federation.database import DatabaseUnavailable
from federation.leader import FileLeadership, Leadership, LeadershipLost, leadership
from tests.support.databases import Databases
from tests.support.postgres import PostgresServer
from tests.support.service import free_ports

TAKE_OVER_SECONDS = 30
"""A promise to people, not a measurement: leases are renewed again within this time."""

LEADS = """
import sys, time
from federation.leader import leadership
one = leadership(sys.argv[1], "hub")
assert one.take()
print("leads", flush=True)
time.sleep(300)
"""

Make = Callable[..., Leadership]


@pytest.fixture
def url(databases: Databases) -> str:
    return databases.empty()


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """Makes what each worker of a hub has."""
    made: list[Leadership] = []

    def make(hub: str = "hub") -> Leadership:
        made.append(leadership(url, hub))
        return made[-1]

    yield make
    for one in made:
        one.give_up()


def advisory_holder(url: str) -> int:
    """The number of the server's process that holds the lock."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        row = connection.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
            "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
    assert row is not None
    return int(row[0])


def end_connection(url: str, number: int) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        row = connection.execute("SELECT pg_terminate_backend(%s, 10000)", [number]).fetchone()
    assert row == (True,), "it has not ended within 10 seconds"


def test_one_of_several_leads_and_gives_it_to_the_next(make: Make) -> None:
    one, two, three = make(), make(), make()
    assert [each.take() for each in (one, two, three)] == [True, False, False]
    assert [each.is_held() for each in (one, two, three)] == [True, False, False]
    one.give_up()
    assert [each.take() for each in (three, two, one)] == [True, False, False]
    assert not one.is_held()


def test_taking_and_giving_up_twice_is_once(make: Make) -> None:
    one, two = make(), make()
    assert one.take()
    assert one.take()
    one.give_up()
    one.give_up()
    assert not one.is_held()
    assert two.take()
    assert two.is_held()


def test_each_hub_has_its_own_leader(make: Make) -> None:
    one, two = make("hub"), make("other")
    assert one.take()
    assert two.take()
    assert one.is_held()
    assert two.is_held()


def test_who_does_not_lead_may_not_go_on(make: Make) -> None:
    one, two = make(), make()
    one.take()
    two.take()
    one.require()
    with pytest.raises(LeadershipLost):
        two.require()


def test_a_leader_that_is_killed_is_followed_within_thirty_seconds(make: Make, url: str) -> None:
    with subprocess.Popen([sys.executable, "-c", LEADS, url], stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == "leads\n"
        one = make()
        assert not one.take()
        leader.kill()
        killed = time.monotonic()
        while not one.take():
            assert time.monotonic() - killed < TAKE_OVER_SECONDS
            time.sleep(0.05)


def test_a_process_that_the_leader_started_does_not_keep_the_lock(make: Make) -> None:
    one, two = make(), make()
    one.take()
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        one.give_up()
        assert two.take()
        child.kill()


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_lost_connection_is_lost_leadership(make: Make, url: str) -> None:
    one, two = make(), make()
    one.take()
    end_connection(url, advisory_holder(url))
    assert not one.is_held()
    assert two.take()
    assert not one.take()
    two.give_up()
    assert one.take()
    assert one.is_held()


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_leader_that_has_not_noticed_yet_that_its_connection_is_gone_does_not_lead(make: Make, url: str) -> None:
    """Its next step asks the server, and nothing that it remembers counts."""
    one, two = make(), make()
    one.take()
    end_connection(url, advisory_holder(url))
    while not two.take():
        time.sleep(0.01)
    with pytest.raises(LeadershipLost):
        one.require()
    assert two.is_held()


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_standby_whose_connection_is_gone_connects_again(make: Make, url: str, postgres: PostgresServer) -> None:
    one, two = make(), make()
    one.take()
    assert not two.take()
    postgres.terminate_connections()
    with pytest.raises(DatabaseUnavailable):
        two.take()
    assert two.take()


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_server_that_is_away_is_an_outage_and_nobody_leads(url: str) -> None:
    (port,) = free_ports(1)
    one = leadership(f"postgresql+psycopg://name:secret@127.0.0.1:{port}/federation", "hub")
    with pytest.raises(DatabaseUnavailable) as raised:
        one.take()
    assert "secret" not in str(raised.value)
    assert not one.is_held()


# --- SQLite -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite"])
def test_who_removes_the_lock_file_makes_nobody_lead_twice(make: Make, url: str) -> None:
    one, two = make(), make()
    one.take()
    lock = Path(url.removeprefix("sqlite:///") + ".worker-hub.lock")
    assert lock.stat().st_mode & 0o777 == 0o600
    lock.unlink()
    assert two.take()
    assert not one.is_held()
    assert not one.take()
    assert two.is_held()


def test_a_lock_that_cannot_be_made_is_an_outage(tmp_path: Path) -> None:
    one = FileLeadership(tmp_path / "missing" / "lock")
    with pytest.raises(DatabaseUnavailable, match="No such file"):
        one.take()
    assert not one.is_held()


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:"])
def test_on_a_database_in_memory_nobody_can_lead(address: str) -> None:
    with pytest.raises(ValueError, match="in memory"):
        leadership(address, "hub")
