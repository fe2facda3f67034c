"""Ask for more, and one's own requests: a draft that is kept, sent, answered, renewed, withdrawn."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from federation.errors import Failure
from vetting.asking import Given, Kind
from vetting.desk.forms import Form
from vetting.desk.gate import SentForm, TheDesk, open_to
from vetting.desk.own import mapped_at, own_request, own_summaries
from vetting.desk.pages import render
from vetting.desk.parts import PREFIX, Desk
from vetting.desk.people import person_now
from vetting.desk.pictures import course_of
from vetting.desk.rights import Right
from vetting.desk.visitors import Visitor
from vetting.desk.wishes import AskForm, form_of, kinds_on_offer, read_asked, suggested, typed
from vetting.errors import REQUEST_OPEN_ALREADY
from vetting.requests import Request
from vetting.transitions import OPEN, Event, State

__all__ = ["Person", "router"]

_SEE_OTHER = 303
_SEND = "send"
_GIVEN = (State.ACTIVE, State.SUSPENDED)

router = APIRouter()
Person = Annotated[Visitor, open_to(Right.OWN)]


class OwnEvent(StrEnum):
    """What a person may let happen to a request of theirs that is there, as addresses name it."""

    EDIT = "edit"
    ANSWER = "answer"
    WITHDRAW = "withdraw"
    RENEW = "renew"
    REOPEN = "reopen"


@router.get("/ask")
def ask(
    request: HttpRequest, desk: TheDesk, visitor: Person, kind: str = "", about: str = "", flavour: str = "",
    site: str = "",
) -> Response:  # fmt: skip
    """The form, filled in as far as an address says what was refused. Nothing is begun yet."""
    form = suggested(desk.offer, desk.clock(), kind=kind, about=about, flavour=flavour, site=site)
    if form is None:
        return render(request, visitor, "ask_what.html", kinds=kinds_on_offer(desk.offer), offer=desk.offer)
    open_one = _open_one(desk, visitor, form.kind)
    return _form(request, desk, visitor, form, open_one=open_one)


@router.post("/ask")
def begin(request: HttpRequest, desk: TheDesk, visitor: Person, sent: SentForm) -> Response:
    """Keep what was typed as a draft, and send it if that was the button."""
    kind = next((kind for kind in Kind if kind.value == sent.text("kind")), Kind.QUOTA)
    try:
        asked = read_asked(desk.offer, kind, sent)
        draft = desk.requests.open(visitor.as_person, person_id=visitor.person.id, kind=kind, asked=asked)
    except Failure as failure:
        open_one = _open_one(desk, visitor, kind) if failure.problem is REQUEST_OPEN_ALREADY else None
        return _form(request, desk, visitor, typed(desk.offer, kind, sent), failure=failure, open_one=open_one)
    return _sent(request, desk, visitor, draft, sent)


@router.get("/requests")
def requests(request: HttpRequest, desk: TheDesk, visitor: Person) -> Response:
    """All of one's own."""
    found = own_summaries(desk.requests, desk.offer.sites, visitor.person.id)
    return render(request, visitor, "requests.html", requests=found)


@router.get("/requests/{request_id}")
def one(request: HttpRequest, desk: TheDesk, visitor: Person, request_id: str) -> Response:
    """One of them: how far it is, its story, and what may be done."""
    return _one(request, desk, visitor, request_id)


@router.post("/requests/{request_id}/{event}")
def happen(
    request: HttpRequest, desk: TheDesk, visitor: Person, sent: SentForm, request_id: str, event: OwnEvent
) -> Response:
    """Let something happen to it."""
    if event is OwnEvent.EDIT:
        return _edit(request, desk, visitor, request_id, sent)
    try:
        after = desk.requests.act(request_id, Event(event.value), visitor.as_person, Given(text=sent.text("text")))
    except Failure as failure:
        return _one(request, desk, visitor, request_id, failure=failure, words=sent.text("text"))
    return _to(after)


def _edit(request: HttpRequest, desk: Desk, visitor: Visitor, request_id: str, sent: Form) -> Response:
    before = desk.requests.get(request_id, visitor.as_person)
    try:
        asked = read_asked(desk.offer, before.kind, sent)
        draft = desk.requests.act(request_id, Event.EDIT, visitor.as_person, Given(asked=asked))
    except Failure as failure:
        form = typed(desk.offer, before.kind, sent) if before.state is State.DRAFT else None
        return _one(request, desk, visitor, request_id, failure=failure, form=form)
    return _sent(request, desk, visitor, draft, sent)


def _sent(request: HttpRequest, desk: Desk, visitor: Visitor, draft: Request, sent: Form) -> Response:
    """The draft is kept; send it if that was the button."""
    if sent.text("button") != _SEND:
        return _to(draft)
    try:
        return _to(desk.requests.act(draft.id, Event.SUBMIT, visitor.as_person))
    except Failure as failure:
        return _one(request, desk, visitor, draft.id, failure=failure)


def _one(
    request: HttpRequest, desk: Desk, visitor: Visitor, request_id: str, *, failure: Failure | None = None,
    form: AskForm | None = None, words: str = "",
) -> Response:  # fmt: skip
    mapped = mapped_at(desk.database, desk.offer.sites, visitor.person.id)
    own = own_request(desk.requests, desk.offer.sites, request_id, visitor.as_person, desk.clock(), mapped)
    if Event.EDIT in own.events and form is None:
        form = form_of(desk.offer, own.request.kind, own.request.asked)
    has_quota = own.request.state in _GIVEN and own.request.decision and own.request.decision.amount_milli_unit_seconds
    return render(
        request, visitor, "request.html", failure=failure, own=own, form=form, offer=desk.offer, words=words, Event=Event,
        person=person_now(visitor.person), course=course_of(desk, visitor.person.id) if has_quota else None,
    )  # fmt: skip


def _form(
    request: HttpRequest, desk: Desk, visitor: Visitor, form: AskForm, *, failure: Failure | None = None,
    open_one: Request | None = None,
) -> Response:  # fmt: skip
    return render(request, visitor, "ask.html", failure=failure, form=form, offer=desk.offer, open_one=open_one)


def _open_one(desk: Desk, visitor: Visitor, kind: Kind) -> Request | None:
    """The open request of this kind, in the way of another one."""
    found = desk.requests.found(states=OPEN, person_id=visitor.person.id)
    return next((one for one in found if one.kind is kind), None)


def _to(request: Request) -> Response:
    return RedirectResponse(f"{PREFIX}requests/{request.id}", _SEE_OTHER)
