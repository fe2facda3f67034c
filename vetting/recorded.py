"""What the federation itself recorded of a person, beside what their provider says: the input of eligibility.

Plain values: whoever keeps them in tables or asks people for them fills these in. What is left out denies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

__all__ = ["Acceptance", "Evidence", "MappingState", "Recorded", "Suspension", "TermsInForce", "acceptance_in_force"]


class MappingState(StrEnum):
    """How far a person's mapping to an account at a site is."""

    ASKED = "asked"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """One acceptance of one version of the terms."""

    version: str
    at: datetime


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


@dataclass(frozen=True, kw_only=True)
class TermsInForce:
    """The terms that are in force.

    Parameters
    ----------
    version
        Theirs.
    since
        When they came into force.
    previous
        The version that was in force until then; "" where these are the first.
    grace_days
        How long an acceptance of the previous version counts after the change.
    """

    version: str
    since: datetime
    previous: str = ""
    grace_days: int = 30

    @property
    def reaccept_by(self) -> datetime:
        """Until when an acceptance of the previous version counts."""
        return self.since + timedelta(days=self.grace_days)


def acceptance_in_force(terms: TermsInForce, acceptances: tuple[Acceptance, ...], now: datetime) -> Acceptance | None:
    """The acceptance that counts now: of the present version, or in the days of grace of the one just before it.

    An acceptance of a still older version does not come to life again by a change of the terms.
    """
    by_version = {acceptance.version: acceptance for acceptance in acceptances}
    if terms.version in by_version:
        return by_version[terms.version]
    return by_version.get(terms.previous) if terms.previous and now < terms.reaccept_by else None
