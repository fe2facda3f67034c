"""What a person asks the support team for, what is decided of it, and who acts. Plain values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["Actor", "Asked", "Decision", "DenialCode", "Given", "Kind"]


class Kind(StrEnum):
    """What a request is about; a person has one open request of each kind."""

    TIER = "tier"
    QUOTA = "quota"
    SITE = "site"


class DenialCode(StrEnum):
    """Why a request is denied, beside the words for the person: so that denials can be counted."""

    NOT_ELIGIBLE = "not-eligible"
    PURPOSE = "purpose"
    NO_EVIDENCE = "no-evidence"
    NO_CAPACITY = "no-capacity"
    DUPLICATE = "duplicate"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the person wants.

    Parameters
    ----------
    tier
        Which tier, if the request is about one.
    amount_milli_unit_seconds
        How much quota; 0 where none is asked for.
    ends_at
        Until when.
    flavour
        What it is for, where that was what was refused; "" else.
    sites
        Where the person wants an account.
    purpose, contact, evidence
        What is asked of everybody: what it is for; who at home can confirm it, or sponsors it; a link that shows it.
    details
        What is asked for batch sites beside that: software, parallelism, data.
    """

    ends_at: datetime
    tier: str = ""
    amount_milli_unit_seconds: int = 0
    flavour: str = ""
    sites: tuple[str, ...] = ()
    purpose: str = ""
    contact: str = ""
    evidence: str = ""
    details: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is approved: at most what was asked for, at the sites that the reviewer chooses."""

    ends_at: datetime
    amount_milli_unit_seconds: int = 0
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Given:
    """What comes with an event.

    Parameters
    ----------
    text
        Words that the person reads, or wrote: a question, an answer, a justification, a note with a decision.
    private
        Words that only reviewers read.
    no_conflict
        That the reviewer declares to have no conflict of interest.
    amount_milli_unit_seconds
        To what a grant is reduced.
    """

    asked: Asked | None = None
    decision: Decision | None = None
    code: DenialCode | None = None
    text: str = ""
    private: str = ""
    no_conflict: bool = False
    amount_milli_unit_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts: `name` is what the audit trail says, `person_id` whom they are or act for, None where nobody knows."""

    name: str
    person_id: str | None = None
    is_reviewer: bool = False
    is_operator: bool = False
    is_system: bool = False
