"""Everything about one request that a reviewer decides by, in the order in which it is read. Reads block.

Nothing is decided anew here: the checklist is what eligibility says, the sites are what placement says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from federation.i18n import gettext
from federation.persons import Person, persons_by_id
from federation.settings import in_language
from quota.owners import Owner
from quota.statement import Standing, Statement, statement
from quota.tables import OwnerKind
from vetting.desk.checklist import CheckShown, checked, terms_of
from vetting.desk.own import OwnSummary, happened, summary_of
from vetting.desk.parts import Desk
from vetting.desk.people import PersonShown, person_as_of, person_now
from vetting.desk.queue import urgency, who_is
from vetting.desk.reviewing import may_decide
from vetting.desk.visitors import Visitor
from vetting.eligibility import Eligibility
from vetting.missing import describe_all
from vetting.placement import Option, Wish, places
from vetting.recorded import Recorded
from vetting.records import recorded_of
from vetting.requests import Request, Step
from vetting.transitions import Event, State

__all__ = ["Dossier", "ReviewStep", "SiteSuggested", "dossier_of"]

_MONTH, _QUARTER = timedelta(days=30), timedelta(days=90)
_PERSON = "person:"
_FORBIDDEN = 403


@dataclass(frozen=True, kw_only=True)
class SiteSuggested:
    """A site, or why it would take no session of this person."""

    name: str
    title: str
    why_not: str


@dataclass(frozen=True, kw_only=True)
class ReviewStep:
    """One thing that happened, and who it was."""

    at: datetime
    what: str
    by: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the person has now and has used, in milli-unit-seconds."""

    standing: Standing
    used_month: int
    used_quarter: int


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """One request with all that belongs to it.

    Parameters
    ----------
    person, now
        As the provider described them when the request was sent, and as it does now, where that differs.
    needs_two
        Whether what is asked for is more than one reviewer approves alone.
    events
        What the visitor may do with it now; what stands in the way is told by `obstacle`.
    """

    request: Request
    about: OwnSummary
    urgency: str
    person: PersonShown
    now: PersonShown | None
    held: Held
    earlier: list[OwnSummary]
    recorded: Recorded
    checklist: Sequence[CheckShown]
    sites: list[SiteSuggested]
    steps: list[ReviewStep]
    reviewer: str
    needs_two: bool
    events: frozenset[Event]
    obstacle: str


def dossier_of(desk: Desk, visitor: Visitor, request_id: str) -> Dossier:
    """A request as this reviewer sees it.

    Raises
    ------
    Failure
        If there is none.
    """
    request, now, requests = desk.requests.get(request_id, visitor.actor), desk.clock(), desk.requests
    steps = requests.steps(request_id, visitor.actor)
    with desk.database.read() as connection:
        people = persons_by_id(connection, _ids(request, steps))
        recorded = recorded_of(connection, request.person_id)
        owner = Owner(OwnerKind.USER, request.person_id)
        books = statement(connection, owner, now, since=now - _QUARTER)
        terms = terms_of(desk, connection)
    person = people[request.person_id]
    found = checked(desk, request, person, recorded, terms)
    earlier = requests.found(states=set(State) - {State.DRAFT}, person_id=request.person_id)
    events, obstacle = may_decide(request, visitor.actor, requests.rules, now)
    return Dossier(
        request=request,
        about=summary_of(requests, desk.offer.sites, request),
        urgency=urgency(request, requests.rules.target_answer, now),
        person=person_as_of(person.user_name, request.claims, request.claims_at),
        now=_if_other(person, request),
        held=_held(books, now),
        earlier=[summary_of(requests, desk.offer.sites, one) for one in earlier if one.id != request.id],
        recorded=recorded,
        checklist=found.checklist,
        sites=_sites(desk, request, found.eligibility),
        steps=[_step(step, people) for step in steps],
        reviewer=who_is(request.reviewer, people),
        needs_two=request.asked.amount_milli_unit_seconds > requests.rules.ceiling_milli_unit_seconds,
        events=events,
        obstacle=obstacle.message if obstacle else "",
    )


def _ids(request: Request, steps: list[Step]) -> set[str]:
    actors = {request.reviewer, request.second, request.filed_by, *(step.actor for step in steps)}
    return {request.person_id, *(actor.removeprefix(_PERSON) for actor in actors if actor.startswith(_PERSON))}


def _if_other(person: Person, request: Request) -> PersonShown | None:
    """What the provider says now, where it said something else when the request was sent."""
    before, now = person_as_of(person.user_name, request.claims, request.claims_at), person_now(person)
    return now if replace(before, at=None) != replace(now, at=None) else None


def _held(books: Statement, now: datetime) -> Held:
    costs = [(line.ended_at or line.reserved_at, line.cost or 0) for line in books.lines]
    return Held(
        standing=books.standing,
        used_month=sum(cost for at, cost in costs if at >= now - _MONTH),
        used_quarter=sum(cost for _at, cost in costs),
    )


def _step(step: Step, people: Mapping[str, Person]) -> ReviewStep:
    return ReviewStep(at=step.at, what=happened(step), by=who_is(step.actor, people), words=step.text)


def _sites(desk: Desk, request: Request, eligibility: Eligibility) -> list[SiteSuggested]:
    """All sites, those first that would take the flavour that is asked for, or the first one that there is."""
    offer = desk.offer
    flavour = request.asked.flavour if request.asked.flavour in offer.flavours else next(iter(offer.flavours))
    found: dict[str, str] = {}
    for environment in offer.environments:
        options = places(
            Wish(flavour=flavour, environment=environment), eligibility=eligibility, flavours=offer.flavours,
            environments=offer.environments, sites=offer.sites, kinds={site.kind for site in offer.sites.values()},
            away=desk.closed(),
        )  # fmt: skip
        for option in options:
            if option.site not in found or option.why_not is None:
                found[option.site] = _why_not(option)
    ranked = sorted(found.items(), key=lambda one: bool(one[1]))
    return [
        SiteSuggested(name=name, title=in_language(offer.sites[name].title, name), why_not=why) for name, why in ranked
    ]


def _why_not(option: Option) -> str:
    """In words for who decides: what the person misses there, else what they would be told themselves."""
    if option.why_not is None:
        return ""
    missing = option.missing if option.why_not.problem.status == _FORBIDDEN else ()
    return gettext("missing: {missing}").format(missing=describe_all(missing)) if missing else option.why_not.message
