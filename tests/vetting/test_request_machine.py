"""Whatever people and the worker do to requests, in whatever order, and wherever it crashes: after every step the table
was followed, nobody decided about themselves, every mail is there, and the books and the audit trail tell of each event
once.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from federation.audit import AuditTable
from federation.errors import Failure
from federation.outbox import OutboxTable
from quota.amounts import from_unit_hours
from quota.tables import GrantTable
from tests.support.books import Crash, CrashingDatabase, discrepancies, dump
from tests.support.databases import Databases
from tests.support.desk import SYSTEM, Desk, decided
from vetting.asking import Actor, DenialCode, Given, Kind
from vetting.request_tables import RequestTable
from vetting.requests import ACTS
from vetting.transitions import OPEN, TABLE, Event, State, Who

PEOPLE = ("ana", "rita", "ruth")
"""Two of them are reviewers, too."""
MAILS = {(row.event, row.target): [kind for kind in (row.mail, row.mail_reviewer) if kind] for row in TABLE}
ROWS = {(row.source, row.event, row.target) for row in TABLE}
NEW = {Event.OPEN, Event.REOPEN, Event.RENEW}

people = st.sampled_from(PEOPLE)
events = st.sampled_from(sorted(set(Event) - {Event.OPEN}))
hours = st.sampled_from([1, 100, 1000, 1001, 5000])


class DeskMachine(RuleBasedStateMachine):
    """Three people, one operator on the command line, and the worker."""

    databases: Databases
    requests: Bundle[str] = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.database = CrashingDatabase(self.databases.migrated())
        self.desk = Desk(self.database)
        for name in PEOPLE:
            self.desk.person(name)
        self.crash_at: int | None = None
        self.lost = False
        self.last: dict[str, State] = {}

    def teardown(self) -> None:
        for state in {row.state for row in self.desk.rows(RequestTable)}:
            event(f"a request that is {state}")
        self.database.dispose()
        self.databases.drop(self.database.url)

    def actor(self, name: str, request: Any) -> Actor:
        if name == "olga":
            return Actor(name="cli:olga", is_reviewer=True, is_operator=True)
        if name == "olga for them":
            return Actor(name="cli:olga", person_id=request.person_id)
        if name == "system":
            return SYSTEM
        return self.desk.user(name) if name == "ana" else self.desk.reviewer(name)

    @precondition(lambda self: self.crash_at is None and not self.lost)
    @rule(crash_at=st.none() | st.integers(0, 25))
    def the_next_call_goes_wrong(self, crash_at: int | None) -> None:
        """It crashes before that statement, or before the commit; or else its answer is lost."""
        self.crash_at, self.lost = crash_at, crash_at is None

    def call(self, call: Any) -> Any:
        """Do it; if it is to crash first, do it again, as whoever called would. A refusal changes the trail alone."""
        before = dump(self.database)
        if self.crash_at is not None:
            self.database.crash_at, self.crash_at = self.crash_at, None
            with suppress(Crash, Failure):
                call()
                event("there was nothing to crash")
            self.database.crash_at = None
        if self.lost:
            self.database.lost, self.lost = True, False
            with suppress(Crash, Failure):
                call()
            self.database.lost = False
            before = dump(self.database)
        with suppress(Failure):
            return call()
        after = dump(self.database)
        assert {name for name in after if after[name] != before[name]} <= {"audit"}
        return None

    # --- what people do ---------------------------------------------------------------------------------------------

    @initialize(target=requests, amounts=st.tuples(hours, hours))
    def some_ask(self, amounts: tuple[int, int]) -> Any:
        ids = [
            self.desk.submitted(name, hours=amount).id for name, amount in zip(("ana", "rita"), amounts, strict=True)
        ]
        return multiple(*ids)

    @rule(
        target=requests, who=people, kind=st.sampled_from(Kind), amount=hours, filer=st.sampled_from([None, "cli:olga"])
    )
    def opens(self, who: str, kind: Kind, amount: int, filer: str | None) -> Any:
        person = self.desk.people[who]
        actor = Actor(name=filer or f"person:{person.id}", person_id=person.id)
        what = self.desk.asked(
            amount, tier="T2" if kind is Kind.TIER else "", sites=("hpc",) if kind is Kind.SITE else ()
        )
        made = self.call(lambda: self.desk.requests.open(actor, person_id=person.id, kind=kind, asked=what))
        return made.id if made else multiple()

    @rule(
        target=requests, request=requests, what=events, declares=st.booleans(), words=st.sampled_from(["", "So."]),
        who=st.sampled_from([*PEOPLE, "olga", "olga for them", "system"]), amount=hours,
    )  # fmt: skip
    def something_happens(self, request: str, what: Event, declares: bool, words: str, who: str, amount: int) -> Any:
        row = self.desk.rows(RequestTable, RequestTable.id == request)[0]
        now_is = self.desk.requests.get(request, SYSTEM)
        given = Given(
            asked=self.desk.asked(amount), code=DenialCode.OTHER, text=words, no_conflict=declares,
            decision=decided(now_is, amount_milli_unit_seconds=from_unit_hours(amount)),
            amount_milli_unit_seconds=from_unit_hours(amount),
        )  # fmt: skip
        after = self.call(lambda: self.desk.requests.act(request, what, self.actor(who, row), given))
        return after.id if after and after.id != request else multiple()

    @rule(target=requests, request=requests, data=st.data(), times=st.integers(1, 8))
    def people_go_on(self, request: str, data: st.DataObject, times: int) -> Any:
        """As people mostly do: events that the table has, by somebody who may cause them, with all that they need."""
        new = [self.goes_on(request, data.draw) for _ in range(times)]
        self.the_worker_goes_round()
        return multiple(*(one for one in new if one))

    def goes_on(self, request: str, draw: Any) -> str | None:
        """One such event; the id of a request that it began."""
        now_is = self.desk.requests.get(request, SYSTEM)
        rows = [row for row in TABLE if row.source is now_is.state and row.who is not Who.SYSTEM]
        rows = [row for row in rows if row.event not in (Event.WITHDRAW, Event.UNCLAIM)] or rows
        if not rows:
            return None
        row = draw(st.sampled_from(rows))
        other = "ruth" if now_is.reviewer == self.desk.reviewer().name else "rita"
        holder = other if now_is.state is not State.IN_REVIEW else {"rita": "ruth", "ruth": "rita"}[other]
        mine = next(name for name, person in self.desk.people.items() if person.id == now_is.person_id)
        actor = self.desk.user(mine) if row.who is Who.USER else self.desk.reviewer(holder)
        given = Given(
            no_conflict=True, text="So.", code=DenialCode.OTHER, asked=self.desk.asked(50),
            decision=decided(now_is), amount_milli_unit_seconds=from_unit_hours(draw(st.sampled_from([1, 30]))),
        )  # fmt: skip
        after = self.call(lambda: self.desk.requests.act(request, row.event, actor, given))
        return after.id if after and after.id != request else None

    @rule(days=st.sampled_from([1, 40, 310, 366]), member=st.booleans(), who=people)
    def time_goes_by(self, days: int, member: bool, who: str) -> None:
        self.desk.clock.move(timedelta(days=days))
        self.desk.person(who, member=member)

    @rule()
    def the_worker_goes_round(self) -> None:
        def go() -> None:
            self.desk.rounds.apply_all()
            self.desk.rounds.watch_all()

        if self.crash_at is not None or self.lost:
            self.database.crash_at, self.database.lost = self.crash_at, self.lost
            self.crash_at, self.lost = None, False
            with suppress(Crash):
                go()
            self.database.crash_at, self.database.lost = None, False
        go()
        assert not self.desk.rows(RequestTable, RequestTable.state == State.APPROVED.value, RequestTable.error == "")

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def the_table_was_followed_and_everything_is_told_once(self) -> None:
        steps = self.desk.steps()
        state: dict[str, str | None] = {}
        source = {row.id: row.follows for row in self.desk.rows(RequestTable)}
        for step in steps:
            what = Event(step.event)
            before = state.get(step.request_id)
            if what in NEW:
                assert before is None
                followed = source[step.request_id]
                before = state[followed] if followed else None
            assert (before, what, step.state) in ROWS
            state[step.request_id] = step.state
        assert state == {row.id: row.state for row in self.desk.rows(RequestTable)}
        trail = [row for row in self.desk.rows(AuditTable) if row.act in {act.value for act in ACTS.values()}]
        assert [(row.target, row.act, row.actor) for row in trail] == [
            (f"request:{step.request_id}", ACTS[Event(step.event)].value, step.actor) for step in steps
        ]
        mails = {row.event for row in self.desk.rows(OutboxTable, OutboxTable.kind != "request-ends")}
        told = {f"{kind}:{step.id}" for step in steps for kind in MAILS[Event(step.event), State(step.state)]}
        to_nobody = {f"request-answered:{step.id}" for step in steps if step.event == Event.ANSWER}
        assert told - to_nobody <= mails <= told

    @invariant()
    def nobody_decided_about_themselves_and_large_ones_have_two_people(self) -> None:
        for row in self.desk.rows(RequestTable):
            own = {f"person:{row.person_id}", row.filed_by}
            assert not own & {row.reviewer, row.second}
            large = (row.given_amount_milli_unit_seconds or 0) > self.desk.requests.rules.ceiling_milli_unit_seconds
            if large and row.state in (State.APPROVED, State.ACTIVE, State.SUSPENDED):
                assert row.second
                assert row.second != row.reviewer

    @invariant()
    def each_request_has_one_grant_at_most_and_the_books_add_up(self) -> None:
        first = [row.request_id for row in self.desk.rows(GrantTable, GrantTable.follows.is_(None))]
        assert len(first) == len(set(first))
        asked = {row.id: row for row in self.desk.rows(RequestTable)}
        for grant in self.desk.rows(GrantTable):
            assert grant.amount <= asked[grant.request_id].amount_milli_unit_seconds
        assert discrepancies(self.database) == []

    @invariant()
    def a_person_has_one_open_request_of_a_kind(self) -> None:
        rows = self.desk.rows(RequestTable, RequestTable.state.in_([state.value for state in OPEN]))
        assert len({(row.person_id, row.kind) for row in rows}) == len(rows)


@pytest.mark.parametrize(
    "histories",
    [pytest.param(15, id="some"), pytest.param(1000, id="many", marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_whatever_happens_in_whatever_order(databases: Databases, histories: int) -> None:
    class Playing(DeskMachine):
        pass

    Playing.databases = databases
    options = settings(
        max_examples=histories, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Playing, settings=options)
