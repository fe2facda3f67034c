"""Sessions, for support: find them, see how far one is and why it ended; stop somebody now, and restore them."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from federation.errors import Failure
from federation.persons import Person, candidates, persons_by_id
from quota.statement import lines
from vetting.decisions import restore as restored
from vetting.desk.gate import SentForm, TheDesk, open_to
from vetting.desk.pages import render
from vetting.desk.parts import PREFIX, Desk
from vetting.desk.rights import Right
from vetting.desk.running import SessionShown
from vetting.desk.visitors import Visitor
from vetting.errors import DESK_PAGE_UNKNOWN, NOT_STOPPED, STOPPED_ALREADY, WORDS_NEEDED
from vetting.records import recorded_of
from vetting.stopping import stop_now

__all__ = ["router"]

_SEE_OTHER = 303
_MOST_CHARACTERS, _LOG_CHARACTERS = 2000, 4000
_MOST_SHOWN, _LAST_ENDED = 200, 50

router = APIRouter()
Support = Annotated[Visitor, open_to(Right.SUPPORT)]


@router.get("/sessions")
def sessions(
    request: HttpRequest, desk: TheDesk, visitor: Support, who: str = "", site: str = "", reference: str = "",
    ended: str = "",
) -> Response:  # fmt: skip
    """Those that have not ended, of everybody, of somebody or at a site; or the one that an error message refers to."""
    typed = {"who": who.strip()[:256], "site": site, "reference": reference.strip()[:40], "ended": ended}
    if typed["reference"]:
        found: Sequence[SessionShown] = desk.sessions.referred(typed["reference"])
    else:
        found = _of(desk, typed["who"], site if site in desk.offer.sites else None, _LAST_ENDED if ended else 0)
    if len(found) == 1 and typed["reference"]:
        return RedirectResponse(f"{PREFIX}sessions/{found[0].attempt}", _SEE_OTHER)
    shown = found[:_MOST_SHOWN]
    return render(
        request, visitor, "sessions.html", typed=typed, sessions=shown, more=len(found) > len(shown),
        people=_people(desk, shown), sites=desk.offer.sites, last_ended=_LAST_ENDED,
    )  # fmt: skip


@router.get("/sessions/{attempt}")
def one(request: HttpRequest, desk: TheDesk, visitor: Support, attempt: str) -> Response:
    """One of them: its stages, why it ended, the end of its log, what it costs; and its person."""
    return _one(request, desk, visitor, attempt)


@router.post("/sessions/{attempt}/stop")
def stop(request: HttpRequest, desk: TheDesk, visitor: Support, sent: SentForm, attempt: str) -> Response:
    """Stop the person whose it is now: suspended, and all that runs of theirs ends."""
    session, reason = _session(desk, attempt), sent.text("reason")[:_MOST_CHARACTERS]
    try:
        if not reason:
            raise Failure(WORDS_NEEDED)
        with desk.database.write() as connection:
            ends = stop_now(
                connection, desk.sessions.mark, person_id=session.person_id, reason=reason, by=visitor.actor.name,
                now=desk.clock(),
            )  # fmt: skip
        if ends is None:
            raise Failure(STOPPED_ALREADY)
    except Failure as failure:
        return _one(request, desk, visitor, attempt, failure=failure, words=reason)
    return RedirectResponse(f"{PREFIX}sessions/{attempt}", _SEE_OTHER)


@router.post("/sessions/{attempt}/restore")
def restore(request: HttpRequest, desk: TheDesk, visitor: Support, sent: SentForm, attempt: str) -> Response:
    """End the suspension of the person whose it is."""
    session, reason = _session(desk, attempt), sent.text("reason")[:_MOST_CHARACTERS]
    try:
        if not reason:
            raise Failure(WORDS_NEEDED)
        with desk.database.write() as connection:
            done = restored(
                connection, person_id=session.person_id, reason=reason, by=visitor.actor.name, now=desk.clock()
            )
        if not done:
            raise Failure(NOT_STOPPED)
    except Failure as failure:
        return _one(request, desk, visitor, attempt, failure=failure, words=reason)
    return RedirectResponse(f"{PREFIX}sessions/{attempt}", _SEE_OTHER)


def _one(
    request: HttpRequest, desk: Desk, visitor: Visitor, attempt: str, *, failure: Failure | None = None, words: str = ""
) -> Response:
    session = _session(desk, attempt)
    with desk.database.read() as connection:
        person = persons_by_id(connection, {session.person_id}).get(session.person_id)
        recorded = recorded_of(connection, session.person_id)
        line = lines(connection, [attempt]).get(attempt)
    return render(
        request, visitor, "session.html", failure=failure, session=session, person=person, line=line, words=words,
        suspended=recorded.suspended, log=desk.sessions.log_tail(session, _LOG_CHARACTERS),
    )  # fmt: skip


def _session(desk: Desk, attempt: str) -> SessionShown:
    found = desk.sessions.one(attempt)
    if found is None:
        raise Failure(DESK_PAGE_UNKNOWN)
    return found


def _of(desk: Desk, who: str, site: str | None, ended: int) -> list[SessionShown]:
    """Of everybody, or of whom the words may mean; the newest first, those that have not ended before the others."""
    if not who:
        return list(desk.sessions.found(person_id=None, site=site, ended=ended))
    with desk.database.read() as connection:
        meant = candidates(connection, who)[:_MOST_SHOWN]
    return [one for person in meant for one in desk.sessions.found(person_id=person.id, site=site, ended=ended)]


def _people(desk: Desk, shown: Sequence[SessionShown]) -> dict[str, Person]:
    with desk.database.read() as connection:
        return persons_by_id(connection, {one.person_id for one in shown})
