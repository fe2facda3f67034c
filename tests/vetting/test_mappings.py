"""Mappings: one table of transitions, one account for one person for ever, one open mapping at a site.

A state machine plays asks, acceptances, refusals and ends against a model that is a dictionary.
"""

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, update

from federation.audit import AuditTable
from federation.database import Database
from tests.support.databases import Databases
from vetting.mappings import TRANSITIONS, Event, MappingError, SiteMapping, ask, change, mappings, why_no_account
from vetting.recorded import MappingState
from vetting.records import recorded_of
from vetting.tables import MappingTable, SiteAccountTable

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
ASKED, ACCEPTED, REFUSED, ENDED = MappingState


class Desk:
    """Asks and changes, each in a transaction of its own, at a moment of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW

    def ask(self, account: str = "ana", person: str = "p", site: str = "hpc") -> SiteMapping:
        self.now += timedelta(seconds=1)
        with self.database.write() as connection:
            return ask(connection, person_id=person, site=site, account=account, by="cli:olga", now=self.now)

    def change(self, event: Event, person: str = "p", site: str = "hpc", reason: str = "") -> SiteMapping:
        self.now += timedelta(seconds=1)
        with self.database.write() as connection:
            return change(
                connection, person_id=person, site=site, event=event, by="cli:sol", reason=reason, now=self.now
            )

    def states(self, person: str = "p") -> dict[str, MappingState]:
        with self.database.read() as connection:
            return dict(recorded_of(connection, person).mappings)

    def all(self) -> list[SiteMapping]:
        with self.database.read() as connection:
            return mappings(connection)

    def audit(self) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(select(AuditTable.__table__).order_by(AuditTable.seq)))


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


# --- accounts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["a", "_ana", "ana-b_2", "a" * 32, "root2", "u1000"])
def test_an_account_of_a_person(account: str) -> None:
    assert why_no_account(account) == ""


@pytest.mark.parametrize(
    "account",
    [
        pytest.param("", id="empty"),
        pytest.param("a" * 33, id="too-long"),
        pytest.param("1ana", id="digit-first"),
        pytest.param("-ana", id="hyphen-first"),
        pytest.param("Ana", id="capital"),
        pytest.param("ana.b", id="dot"),
        pytest.param("ana@hpc", id="at"),
        pytest.param("ana\n", id="line-break"),
        pytest.param("añá", id="letters-of-others"),
        pytest.param("ana$", id="machine-account"),
        pytest.param("../ana", id="path"),
        pytest.param("root", id="root"),
        pytest.param("nobody", id="nobody"),
        pytest.param("slurm", id="scheduler"),
        pytest.param("systemd-network", id="systemd"),
        pytest.param("_apt", id="underscored"),
    ],
)
def test_no_account_of_a_person(desk: Desk, account: str) -> None:
    assert why_no_account(account)
    with pytest.raises(MappingError, match="cannot be mapped"):
        desk.ask(account)
    assert desk.all() == []
    assert desk.audit() == []


# --- the table ------------------------------------------------------------------------------------------------------

TO = {ASKED: (), ACCEPTED: (Event.ACCEPT,), REFUSED: (Event.REFUSE,), ENDED: (Event.END,)}


@pytest.mark.parametrize(("state", "event"), list(product(MappingState, Event)), ids=lambda value: value.value)
def test_every_event_in_every_state(desk: Desk, state: MappingState, event: Event) -> None:
    desk.ask()
    for step in TO[state]:
        desk.change(step)
    before = desk.all(), len(desk.audit())
    following = TRANSITIONS.get((state, event))
    if following is None:
        with pytest.raises(MappingError, match=f"is {state}: it cannot be changed by '{event}'"):
            desk.change(event, reason="why")
        assert (desk.all(), len(desk.audit())) == before
        return
    after = desk.change(event, reason="why")
    assert (after.state, after.reason, after.changed_by, after.changed_at) == (following, "why", "cli:sol", desk.now)
    assert desk.all() == [after]
    assert desk.states() == {"hpc": following}
    row = desk.audit()[-1]
    assert (row.target, row.actor, row.reason) == ("person:p", "cli:sol", "why")
    assert row.details == {"mapping": after.id, "site": "hpc", "account": "ana"}


def test_nothing_can_be_changed_where_nothing_was_asked(desk: Desk) -> None:
    desk.ask(person="q")
    for event in Event:
        with pytest.raises(MappingError, match="There is no mapping at hpc"):
            desk.change(event)


def test_the_same_again_is_the_mapping_that_is_open(desk: Desk) -> None:
    first = desk.ask()
    assert desk.ask() == first
    accepted = desk.change(Event.ACCEPT)
    assert desk.ask() == accepted
    assert len(desk.audit()) == 2


def test_another_account_needs_the_first_one_ended(desk: Desk) -> None:
    desk.ask()
    with pytest.raises(MappingError, match=r"already, to ana \(asked\); end it first"):
        desk.ask("ana2")
    desk.change(Event.END)
    assert desk.ask("ana2").state is ASKED


@pytest.mark.parametrize("event", [Event.REFUSE, Event.END])
def test_after_a_no_a_person_may_be_asked_for_anew(desk: Desk, event: Event) -> None:
    desk.ask()
    desk.change(event)
    assert desk.ask().state is ASKED
    assert desk.states() == {"hpc": ASKED}


@pytest.mark.parametrize("event", Event)
def test_an_account_is_never_given_to_a_second_person(desk: Desk, event: Event) -> None:
    desk.ask()
    with suppress(MappingError):
        desk.change(event)
    with pytest.raises(MappingError, match="is or was another person's"):
        desk.ask(person="q")
    assert desk.states("q") == {}
    assert desk.ask(person="q", site="other").state is ASKED


def test_an_account_that_only_failed_to_be_mapped_is_nobodys(desk: Desk) -> None:
    """All or nothing: the account is taken in the transaction of its mapping."""

    class Crash(Exception):
        pass

    def asks_and_crashes() -> None:
        with desk.database.write() as connection:
            ask(connection, person_id="p", site="hpc", account="ana", by="x", now=NOW)
            raise Crash

    with pytest.raises(Crash):
        asks_and_crashes()
    assert desk.ask(person="q").state is ASKED


def test_an_open_mapping_counts_also_where_the_clock_was_set_back(desk: Desk) -> None:
    desk.ask()
    desk.change(Event.REFUSE)
    desk.now -= timedelta(hours=1)
    desk.ask()
    desk.change(Event.ACCEPT)
    assert desk.states() == {"hpc": ACCEPTED}


def test_two_people_who_are_asked_for_the_same_account_together_do_not_share_it(desk: Desk) -> None:
    answers: list[str] = []

    def try_(person: str) -> None:
        try:
            answers.append(desk.ask(person=person).person_id)
        except MappingError:
            answers.append("")

    threads = [threading.Thread(target=try_, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([person for person in answers if person]) == 1


def test_two_answers_of_a_site_together_are_one(desk: Desk) -> None:
    desk.ask()
    answers: list[str] = []

    def try_(event: Event) -> None:
        with suppress(MappingError):
            answers.append(desk.change(event).state)

    threads = [threading.Thread(target=try_, args=(event,)) for event in (Event.ACCEPT, Event.REFUSE) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 1
    assert len(desk.audit()) == 2


def test_the_rows_say_whose_an_account_is_even_if_somebody_changes_the_mapping(desk: Desk) -> None:
    desk.ask()
    with desk.database.write() as connection:
        connection.execute(update(MappingTable).values(account="other"))
        owner = connection.execute(select(SiteAccountTable.person_id)).scalar_one()
    assert owner == "p"


# --- any history ----------------------------------------------------------------------------------------------------

PERSONS, SITES, ACCOUNTS = ("p", "q"), ("hpc", "other"), ("ana", "bob")


class Machine(RuleBasedStateMachine):
    """Two people, two sites, two accounts."""

    databases: Databases

    def __init__(self) -> None:
        super().__init__()
        self.url = self.databases.migrated()
        self.desk = Desk(Database(self.url))
        self.newest: dict[tuple[str, str], tuple[str, MappingState]] = {}
        self.owners: dict[tuple[str, str], str] = {}
        self.changes = 0

    @rule(person=st.sampled_from(PERSONS), site=st.sampled_from(SITES), account=st.sampled_from(ACCOUNTS))
    def asks(self, person: str, site: str, account: str) -> None:
        known, state = self.newest.get((person, site), ("", ENDED))
        is_open = state in (ASKED, ACCEPTED)
        may = known == account if is_open else self.owners.get((site, account), person) == person
        if not may:
            with pytest.raises(MappingError):
                self.desk.ask(account, person, site)
            return
        assert self.desk.ask(account, person, site).state is (state if is_open else ASKED)
        if not is_open:
            self.newest[person, site] = (account, ASKED)
            self.owners[site, account] = person
            self.changes += 1

    @rule(person=st.sampled_from(PERSONS), site=st.sampled_from(SITES), event=st.sampled_from(Event))
    def changes_it(self, person: str, site: str, event: Event) -> None:
        account, state = self.newest.get((person, site), ("", None))
        following = TRANSITIONS.get((state, event)) if state else None
        if following is None:
            with pytest.raises(MappingError):
                self.desk.change(event, person, site)
            return
        self.desk.change(event, person, site)
        self.newest[person, site] = (account, following)
        self.changes += 1

    @invariant()
    def what_counts_is_what_the_model_says(self) -> None:
        for person in PERSONS:
            expected = {site: state for (whose, site), (_account, state) in self.newest.items() if whose == person}
            assert self.desk.states(person) == expected

    @invariant()
    def no_account_has_two_people_and_no_person_two_accounts_at_a_site(self) -> None:
        everything = self.desk.all()
        assert all(self.owners[m.site, m.account] == m.person_id for m in everything)
        open_ones = [(m.person_id, m.site) for m in everything if m.state in (ASKED, ACCEPTED)]
        assert len(open_ones) == len(set(open_ones))

    @invariant()
    def every_change_is_in_the_audit_trail(self) -> None:
        assert len(self.desk.audit()) == self.changes

    def teardown(self) -> None:
        self.desk.database.dispose()
        self.databases.drop(self.url)


@pytest.mark.parametrize(
    "histories",
    [pytest.param(15, id="some"), pytest.param(1000, id="many", marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_whatever_happens_in_whatever_order(databases: Databases, histories: int) -> None:
    class Playing(Machine):
        pass

    Playing.databases = databases
    options = settings(
        max_examples=histories, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Playing, settings=options)
