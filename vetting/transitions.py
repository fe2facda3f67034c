"""What may happen to a request: one table. What is not in it is an error, and changes nothing. Pure.

A row says from which state which event leads where, who may cause it, what has to hold before, what is done with it, and
which mail tells of it. `requests.py` carries a row out in one transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from federation.errors import Failure
from vetting import guards
from vetting.errors import REQUEST_MOVED_ON, REQUEST_NOT_YOURS
from vetting.guards import Guard, Situation

__all__ = ["OPEN", "TABLE", "Effect", "Event", "State", "Transition", "Who", "find"]


class State(StrEnum):
    """How far a request is."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    IN_REVIEW = "in_review"
    NEEDS_INFO = "needs_info"
    AWAITING_SECOND = "awaiting_second"
    APPROVED = "approved"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


OPEN = (
    State.DRAFT, State.SUBMITTED, State.IN_REVIEW, State.NEEDS_INFO, State.AWAITING_SECOND, State.APPROVED,
)  # fmt: skip
"""Of these a person has one of each kind at most."""


class Event(StrEnum):
    """What happens to a request."""

    OPEN = "open"
    EDIT = "edit"
    SUBMIT = "submit"
    CLAIM = "claim"
    UNCLAIM = "unclaim"
    ASK = "ask"
    ANSWER = "answer"
    APPROVE = "approve"
    DENY = "deny"
    REOPEN = "reopen"
    APPLY = "apply"
    RENEW = "renew"
    REDUCE = "reduce"
    SUSPEND = "suspend"
    RESTORE = "restore"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"


class Who(StrEnum):
    """Who may cause an event."""

    USER = "user"
    REVIEWER = "reviewer"
    SYSTEM = "system"


class Effect(StrEnum):
    """What is done with an event beside the new state, in the same transaction."""

    KEEP_ASKED = "keep-asked"  # what is asked for is what was given with the event
    SNAPSHOT = "snapshot"  # what the provider says of the person now is kept with the request
    START_CLOCK = "start-clock"  # the time in which an answer is wanted begins
    STOP_CLOCK = "stop-clock"
    RESUME_CLOCK = "resume-clock"
    TAKE = "take"  # the actor reviews it
    LET_GO = "let-go"
    DECIDE = "decide"  # what is given, and by whom
    SECOND = "second"  # who approved it as well
    REFUSE = "refuse"  # no, with its code
    SAY_WHY = "say-why"  # the words are what the person reads on their pages, too
    GIVE = "give"  # grant, tier and mappings
    REDUCE = "reduce"  # the grant, by a successor
    TAKE_BACK = "take-back"  # what still runs of what was given
    FOLLOW = "follow"  # a new request that shows the old one


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One row.

    Parameters
    ----------
    when
        Which of two rows it is, where an event leads two ways.
    mail, mail_reviewer
        The kind of mail that the person gets, and the reviewer.
    """

    source: State | None
    event: Event
    target: State
    who: Who
    guards: tuple[Guard, ...] = ()
    effects: tuple[Effect, ...] = ()
    when: Callable[[Situation], bool] | None = None
    mail: str = ""
    mail_reviewer: str = ""

    @property
    def makes_new(self) -> bool:
        """Whether it begins another request, and leaves the one that it starts from as it is."""
        return self.source is None or Effect.FOLLOW in self.effects


_DECIDING = (guards.not_the_requester, guards.holds_it)
_SECOND = (guards.not_the_requester, guards.another_reviewer, guards.no_conflict)

TABLE: tuple[Transition, ...] = (
    Transition(source=None, event=Event.OPEN, target=State.DRAFT, who=Who.USER, guards=(guards.no_other_open,),
               effects=(Effect.KEEP_ASKED,)),
    Transition(source=State.DRAFT, event=Event.EDIT, target=State.DRAFT, who=Who.USER, effects=(Effect.KEEP_ASKED,)),
    Transition(source=State.DRAFT, event=Event.SUBMIT, target=State.SUBMITTED, who=Who.USER,
               guards=(guards.complete, guards.can_be_given, guards.terms_accepted),
               effects=(Effect.SNAPSHOT, Effect.START_CLOCK), mail="request-received"),
    Transition(source=State.SUBMITTED, event=Event.CLAIM, target=State.IN_REVIEW, who=Who.REVIEWER,
               guards=(guards.not_the_requester, guards.no_conflict), effects=(Effect.TAKE,)),
    Transition(source=State.IN_REVIEW, event=Event.UNCLAIM, target=State.SUBMITTED, who=Who.REVIEWER,
               guards=(guards.holds_it_or_operates,), effects=(Effect.LET_GO,)),
    Transition(source=State.IN_REVIEW, event=Event.ASK, target=State.NEEDS_INFO, who=Who.REVIEWER,
               guards=(*_DECIDING, guards.words_given), effects=(Effect.STOP_CLOCK,), mail="request-question"),
    Transition(source=State.NEEDS_INFO, event=Event.ANSWER, target=State.IN_REVIEW, who=Who.USER,
               guards=(guards.words_given,), effects=(Effect.SNAPSHOT, Effect.RESUME_CLOCK),
               mail_reviewer="request-answered"),
    Transition(source=State.IN_REVIEW, event=Event.APPROVE, target=State.APPROVED, who=Who.REVIEWER,
               guards=(*_DECIDING, guards.decided_soundly), effects=(Effect.DECIDE,), when=guards.within_ceiling,
               mail="request-approved"),
    Transition(source=State.IN_REVIEW, event=Event.APPROVE, target=State.AWAITING_SECOND, who=Who.REVIEWER,
               guards=(*_DECIDING, guards.decided_soundly), effects=(Effect.DECIDE,), when=guards.above_ceiling),
    Transition(source=State.IN_REVIEW, event=Event.DENY, target=State.DENIED, who=Who.REVIEWER,
               guards=(*_DECIDING, guards.code_given), effects=(Effect.REFUSE,), mail="request-denied"),
    Transition(source=State.AWAITING_SECOND, event=Event.APPROVE, target=State.APPROVED, who=Who.REVIEWER,
               guards=(*_SECOND, guards.decided_soundly), effects=(Effect.SECOND,), mail="request-approved"),
    Transition(source=State.AWAITING_SECOND, event=Event.DENY, target=State.DENIED, who=Who.REVIEWER,
               guards=(*_SECOND, guards.code_given), effects=(Effect.SECOND, Effect.REFUSE), mail="request-denied"),
    Transition(source=State.DENIED, event=Event.REOPEN, target=State.DRAFT, who=Who.USER,
               guards=(guards.no_other_open,), effects=(Effect.FOLLOW,)),
    Transition(source=State.APPROVED, event=Event.APPLY, target=State.ACTIVE, who=Who.SYSTEM, effects=(Effect.GIVE,)),
    Transition(source=State.ACTIVE, event=Event.RENEW, target=State.DRAFT, who=Who.USER,
               guards=(guards.no_other_open, guards.time_to_renew), effects=(Effect.FOLLOW,)),
    Transition(source=State.ACTIVE, event=Event.REDUCE, target=State.ACTIVE, who=Who.REVIEWER,
               guards=(guards.not_the_requester, guards.words_given, guards.less_than_now), effects=(Effect.REDUCE,),
               mail="request-reduced"),
    Transition(source=State.ACTIVE, event=Event.SUSPEND, target=State.SUSPENDED, who=Who.REVIEWER,
               guards=(guards.not_the_requester, guards.words_given), effects=(Effect.SAY_WHY,), mail="request-suspended"),
    Transition(source=State.SUSPENDED, event=Event.RESTORE, target=State.ACTIVE, who=Who.REVIEWER,
               guards=(guards.not_the_requester, guards.words_given), effects=(Effect.SAY_WHY,), mail="request-restored"),
    *(Transition(source=source, event=Event.EXPIRE, target=State.EXPIRED, who=Who.SYSTEM, guards=(guards.ended,),
                 effects=(Effect.TAKE_BACK,), mail="request-expired")
      for source in (State.ACTIVE, State.SUSPENDED)),
    *(Transition(source=source, event=Event.WITHDRAW, target=State.WITHDRAWN, who=Who.USER)
      for source in (State.DRAFT, State.SUBMITTED, State.IN_REVIEW, State.NEEDS_INFO, State.AWAITING_SECOND)),
)  # fmt: skip


def find(source: State | None, event: Event, situation: Situation) -> Transition:
    """The row for an event, whose guards all hold.

    Raises
    ------
    Failure
        If there is none, the actor may not cause it, or the first guard that does not hold.
    """
    rows = [row for row in TABLE if (row.source, row.event) == (source, event)]
    if not rows:
        raise Failure(REQUEST_MOVED_ON)
    if not _may(rows[0].who, situation):
        raise Failure(REQUEST_NOT_YOURS)
    row = next(row for row in rows if row.when is None or row.when(situation))
    for guard in row.guards:
        failure = guard(situation)
        if failure is not None:
            raise failure
    return row


def _may(who: Who, situation: Situation) -> bool:
    actor = situation.actor
    return {
        Who.USER: actor.person_id == situation.person_id,
        Who.REVIEWER: actor.is_reviewer,
        Who.SYSTEM: actor.is_system,
    }[who]
