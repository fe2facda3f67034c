"""The queue, and one request with all that belongs to it, for those who decide."""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from federation.errors import Failure
from federation.i18n import current_language, use_language
from federation.mail import language_of
from federation.settings import in_language
from vetting.asking import DenialCode, Kind
from vetting.desk.bulk import Outcome, approve
from vetting.desk.deciding import DecisionForm, decision_form, read_given, typed_decision
from vetting.desk.dossier import dossier_of
from vetting.desk.gate import SentForm, TheDesk, open_to
from vetting.desk.pages import render
from vetting.desk.parts import PREFIX, Desk
from vetting.desk.pictures import course_of, waited
from vetting.desk.queue import PAGE, WAITING, queue_of
from vetting.desk.reviewing import decide_about
from vetting.desk.rights import Right
from vetting.desk.visitors import Visitor
from vetting.requests import Request
from vetting.transitions import Event, State

__all__ = ["Reader", "ReviewEvent", "Reviewer", "router"]

_SEE_OTHER = 303
_MOST_OFFSET = 1_000_000
_SEEN = tuple(state for state in State if state is not State.DRAFT)  # nobody else reads a draft

router = APIRouter()
Reader = Annotated[Visitor, open_to(Right.SEE_REQUESTS)]
Reviewer = Annotated[Visitor, open_to(Right.DECIDE)]


class ReviewEvent(StrEnum):
    """What a reviewer may let happen to a request, as addresses name it."""

    CLAIM = "claim"
    UNCLAIM = "unclaim"
    ASK = "ask"
    APPROVE = "approve"
    DENY = "deny"
    REDUCE = "reduce"
    SUSPEND = "suspend"
    RESTORE = "restore"


@router.get("/queue")
def queue(
    request: HttpRequest, desk: TheDesk, visitor: Reader, state: str = "", kind: str = "", offset: int = 0,
    approved: int = 0,
) -> Response:  # fmt: skip
    """What waits, or what is in one state. `approved`: how many were just approved at once."""
    return _queue(request, desk, visitor, state, kind, offset, outcome=Outcome(approved=approved, refused=[]))


@router.post("/queue/approve")
def approve_several(request: HttpRequest, desk: TheDesk, visitor: Reviewer, sent: SentForm) -> Response:
    """Approve those that are ticked, as they were asked for."""
    outcome = approve(desk, visitor, sent.texts("request")[:PAGE], no_conflict=bool(sent.text("no_conflict")))
    state, kind = sent.text("state"), sent.text("kind")
    if outcome.refused:
        return _queue(request, desk, visitor, state, kind, outcome=outcome)
    words = urlencode({"state": state, "kind": kind, "approved": outcome.approved})
    return RedirectResponse(f"{PREFIX}queue?{words}", _SEE_OTHER)


@router.get("/review/{request_id}")
def one(request: HttpRequest, desk: TheDesk, visitor: Reader, request_id: str) -> Response:
    """One request in full."""
    return _one(request, desk, visitor, request_id)


@router.post("/review/{request_id}/{event}")
def decide(
    request: HttpRequest, desk: TheDesk, visitor: Reviewer, sent: SentForm, request_id: str, event: ReviewEvent
) -> Response:
    """Let something happen to it. Who decides about a request that nobody has takes it first."""
    before = desk.requests.get(request_id, visitor.actor)
    try:
        given = read_given(before, Event(event.value), sent)
        words = _with_answer(desk, before, sent.text("answer"), given.text)
        decide_about(desk.requests, visitor.actor, before, Event(event.value), replace(given, text=words))
    except Failure as failure:
        return _one(request, desk, visitor, request_id, failure=failure, form=typed_decision(sent))
    return RedirectResponse(f"{PREFIX}review/{request_id}", _SEE_OTHER)


def _queue(
    request: HttpRequest, desk: Desk, visitor: Visitor, state: str, kind: str, offset: int = 0, *, outcome: Outcome
) -> Response:
    chosen_state = next((one for one in _SEEN if one.value == state), None)
    chosen_kind = next((one for one in Kind if one.value == kind), None)
    found = queue_of(
        desk, visitor, state=chosen_state, kind=chosen_kind, offset=min(max(0, offset), _MOST_OFFSET)
    )  # fmt: skip
    return render(
        request, visitor, "queue.html", queue=found, state=chosen_state, kind=chosen_kind, states=_SEEN, kinds=Kind,
        waiting=WAITING, waited=waited(desk), outcome=outcome,
    )  # fmt: skip


def _with_answer(desk: Desk, request: Request, chosen: str, words: str) -> str:
    """The answer that was chosen, in the person's language, and what the reviewer wrote below it."""
    answer = desk.offer.answers.get(chosen)
    if answer is None:
        return words
    mine = current_language()
    with desk.database.read() as connection:
        theirs = language_of(connection, request.person_id, desk.offer.federation.languages[0])
    use_language(theirs)
    try:
        return "\n\n".join(filter(None, [in_language(answer.text), words]))
    finally:
        use_language(mine)


def _one(
    request: HttpRequest, desk: Desk, visitor: Visitor, request_id: str, *, failure: Failure | None = None,
    form: DecisionForm | None = None,
) -> Response:  # fmt: skip
    dossier = dossier_of(desk, visitor, request_id)
    return render(
        request, visitor, "review.html", failure=failure, dossier=dossier, form=form or decision_form(dossier.request),
        course=course_of(desk, dossier.request.person_id), offer=desk.offer, codes=DenialCode, Event=Event, State=State,
    )  # fmt: skip
