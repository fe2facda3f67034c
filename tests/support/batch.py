"""An installation whose only site is a batch system, and that system behind a gateway."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from federation.database import Database
from federation.ids import new_id
from federation.settings import BatchSite
from quota.settings import DefaultGrant
from spawners.backends.batch import BatchJobs
from spawners.backends.child import Child
from spawners.context import SiteBackend
from spawners.ending import close
from spawners.gateway.protocol import Resources as Wanted
from spawners.sessions import Server, Session
from tests.support.batch_system import BatchSystem, serving
from tests.support.fakes import HUB, Installation
from vetting import mappings
from vetting.mappings import Event
from vetting.placement import Wish
from vetting.resources import Resources

__all__ = ["SECRET", "WANTED", "Place", "batch_place", "hpc", "map_to"]

SECRET = "5ec7e7" * 8
DEFAULTS = {"T1": DefaultGrant(amount_hours=10, period="month", sessions=5, flavours=["small"])}
WANTED = Wanted(cpus=1, memory_mib=2048, minutes=60)


def hpc(**changes: Any) -> BatchSite:
    content = {
        "kind": "batch", "title": "HPC Andes", "flavours": ["small", "medium"], "dialect": "slurm", "nodes": ["c1"],
        "login": {"host": "x", "host_key_file": "x"}, "ports": "20000-29999", "walltime_hours": 4,
    }  # fmt: skip
    return BatchSite.model_validate({**content, **changes})


@dataclass
class Place:
    """An installation whose only site is a batch system, and that system."""

    house: Installation
    system: BatchSystem
    jobs: BatchJobs

    def intend(self, person: Any, server: str = "") -> Session:
        return self.house.sessions.intend(
            attempt=new_id(), server=Server(HUB, person.user_name, server), person_id=person.id, site="hpc",
            flavour="small", environment="python", options={}, secret_hash=hashlib.sha256(SECRET.encode()).hexdigest(),
            account="ana",
        )  # fmt: skip

    def reserve(self, session: Session, person: Any, **resources: Any) -> Any:
        wish = Wish(flavour="small", environment="python", resources=Resources(**resources))
        return self.house.admission.reserve(session.attempt, person, session.server, wish, "hpc")

    def submit(self, person: Any, **resources: Any) -> Session:
        """A job that waits, one hour long unless told otherwise."""
        session = self.intend(person)
        self.reserve(session, person, **{"walltime_minutes": 60, **resources})
        self.hand_over(session)
        self.house.servers.servers[session.server] = None
        return self.house.again(session)

    def hand_over(self, session: Session) -> None:
        self.jobs.submit(session, secret=SECRET, script="#!/bin/bash\n", resources=WANTED)

    def close(self, session: Session) -> None:
        house = self.house
        close(
            house.again(session), self.jobs.observe(session.attempt), sessions=house.sessions, ledger=house.ledger,
            clock=house.clock,
        )  # fmt: skip


@contextmanager
def batch_place(database: Database, *, stop_seconds: float = 1) -> Iterator[Place]:
    """Jobs wait until a test says that they start; nothing is a real process."""
    house = Installation(database, sites={"hpc": hpc()}, defaults=DEFAULTS)
    with serving(held=True, clock=lambda: house.clock().timestamp()) as system:
        jobs = BatchJobs("hpc", system.client(), house.sessions, house.clock)
        house.more_backends = {
            "hpc": SiteBackend(
                asks=jobs,
                child_class=Child,
                child_arguments=lambda _: {},
                stop_seconds=stop_seconds,
                ends_with_service=False,
            )
        }
        yield Place(house, system, jobs)


def map_to(house: Installation, person: Any, event: Event) -> None:
    """Something happens to a person's mapping at the site."""
    with house.database.write() as connection:
        parts = {"person_id": person.id, "site": "hpc", "by": "test", "now": house.clock()}
        if event is Event.ACCEPT:
            mappings.ask(connection, account=person.subject, **parts)
        mappings.change(connection, event=event, **parts)
