"""What the federation itself recorded of a person, beside what their provider says: the input of eligibility.

Plain values: whoever keeps them in tables or asks people for them fills these in. What is left out denies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from federation.terms import Acceptance

__all__ = ["Evidence", "MappingState", "Recorded", "Suspension"]


class MappingState(StrEnum):
    """How far a person's mapping to an account at a site is."""

    ASKED = "asked"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """That a reviewer saw evidence of who the person is or where they work; it counts until `ends_at`."""

    ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class Suspension:
    """That an operator suspended the person, and why, in words that the person reads."""

    since: datetime
    reason: str


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Everything that is recorded of one person.

    Parameters
    ----------
    acceptances
        Of the terms, in any order.
    evidence
        What reviewers recorded.
    mappings
        By site: how far the newest mapping there is.
    admitted
        Tiers with `vetting: review` that a person was admitted to.
    class_seat
        Whether the person has a seat in a class that goes on. There are no classes yet, so nobody fills this in.
    suspended
        Set while the person is suspended: then no tier is theirs.
    """

    acceptances: tuple[Acceptance, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    mappings: Mapping[str, MappingState] = field(default_factory=dict)
    admitted: frozenset[str] = frozenset()
    class_seat: bool = False
    suspended: Suspension | None = None
