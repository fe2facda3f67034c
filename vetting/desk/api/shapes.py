"""What is sent and answered, as the description of the API has it. Amounts are whole milli-unit-seconds (a unit-hour is
3,600,000); times have a zone.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from federation.trail import Entry
from quota.grant_list import ListedGrant
from vetting.asking import Asked, Decision, DenialCode, Kind
from vetting.desk.dossier import Dossier
from vetting.desk.own import OwnRequest
from vetting.desk.people import PersonShown
from vetting.mappings import SiteMapping
from vetting.recorded import MappingState
from vetting.request_tables import LONG_TEXT, SHORT_TEXT
from vetting.requests import Request
from vetting.transitions import Event, State

__all__ = [
    "Account",
    "AccountAnswer",
    "AuditEntry",
    "Decided",
    "Grant",
    "Grants",
    "Limit",
    "Me",
    "Moment",
    "Offset",
    "OwnInFull",
    "OwnInShort",
    "PersonInShort",
    "QueueEntry",
    "ReviewInFull",
    "Said",
    "Wish",
    "WishSent",
]

_MOST_AMOUNT = 2**53
_LAST_YEAR = 2200
_MOST_SITES = 50

Limit = Annotated[int, Field(ge=1, le=200, description="how many at the most")]
Offset = Annotated[int, Field(ge=0, le=1_000_000, description="how many to leave out")]


def _in_utc(moment: datetime) -> datetime:
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is out of range") from error
    if in_utc.year > _LAST_YEAR:
        raise ValueError(f"it is after the year {_LAST_YEAR}")
    return in_utc


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it has a NUL in it")
    return text


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Amount = Annotated[int, Field(ge=0, le=_MOST_AMOUNT, strict=True)]
Name = Annotated[str, StringConstraints(max_length=40), AfterValidator(_no_nul)]
Short = Annotated[str, StringConstraints(max_length=SHORT_TEXT, strip_whitespace=True), AfterValidator(_no_nul)]
Long = Annotated[str, StringConstraints(max_length=LONG_TEXT, strip_whitespace=True), AfterValidator(_no_nul)]
Sites = Annotated[list[Name], Field(max_length=_MOST_SITES)]


class _Sent(BaseModel):
    """What is sent; a key that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


# --- requests ---------------------------------------------------------------------------------------------------------


class Wish(_Sent):
    """What is asked for."""

    amount_milli_unit_seconds: Amount = 0
    ends_at: Moment
    tier: Name = ""
    flavour: Name = ""
    sites: Sites = []
    purpose: Long = ""
    contact: Short = ""
    evidence: Short = ""
    details: Long = ""

    def asked(self) -> Asked:
        """As the store has it."""
        return Asked(**{**self.model_dump(), "sites": tuple(dict.fromkeys(self.sites))})

    @classmethod
    def of(cls, asked: Asked) -> "Wish":
        """As it is answered: nothing that was kept is refused."""
        return cls.model_construct(**{**vars(asked), "sites": list(asked.sites)})


class WishSent(_Sent):
    """A new draft, which is sent to the support team at once if `submit` says so."""

    kind: Kind
    asked: Wish
    submit: bool = False


class Said(_Sent):
    """Words that come with an event: an answer, for instance."""

    text: Long = ""


class Given(_Sent):
    """What is given: at most what is asked for."""

    amount_milli_unit_seconds: Amount = 0
    ends_at: Moment
    sites: Sites = []

    def decision(self) -> Decision:
        """As the store has it."""
        return Decision(**{**self.model_dump(), "sites": tuple(dict.fromkeys(self.sites))})

    @classmethod
    def of(cls, decision: Decision) -> "Given":
        """As it is answered."""
        return cls.model_construct(**{**vars(decision), "sites": list(decision.sites)})


class Decided(_Sent):
    """What comes with an event of a reviewer.

    `given` is what an approval gives; without it, all that is asked for. `amount_milli_unit_seconds` is to what a grant is
    reduced.
    """

    given: Given | None = None
    code: DenialCode | None = None
    text: Long = ""
    private: Long = ""
    no_conflict: bool = False
    amount_milli_unit_seconds: Amount = 0


class OwnInShort(BaseModel):
    """One of one's own requests."""

    id: str
    reference: str
    kind: Kind
    state: State
    asked: Wish
    given: Given | None
    denial_code: DenialCode | None
    opened_at: datetime
    changed_at: datetime
    due_at: datetime | None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Of a request, without what the support team noted for itself."""
        return cls(**_own(request))


class StepDone(BaseModel):
    """One thing that happened; `by` is "you", "support" or "service" on one's own requests."""

    at: datetime
    what: str
    by: str
    text: str


class OwnInFull(OwnInShort):
    """One's own request, with its story and what may be done with it now."""

    text: str = Field(description="the question that waits for an answer, or the note with a decision")
    ends_at: datetime | None = Field(description="when what was given ends")
    follows: str | None
    steps: list[StepDone]
    events: list[Event]

    @classmethod
    def of_own(cls, own: OwnRequest) -> Self:
        """Of a request with its story."""
        return cls(
            **_own(own.request), text=own.summary.words, ends_at=own.summary.ends_at, follows=own.request.follows,
            steps=[StepDone(at=one.at, what=one.what, by=one.by, text=one.words) for one in own.steps],
            events=sorted(own.events),
        )  # fmt: skip


class QueueEntry(OwnInShort):
    """A request that waits, or is in the state that was asked for."""

    person: str
    organisation: str
    urgency: str
    reviewer: str
    is_own: bool


class CheckAnswered(BaseModel):
    """One line of what the rules ask: "yes", "no" or "unknown"."""

    text: str
    answer: str


class SiteFit(BaseModel):
    """A site, and why it would take no session of this person; "" where it would."""

    name: str
    why_not: str


class ReviewInFull(OwnInShort):
    """A request as reviewers see it."""

    person: PersonShown
    reviewer: str
    private: str
    error: str
    needs_two: bool
    checklist: list[CheckAnswered]
    sites: list[SiteFit]
    steps: list[StepDone]
    events: list[Event]
    obstacle: str

    @classmethod
    def of_dossier(cls, dossier: Dossier) -> Self:
        """All that belongs to it."""
        return cls(
            **_own(dossier.request), person=dossier.person, reviewer=dossier.reviewer,
            private=dossier.request.private_note, error=dossier.request.error, needs_two=dossier.needs_two,
            checklist=[CheckAnswered(**vars(check)) for check in dossier.checklist],
            sites=[SiteFit(name=site.name, why_not=site.why_not) for site in dossier.sites],
            steps=[StepDone(at=one.at, what=one.what, by=one.by, text=one.words) for one in dossier.steps],
            events=sorted(dossier.events), obstacle=dossier.obstacle,
        )  # fmt: skip


def _own(request: Request) -> dict[str, Any]:
    return {
        "id": request.id, "reference": request.reference, "kind": request.kind, "state": request.state,
        "asked": Wish.of(request.asked), "given": Given.of(request.decision) if request.decision else None,
        "denial_code": request.denial_code, "opened_at": request.opened_at, "changed_at": request.changed_at,
        "due_at": request.due_at,
    }  # fmt: skip


# --- people, accounts, grants, audit ----------------------------------------------------------------------------------


class Me(BaseModel):
    """Who calls, and what the desk lets them do."""

    user_name: str
    rights: list[str]
    site_operator_of: list[str]
    is_stale: bool = Field(description="what the provider said is too old for a role: sign in again")


class PersonInShort(BaseModel):
    """Somebody who signed in."""

    id: str
    user_name: str
    name: str
    organisation: str


class Account(BaseModel):
    """A person's account at a site, as far as the site has answered."""

    person_id: str
    person: str
    organisation: str
    account: str
    state: MappingState
    reason: str
    asked_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, mapping: SiteMapping, person: PersonShown) -> Self:
        """Of a mapping, and whose it is."""
        names = ("person_id", "account", "state", "reason", "asked_at", "changed_at")
        shown = {"person": person.name or person.user_name, "organisation": person.organisation}
        return cls(**{name: getattr(mapping, name) for name in names}, **shown)


class AccountAnswer(_Sent):
    """What the site answers; a no has a reason, which the person reads."""

    reason: Annotated[str, StringConstraints(max_length=2000, strip_whitespace=True), AfterValidator(_no_nul)] = ""


class Grant(BaseModel):
    """One grant of quota."""

    id: str
    amount_milli_unit_seconds: int
    charged_milli_unit_seconds: int
    left_milli_unit_seconds: int
    starts_at: datetime
    ends_at: datetime
    revoked_at: datetime | None
    state: str
    reason: str
    is_default: bool


class Grants(BaseModel):
    """Somebody's account: what is left and set aside, and every grant, the newest first."""

    person: PersonInShort
    left_milli_unit_seconds: int
    held_milli_unit_seconds: int
    owed_milli_unit_seconds: int
    grants: list[Grant]

    @staticmethod
    def listed(grants: Iterable[ListedGrant]) -> list[Grant]:
        """As they are answered."""
        same = ("id", "starts_at", "ends_at", "revoked_at", "state", "reason", "is_default")
        return [
            Grant(
                amount_milli_unit_seconds=one.amount, charged_milli_unit_seconds=one.charged,
                left_milli_unit_seconds=one.left, **{name: getattr(one, name) for name in same},
            )
            for one in grants
        ]  # fmt: skip


class AuditEntry(BaseModel):
    """One row of the audit trail."""

    seq: int
    at: datetime
    act: str
    actor: str
    target: str
    reason: str
    details: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Of a row."""
        return cls(**vars(entry))
