"""The queue: requests that wait, on whom they wait and until when. Reads block."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from federation.persons import Person, persons_by_id
from federation.settings import in_language
from vetting.asking import Kind
from vetting.desk.bulk import approvable
from vetting.desk.parts import Desk
from vetting.desk.visitors import Visitor
from vetting.requests import Request
from vetting.transitions import State
from vetting.words import about

__all__ = ["PAGE", "WAITING", "WITH_A_TARGET", "Queue", "QueueRow", "queue_of", "urgency", "who_is"]

WAITING = (State.SUBMITTED, State.IN_REVIEW, State.AWAITING_SECOND, State.NEEDS_INFO, State.APPROVED)
"""What somebody still has to do something about."""

PAGE = 50
WITH_A_TARGET = (State.SUBMITTED, State.IN_REVIEW, State.AWAITING_SECOND)
"""What reviewers have to do something about, within the target time."""

_PERSON = "person:"


@dataclass(frozen=True, kw_only=True)
class QueueRow:
    """One request.

    Parameters
    ----------
    urgency
        "late"; "soon" in the last quarter of the target time; "" else.
    reviewer
        Who works on it.
    is_own
        Whether the visitor may not decide about it, since they ask or filed it.
    is_approvable
        Whether the visitor may approve it together with others.
    """

    request: Request
    person: str
    organisation: str
    about: str
    urgency: str
    age: timedelta
    reviewer: str
    is_own: bool
    is_approvable: bool


@dataclass(frozen=True, kw_only=True)
class Queue:
    """One page of it: its rows, how many there are in each state, and where the next page begins."""

    rows: list[QueueRow]
    counted: Mapping[State, int]
    waiting: int
    next_offset: int | None


def queue_of(
    desk: Desk, visitor: Visitor, *, state: State | None, kind: Kind | None, offset: int, limit: int | None = None
) -> Queue:
    """A page of the requests in a state, or of all that wait; those first that are due first. Nobody else sees drafts."""
    states, limit = (state,) if state is not None else WAITING, PAGE if limit is None else limit
    found = desk.requests.found(states=set(states) - {State.DRAFT}, kind=kind, limit=limit + 1, offset=offset)
    shown = found[:limit]
    people, routine = _people(desk, shown), approvable(desk, visitor, shown)
    counted = desk.requests.counted()
    return Queue(
        rows=[_row(desk, visitor, request, people, is_approvable=request.id in routine) for request in shown],
        counted=counted,
        waiting=sum(counted.get(one, 0) for one in WAITING),
        next_offset=offset + limit if len(found) > limit else None,
    )


def urgency(request: Request, target: timedelta, now: datetime) -> str:
    """Whether an answer is late, or will be soon. While the person is asked something, it is neither."""
    if request.due_at is None or request.state not in WITH_A_TARGET:
        return ""
    left = request.due_at - now
    return "late" if left < timedelta(0) else "soon" if left <= target / 4 else ""


def who_is(actor: str, people: Mapping[str, Person]) -> str:
    """A name of the audit trail as people say it."""
    person = people.get(actor.removeprefix(_PERSON)) if actor.startswith(_PERSON) else None
    return (person.facts.name or person.user_name) if person else actor


def _row(
    desk: Desk, visitor: Visitor, request: Request, people: Mapping[str, Person], *, is_approvable: bool
) -> QueueRow:
    asked, person = request.asked, people.get(request.person_id)
    sites, now = desk.offer.sites, desk.clock()
    return QueueRow(
        request=request,
        person=who_is(_PERSON + request.person_id, people),
        organisation=person.facts.home_organisation if person else "",
        about=about(
            request.kind,
            tier=asked.tier,
            amount_milli_unit_seconds=asked.amount_milli_unit_seconds,
            ends_at=asked.ends_at,
            sites=[in_language(sites[name].title, name) if name in sites else name for name in asked.sites],
        ),
        urgency=urgency(request, desk.requests.rules.target_answer, now),
        age=now - (request.submitted_at or request.opened_at),
        reviewer=who_is(request.reviewer, people),
        is_own=visitor.person.id == request.person_id or visitor.actor.name == request.filed_by,
        is_approvable=is_approvable,
    )


def _people(desk: Desk, requests: Iterable[Request]) -> dict[str, Person]:
    ids = {request.person_id for request in requests}
    ids |= {request.reviewer.removeprefix(_PERSON) for request in requests if request.reviewer.startswith(_PERSON)}
    with desk.database.read() as connection:
        return persons_by_id(connection, ids)
