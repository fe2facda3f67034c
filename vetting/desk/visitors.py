"""Who looks at a page: the person behind a hub user name, and the roles that count for them now."""

from dataclasses import dataclass

from federation.errors import Failure
from federation.persons import Facts, Person, find_by_user_name
from vetting.asking import Actor
from vetting.desk.parts import Desk
from vetting.desk.rights import Right, may
from vetting.errors import DESK_PERSON_UNKNOWN
from vetting.records import recorded_of
from vetting.roles import Roles, roles_of

__all__ = ["Visitor", "visitor_of"]


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Somebody who signed in. What their provider said too long ago carries no role; they are told to sign in again."""

    person: Person
    roles: Roles
    is_stale: bool = False

    @property
    def user_name(self) -> str:
        return self.person.user_name

    @property
    def actor(self) -> Actor:
        """As the store of requests and the audit trail know them."""
        return Actor(
            name=f"person:{self.person.id}",
            person_id=self.person.id,
            is_reviewer=self.roles.reviewer,
            is_operator=self.roles.operator,
        )

    @property
    def as_person(self) -> Actor:
        """Somebody without a role, as they are where it is about what is their own."""
        return Actor(name=self.actor.name, person_id=self.person.id)

    def may(self, right: Right, site: str | None = None) -> bool:
        return may(self.roles, right, site)


def visitor_of(desk: Desk, user_name: str) -> Visitor:
    """Who has this hub user name. Blocks.

    Raises
    ------
    Failure
        If nobody has: their data was removed, for instance.
    federation.database.DatabaseUnavailable
        If the database is away.
    """
    with desk.database.read() as connection:
        person = find_by_user_name(connection, user_name)
        if person is None:
            raise Failure(DESK_PERSON_UNKNOWN)
        recorded = recorded_of(connection, person.id)
    is_stale = desk.clock() - person.facts_at > desk.offer.snapshot
    facts = Facts() if is_stale else person.facts
    return Visitor(
        person=person,
        roles=roles_of(facts, desk.offer.roles, suspended=recorded.suspended is not None),
        is_stale=is_stale,
    )
