"""Several requests approved at once: those that ask for no more than everybody of the tier gets without asking, and about
whom every rule says yes. All others are looked at one by one.

Nothing can be approved here that could not be on a request's own page, and each is decided by itself: one that cannot be
approved does not hold up the others.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.errors import Failure
from federation.persons import persons_by_id
from quota.amounts import from_unit_hours
from vetting.asking import Decision, Given, Kind
from vetting.desk.checklist import Checked, checked, terms_of
from vetting.desk.parts import Desk
from vetting.desk.reviewing import decide_about, may_decide
from vetting.desk.rights import Right
from vetting.desk.visitors import Visitor
from vetting.errors import NEEDS_A_LOOK
from vetting.records import recorded_of
from vetting.requests import Request
from vetting.transitions import Event, State

__all__ = ["Outcome", "approvable", "approve"]

_NEEDED = {State.SUBMITTED: Event.CLAIM, State.IN_REVIEW: Event.APPROVE}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How many were approved; and of the others the request, if it is known, with why not."""

    approved: int
    refused: list[tuple[str, Failure]]


def approvable(desk: Desk, visitor: Visitor, requests: Iterable[Request]) -> frozenset[str]:
    """The ids of those among some requests that the visitor may approve without looking at each. Blocks."""
    candidates = [request for request in requests if _is_for(desk, visitor, request)]
    if not candidates:
        return frozenset()
    with desk.database.read() as connection:
        people = persons_by_id(connection, {request.person_id for request in candidates})
        recorded = {person: recorded_of(connection, person) for person in people}
        terms = terms_of(desk, connection)
    return frozenset(
        request.id
        for request in candidates
        if _is_like_the_default(
            desk, request, checked(desk, request, people[request.person_id], recorded[request.person_id], terms)
        )
    )


def approve(desk: Desk, visitor: Visitor, ids: Iterable[str], *, no_conflict: bool) -> Outcome:
    """Approve requests as they were asked for. Blocks.

    Parameters
    ----------
    no_conflict
        Whether the visitor declares to have no conflict of interest about any of these people.
    """
    approved, refused = 0, []
    for request_id in dict.fromkeys(ids):
        try:
            _approve(desk, visitor, request_id, no_conflict=no_conflict)
            approved += 1
        except Failure as failure:
            refused.append((request_id, failure))
    return Outcome(approved=approved, refused=refused)


def _approve(desk: Desk, visitor: Visitor, request_id: str, *, no_conflict: bool) -> None:
    request = desk.requests.get(request_id, visitor.actor)
    if not approvable(desk, visitor, [request]):
        raise Failure(NEEDS_A_LOOK)
    asked = request.asked
    as_asked = Decision(ends_at=asked.ends_at, amount_milli_unit_seconds=asked.amount_milli_unit_seconds)
    decide_about(
        desk.requests, visitor.actor, request, Event.APPROVE, Given(decision=as_asked, no_conflict=no_conflict)
    )  # fmt: skip


def _is_for(desk: Desk, visitor: Visitor, request: Request) -> bool:
    """Whether the visitor alone may approve it, and it asks for an amount and nothing else."""
    alone = request.asked.amount_milli_unit_seconds <= desk.requests.rules.ceiling_milli_unit_seconds
    if request.kind is not Kind.QUOTA or not alone or not visitor.may(Right.DECIDE):
        return False
    events, _obstacle = may_decide(request, visitor.actor, desk.requests.rules, desk.clock())
    return _NEEDED.get(request.state) in events


def _is_like_the_default(desk: Desk, request: Request, found: Checked) -> bool:
    default = desk.offer.defaults.get(found.eligibility.tier or "")
    return (
        default is not None
        and request.asked.amount_milli_unit_seconds <= from_unit_hours(default.amount_hours)
        and all(check.answer == "yes" for check in found.checklist)
    )
