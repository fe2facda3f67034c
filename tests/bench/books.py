"""People and full books: what a hub has after some months."""

from datetime import datetime, timedelta

from federation.ids import new_id
from federation.persons import Person, remember
from hub_config.demo.personas import PERSONAS
from hub_config.settings import Settings
from hub_config.wiring import House, house
from quota.amounts import from_unit_hours
from quota.answers import Payer, Place
from quota.capping import Gauges
from spawners.paying import owner_of
from spawners.sessions import Server
from spawners.tables import EndReason
from vetting.identity import identify

__all__ = ["fill", "people"]

_ISSUER = "http://bench.invalid"
_BACK = timedelta(days=60)


def people(parts: House, count: int) -> list[Person]:
    """Researchers, with the default quota of the present period."""
    claims = next(persona.claims for persona in PERSONAS if persona.key == "researcher")
    facts = identify(claims, provider="demo", issuer=_ISSUER, subject_claim="voperson_id", owns_namespaces="any").facts
    with parts.database.write() as connection:
        made = [
            remember(
                connection, issuer=_ISSUER, subject=f"p{n:03d}", preferred=f"p{n:03d}", facts=facts, now=parts.clock()
            )
            for n in range(count)
        ]
    for person in made:
        parts.admission.give_default(person)
    return made


def fill(settings: Settings, person: Person, *, grants: int, sessions: int) -> None:
    """Give a person grants, and sessions of half an hour each that are over and in the books."""
    moment = [datetime.now().astimezone() - _BACK]
    parts = house(settings, actor="bench", clock=lambda: moment[0])
    begun = moment[0]
    for number in range(grants):
        parts.ledger.grant(
            key=f"bench-{person.id}-{number}", owner=owner_of(person), amount=from_unit_hours(100_000), starts_at=begun,
            ends_at=begun + timedelta(days=200 + number), created_by="bench", reason="bench",
        )  # fmt: skip
    for number in range(sessions):
        moment[0] = begun + _BACK * number / (sessions + 1)
        _one_session(parts, person)
    parts.database.dispose()


def _one_session(parts: House, person: Person) -> None:
    attempt, started_at = new_id(), parts.clock()
    server = Server("hub", person.user_name, "past")
    parts.sessions.intend(
        attempt=attempt, server=server, person_id=person.id, site="stubs", flavour="small", environment="minimal",
        options={}, secret_hash="",
    )  # fmt: skip
    parts.ledger.reserve(
        attempt=attempt, payers=[Payer(owner=owner_of(person))], flavour="small", lease=timedelta(minutes=45),
        place=Place(hub="hub", user=person.user_name, server="past", site="stubs"),
        shortest=timedelta(minutes=5), gauges=Gauges(cpu=1, memory_mib=2048),
    )  # fmt: skip
    ended_at = started_at + timedelta(minutes=30)
    parts.ledger.settle(attempt, started_at=started_at, ended_at=ended_at, source="launcher")
    parts.sessions.ending(attempt, EndReason.STOPPED)
    parts.sessions.ended(attempt, started_at=started_at, ended_at=ended_at)
