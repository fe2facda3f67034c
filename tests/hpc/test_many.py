"""A hub that dies with many jobs under way: each one is adopted, none is doubled, and each has its books."""

import pytest

from spawners.sessions import Session
from tests.services.test_session import wait_for
from tests.support.federation import Federation
from tests.support.person import Person

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]

SITE = "andes"
_SECONDS = 300


def open_ones(federation: Federation) -> dict[str, Session]:
    return {one.server.name: one for one in federation.service.house.sessions.open_on("hub")}


def end(federation: Federation, person: Person, sessions: dict[str, Session]) -> None:
    """Stop them, and look whether each costs what Slurm recorded of its only job."""
    federation.stop(person, *sessions)
    for session in sessions.values():
        line = federation.closed(person, session.attempt)
        assert session.backend_ref is not None
        assert federation.job_of(SITE, session.attempt) == session.backend_ref
        seconds = sum(record.seconds for record in federation.slurm[SITE].records(session.backend_ref))
        assert (line.source, line.cost) == ("scheduler", seconds * 1000)


@pytest.mark.parametrize(
    "count", [pytest.param(3, id="3-and-3"), pytest.param(20, id="20-and-20", marks=pytest.mark.long)]
)
def test_those_that_run_and_those_that_wait_are_all_adopted_by_the_next_hub(
    federation: Federation, ana: Person, count: int
) -> None:
    running = [f"runs-{number}" for number in range(count)]
    queued = [f"waits-{number}" for number in range(count)]
    site = federation.slurm[SITE]
    federation.begin(ana, *running, site=SITE)
    federation.wait_until_ready(ana, *running)
    site.run("scontrol", "update", "PartitionName=notebooks", "State=DOWN")
    try:
        federation.begin(ana, *queued, site=SITE)
        wait_for(lambda: len([one for one in open_ones(federation).values() if one.backend_ref]) == 2 * count, _SECONDS)
        before = open_ones(federation)

        federation.service.kill("hub")
        federation.service.wait_for_child("hub")
        federation.service.wait_until_up()

        federation.wait_until_ready(ana, *running)
        after = open_ones(federation)
        assert {name: (one.attempt, one.backend_ref) for name, one in after.items()} == {
            name: (one.attempt, one.backend_ref) for name, one in before.items()
        }
        end(federation, ana, {name: after[name] for name in running})
    finally:
        site.run("scontrol", "update", "PartitionName=notebooks", "State=UP")
    federation.wait_until_ready(ana, *queued)
    assert {name: one.attempt for name, one in open_ones(federation).items()} == {
        name: before[name].attempt for name in queued
    }
    end(federation, ana, {name: before[name] for name in queued})
    federation.assert_verified()
