"""The audit trail, for operators: look for rows, and take them along as JSON Lines."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from federation.audit import Act
from federation.errors import Failure
from federation.ids import reference
from federation.persons import Person, find_by_user_name, persons_by_id
from federation.trail import Entry, Wanted, as_lines, entries
from vetting.desk.gate import TheDesk, open_to
from vetting.desk.pages import render
from vetting.desk.parts import Desk
from vetting.desk.queue import who_is
from vetting.desk.rights import Right
from vetting.desk.visitors import Visitor
from vetting.desk.wishes import read_end
from vetting.request_rows import id_with_reference

__all__ = ["MOST_SEQ", "router"]

_PAGE = 100
MOST_SEQ = 2**63 - 1
_PERSON, _REQUEST = "person:", "request:"

router = APIRouter()
Operator = Annotated[Visitor, open_to(Right.OPERATE)]


@dataclass(frozen=True, kw_only=True)
class EntryShown:
    """A row, with who did it and about whom, as people say it; `request_id` where it is about a request."""

    entry: Entry
    actor: str
    target: str
    request_id: str


@router.get("/audit")
def audit(
    request: HttpRequest, desk: TheDesk, visitor: Operator, since: str = "", until: str = "", act: str = "",
    actor: str = "", target: str = "", before: int = 0,
) -> Response:  # fmt: skip
    """The newest rows that are looked for."""
    typed = {"since": since, "until": until, "act": act, "actor": actor, "target": target}
    try:
        wanted, failure = _wanted(desk, **typed), None
    except Failure as problem:
        wanted, failure = Wanted(), problem
    with desk.database.read() as connection:
        found = entries(connection, wanted, limit=_PAGE + 1, before=min(max(0, before), MOST_SEQ) or None)
    return render(
        request, visitor, "audit.html", failure=failure, typed=typed, acts=sorted(one.value for one in Act),
        rows=_shown(desk, found[:_PAGE]), before=found[_PAGE - 1].seq if len(found) > _PAGE else 0,
    )  # fmt: skip


@router.get("/audit/export")
def export(
    desk: TheDesk, _visitor: Operator, since: str = "", until: str = "", act: str = "", actor: str = "",
    target: str = "",
) -> Response:  # fmt: skip
    """All of them, as a file."""
    wanted = _wanted(desk, since=since, until=until, act=act, actor=actor, target=target)
    return StreamingResponse(
        as_lines(desk.database, wanted),
        media_type="application/jsonl; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="notebooks-audit.jsonl"'},
    )


def _wanted(desk: Desk, *, since: str, until: str, act: str, actor: str, target: str) -> Wanted:
    """What is looked for. A day is a whole one, in UTC; hub user names and references stand for persons and requests."""
    return Wanted(
        since=_begin(since) if since else None,
        until=read_end(until) if until else None,
        acts=(act,) if act else (),
        actor=_named(desk, actor),
        target=_named(desk, target),
    )


def _begin(day: str) -> datetime:
    return read_end(day) - timedelta(days=1)


def _named(desk: Desk, text: str) -> str:
    wanted = text.strip()[:256]
    short = wanted.removeprefix(_REQUEST)
    if not wanted or ":" in short:
        return wanted
    with desk.database.read() as connection:
        person = find_by_user_name(connection, wanted)
        found = f"{_PERSON}{person.id}" if person else None
        request_id = None if found else id_with_reference(connection, short)
    return found or (f"{_REQUEST}{request_id}" if request_id else wanted)


def _shown(desk: Desk, found: list[Entry]) -> list[EntryShown]:
    names = {
        name.removeprefix(_PERSON) for one in found for name in (one.actor, one.target) if name.startswith(_PERSON)
    }
    with desk.database.read() as connection:
        people = persons_by_id(connection, names)
    return [_row(one, people) for one in found]


def _row(entry: Entry, people: Mapping[str, Person]) -> EntryShown:
    request_id = entry.target.removeprefix(_REQUEST) if entry.target.startswith(_REQUEST) else ""
    target = f"{_REQUEST}{reference(request_id)}" if request_id else who_is(entry.target, people)
    return EntryShown(entry=entry, actor=who_is(entry.actor, people), target=target, request_id=request_id)
