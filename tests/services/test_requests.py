"""A real worker and a real mail server: what was approved is given and told once, also after the worker was killed and the
mail server was away for days.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from federation import migrations, terms
from federation.outbox import OutboxTable
from federation.persons import Facts, Person, remember
from quota.tables import GrantTable
from tests.services.test_session import wait_for
from tests.services.test_workers import Start, workers_of
from tests.support.desk import asked, decided
from tests.support.mail import Mailbox, running_mailbox
from tests.support.service import Service, free_ports, running_service
from vetting.asking import Actor, Given, Kind
from vetting.transitions import Event, State

pytestmark = pytest.mark.service

BEN = Actor(name="cli:ben", is_reviewer=True)


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def service(port: int) -> Iterator[Service]:
    """Settings and tables, and nothing that runs."""
    mail = {"smtp": f"smtp://127.0.0.1:{port}", "sender": "notebooks@example.org"}
    with running_service(start=False, mail=mail) as made:
        made.state.secret("worker_token")  # the first secret makes the state folder
        made.set_clock(timedelta(0))
        migrations.upgrade(made.house.database)
        made.house.publish_terms()
        yield made


@pytest.fixture
def start(service: Service) -> Iterator[Start]:
    with workers_of(service) as start:
        yield start


def somebody(service: Service) -> Person:
    house = service.house
    facts = Facts(name="Inês", email="ines@example.org", memberships=("urn:mace:example.org:group:demo",))
    with house.database.write() as connection:
        made = remember(connection, issuer="https://idp", subject="i", preferred="ines", facts=facts, now=house.clock())
        version = terms.in_force(connection, 0)
        assert version is not None
        terms.accept(connection, person_id=made.id, version=version.version, language="pt", now=house.clock())
    return made


def approved(service: Service, person: Person) -> str:
    """The id of a request that Ben approved."""
    requests, user = service.house.requests, Actor(name=f"person:{person.id}", person_id=person.id)
    wish = asked(service.house.clock() + timedelta(days=365))
    draft = requests.open(user, person_id=person.id, kind=Kind.QUOTA, asked=wish)
    requests.act(draft.id, Event.SUBMIT, user)
    requests.act(draft.id, Event.CLAIM, BEN, Given(no_conflict=True))
    requests.act(draft.id, Event.APPROVE, BEN, Given(decision=decided(draft)))
    return draft.id


def rows(service: Service, table: Any) -> list[Any]:
    with service.house.database.read() as connection:
        return list(connection.execute(select(table.__table__)))


def subjects(mailbox: Mailbox) -> list[str]:
    return [str(message["Subject"]) for message in mailbox.messages]


def test_what_was_approved_is_given_and_mails_that_nobody_took_for_three_days_come_once(
    service: Service, start: Start, port: int
) -> None:
    request = approved(service, somebody(service))
    worker = start("one")
    wait_for(lambda: service.house.requests.get(request, BEN).state is State.ACTIVE)

    def mail_is_away() -> bool:
        found = worker.health()
        return found is not None and "mail server" in str(found["jobs"]["mail"]["error"])

    wait_for(mail_is_away)
    assert len(rows(service, GrantTable)) == 1
    worker.process.kill()
    service.set_clock(timedelta(days=3))
    with running_mailbox(port=port) as mailbox:
        start("two")
        wait_for(lambda: len(mailbox.messages) >= 2)
        start("three")
        wait_for(lambda: all(row.sent_at for row in rows(service, OutboxTable)))
        assert sorted(subjects(mailbox)) == ["Seu pedido chegou", "Seu pedido foi aprovado"]
    assert len(rows(service, GrantTable)) == 1
