"""What has to hold before something may happen to a request. Pure: each guard looks at one situation, and says why not.

`transitions.py` says which guards stand before which event.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from federation.errors import Failure
from federation.i18n import moment
from vetting.asking import Actor, Asked, Decision, Given, Kind
from vetting.errors import (
    CLAIMED_BY_ANOTHER,
    CONFLICT_OF_INTEREST,
    END_IS_PAST,
    MORE_THAN_ASKED,
    NOT_ENDED_YET,
    NOT_LESS,
    NOTHING_GIVEN,
    OWN_REQUEST,
    RENEWAL_TOO_EARLY,
    REQUEST_INCOMPLETE,
    REQUEST_NEEDS_TERMS,
    REQUEST_OPEN_ALREADY,
    SITE_UNKNOWN,
    TIER_UNKNOWN,
    TWO_PEOPLE,
    WORDS_NEEDED,
)

__all__ = [
    "RENEWAL_DAYS",
    "DeskRules",
    "Guard",
    "Situation",
    "above_ceiling",
    "another_reviewer",
    "can_be_given",
    "code_given",
    "complete",
    "decided_soundly",
    "ended",
    "holds_it",
    "holds_it_or_operates",
    "less_than_now",
    "no_conflict",
    "no_other_open",
    "not_the_requester",
    "terms_accepted",
    "time_to_renew",
    "within_ceiling",
    "words_given",
]

RENEWAL_DAYS = 60


@dataclass(frozen=True, kw_only=True)
class DeskRules:
    """What federation.yaml says of requests.

    Parameters
    ----------
    ceiling_milli_unit_seconds
        What one reviewer alone may approve.
    target_answer, membership_grace
        How soon an answer is wanted; how long a membership may be missing before what was given ends.
    tiers
        Those that a person is admitted to by a decision (`vetting: review`).
    """

    ceiling_milli_unit_seconds: int
    target_answer: timedelta = timedelta(days=3)
    membership_grace: timedelta = timedelta(days=30)
    tiers: Collection[str] = ()
    sites: Collection[str] = ()


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything that a guard may look at.

    Parameters
    ----------
    person_id, filed_by
        Whose request it is, and the name of who opened it.
    asked, decision
        What is asked for, and what was decided so far.
    reviewer
        The name of who reviews or reviewed it; "" for nobody.
    other_open
        Another open request of the same person and kind; "" where there is none.
    terms_accepted
        Whether the person's acceptance of the terms counts now, or there are none.
    ends_at
        The effective end of what is given.
    """

    rules: DeskRules
    now: datetime
    actor: Actor
    given: Given
    kind: Kind
    person_id: str
    filed_by: str
    asked: Asked
    decision: Decision | None = None
    reviewer: str = ""
    other_open: str = ""
    terms_accepted: bool = False
    ends_at: datetime | None = None


Guard = Callable[[Situation], Failure | None]


# --- of the person ----------------------------------------------------------------------------------------------------


def no_other_open(it: Situation) -> Failure | None:
    """One open request of each kind for each person."""
    return Failure(REQUEST_OPEN_ALREADY) if it.other_open else None


def complete(it: Situation) -> Failure | None:
    """Everything that is asked of everybody is there, and it asks for something."""
    asked = it.asked
    wants = {
        Kind.TIER: bool(asked.tier),
        Kind.QUOTA: asked.amount_milli_unit_seconds > 0,
        Kind.SITE: bool(asked.sites),
    }
    return None if asked.purpose and asked.contact and wants[it.kind] else Failure(REQUEST_INCOMPLETE)


def can_be_given(it: Situation) -> Failure | None:
    """It names what there is, and a time to come."""
    asked = it.asked
    if asked.tier and asked.tier not in it.rules.tiers:
        return Failure(TIER_UNKNOWN, {"tier": asked.tier})
    return _sites_and_end(it, asked.sites, asked.ends_at)


def terms_accepted(it: Situation) -> Failure | None:
    """The terms of use come first."""
    return None if it.terms_accepted else Failure(REQUEST_NEEDS_TERMS)


def time_to_renew(it: Situation) -> Failure | None:
    """Some weeks before the end, not earlier."""
    assert it.ends_at is not None, "what is active has an end"
    begins = it.ends_at - timedelta(days=RENEWAL_DAYS)
    return Failure(RENEWAL_TOO_EARLY, {"begins": moment(begins)}) if it.now < begins else None


# --- of reviewers -----------------------------------------------------------------------------------------------------


def not_the_requester(it: Situation) -> Failure | None:
    """Nobody decides about themselves, nor about what they filed for somebody else."""
    own = it.actor.person_id == it.person_id or it.actor.name == it.filed_by
    return Failure(OWN_REQUEST) if own else None


def no_conflict(it: Situation) -> Failure | None:
    """The reviewer declares to have no conflict of interest."""
    return None if it.given.no_conflict else Failure(CONFLICT_OF_INTEREST)


def holds_it(it: Situation) -> Failure | None:
    """Two reviewers never work on one request."""
    return None if it.actor.name == it.reviewer else Failure(CLAIMED_BY_ANOTHER)


def holds_it_or_operates(it: Situation) -> Failure | None:
    """An operator may free what an absent reviewer holds."""
    return None if it.actor.is_operator else holds_it(it)


def another_reviewer(it: Situation) -> Failure | None:
    """The second of two people is not the first."""
    return Failure(TWO_PEOPLE) if it.actor.name == it.reviewer else None


def words_given(it: Situation) -> Failure | None:
    """There are words for the person."""
    return None if it.given.text.strip() else Failure(WORDS_NEEDED)


def code_given(it: Situation) -> Failure | None:
    """A denial has a code, and words for the person."""
    return words_given(it) if it.given.code else Failure(WORDS_NEEDED)


def decided_soundly(it: Situation) -> Failure | None:
    """It gives something, at most what was asked for, of what there is, for a time to come."""
    decision = it.given.decision or it.decision
    if decision is None:
        return Failure(NOTHING_GIVEN)
    amount = decision.amount_milli_unit_seconds
    if amount < 0 or not (amount or decision.sites or it.kind is Kind.TIER):
        return Failure(NOTHING_GIVEN)
    if amount > it.asked.amount_milli_unit_seconds or decision.ends_at > it.asked.ends_at:
        return Failure(MORE_THAN_ASKED)
    return _sites_and_end(it, decision.sites, decision.ends_at)


def less_than_now(it: Situation) -> Failure | None:
    """A reduction leaves something, and less than before."""
    before = it.decision.amount_milli_unit_seconds if it.decision else 0
    return None if 0 < it.given.amount_milli_unit_seconds < before else Failure(NOT_LESS)


# --- of the system ----------------------------------------------------------------------------------------------------


def ended(it: Situation) -> Failure | None:
    """The effective end has come."""
    return None if it.ends_at is not None and it.ends_at <= it.now else Failure(NOT_ENDED_YET)


# --- which of two ways ------------------------------------------------------------------------------------------------


def within_ceiling(it: Situation) -> bool:
    """One reviewer alone may approve this."""
    decision = it.given.decision
    return decision is None or decision.amount_milli_unit_seconds <= it.rules.ceiling_milli_unit_seconds


def above_ceiling(it: Situation) -> bool:
    """A second reviewer has to approve this as well."""
    return not within_ceiling(it)


def _sites_and_end(it: Situation, sites: tuple[str, ...], ends_at: datetime) -> Failure | None:
    unknown = [site for site in sites if site not in it.rules.sites]
    if unknown:
        return Failure(SITE_UNKNOWN, {"site": ", ".join(unknown)})
    return Failure(END_IS_PAST) if ends_at <= it.now else None
