"""Requests as they are kept: each event is one transaction with its step, its row in the audit trail and its mails.

- What the table of transitions does not have changes nothing, whoever asks for it.
- Of two who act on one request at the same moment, one is told that it moved on.
- An event whose answer was lost may be asked for again: it is done already, and is refused as such.
- A request is there for the person, for reviewers and for the system; for others there is none.
- Whoever tries what is not theirs to do is in the audit trail, too.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from federation.audit import Act, record
from federation.clock import Clock, system_clock
from federation.database import Database
from federation.errors import Failure
from federation.ids import new_id
from federation.outbox import announce
from federation.terms import acceptance_in_force, acceptances, in_force
from vetting.asking import Actor, Asked, Given, Kind
from vetting.ends import End
from vetting.errors import REQUEST_MOVED_ON, REQUEST_OPEN_ALREADY, REQUEST_UNFIT, REQUEST_UNKNOWN
from vetting.guards import DeskRules, Situation
from vetting.request_effects import EFFECTS, Work, asked_columns, end_of
from vetting.request_rows import Request, Step, asked_of, decision_of, existing, find_row, other_open, to_request
from vetting.request_tables import LONG_TEXT, SHORT_TEXT, RequestStepTable, RequestTable
from vetting.transitions import Effect, Event, State, Transition, find

__all__ = ["ACTS", "Request", "Requests", "Step"]

ACTS: Mapping[Event, Act] = {
    Event.OPEN: Act.REQUEST_OPENED,
    Event.EDIT: Act.REQUEST_EDITED,
    Event.SUBMIT: Act.REQUEST_SUBMITTED,
    Event.CLAIM: Act.REQUEST_CLAIMED,
    Event.UNCLAIM: Act.REQUEST_UNCLAIMED,
    Event.ASK: Act.REQUEST_ASKED,
    Event.ANSWER: Act.REQUEST_ANSWERED,
    Event.APPROVE: Act.REQUEST_APPROVED,
    Event.DENY: Act.REQUEST_DENIED,
    Event.REOPEN: Act.REQUEST_REOPENED,
    Event.APPLY: Act.REQUEST_APPLIED,
    Event.RENEW: Act.REQUEST_RENEWED,
    Event.REDUCE: Act.REQUEST_REDUCED,
    Event.SUSPEND: Act.REQUEST_SUSPENDED,
    Event.RESTORE: Act.REQUEST_RESTORED,
    Event.EXPIRE: Act.REQUEST_EXPIRED,
    Event.WITHDRAW: Act.REQUEST_WITHDRAWN,
}
_WITH_WORDS_IN_THE_TRAIL = frozenset({Event.APPROVE, Event.DENY, Event.REDUCE, Event.SUSPEND, Event.RESTORE})
"""The justification of a decision stays for ever; what else people write can be removed with their data."""
_FORBIDDEN = 403
_NAME = 40
_MOST = 2**53
_PERSON = "person:"


class Requests:
    """The store.

    Parameters
    ----------
    rules
        What federation.yaml says of requests.
    terms_grace_days
        How long an earlier acceptance of the terms counts; None where the federation has no terms.
    """

    def __init__(
        self, database: Database, rules: DeskRules, *, terms_grace_days: int | None, clock: Clock = system_clock
    ) -> None:
        self._database = database
        self._terms_grace_days = terms_grace_days
        self._clock = clock
        self.rules = rules

    # --- events -----------------------------------------------------------------------------------------------------

    def open(self, actor: Actor, *, person_id: str, kind: Kind, asked: Asked) -> Request:
        """A new draft.

        Raises
        ------
        Failure
            If it may not be.
        """
        now = self._clock()
        given = Given(asked=asked)
        _check_fits(given)
        with self._refusals_audited(actor, f"{_PERSON}{person_id}", Event.OPEN) as connection:
            situation = Situation(
                rules=self.rules, now=now, actor=actor, given=given,
                kind=kind, person_id=person_id, filed_by=actor.name, asked=asked,
                other_open=other_open(connection, person_id, kind, but=""),
            )  # fmt: skip
            find(None, Event.OPEN, situation)
            return self._begin(connection, Event.OPEN, situation, follows=None)

    def act(self, request_id: str, event: Event, actor: Actor, given: Given | None = None) -> Request:
        """Let something happen to a request; the request as it is afterwards, or the new one that follows it.

        Raises
        ------
        Failure
            If it may not be; nothing was changed.
        federation.database.DatabaseUnavailable
            If the database is away: look at the request before trying again.
        """
        given, now = given or Given(), self._clock()
        _check_fits(given)
        with self._refusals_audited(actor, f"request:{request_id}", event) as connection:
            row = find_row(connection, request_id, to_change=True)
            if row is None or not _may_see(actor, row.person_id, State(row.state)):
                raise Failure(REQUEST_UNKNOWN)
            situation = self._situation(connection, row, event, actor, given, now)
            transition = find(State(row.state), event, situation)
            if Effect.FOLLOW in transition.effects:
                return self._begin(connection, event, situation, follows=row)
            return self._carry_out(connection, row, transition, situation)

    def fail(self, request_id: str, error: str) -> None:
        """Write down why an approved request could not be applied; it stays approved and is tried again."""
        with self._database.write() as connection:
            connection.execute(
                update(RequestTable)
                .where(RequestTable.id == request_id, RequestTable.state == State.APPROVED.value)
                .values(error=error[:500])
            )

    # --- what there is ----------------------------------------------------------------------------------------------

    def get(self, request_id: str, actor: Actor) -> Request:
        """One request.

        Raises
        ------
        Failure
            If there is none that the actor may see.
        """
        with self._database.read() as connection:
            row = find_row(connection, request_id)
        if row is None or not _may_see(actor, row.person_id, State(row.state)):
            raise Failure(REQUEST_UNKNOWN)
        return to_request(row)

    def found(
        self,
        *,
        states: Collection[State] = tuple(State),
        person_id: str | None = None,
        kind: Kind | None = None,
        limit: int | None = 1000,
        offset: int = 0,
    ) -> list[Request]:
        """Requests in some states, those first that are due first; without one, the newest first."""
        table = RequestTable.__table__
        query = (
            select(table)
            .where(RequestTable.state.in_([state.value for state in states]))
            .order_by(RequestTable.due_at.is_(None), RequestTable.due_at, RequestTable.opened_at.desc())
            .limit(limit)
            .offset(offset)
        )
        if person_id is not None:
            query = query.where(RequestTable.person_id == person_id)
        if kind is not None:
            query = query.where(RequestTable.kind == kind.value)
        with self._database.read() as connection:
            return [to_request(row) for row in connection.execute(query)]

    def counted(self) -> dict[State, int]:
        """How many requests there are in each state; those of none are left out."""
        query = select(RequestTable.state, func.count()).group_by(RequestTable.state)
        with self._database.read() as connection:
            return {State(row[0]): row[1] for row in connection.execute(query)}

    def steps(self, request_id: str, actor: Actor) -> list[Step]:
        """What happened to a request, in order.

        Raises
        ------
        Failure
            If there is none that the actor may see.
        """
        self.get(request_id, actor)
        query = (
            select(RequestStepTable.__table__)
            .where(RequestStepTable.request_id == request_id)
            .order_by(RequestStepTable.id)
        )
        with self._database.read() as connection:
            return [
                Step(at=row.at, event=Event(row.event), state=State(row.state), actor=row.actor, text=row.text)
                for row in connection.execute(query)
            ]

    def end(self, request_id: str) -> End | None:
        """The effective end of what was given for a request; None before anything was, or if there is no request."""
        with self._database.read() as connection:
            row = find_row(connection, request_id)
            return end_of(connection, row, self.rules) if row is not None else None

    # --- one event --------------------------------------------------------------------------------------------------

    def _situation(
        self, connection: Connection, row: Row[Any], event: Event, actor: Actor, given: Given, now: datetime
    ) -> Situation:
        end = end_of(connection, row, self.rules) if event in (Event.RENEW, Event.EXPIRE) else None
        begins_anew = event in (Event.RENEW, Event.REOPEN)
        return Situation(
            rules=self.rules,
            now=now,
            actor=actor,
            given=given,
            kind=Kind(row.kind),
            person_id=row.person_id,
            filed_by=row.filed_by,
            asked=asked_of(row),
            decision=decision_of(row),
            reviewer=row.reviewer,
            other_open=other_open(connection, row.person_id, row.kind, but=row.id) if begins_anew else "",
            terms_accepted=event is Event.SUBMIT and self._terms_accepted(connection, row.person_id, now),
            ends_at=end.at if end else None,
        )

    def _carry_out(
        self, connection: Connection, row: Row[Any], transition: Transition, situation: Situation
    ) -> Request:
        work = Work(row=row, situation=situation, step=new_id())
        values: dict[str, Any] = {"state": transition.target.value, "changed_at": situation.now}
        for effect in transition.effects:
            values |= EFFECTS[effect](connection, work)
        done = connection.execute(
            update(RequestTable)
            .where(RequestTable.id == row.id, RequestTable.state == row.state, RequestTable.reviewer == row.reviewer)
            .values(values)
        ).rowcount
        if not done:
            raise Failure(REQUEST_MOVED_ON)
        after = existing(connection, row.id)
        _tell(connection, after, transition, work)
        _write_down(connection, after, transition.event, situation, work.step, before=row.state)
        return to_request(after)

    def _begin(
        self, connection: Connection, event: Event, situation: Situation, *, follows: Row[Any] | None
    ) -> Request:
        """A new draft; one that follows an old request begins with what that asked for."""
        asked = situation.given.asked or (_anew(event, situation) if follows is not None else situation.asked)
        request_id, step = new_id(), new_id()
        row = {
            "id": request_id, "person_id": situation.person_id, "kind": situation.kind.value,
            "state": State.DRAFT.value, "filed_by": situation.actor.name,
            "follows": follows.id if follows is not None else None, "claims": {}, "reviewer": "", "second": "",
            "given_sites": [], "denial_code": "", "note": "", "private_note": "", "error": "",
            "opened_at": situation.now, "changed_at": situation.now, **asked_columns(asked),
        }  # fmt: skip
        try:
            with connection.begin_nested():
                connection.execute(insert(RequestTable).values(row))
        except IntegrityError as error:  # another tab was the first
            raise Failure(REQUEST_OPEN_ALREADY) from error
        after = existing(connection, request_id)
        _write_down(connection, after, event, situation, step, before=None)
        return to_request(after)

    def _terms_accepted(self, connection: Connection, person_id: str, now: datetime) -> bool:
        if self._terms_grace_days is None:
            return True
        terms = in_force(connection, self._terms_grace_days)
        accepted = acceptances(connection, person_id)
        return terms is None or acceptance_in_force(terms, accepted, now) is not None

    @contextmanager
    def _refusals_audited(self, actor: Actor, target: str, event: Event) -> Iterator[Connection]:
        """A transaction; if it is refused because of who asks, that is written down in one of its own."""
        try:
            with self._database.write() as connection:
                yield connection
        except Failure as failure:
            if failure.problem.status == _FORBIDDEN or failure.problem is REQUEST_UNKNOWN:
                with self._database.write() as connection:
                    record(
                        connection, at=self._clock(), act=Act.REQUEST_REFUSED, actor=actor.name, target=target,
                        reason="", event=event.value, why=failure.problem.code,
                    )  # fmt: skip
            raise


# --- rows -------------------------------------------------------------------------------------------------------------


def _check_fits(given: Given) -> None:
    """Refuse what the tables cannot hold, before anything is tried."""
    asked = given.asked
    texts = [(given.text, LONG_TEXT), (given.private, LONG_TEXT)]
    amounts = [given.amount_milli_unit_seconds]
    if asked is not None:
        texts += [(asked.purpose, LONG_TEXT), (asked.details, LONG_TEXT), (asked.contact, SHORT_TEXT)]
        texts += [(asked.evidence, SHORT_TEXT), (asked.tier, _NAME), (asked.flavour, _NAME)]
        texts += [(site, _NAME) for site in asked.sites]
        amounts.append(asked.amount_milli_unit_seconds)
    fits = all(len(text) <= most and "\0" not in text for text, most in texts)
    if not fits or any(not 0 <= amount <= _MOST for amount in amounts):
        raise Failure(REQUEST_UNFIT)


def _may_see(actor: Actor, person_id: str, state: State) -> bool:
    """A draft is no reviewer's yet."""
    reviews = actor.is_reviewer and state is not State.DRAFT
    return actor.person_id == person_id or reviews or actor.is_operator or actor.is_system


def _anew(event: Event, situation: Situation) -> Asked:
    """What is asked for again; a renewal begins where the old one ends, and is as long as a year."""
    asked = situation.asked
    if event is not Event.RENEW or situation.ends_at is None:
        return asked
    year = situation.ends_at.replace(year=situation.ends_at.year + 1, day=min(situation.ends_at.day, 28))
    return Asked(**{**vars(asked), "ends_at": year})


# --- who is told ------------------------------------------------------------------------------------------------------


def _tell(connection: Connection, row: Row[Any], transition: Transition, work: Work) -> None:
    """Put the mails of an event into the outbox."""
    reviewer = row.reviewer.removeprefix(_PERSON) if row.reviewer.startswith(_PERSON) else None
    for kind, person_id in ((transition.mail, row.person_id), (transition.mail_reviewer, reviewer)):
        if kind and person_id:
            announce(
                connection, event=f"{kind}:{work.step}", kind=kind, person_id=person_id, now=work.now, due_at=work.now,
                request=row.id, about=row.kind, words=work.situation.given.text, **_figures(row),
            )  # fmt: skip


def _figures(row: Row[Any]) -> dict[str, Any]:
    given = row.given_ends_at is not None
    return {
        "tier": row.tier,
        "amount_milli_unit_seconds": row.given_amount_milli_unit_seconds if given else row.amount_milli_unit_seconds,
        "ends_at": (row.given_ends_at if given else row.ends_at).isoformat(),
        "sites": list(row.given_sites if given else row.sites),
    }


def _write_down(
    connection: Connection, row: Row[Any], event: Event, situation: Situation, step: str, *, before: str | None
) -> None:
    """The step, and the row of the audit trail."""
    now, actor, text = situation.now, situation.actor.name, situation.given.text
    connection.execute(
        insert(RequestStepTable).values(
            id=step, request_id=row.id, person_id=row.person_id, at=now, event=event.value, state=row.state,
            actor=actor, text=text[:LONG_TEXT],
        )
    )  # fmt: skip
    figures = {"denial_code": row.denial_code} if row.denial_code else {}
    record(
        connection, at=now, act=ACTS[event], actor=actor, target=f"request:{row.id}",
        reason=text if event in _WITH_WORDS_IN_THE_TRAIL else "", person=row.person_id, kind=row.kind,
        before=before, after=row.state, **_figures(row), **figures,
    )  # fmt: skip
