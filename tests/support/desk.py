"""An access desk for tests: people with roles, a clock that is moved by hand, and short ways to file and decide."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from federation import terms
from federation.audit import AuditTable
from federation.database import Database
from federation.outbox import OutboxTable
from federation.persons import Facts, Person, remember
from quota.amounts import from_unit_hours
from quota.tables import GrantTable
from tests.support.books import MovableClock
from vetting.asking import Actor, Asked, Decision, DenialCode, Given, Kind
from vetting.guards import DeskRules
from vetting.request_rounds import RequestRounds
from vetting.request_tables import RequestStepTable, RequestTable
from vetting.requests import Request, Requests
from vetting.settings import RoleRules, Tier
from vetting.transitions import Event

__all__ = ["CEILING", "COMMUNITY", "SYSTEM", "Desk", "asked", "decided"]

DAY = timedelta(days=1)
COMMUNITY = "urn:mace:example.org:group:demo"
CEILING = from_unit_hours(1000)
SYSTEM = Actor(name="system", is_system=True)
TIERS = {"T1": Tier.model_validate({"communities": [COMMUNITY]}), "T2": Tier.model_validate({"vetting": "review"})}


@dataclass
class Desk:
    """The store and the rounds on one database, and people by their names."""

    database: Database
    clock: MovableClock = field(default_factory=MovableClock)
    people: dict[str, Person] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules = DeskRules(ceiling_milli_unit_seconds=CEILING, tiers=["T2"], sites=["hpc", "cloud"])
        self.requests = Requests(self.database, rules, terms_grace_days=30, clock=self.clock)
        self.rounds = RequestRounds(
            database=self.database, requests=self.requests, tiers=TIERS, clock=self.clock,
            roles=RoleRules.model_validate({"reviewer": [f"{COMMUNITY}:role=support"]}),
        )  # fmt: skip
        with self.database.write() as connection:
            terms.publish(connection, "1", {"en": "Be kind."}, self.clock())

    def person(self, name: str = "ana", *, agrees: bool = True, member: bool = True) -> Person:
        """Somebody who signed in, and accepted the terms; whose name begins with an r is a reviewer."""
        memberships = (COMMUNITY + (":role=support" if name.startswith("r") else ""),) if member else ()
        with self.database.write() as connection:
            made = remember(
                connection, issuer="https://idp.example.org", subject=name, preferred=name, now=self.clock(),
                facts=Facts(name=name.title(), email=f"{name}@example.org", memberships=memberships),
            )  # fmt: skip
            if agrees:
                terms.accept(connection, person_id=made.id, version="1", language="es", now=self.clock())
        self.people[name] = made
        return made

    def user(self, name: str = "ana") -> Actor:
        """A person without a role."""
        person = self.people.get(name) or self.person(name)
        return Actor(name=f"person:{person.id}", person_id=person.id)

    def reviewer(self, name: str = "rita") -> Actor:
        """A person who is a reviewer."""
        person = self.people.get(name) or self.person(name)
        return Actor(name=f"person:{person.id}", person_id=person.id, is_reviewer=True)

    def open(self, name: str = "ana", kind: Kind = Kind.QUOTA, **what: Any) -> Request:
        """A draft."""
        user = self.user(name)
        return self.requests.open(user, person_id=str(user.person_id), kind=kind, asked=self.asked(**what))

    def submitted(self, name: str = "ana", kind: Kind = Kind.QUOTA, **what: Any) -> Request:
        """A request that waits for a reviewer."""
        return self.act(self.open(name, kind, **what), Event.SUBMIT, self.user(name))

    def in_review(self, name: str = "ana", kind: Kind = Kind.QUOTA, **what: Any) -> Request:
        """A request that Rita has."""
        return self.act(self.submitted(name, kind, **what), Event.CLAIM, self.reviewer(), no_conflict=True)

    def approved(self, name: str = "ana", kind: Kind = Kind.QUOTA, **what: Any) -> Request:
        """A request that was approved as it was asked for."""
        request = self.in_review(name, kind, **what)
        request = self.act(request, Event.APPROVE, self.reviewer(), decision=decided(request))
        if request.state.value == "awaiting_second":
            request = self.act(request, Event.APPROVE, self.reviewer("ruth"), no_conflict=True)
        return request

    def active(self, name: str = "ana", kind: Kind = Kind.QUOTA, **what: Any) -> Request:
        """A request for which something was given."""
        return self.act(self.approved(name, kind, **what), Event.APPLY, SYSTEM)

    def denied(self, name: str = "ana") -> Request:
        """A request that Rita denied."""
        return self.act(
            self.in_review(name), Event.DENY, self.reviewer(), code=DenialCode.PURPOSE, text="What is it for?"
        )

    def asked(self, hours: int = 100, **what: Any) -> Asked:
        """What is asked for from now on for a year."""
        return asked(self.clock() + 365 * DAY, hours, **what)

    def act(self, request: Request, event: Event, actor: Actor, **given: Any) -> Request:
        """One event."""
        return self.requests.act(request.id, event, actor, Given(**given))

    # --- what is there --------------------------------------------------------------------------------------------

    def rows(self, table: Any, *conditions: Any) -> list[Any]:
        """Rows of a table in the order of its key."""
        with self.database.read() as connection:
            key = table.__table__.primary_key.columns
            return list(connection.execute(select(table.__table__).where(*conditions).order_by(*key)))

    def mails(self) -> list[tuple[str, str]]:
        """Kind and addressee's name of everything in the outbox."""
        names = {person.id: name for name, person in self.people.items()}
        return [(row.kind, names[row.person_id]) for row in self.rows(OutboxTable)]

    def trail(self, request: Request) -> list[str]:
        """The acts on one request."""
        return [row.act for row in self.rows(AuditTable, AuditTable.target == f"request:{request.id}")]

    def grants(self) -> list[Any]:
        """All grants."""
        return self.rows(GrantTable)

    def row(self, request: Request) -> Any:
        """The request as its table has it."""
        return self.rows(RequestTable, RequestTable.id == request.id)[0]

    def steps(self) -> list[Any]:
        """All steps of all requests."""
        return self.rows(RequestStepTable)


def asked(ends_at: Any, hours: int = 100, **what: Any) -> Asked:
    """A whole wish."""
    return Asked(
        **{
            "ends_at": ends_at, "amount_milli_unit_seconds": from_unit_hours(hours), "purpose": "Penguins",
            "contact": "Prof. Paz", "evidence": "https://example.org/project", **what,
        }
    )  # fmt: skip


def decided(request: Request, **what: Any) -> Decision:
    """Everything that was asked for."""
    wish = request.asked
    return Decision(
        **{
            "ends_at": wish.ends_at, "amount_milli_unit_seconds": wish.amount_milli_unit_seconds, "sites": wish.sites,
            **what,
        }
    )  # fmt: skip
