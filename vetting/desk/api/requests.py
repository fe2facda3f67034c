"""Requests for programs: one's own, and those of others for who may see and decide about them."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query

from vetting.asking import Decision, Given, Kind
from vetting.desk.api.shapes import (
    Decided,
    Limit,
    Offset,
    OwnInFull,
    OwnInShort,
    QueueEntry,
    ReviewInFull,
    Said,
    Wish,
    WishSent,
)
from vetting.desk.asking_pages import Person
from vetting.desk.dossier import dossier_of
from vetting.desk.gate import TheDesk
from vetting.desk.own import mapped_at, own_request
from vetting.desk.parts import Desk
from vetting.desk.queue import queue_of
from vetting.desk.review_pages import Reader, Reviewer, ReviewEvent
from vetting.desk.reviewing import decide_about
from vetting.desk.visitors import Visitor
from vetting.requests import Request
from vetting.transitions import Event, State

__all__ = ["router"]

_CREATED = 201

router = APIRouter()


class Happening(StrEnum):
    """What a person may let happen to a request of theirs, as addresses name it."""

    SUBMIT = "submit"
    ANSWER = "answer"
    WITHDRAW = "withdraw"
    RENEW = "renew"
    REOPEN = "reopen"


@router.get("/requests", tags=["own requests"])
def own(
    desk: TheDesk, visitor: Person, limit: Annotated[Limit, Query()] = 50, offset: Annotated[Offset, Query()] = 0
) -> list[OwnInShort]:
    """One's own requests, the newest first."""
    found = sorted(desk.requests.found(person_id=visitor.person.id), key=lambda one: one.opened_at, reverse=True)
    return [OwnInShort.of(one) for one in found[offset : offset + limit]]


@router.post("/requests", status_code=_CREATED, tags=["own requests"])
def begin(desk: TheDesk, visitor: Person, sent: WishSent) -> OwnInFull:
    """Ask for something: a draft, which is sent at once if `submit` says so. Sent twice, the second one is refused, since
    a person has one open request of each kind.
    """
    draft = desk.requests.open(visitor.as_person, person_id=visitor.person.id, kind=sent.kind, asked=sent.asked.asked())
    if sent.submit:
        desk.requests.act(draft.id, Event.SUBMIT, visitor.as_person)
    return _own(desk, visitor, draft)


@router.get("/requests/{request_id}", tags=["own requests"])
def own_one(desk: TheDesk, visitor: Person, request_id: str) -> OwnInFull:
    """One of one's own, with its story."""
    mapped = mapped_at(desk.database, desk.offer.sites, visitor.person.id)
    own = own_request(desk.requests, desk.offer.sites, request_id, visitor.as_person, desk.clock(), mapped)
    return OwnInFull.of_own(own)


@router.put("/requests/{request_id}", tags=["own requests"])
def edit(desk: TheDesk, visitor: Person, request_id: str, asked: Wish) -> OwnInFull:
    """Change a draft."""
    return _own(desk, visitor, desk.requests.act(request_id, Event.EDIT, visitor.as_person, Given(asked=asked.asked())))


@router.post("/requests/{request_id}/{event}", tags=["own requests"])
def happen(desk: TheDesk, visitor: Person, request_id: str, event: Happening, said: Said | None = None) -> OwnInFull:
    """Submit a draft, answer, withdraw, renew, reopen. The last two begin another request, which is what is answered."""
    text = said.text if said is not None else ""
    return _own(desk, visitor, desk.requests.act(request_id, Event(event.value), visitor.as_person, Given(text=text)))


@router.get("/queue", tags=["review"])
def queue(
    desk: TheDesk, visitor: Reader, state: State | None = None, kind: Kind | None = None,
    limit: Annotated[Limit, Query()] = 50, offset: Annotated[Offset, Query()] = 0,
) -> list[QueueEntry]:  # fmt: skip
    """Requests that wait, or that are in one state; those first that are due first."""
    rows = queue_of(desk, visitor, state=state, kind=kind, offset=offset, limit=limit).rows
    return [
        QueueEntry(
            **vars(OwnInShort.of(row.request)), person=row.person, organisation=row.organisation, urgency=row.urgency,
            reviewer=row.reviewer, is_own=row.is_own,
        )
        for row in rows
    ]  # fmt: skip


@router.get("/review/{request_id}", tags=["review"])
def review(desk: TheDesk, visitor: Reader, request_id: str) -> ReviewInFull:
    """One request, with all that a reviewer decides by."""
    return ReviewInFull.of_dossier(dossier_of(desk, visitor, request_id))


@router.post("/review/{request_id}/{event}", tags=["review"])
def decide(desk: TheDesk, visitor: Reviewer, request_id: str, event: ReviewEvent, decided: Decided) -> ReviewInFull:
    """Let something happen to it. Who decides about a request that nobody has takes it first; an approval without
    `given` gives all that is asked for.
    """
    before = desk.requests.get(request_id, visitor.actor)
    decide_about(desk.requests, visitor.actor, before, Event(event.value), _given(before, event, decided))
    return ReviewInFull.of_dossier(dossier_of(desk, visitor, request_id))


def _given(before: Request, event: ReviewEvent, decided: Decided) -> Given:
    decision = None
    if event is ReviewEvent.APPROVE and before.state is not State.AWAITING_SECOND:
        decision = decided.given.decision() if decided.given is not None else _as_asked(before)
    return Given(
        decision=decision, code=decided.code, text=decided.text, private=decided.private,
        no_conflict=decided.no_conflict, amount_milli_unit_seconds=decided.amount_milli_unit_seconds,
    )  # fmt: skip


def _as_asked(before: Request) -> Decision:
    asked = before.asked
    return Decision(ends_at=asked.ends_at, amount_milli_unit_seconds=asked.amount_milli_unit_seconds, sites=asked.sites)


def _own(desk: Desk, visitor: Visitor, request: Request) -> OwnInFull:
    return own_one(desk, visitor, request.id)
