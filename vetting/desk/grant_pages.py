"""Grants, for operators: find somebody, see what they were given and what they used, give more, change it, take it back.

Each change has a reason, and its row in the audit trail. The key in a form makes sure that sending it twice is once.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from federation.clock import months_later
from federation.errors import Failure
from federation.ids import new_id
from federation.persons import Person, candidates, persons_by_id
from quota.grant_list import ListedGrant, listed_of
from quota.granting import GrantUnknown, KeyTaken
from quota.owners import Owner
from quota.statement import statement
from quota.tables import OwnerKind
from vetting.desk.forms import Form
from vetting.desk.gate import SentForm, TheDesk, open_to
from vetting.desk.pages import render
from vetting.desk.parts import PREFIX, Desk
from vetting.desk.pictures import course_of
from vetting.desk.rights import Right
from vetting.desk.visitors import Visitor
from vetting.desk.wishes import day_of, hours_of, read_end, read_hours
from vetting.errors import DESK_PAGE_UNKNOWN, GRANT_MOVED_ON, NOTHING_GIVEN, OWN_ACCOUNT, WORDS_NEEDED

__all__ = ["Operator", "router"]

_SEE_OTHER = 303
_QUARTER = timedelta(days=90)
_MOST_FOUND, _MOST_SESSIONS, _MOST_CHARACTERS = 50, 100, 2000

router = APIRouter()
Operator = Annotated[Visitor, open_to(Right.OPERATE)]


@router.get("/grants")
def search(request: HttpRequest, desk: TheDesk, visitor: Operator, who: str = "") -> Response:
    """Find somebody by their name, hub user name, e-mail address or key."""
    wanted = who.strip()[:256]
    with desk.database.read() as connection:
        found = candidates(connection, wanted)[:_MOST_FOUND] if wanted else []
    if len(found) == 1:
        return RedirectResponse(f"{PREFIX}grants/{found[0].id}", _SEE_OTHER)
    return render(request, visitor, "grants.html", who=wanted, people=found)


@router.get("/grants/{person_id}")
def one(request: HttpRequest, desk: TheDesk, visitor: Operator, person_id: str) -> Response:
    """One person's account."""
    return _one(request, desk, visitor, person_id)


@router.post("/grants/{person_id}/give")
def give(request: HttpRequest, desk: TheDesk, visitor: Operator, sent: SentForm, person_id: str) -> Response:
    """One grant more."""

    def work(reason: str) -> None:
        amount = read_hours(sent.text("hours"))
        if not amount:
            raise Failure(NOTHING_GIVEN)
        desk.ledger.grant(
            key=_key(sent), owner=Owner(OwnerKind.USER, person_id), amount=amount, starts_at=desk.clock(),
            ends_at=read_end(sent.text("until")), created_by=visitor.actor.name, reason=reason,
        )  # fmt: skip

    return _changed(request, desk, visitor, person_id, sent, work)


@router.post("/grants/{person_id}/{grant_id}/change")
def change(
    request: HttpRequest, desk: TheDesk, visitor: Operator, sent: SentForm, person_id: str, grant_id: str
) -> Response:
    """More or less of it, or another end: a successor follows it."""

    def work(reason: str) -> None:
        before = _grant_of(desk, person_id, grant_id)
        hours, until = sent.text("hours"), sent.text("until")
        amount = before.amount if hours == hours_of(before.amount) else read_hours(hours)
        ends_at = before.ends_at if until == day_of(before.ends_at) else read_end(until)
        if before.is_default or (amount, ends_at) == (before.amount, before.ends_at):
            raise Failure(GRANT_MOVED_ON)
        desk.ledger.change(
            grant_id, key=_key(sent), amount=amount, starts_at=max(before.starts_at, desk.clock()), ends_at=ends_at,
            actor=visitor.actor.name, reason=reason,
        )  # fmt: skip

    return _changed(request, desk, visitor, person_id, sent, work)


@router.post("/grants/{person_id}/{grant_id}/revoke")
def revoke(
    request: HttpRequest, desk: TheDesk, visitor: Operator, sent: SentForm, person_id: str, grant_id: str
) -> Response:
    """It ends now."""

    def work(reason: str) -> None:
        if _grant_of(desk, person_id, grant_id).revoked_at is not None:
            raise Failure(GRANT_MOVED_ON)
        desk.ledger.revoke(grant_id, actor=visitor.actor.name, reason=reason)

    return _changed(request, desk, visitor, person_id, sent, work)


def _changed(
    request: HttpRequest, desk: Desk, visitor: Visitor, person_id: str, sent: Form, work: Callable[[str], None]
) -> Response:
    """Do it, with a reason, unless it is about one's own account."""
    reason = sent.text("reason")[:_MOST_CHARACTERS]
    try:
        _person(desk, person_id)
        if person_id == visitor.person.id:
            raise Failure(OWN_ACCOUNT)
        if not reason:
            raise Failure(WORDS_NEEDED)
        work(reason)
    except (KeyTaken, GrantUnknown, ValueError):
        return _one(request, desk, visitor, person_id, failure=Failure(GRANT_MOVED_ON), typed=sent)
    except Failure as failure:
        if failure.problem is DESK_PAGE_UNKNOWN:
            raise
        return _one(request, desk, visitor, person_id, failure=failure, typed=sent)
    return RedirectResponse(f"{PREFIX}grants/{person_id}", _SEE_OTHER)


def _one(
    request: HttpRequest, desk: Desk, visitor: Visitor, person_id: str, *, failure: Failure | None = None,
    typed: Form | None = None,
) -> Response:  # fmt: skip
    person, now = _person(desk, person_id), desk.clock()
    owner = Owner(OwnerKind.USER, person_id)
    with desk.database.read() as connection:
        books = statement(connection, owner, now, since=now - _QUARTER, limit=_MOST_SESSIONS)
        grants = listed_of(connection, owner, now)
    return render(
        request, visitor, "account.html", failure=failure, person=person, books=books, grants=grants, key=new_id(),
        is_own=person_id == visitor.person.id, may_change=_may_change, hours_of=hours_of, day_of=day_of,
        until=_suggested_end(desk, now), typed=typed, course=course_of(desk, person_id),
    )  # fmt: skip


def _may_change(grant: ListedGrant) -> bool:
    return not grant.is_default and grant.state in ("waiting", "active", "used up")


def _suggested_end(desk: Desk, now: datetime) -> str:
    return day_of(months_later(now, desk.offer.grant_months))


def _person(desk: Desk, person_id: str) -> Person:
    with desk.database.read() as connection:
        found = persons_by_id(connection, {person_id}).get(person_id)
    if found is None:
        raise Failure(DESK_PAGE_UNKNOWN)
    return found


def _grant_of(desk: Desk, person_id: str, grant_id: str) -> ListedGrant:
    """A grant of just this person."""
    with desk.database.read() as connection:
        grants = listed_of(connection, Owner(OwnerKind.USER, person_id), desk.clock())
    found = next((grant for grant in grants if grant.id == grant_id), None)
    if found is None:
        raise Failure(GRANT_MOVED_ON)
    return found


def _key(sent: Form) -> str:
    """Ours, so that it is none that the product makes itself, as for default quotas."""
    return f"desk:{sent.text('key')[:64] or new_id()}"
