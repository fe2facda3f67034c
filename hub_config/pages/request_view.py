"""A person's own requests, as their page shows them. Reads block; made in threads."""

from dataclasses import dataclass
from datetime import datetime

from federation.persons import Person
from federation.settings import in_language
from hub_config.wiring import House
from vetting.asking import Actor
from vetting.requests import Request
from vetting.transitions import Event, State
from vetting.words import about, how_far

__all__ = ["RequestView", "request_views"]

_MOST = 10
_WITH_A_NOTE = (State.APPROVED, State.ACTIVE, State.SUSPENDED, State.DENIED)


@dataclass(frozen=True, kw_only=True)
class RequestView:
    """One request: what is asked for or was given, how far it is since when, when it ends, and what the support team
    wrote about it.
    """

    reference: str
    about: str
    how_far: str
    since: datetime
    ends_at: datetime | None
    words: str


def request_views(house: House, person: Person) -> list[RequestView]:
    """The newest requests of a person; drafts and what they withdrew are left out."""
    shown = set(State) - {State.DRAFT, State.WITHDRAWN}
    found = house.requests.found(states=shown, person_id=person.id)
    newest = sorted(found, key=lambda request: request.opened_at, reverse=True)[:_MOST]
    return [_view(house, person, request) for request in newest]


def _view(house: House, person: Person, request: Request) -> RequestView:
    asked, given, sites = request.asked, request.decision, house.settings.yaml.sites
    named = given.sites if given else asked.sites
    end = house.requests.end(request.id) if request.state in (State.ACTIVE, State.SUSPENDED) else None
    return RequestView(
        reference=request.reference,
        about=about(
            request.kind,
            tier=asked.tier,
            amount_milli_unit_seconds=given.amount_milli_unit_seconds if given else asked.amount_milli_unit_seconds,
            ends_at=given.ends_at if given else asked.ends_at,
            sites=[in_language(sites[name].title, name) if name in sites else name for name in named],
        ),
        how_far=how_far(request.state),
        since=request.changed_at,
        ends_at=end.at if end else None,
        words=_words(house, person, request),
    )


def _words(house: House, person: Person, request: Request) -> str:
    """The question that waits for an answer, or the note with a decision."""
    if request.state is State.NEEDS_INFO:
        steps = house.requests.steps(request.id, Actor(name=f"person:{person.id}", person_id=person.id))
        return next(step.text for step in reversed(steps) if step.event is Event.ASK)
    return request.note if request.state in _WITH_A_NOTE else ""
