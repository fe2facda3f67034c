"""Pooled accounts of the demonstration: one for everybody at each site, in the order of sign-in, until none is left."""

from datetime import UTC, datetime, timedelta

from federation.database import Database
from federation.persons import Facts, Person, remember
from hub_config.demo.hpc.pool import give_accounts
from vetting import mappings
from vetting.mappings import Event, SiteMapping
from vetting.recorded import MappingState

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
POOLS = {"andes": ("nbandes1", "nbandes2"), "costa": ("nbcosta1", "nbcosta2")}


def sign_in(database: Database, number: int) -> Person:
    with database.write() as connection:
        return remember(
            connection, issuer="https://idp", subject=str(number), preferred=f"p{number}", facts=Facts(),
            now=NOW + timedelta(seconds=number),
        )  # fmt: skip


def give(database: Database) -> list[str]:
    return give_accounts(database, POOLS, lambda: NOW)


def of(database: Database, person: Person) -> dict[str, SiteMapping]:
    with database.read() as connection:
        return {one.site: one for one in mappings.mappings(connection, person_id=person.id)}


def test_who_signs_in_gets_an_account_at_each_site_once(database: Database) -> None:
    assert give(database) == []
    first, second = sign_in(database, 1), sign_in(database, 2)
    assert len(give(database)) == 4
    assert give(database) == []
    assert {site: one.account for site, one in of(database, first).items()} == {
        "andes": "nbandes1",
        "costa": "nbcosta1",
    }
    assert {one.account for one in of(database, second).values()} == {"nbandes2", "nbcosta2"}
    assert {one.state for one in of(database, first).values()} == {MappingState.ACCEPTED}


def test_who_comes_when_the_pool_is_empty_gets_none_and_nobody_else_s(database: Database) -> None:
    people = [sign_in(database, number) for number in range(3)]
    assert len(give(database)) == 4
    assert [len(of(database, person)) for person in people] == [2, 2, 0]
    assert give(database) == []


def test_a_mapping_that_was_ended_is_not_given_again(database: Database) -> None:
    person = sign_in(database, 1)
    give(database)
    with database.write() as connection:
        mappings.change(connection, person_id=person.id, site="andes", event=Event.END, by="test", now=NOW)
    assert give(database) == []
    assert of(database, person)["andes"].state is MappingState.ENDED
