"""What a reviewer may do with a request now, and what stands in their way. Pure: it asks the table of transitions."""

from datetime import datetime

from federation.errors import Failure
from vetting import guards
from vetting.asking import Actor, Given
from vetting.guards import DeskRules, Situation
from vetting.requests import Request
from vetting.transitions import TABLE, Event, Who

__all__ = ["may_decide"]

_ABOUT_THE_ACTOR = frozenset(
    {guards.not_the_requester, guards.holds_it, guards.holds_it_or_operates, guards.another_reviewer}
)
"""Guards that say who may; what others ask for comes with the form."""


def may_decide(
    request: Request, actor: Actor, rules: DeskRules, now: datetime
) -> tuple[frozenset[Event], Failure | None]:
    """The events of reviewers that the actor may cause, and, where there are others, why not these."""
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
