"""A site as its own operators see it: who wants an account, who has one, and what is used. Reads block.

Of people there is what a site needs to decide: who they are, where they belong. What they wrote to the support team is not
theirs to read.
"""

from dataclasses import dataclass
from datetime import timedelta

from federation.persons import find_by_user_name, persons_by_id
from federation.settings import in_language
from quota.usage import use_of_site
from vetting.desk.parts import Desk
from vetting.desk.people import PersonShown, person_now
from vetting.mappings import SiteMapping, mappings
from vetting.recorded import MappingState

__all__ = ["MappingShown", "SiteInShort", "SiteView", "UseShown", "site_view", "sites_in_short"]

_MONTH = timedelta(days=30)
_MOST_ENDED = 50


@dataclass(frozen=True, kw_only=True)
class SiteInShort:
    """One of the visitor's sites, and how many accounts it is asked for."""

    name: str
    title: str
    asked: int


@dataclass(frozen=True, kw_only=True)
class MappingShown:
    """One mapping, and whose it is."""

    mapping: SiteMapping
    person: PersonShown


@dataclass(frozen=True, kw_only=True)
class UseShown:
    """What one person used in 30 days, in milli-unit-seconds, and how many sessions run now."""

    person: str
    account: str
    running: int
    used: int


@dataclass(frozen=True, kw_only=True)
class SiteView:
    """A site: accounts that it is asked for, those that it gave, those that are over, and the use."""

    name: str
    title: str
    closed: str
    asked: list[MappingShown]
    accepted: list[MappingShown]
    over: list[MappingShown]
    used: list[UseShown]


def sites_in_short(desk: Desk, names: frozenset[str]) -> list[SiteInShort]:
    """The sites of these names, in the order of the settings."""
    own = [name for name in desk.offer.sites if name in names]
    with desk.database.read() as connection:
        asked = {name: sum(one.state is MappingState.ASKED for one in mappings(connection, site=name)) for name in own}
    return [
        SiteInShort(name=name, title=in_language(desk.offer.sites[name].title, name), asked=asked[name]) for name in own
    ]


def site_view(desk: Desk, name: str) -> SiteView:
    """One site in full."""
    now, closed = desk.clock(), desk.closed()
    with desk.database.read() as connection:
        found = mappings(connection, site=name)
        people = persons_by_id(connection, {one.person_id for one in found})
        use = use_of_site(connection, name, since=now - _MONTH)
        users = {one.user: find_by_user_name(connection, one.user) for one in use}
    shown = [
        MappingShown(mapping=one, person=person_now(people[one.person_id])) for one in found if one.person_id in people
    ]
    accounts = {one.mapping.person_id: one.mapping.account for one in reversed(shown)}
    return SiteView(
        name=name,
        title=in_language(desk.offer.sites[name].title, name),
        closed=closed[name].message if name in closed else "",
        asked=[one for one in reversed(shown) if one.mapping.state is MappingState.ASKED],
        accepted=[one for one in shown if one.mapping.state is MappingState.ACCEPTED],
        over=[one for one in shown if one.mapping.state in (MappingState.REFUSED, MappingState.ENDED)][:_MOST_ENDED],
        used=[
            UseShown(
                person=(person.facts.name or person.user_name) if (person := users[one.user]) else one.user,
                account=accounts.get(person.id, "") if person else "",
                running=one.running,
                used=one.used,
            )
            for one in use
        ],
    )
