"""Requests: every row of the table, every guard, what each event leaves behind, and two who act at once."""

import threading
from datetime import timedelta
from typing import Any

import pytest

from federation.audit import AuditTable
from federation.database import Database
from federation.errors import Failure
from federation.outbox import OutboxTable
from quota.amounts import from_unit_hours
from quota.ledger import Ledger
from tests.support.books import Crash, CrashingDatabase, discrepancies, dump
from tests.support.desk import COMMUNITY, DAY, SYSTEM, Desk, decided
from vetting.asking import Actor, Decision, DenialCode, Kind
from vetting.mappings import Event as MappingEvent
from vetting.mappings import ask, mappings
from vetting.mappings import change as change_mapping
from vetting.recorded import MappingState
from vetting.records import recorded_of
from vetting.requests import ACTS, Request
from vetting.tables import AdmissionTable
from vetting.transitions import OPEN, TABLE, Effect, Event, State, Who

HOURS = from_unit_hours


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


def refused(desk: Desk, problem: str, request: Request, event: Event, actor: Actor, /, **given: Any) -> None:
    """It is refused with this code, and but for the audit trail nothing is changed."""
    before = dump(desk.database)
    with pytest.raises(Failure) as caught:
        desk.act(request, event, actor, **given)
    assert caught.value.problem.code == problem
    after = dump(desk.database)
    assert {name for name in after if after[name] != before[name]} <= {"audit"}


# --- the table ------------------------------------------------------------------------------------------------------

DESIGN = """
- open draft
draft edit draft
draft submit submitted
submitted claim in_review
in_review unclaim submitted
in_review ask needs_info
needs_info answer in_review
in_review approve approved
in_review approve awaiting_second
in_review deny denied
awaiting_second approve approved
awaiting_second deny denied
denied reopen draft
approved apply active
active renew draft
active reduce active
active suspend suspended
suspended restore active
active expire expired
suspended expire expired
draft withdraw withdrawn
submitted withdraw withdrawn
in_review withdraw withdrawn
needs_info withdraw withdrawn
awaiting_second withdraw withdrawn
"""


def test_the_table_is_the_one_that_was_designed() -> None:
    rows = [(row.source or "-", row.event, row.target) for row in TABLE]
    assert rows == [tuple(line.split()) for line in DESIGN.strip().splitlines()]


def test_every_event_has_its_act_in_the_audit_trail() -> None:
    assert set(ACTS) == set(Event)
    assert len(set(ACTS.values())) == len(Event)
    for row in TABLE:
        assert ACTS[row.event].value.startswith("person" if row.who is Who.USER else row.who.value)


def at(desk: Desk, state: State) -> Request:
    """A request in a state, of a person who has nothing else."""
    ways: dict[State, Any] = {
        State.DRAFT: desk.open,
        State.SUBMITTED: desk.submitted,
        State.IN_REVIEW: desk.in_review,
        State.NEEDS_INFO: lambda: desk.act(desk.in_review(), Event.ASK, desk.reviewer(), text="Which data?"),
        State.APPROVED: desk.approved,
        State.ACTIVE: desk.active,
        State.SUSPENDED: lambda: desk.act(desk.active(), Event.SUSPEND, desk.reviewer(), text="Mining."),
        State.DENIED: desk.denied,
        State.WITHDRAWN: lambda: desk.act(desk.submitted(), Event.WITHDRAW, desk.user()),
    }
    if state is State.AWAITING_SECOND:
        large = desk.in_review(hours=1001)
        return desk.act(large, Event.APPROVE, desk.reviewer(), decision=decided(large))
    if state is State.EXPIRED:
        active = desk.active()
        desk.clock.move(366 * DAY)
        return desk.act(active, Event.EXPIRE, SYSTEM)
    return ways[state]()


def whole(desk: Desk, request: Request) -> dict[str, Any]:
    """Something for every guard."""
    return {
        "asked": desk.asked(50), "decision": decided(request), "code": DenialCode.OTHER, "text": "Because.",
        "no_conflict": True, "amount_milli_unit_seconds": HOURS(50),
    }  # fmt: skip


def actor_for(desk: Desk, event: Event, state: State) -> Actor:
    """Somebody who may cause it."""
    reviewer = desk.reviewer("ruth" if state is State.AWAITING_SECOND else "rita")
    who = next(row.who for row in TABLE if row.event is event)
    return {Who.USER: desk.user(), Who.REVIEWER: reviewer, Who.SYSTEM: SYSTEM}[who]


@pytest.mark.parametrize("state", State)
def test_what_the_table_does_not_have_changes_nothing(desk: Desk, state: State) -> None:
    request = at(desk, state)
    unknown = set(Event) - {row.event for row in TABLE if row.source is state}
    for event in sorted(unknown):
        actor = actor_for(desk, event, state)
        problem = "request-unknown" if state is State.DRAFT and actor.is_reviewer else "request-moved-on"
        refused(desk, problem, request, event, actor, **whole(desk, request))


@pytest.mark.parametrize("row", TABLE[1:], ids=lambda row: f"{row.source}-{row.event}-{row.target}")
def test_every_row_leads_where_it_says_and_leaves_its_step_its_audit_row_and_its_mails(desk: Desk, row: Any) -> None:
    large = row.target is State.AWAITING_SECOND
    request = desk.in_review(hours=1001) if large else at(desk, row.source)
    if row.event in (Event.RENEW, Event.EXPIRE):
        desk.clock.move(364 * DAY if row.event is Event.RENEW else 366 * DAY)
    mails, steps = len(desk.mails()), len(desk.steps())
    actor = actor_for(desk, row.event, row.source)
    after = desk.act(request, row.event, actor, **whole(desk, request))
    assert after.state is row.target
    assert desk.trail(after)[-1] == ACTS[row.event].value
    (step,) = desk.steps()[steps:]
    assert (step.request_id, step.event, step.state, step.actor) == (after.id, row.event, row.target, actor.name)
    told = [(row.mail, "ana"), (row.mail_reviewer, "rita")]
    assert desk.mails()[mails:] == [(kind, name) for kind, name in told if kind]
    if Effect.FOLLOW in row.effects:
        assert (after.follows, desk.row(request).state) == (request.id, row.source)


@pytest.mark.parametrize("row", TABLE[1:], ids=lambda row: f"{row.source}-{row.event}-{row.target}")
def test_nobody_does_what_is_for_somebody_else(desk: Desk, row: Any) -> None:
    request = at(desk, row.source)
    others = {Who.USER: desk.user(), Who.REVIEWER: desk.reviewer("rob"), Who.SYSTEM: SYSTEM}
    for actor in (one for who, one in others.items() if who is not row.who):
        is_seen = row.source is not State.DRAFT or not actor.is_reviewer
        problem = "request-not-yours" if is_seen else "request-unknown"
        refused(desk, problem, request, row.event, actor, **whole(desk, request))
    refused(desk, "request-unknown", request, row.event, desk.user("eve"), **whole(desk, request))
    assert desk.trail(request)[-1] == "desk:request:refused"


def test_nobody_opens_a_request_for_somebody_else(desk: Desk) -> None:
    with pytest.raises(Failure, match="not-yours"):
        desk.requests.open(desk.reviewer(), person_id=desk.person().id, kind=Kind.QUOTA, asked=desk.asked())


# --- guards -----------------------------------------------------------------------------------------------------------


def test_a_person_has_one_open_request_of_a_kind(desk: Desk) -> None:
    first = desk.open()
    with pytest.raises(Failure, match="request-open-already"):
        desk.open()
    assert desk.open(kind=Kind.SITE).state is State.DRAFT
    desk.act(first, Event.WITHDRAW, desk.user())
    assert desk.open().state is State.DRAFT


def test_without_the_terms_nothing_is_sent(desk: Desk) -> None:
    desk.person(agrees=False)
    refused(desk, "request-needs-terms", desk.open(), Event.SUBMIT, desk.user())


@pytest.mark.parametrize(
    ("kind", "what", "code"),
    [
        pytest.param(Kind.QUOTA, {"purpose": ""}, "request-incomplete", id="purpose"),
        pytest.param(Kind.QUOTA, {"contact": ""}, "request-incomplete", id="contact"),
        pytest.param(Kind.QUOTA, {"hours": 0}, "request-incomplete", id="amount"),
        pytest.param(Kind.SITE, {"sites": ()}, "request-incomplete", id="sites"),
        pytest.param(Kind.TIER, {"tier": ""}, "request-incomplete", id="tier"),
        pytest.param(Kind.TIER, {"tier": "T1"}, "tier-unknown", id="tier-without-review"),
        pytest.param(Kind.SITE, {"sites": ("moon",)}, "site-unknown", id="site"),
    ],
)
def test_what_is_sent_is_whole(desk: Desk, kind: Kind, what: dict[str, Any], code: str) -> None:
    refused(desk, code, desk.open(kind=kind, **what), Event.SUBMIT, desk.user())


def test_a_draft_that_grew_old_is_not_sent_with_an_end_that_is_past(desk: Desk) -> None:
    draft = desk.open()
    desk.clock.move(365 * DAY)
    refused(desk, "end-is-past", draft, Event.SUBMIT, desk.user())
    desk.act(draft, Event.EDIT, desk.user(), asked=desk.asked(7))
    assert desk.act(draft, Event.SUBMIT, desk.user()).asked.amount_milli_unit_seconds == HOURS(7)


@pytest.mark.parametrize("amount", [-1, 2**53 + 1])
def test_an_amount_out_of_bounds_is_refused(desk: Desk, amount: int) -> None:
    with pytest.raises(Failure, match="request-unfit"):
        desk.open(amount_milli_unit_seconds=amount)


@pytest.mark.parametrize("text", ["x" * 4001, "a\0b"], ids=["long", "nul"])
def test_a_text_that_cannot_be_kept_is_refused(desk: Desk, text: str) -> None:
    with pytest.raises(Failure, match="request-unfit"):
        desk.open(purpose=text)
    refused(desk, "request-unfit", desk.in_review(), Event.ASK, desk.reviewer(), text=text)


def test_nobody_decides_about_themselves_whatever_their_role(desk: Desk) -> None:
    own = desk.submitted("rita")
    refused(desk, "own-request", own, Event.CLAIM, desk.reviewer("rita"), no_conflict=True)
    taken = desk.act(own, Event.CLAIM, desk.reviewer("ruth"), no_conflict=True)
    refused(desk, "own-request", taken, Event.APPROVE, desk.reviewer("rita"), decision=decided(own))
    large = desk.in_review("ruth", hours=1001)
    large = desk.act(large, Event.APPROVE, desk.reviewer(), decision=decided(large))
    refused(desk, "own-request", large, Event.APPROVE, desk.reviewer("ruth"), no_conflict=True)


def test_who_filed_it_for_somebody_else_does_not_decide_about_it(desk: Desk) -> None:
    ana = desk.person()
    olga = Actor(name="cli:olga", person_id=ana.id)
    filed = desk.requests.open(olga, person_id=ana.id, kind=Kind.QUOTA, asked=desk.asked())
    desk.act(filed, Event.SUBMIT, olga)
    as_reviewer = Actor(name="cli:olga", is_reviewer=True, is_operator=True)
    refused(desk, "own-request", filed, Event.CLAIM, as_reviewer, no_conflict=True)


def test_a_reviewer_declares_to_have_no_conflict_of_interest(desk: Desk) -> None:
    refused(desk, "conflict-of-interest", desk.submitted(), Event.CLAIM, desk.reviewer())


@pytest.mark.parametrize("event", [Event.UNCLAIM, Event.ASK, Event.APPROVE, Event.DENY])
def test_two_reviewers_never_work_on_one(desk: Desk, event: Event) -> None:
    request = desk.in_review()
    refused(desk, "claimed-by-another", request, event, desk.reviewer("ruth"), **whole(desk, request))


def test_an_operator_frees_what_an_absent_reviewer_holds(desk: Desk) -> None:
    olga = Actor(name="cli:olga", is_reviewer=True, is_operator=True)
    request = desk.act(desk.in_review(), Event.UNCLAIM, olga)
    assert (request.state, request.reviewer) == (State.SUBMITTED, "")


def test_above_the_ceiling_two_people_approve(desk: Desk) -> None:
    request = desk.in_review(hours=1001)
    request = desk.act(request, Event.APPROVE, desk.reviewer(), decision=decided(request))
    assert request.state is State.AWAITING_SECOND
    refused(desk, "two-people", request, Event.APPROVE, desk.reviewer(), no_conflict=True)
    refused(desk, "conflict-of-interest", request, Event.APPROVE, desk.reviewer("ruth"))
    request = desk.act(request, Event.APPROVE, desk.reviewer("ruth"), no_conflict=True)
    assert request.state is State.APPROVED
    assert (request.reviewer, request.second) == (desk.reviewer().name, desk.reviewer("ruth").name)


def test_what_a_reviewer_approves_below_the_ceiling_is_theirs_alone_however_much_was_asked_for(desk: Desk) -> None:
    request = desk.in_review(hours=5000)
    less = decided(request, amount_milli_unit_seconds=HOURS(1000))
    assert desk.act(request, Event.APPROVE, desk.reviewer(), decision=less).state is State.APPROVED


@pytest.mark.parametrize(
    ("what", "code"),
    [
        pytest.param({"amount_milli_unit_seconds": HOURS(101)}, "more-than-asked", id="more"),
        pytest.param({"amount_milli_unit_seconds": -1}, "nothing-given", id="less-than-nothing"),
        pytest.param({"amount_milli_unit_seconds": 0}, "nothing-given", id="nothing"),
        pytest.param({"sites": ("moon",)}, "site-unknown", id="site"),
    ],
)
def test_an_approval_gives_something_and_at_most_what_was_asked_for(
    desk: Desk, what: dict[str, Any], code: str
) -> None:
    request = desk.in_review()
    refused(desk, code, request, Event.APPROVE, desk.reviewer(), decision=decided(request, **what))
    refused(desk, "nothing-given", request, Event.APPROVE, desk.reviewer())


def test_an_approval_is_for_a_time_to_come_and_not_for_longer_than_asked(desk: Desk) -> None:
    request, rita = desk.in_review(), desk.reviewer()
    for ends_at, code in ((desk.clock(), "end-is-past"), (request.asked.ends_at + DAY, "more-than-asked")):
        refused(desk, code, request, Event.APPROVE, rita, decision=decided(request, ends_at=ends_at))


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.IN_REVIEW, Event.ASK), (State.IN_REVIEW, Event.DENY), (State.ACTIVE, Event.REDUCE),
        (State.ACTIVE, Event.SUSPEND), (State.SUSPENDED, Event.RESTORE),
    ],
    ids=lambda value: value.value,
)  # fmt: skip
def test_what_a_reviewer_does_to_a_person_is_justified(desk: Desk, state: State, event: Event) -> None:
    request = at(desk, state)
    given = {**whole(desk, request), "text": " \n"}
    refused(desk, "words-needed", request, event, desk.reviewer(), **given)


def test_a_denial_has_a_code(desk: Desk) -> None:
    refused(desk, "words-needed", desk.in_review(), Event.DENY, desk.reviewer(), text="No.")


def test_a_renewal_begins_sixty_days_before_the_end(desk: Desk) -> None:
    active = desk.active()
    desk.clock.move(305 * DAY - timedelta(seconds=1))
    refused(desk, "renewal-too-early", active, Event.RENEW, desk.user())
    desk.clock.move(timedelta(seconds=1))
    new = desk.act(active, Event.RENEW, desk.user())
    assert (new.follows, new.asked.purpose) == (active.id, "Penguins")
    assert new.asked.ends_at > active.asked.ends_at + 360 * DAY
    assert desk.row(active).state == State.ACTIVE
    assert desk.grants()[0].revoked_at is None


@pytest.mark.parametrize("hours", [0, 100, 101])
def test_a_reduction_leaves_less_and_something(desk: Desk, hours: int) -> None:
    refused(
        desk, "not-less", desk.active(), Event.REDUCE, desk.reviewer(), text="Less.",
        amount_milli_unit_seconds=HOURS(hours),
    )  # fmt: skip


def test_nothing_ends_before_its_end(desk: Desk) -> None:
    refused(desk, "not-ended-yet", desk.active(), Event.EXPIRE, SYSTEM)


# --- what an event leaves behind --------------------------------------------------------------------------------------


def test_what_the_provider_says_is_kept_as_it_was_when_it_was_sent(desk: Desk) -> None:
    desk.person()
    request = desk.submitted()
    assert request.claims["memberships"] == [COMMUNITY]
    asked = desk.act(
        desk.act(request, Event.CLAIM, desk.reviewer(), no_conflict=True), Event.ASK, desk.reviewer(), text="Still?"
    )
    desk.person(member=False)
    assert desk.requests.get(request.id, desk.user()).claims["memberships"] == [COMMUNITY]
    assert desk.act(asked, Event.ANSWER, desk.user(), text="No.").claims["memberships"] == []


def test_the_time_in_which_an_answer_is_wanted_stands_still_while_the_person_is_asked(desk: Desk) -> None:
    request = desk.in_review()
    assert request.due_at == desk.clock() + 3 * DAY
    desk.clock.move(DAY)
    desk.act(request, Event.ASK, desk.reviewer(), text="Which?")
    desk.clock.move(10 * DAY)
    request = desk.act(request, Event.ANSWER, desk.user(), text="This.")
    assert request.due_at == desk.clock() + 2 * DAY
    assert request.paused_at is None


def test_an_approved_request_becomes_one_grant_and_its_mappings(desk: Desk) -> None:
    request = desk.active(sites=("hpc",))
    (grant,) = desk.grants()
    assert (grant.key, grant.request_id, grant.amount) == (f"request:{request.id}", request.id, HOURS(100))
    assert (request.grant_id, grant.ends_at) == (grant.id, request.asked.ends_at)
    with desk.database.read() as connection:
        (mapping,) = mappings(connection)
    assert (mapping.site, mapping.account, mapping.state) == ("hpc", desk.people["ana"].user_name, MappingState.ASKED)
    assert discrepancies(desk.database) == []


def test_a_site_that_maps_the_person_already_is_not_asked_again(desk: Desk) -> None:
    desk.active(sites=("hpc",))
    with desk.database.write() as connection:
        change_mapping(
            connection, person_id=desk.people["ana"].id, site="hpc", event=MappingEvent.ACCEPT, by="x", now=desk.clock()
        )
    desk.active(kind=Kind.SITE, sites=("hpc", "cloud"))
    with desk.database.read() as connection:
        assert [(m.site, m.state) for m in mappings(connection)] == [("cloud", "asked"), ("hpc", "accepted")]


def test_a_tier_is_given_and_goes_with_its_end(desk: Desk) -> None:
    request = desk.active(kind=Kind.TIER, tier="T2", hours=0)
    ana = desk.people["ana"].id
    with desk.database.read() as connection:
        assert recorded_of(connection, ana).admitted == {"T2"}
    desk.clock.move(364 * DAY)
    renewed = desk.act(request, Event.RENEW, desk.user())
    desk.act(renewed, Event.SUBMIT, desk.user())
    renewed = desk.act(renewed, Event.CLAIM, desk.reviewer(), no_conflict=True)
    desk.act(renewed, Event.APPROVE, desk.reviewer(), decision=decided(renewed))
    desk.rounds.apply_all()
    desk.clock.move(2 * DAY)
    desk.rounds.watch_all()
    assert desk.row(request).state == State.EXPIRED
    with desk.database.read() as connection:
        assert recorded_of(connection, ana).admitted == {"T2"}
    desk.clock.move(365 * DAY)
    desk.rounds.watch_all()
    with desk.database.read() as connection:
        assert recorded_of(connection, ana).admitted == set()
    assert len(desk.rows(AdmissionTable)) == 1


def test_what_cannot_be_given_stays_approved_with_its_error_and_is_tried_again(desk: Desk) -> None:
    request = desk.approved(sites=("hpc",))
    account = desk.people["ana"].user_name
    with desk.database.write() as connection:
        taken = ask(connection, person_id="eve", site="hpc", account=account, by="x", now=desk.clock())
    desk.rounds.apply_all()
    row = desk.row(request)
    assert row.state == State.APPROVED
    assert "never given to a second one" in row.error
    assert desk.grants() == []
    with desk.database.write() as connection:
        ask(connection, person_id=request.person_id, site="hpc", account="ana2", by="x", now=desk.clock())
    desk.rounds.apply_all()
    row = desk.row(request)
    assert (row.state, row.error) == (State.ACTIVE, "")
    assert len(desk.grants()) == 1
    assert taken.account == account


def test_what_was_approved_too_late_gives_no_grant_and_ends(desk: Desk) -> None:
    request = desk.approved()
    desk.clock.move(366 * DAY)
    desk.rounds.apply_all()
    desk.rounds.watch_all()
    assert (desk.row(request).state, desk.grants()) == (State.EXPIRED, [])


def test_a_reduction_is_a_successor_of_the_grant(desk: Desk) -> None:
    request = desk.active()
    for hours in (60, 30):
        request = desk.act(request, Event.REDUCE, desk.reviewer(), text="Less.", amount_milli_unit_seconds=HOURS(hours))
    assert request.decision == Decision(ends_at=request.asked.ends_at, amount_milli_unit_seconds=HOURS(30))
    assert [(g.amount, g.revoked_at is None) for g in desk.grants()] == [
        (HOURS(100), False), (HOURS(60), False), (HOURS(30), True),
    ]  # fmt: skip
    assert discrepancies(desk.database) == []


def test_a_grant_that_is_over_cannot_be_reduced_before_its_request_ends(desk: Desk) -> None:
    request, rita = desk.active(), desk.reviewer()
    desk.clock.move(366 * DAY)
    refused(desk, "request-moved-on", request, Event.REDUCE, rita, text="Less.", amount_milli_unit_seconds=HOURS(60))


def test_who_is_suspended_keeps_the_grant_and_eligibility_knows_it(desk: Desk) -> None:
    request = desk.act(desk.active(), Event.SUSPEND, desk.reviewer(), text="Mining.")
    with desk.database.read() as connection:
        suspended = recorded_of(connection, request.person_id).suspended
    assert suspended is not None
    assert suspended.reason == "Mining."
    assert desk.grants()[0].revoked_at is None
    desk.act(request, Event.RESTORE, desk.reviewer(), text="It was a test.")
    with desk.database.read() as connection:
        assert recorded_of(connection, request.person_id).suspended is None


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_grant_ends_by_itself_and_the_request_with_it(desk: Desk) -> None:
    request = desk.active()
    desk.clock.move(365 * DAY)
    desk.rounds.watch_all()
    assert desk.row(request).state == State.EXPIRED
    assert desk.mails()[-1] == ("request-expired", "ana")


def test_a_grant_that_an_operator_extended_lets_the_request_go_on(desk: Desk) -> None:
    request = desk.active()
    Ledger(desk.database, clock=desk.clock).change(
        str(request.grant_id), key="longer", amount=HOURS(100), starts_at=desk.clock(),
        ends_at=request.asked.ends_at + 30 * DAY, actor="olga", reason="thesis",
    )  # fmt: skip
    desk.clock.move(370 * DAY)
    desk.rounds.watch_all()
    assert desk.row(request).state == State.ACTIVE
    desk.clock.move(30 * DAY)
    desk.rounds.watch_all()
    assert desk.row(request).state == State.EXPIRED


def test_a_membership_that_is_gone_ends_it_after_the_days_of_grace(desk: Desk) -> None:
    request = desk.active()
    desk.person(member=False)
    desk.rounds.watch_all()
    desk.clock.move(29 * DAY)
    desk.rounds.watch_all()
    assert desk.row(request).state == State.ACTIVE
    desk.clock.move(DAY)
    desk.rounds.watch_all()
    assert desk.row(request).state == State.EXPIRED
    assert desk.grants()[0].revoked_at == desk.clock()


def test_a_membership_that_comes_back_in_time_ends_nothing(desk: Desk) -> None:
    request = desk.active()
    desk.person(member=False)
    desk.rounds.watch_all()
    desk.clock.move(29 * DAY)
    desk.person(member=True)
    desk.rounds.watch_all()
    desk.clock.move(29 * DAY)
    desk.rounds.watch_all()
    assert desk.row(request).state == State.ACTIVE


@pytest.mark.parametrize(
    ("events", "state"),
    [
        pytest.param([MappingEvent.ACCEPT], State.ACTIVE, id="accepted"),
        pytest.param([MappingEvent.REFUSE], State.ACTIVE, id="refused-is-simply-absent"),
        pytest.param([MappingEvent.ACCEPT, MappingEvent.END], State.EXPIRED, id="ended"),
    ],
)
def test_what_is_about_a_site_ends_with_the_mapping(desk: Desk, events: list[MappingEvent], state: State) -> None:
    request = desk.active(kind=Kind.SITE, sites=("hpc",), hours=0)
    for event in events:
        desk.clock.move(DAY)
        with desk.database.write() as connection:
            change_mapping(
                connection, person_id=request.person_id, site="hpc", event=event, by="sol", reason="r", now=desk.clock()
            )
    desk.rounds.watch_all()
    assert desk.row(request).state == state


def test_reminders_come_thirty_fourteen_seven_days_and_one_day_before_the_end_once_each(desk: Desk) -> None:
    desk.active()
    desk.clock.move(333 * DAY)
    for _day in range(34):
        desk.rounds.watch_all()
        desk.rounds.watch_all()
        desk.clock.move(DAY)
    days = [row.figures["days"] for row in desk.rows(OutboxTable, OutboxTable.kind == "request-ends")]
    assert days == [30, 14, 7, 1]


def test_reviewers_are_told_once_a_day_in_the_morning_if_something_waits(desk: Desk) -> None:
    for name in ("rita", "ruth", "eve"):
        desk.person(name)
    desk.rounds.tell_reviewers()
    assert desk.mails() == []
    desk.submitted()
    desk.clock.move(timedelta(hours=20))  # at five in the morning
    desk.rounds.tell_reviewers()
    assert ("request-digest", "rita") not in desk.mails()
    desk.clock.move(timedelta(hours=1))
    for _ in range(3):
        desk.rounds.tell_reviewers()
    assert desk.mails()[1:] == [("request-digest", "rita"), ("request-digest", "ruth")]
    desk.clock.move(3 * DAY)
    desk.rounds.tell_reviewers()
    digest = desk.rows(OutboxTable, OutboxTable.kind == "request-digest")[-1]
    assert digest.figures == {"waiting": 1, "late": 1}


# --- at once ----------------------------------------------------------------------------------------------------------


def together(*calls: Any) -> list[str]:
    """What each of several calls answered, made at the same moment."""
    gate, answers = threading.Barrier(len(calls)), list[str]()

    def one(call: Any) -> None:
        gate.wait()
        try:
            answers.append(call().state)
        except Failure as failure:
            answers.append(failure.problem.code)

    threads = [threading.Thread(target=one, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(answers)


def test_two_reviewers_who_claim_together_one_has_it(desk: Desk) -> None:
    request = desk.submitted()
    actors = [desk.reviewer("rita"), desk.reviewer("ruth")]
    answers = together(*(lambda a=a: desk.act(request, Event.CLAIM, a, no_conflict=True) for a in actors))
    assert answers == ["in_review", "request-moved-on"]
    assert desk.trail(request).count("reviewer:request:claimed") == 1


def test_two_who_decide_differently_together_one_counts(desk: Desk) -> None:
    request = at(desk, State.AWAITING_SECOND)
    ruth, rob = desk.reviewer("ruth"), desk.reviewer("rob")
    answers = together(
        lambda: desk.act(request, Event.APPROVE, ruth, no_conflict=True),
        lambda: desk.act(request, Event.DENY, rob, no_conflict=True, code=DenialCode.OTHER, text="No."),
    )
    assert answers in (["approved", "request-moved-on"], ["denied", "request-moved-on"])
    assert len([kind for kind, _ in desk.mails() if kind in ("request-approved", "request-denied")]) == 1


def test_two_workers_who_apply_together_give_one_grant(desk: Desk) -> None:
    request = desk.approved()
    answers = together(*[lambda: desk.act(request, Event.APPLY, SYSTEM)] * 3)
    assert answers == ["active", "request-moved-on", "request-moved-on"]
    assert len(desk.grants()) == 1


def test_two_tabs_that_open_a_request_together_make_one(desk: Desk) -> None:
    desk.person()
    assert together(desk.open, desk.open) == ["draft", "request-open-already"]
    assert len(desk.requests.found()) == 1


def test_a_crash_at_any_statement_leaves_nothing_and_the_next_try_does_it_all(databases: Any) -> None:
    database = CrashingDatabase(databases.migrated())
    desk = Desk(database)
    request = desk.approved(sites=("hpc",))
    before = dump(database)
    for statement in range(100):
        database.crash_at = statement
        with pytest.raises(Crash):
            desk.rounds.apply_all()
        assert dump(database) == before
        if database.statements < statement:
            break
    assert database.statements > 10
    desk.rounds.apply_all()
    assert (desk.row(request).state, len(desk.grants())) == (State.ACTIVE, 1)
    database.dispose()


def test_open_states_are_those_of_the_table() -> None:
    assert {row.source for row in TABLE if row.event is Event.WITHDRAW} | {State.APPROVED} == set(OPEN)


def test_the_audit_trail_has_no_words_that_could_have_to_go(desk: Desk) -> None:
    request = at(desk, State.NEEDS_INFO)
    desk.act(request, Event.ANSWER, desk.user(), text="My secret project")
    written = str([tuple(row) for row in desk.rows(AuditTable)])
    for words in ("Penguins", "Prof. Paz", "Which data?", "My secret project"):
        assert words not in written
