"""A person's own requests as their pages show them. Reads block.

What the support team noted for itself, and who of it decided, is in none of this.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from federation.database import Database
from federation.i18n import gettext
from federation.settings import Site, in_language
from vetting.asking import Actor
from vetting.guards import RENEWAL_DAYS
from vetting.mappings import SiteMapping, newest
from vetting.requests import Request, Requests, Step
from vetting.transitions import TABLE, Event, State, Who
from vetting.words import about, how_far, site_said

__all__ = [
    "AccountShown",
    "OwnRequest",
    "OwnSummary",
    "StepShown",
    "happened",
    "mapped_at",
    "own_request",
    "own_summaries",
    "summary_of",
]


def _(message: str) -> str:
    return message


_GIVEN = (State.ACTIVE, State.SUSPENDED, State.EXPIRED)
_WITH_A_NOTE = (State.APPROVED, State.ACTIVE, State.SUSPENDED, State.DENIED)
_HAPPENED = {
    Event.OPEN: _("Begun"),
    Event.EDIT: _("Changed"),
    Event.SUBMIT: _("Sent to the support team"),
    Event.CLAIM: _("A reviewer looks at it"),
    Event.UNCLAIM: _("Put back into the queue"),
    Event.ASK: _("A question"),
    Event.ANSWER: _("The answer"),
    Event.APPROVE: _("Approved"),
    Event.DENY: _("Not approved"),
    Event.REOPEN: _("Begun again after a decision"),
    Event.APPLY: _("Given"),
    Event.RENEW: _("Begun as a renewal"),
    Event.REDUCE: _("Reduced"),
    Event.SUSPEND: _("Suspended"),
    Event.RESTORE: _("Restored"),
    Event.EXPIRE: _("Ended"),
    Event.WITHDRAW: _("Withdrawn"),
}
_FIRST_OF_TWO = _("Approved by the first of two reviewers")
_OWN_EVENTS = frozenset({row.event for row in TABLE if row.who is Who.USER})


@dataclass(frozen=True, kw_only=True)
class OwnSummary:
    """One request: what is asked for or was given, how far it is since when, when it ends, and what the support team
    wrote about it.
    """

    id: str
    reference: str
    about: str
    state: State
    how_far: str
    since: datetime
    ends_at: datetime | None
    words: str

    @property
    def needs_me(self) -> bool:
        """Whether it waits for the person."""
        return self.state in (State.DRAFT, State.NEEDS_INFO)


@dataclass(frozen=True, kw_only=True)
class StepShown:
    """One thing that happened, and by which side: "you", "support" or "service"."""

    at: datetime
    what: str
    by: str
    words: str


@dataclass(frozen=True, kw_only=True)
class AccountShown:
    """An account at a site that was asked for with a request, and what the site said."""

    site: str
    title: str
    account: str
    state: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class OwnRequest:
    """A request in full, with what the person may do with it now.

    Parameters
    ----------
    renewable_from
        From when on it may be renewed, where that is still to come.
    """

    request: Request
    summary: OwnSummary
    accounts: list[AccountShown]
    steps: list[StepShown]
    events: frozenset[Event]
    renewable_from: datetime | None


def happened(step: Step) -> str:
    """A step in words, for whoever reads it."""
    if step.event is Event.APPROVE and step.state is State.AWAITING_SECOND:
        return gettext(_FIRST_OF_TWO)
    return gettext(_HAPPENED[step.event])


def own_summaries(
    requests: Requests, sites: Mapping[str, Site], person_id: str, *, states: set[State] | None = None
) -> list[OwnSummary]:
    """A person's requests in some states, or all but those withdrawn; the newest first."""
    found = requests.found(states=states or set(State) - {State.WITHDRAWN}, person_id=person_id)
    newest = sorted(found, key=lambda request: request.opened_at, reverse=True)
    return [summary_of(requests, sites, request) for request in newest]


def summary_of(requests: Requests, sites: Mapping[str, Site], request: Request) -> OwnSummary:
    """One request in short."""
    asked, given = request.asked, request.decision
    named = given.sites if given else asked.sites
    end = requests.end(request.id) if request.state in (State.ACTIVE, State.SUSPENDED) else None
    return OwnSummary(
        id=request.id,
        reference=request.reference,
        about=about(
            request.kind,
            tier=asked.tier,
            amount_milli_unit_seconds=given.amount_milli_unit_seconds if given else asked.amount_milli_unit_seconds,
            ends_at=given.ends_at if given else asked.ends_at,
            sites=[in_language(sites[name].title, name) if name in sites else name for name in named],
        ),
        state=request.state,
        how_far=how_far(request.state),
        since=request.changed_at,
        ends_at=end.at if end else None,
        words=_words(requests, request),
    )


def mapped_at(database: Database, sites: Iterable[str], person_id: str) -> dict[str, SiteMapping]:
    """The newest mapping of a person at each site that has one."""
    with database.read() as connection:
        found = {site: newest(connection, person_id, site) for site in sites}
    return {site: mapping for site, mapping in found.items() if mapping is not None}


def own_request(
    requests: Requests, sites: Mapping[str, Site], request_id: str, actor: Actor, now: datetime,
    mapped: Mapping[str, SiteMapping],
) -> OwnRequest:  # fmt: skip
    """One of the actor's own requests in full.

    Parameters
    ----------
    mapped
        The newest mapping of the actor at each site.

    Raises
    ------
    federation.errors.Failure
        If there is none that is theirs to see.
    """
    request = requests.get(request_id, actor)
    summary = summary_of(requests, sites, request)
    events = {row.event for row in TABLE if row.source is request.state and row.event in _OWN_EVENTS}
    renewable_from = summary.ends_at - timedelta(days=RENEWAL_DAYS) if summary.ends_at else None
    too_early = renewable_from is not None and now < renewable_from
    return OwnRequest(
        request=request,
        summary=summary,
        accounts=_accounts(request, sites, mapped),
        steps=[_step(step, request.person_id) for step in requests.steps(request_id, actor)],
        events=frozenset(events - {Event.RENEW} if too_early else events),
        renewable_from=renewable_from if too_early and Event.RENEW in events else None,
    )


def _accounts(request: Request, sites: Mapping[str, Site], mapped: Mapping[str, SiteMapping]) -> list[AccountShown]:
    """What the sites said that were asked with it: nothing before anybody asked them."""
    given = request.decision.sites if request.decision and request.state in _GIVEN else ()
    return [
        AccountShown(
            site=site,
            title=in_language(sites[site].title, site) if site in sites else site,
            account=mapped[site].account,
            state=site_said(mapped[site].state),
            reason=mapped[site].reason,
        )
        for site in given
        if site in mapped
    ]


def _step(step: Step, person_id: str) -> StepShown:
    by = "you" if step.actor == f"person:{person_id}" else "service" if step.actor == "system" else "support"
    return StepShown(at=step.at, what=happened(step), by=by, words=step.text)


def _words(requests: Requests, request: Request) -> str:
    """The question that waits for an answer, or the note with a decision."""
    if request.state is State.NEEDS_INFO:
        steps = requests.steps(request.id, Actor(name=f"person:{request.person_id}", person_id=request.person_id))
        return next(step.text for step in reversed(steps) if step.event is Event.ASK)
    return request.note if request.state in _WITH_A_NOTE else ""
