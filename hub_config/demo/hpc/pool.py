"""Pooled accounts: who signs in at the demonstration gets a free account at each of its batch sites, for good."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from federation.clock import Clock
from federation.database import Database
from federation.persons import PersonTable
from vetting import mappings
from vetting.mappings import Event
from vetting.tables import MappingTable, SiteAccountTable

__all__ = ["give_accounts"]

_BY = "demo"


def give_accounts(database: Database, pools: Mapping[str, Sequence[str]], clock: Clock) -> list[str]:
    """Map everybody who was never mapped to a site to the next account of its pool, if there is one left.

    Returns what was done, in words.
    """
    with database.read() as connection:
        if not any(_newcomers(connection, site) for site in pools):
            return []
    done = []
    with database.write() as connection:
        for site, pool in pools.items():
            taken = set(
                connection.execute(select(SiteAccountTable.account).where(SiteAccountTable.site == site)).scalars()
            )
            free = [account for account in pool if account not in taken]
            for (person_id, user_name), account in zip(_newcomers(connection, site), free, strict=False):
                now = clock()
                mappings.ask(connection, person_id=person_id, site=site, account=account, by=_BY, now=now)
                mappings.change(connection, person_id=person_id, site=site, event=Event.ACCEPT, by=_BY, now=now)
                done.append(f"{user_name} has the account {account} at {site}")
    return done


def _newcomers(connection: Connection, site: str) -> list[tuple[str, str]]:
    """Who has no mapping there and never had one, in the order of their first sign-in."""
    mapped = select(MappingTable.person_id).where(MappingTable.site == site)
    people = select(PersonTable.id, PersonTable.user_name).where(PersonTable.id.not_in(mapped))
    return [(row.id, row.user_name) for row in connection.execute(people.order_by(PersonTable.created_at))]
