"""What a reviewer may do with a request now, what stands in their way, and the doing. The table of transitions decides."""

from datetime import datetime

from federation.errors import Failure
from vetting import guards
from vetting.asking import Actor, Given
from vetting.guards import DeskRules, Situation
from vetting.requests import Request, Requests
from vetting.transitions import TABLE, Event, State, Who

__all__ = ["decide_about", "may_decide"]

_NEED_A_CLAIM = (Event.ASK, Event.APPROVE, Event.DENY)

_ABOUT_THE_ACTOR = frozenset(
    {guards.not_the_requester, guards.holds_it, guards.holds_it_or_operates, guards.another_reviewer}
)
"""Guards that say who may; what others ask for comes with the form."""


def may_decide(
    request: Request, actor: Actor, rules: DeskRules, now: datetime
) -> tuple[frozenset[Event], Failure | None]:
    """The events of reviewers that the actor may cause, and, where there are others, why not these. Pure."""
    if not actor.is_reviewer:
        return frozenset(), None
    situation = Situation(
        rules=rules, now=now, actor=actor, given=Given(), kind=request.kind, person_id=request.person_id,
        filed_by=request.filed_by, asked=request.asked, decision=request.decision, reviewer=request.reviewer,
    )  # fmt: skip
    events, obstacle = set[Event](), None
    for row in TABLE:
        if row.source is request.state and row.who is Who.REVIEWER:
            failures = [guard(situation) for guard in row.guards if guard in _ABOUT_THE_ACTOR]
            refusal = next((failure for failure in failures if failure is not None), None)
            if refusal is None:
                events.add(row.event)
            else:
                obstacle = obstacle or refusal
    return frozenset(events), obstacle


def decide_about(requests: Requests, actor: Actor, before: Request, event: Event, given: Given) -> None:
    """Let something happen to a request; one that nobody has is taken first, where that is needed.

    Raises
    ------
    Failure
        If it may not be.
    """
    if event in _NEED_A_CLAIM and before.state is State.SUBMITTED:
        requests.act(before.id, Event.CLAIM, actor, Given(no_conflict=given.no_conflict))
    requests.act(before.id, event, actor, given)
