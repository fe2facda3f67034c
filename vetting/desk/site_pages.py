"""Sites, for their own operators: accept or refuse accounts, end them, see what is used."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from federation.errors import Failure
from vetting.desk.gate import SentForm, TheDesk, open_to
from vetting.desk.pages import render
from vetting.desk.parts import PREFIX, Desk
from vetting.desk.rights import Right
from vetting.desk.sites import site_view, sites_in_short
from vetting.desk.visitors import Visitor
from vetting.errors import DESK_PAGE_UNKNOWN, MAPPING_MOVED_ON, WORDS_NEEDED
from vetting.mappings import Event, MappingError, SiteMapping, change

__all__ = ["MappingEvent", "SiteOperator", "answer_for", "router"]

_SEE_OTHER = 303
_MOST_CHARACTERS = 2000

router = APIRouter()
SiteOperator = Annotated[Visitor, open_to(Right.ANSWER_FOR_SITE)]


class MappingEvent(StrEnum):
    """What a site may answer, as addresses name it."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    END = "end"


@router.get("/sites")
def sites(request: HttpRequest, desk: TheDesk, visitor: SiteOperator) -> Response:
    """One's own sites."""
    return render(request, visitor, "sites.html", sites=sites_in_short(desk, visitor.roles.site_operator))


@router.get("/sites/{site}")
def one(request: HttpRequest, desk: TheDesk, visitor: SiteOperator, site: str) -> Response:
    """One of them."""
    return _one(request, desk, visitor, site)


@router.post("/sites/{site}/{person_id}/{event}")
def answer(
    request: HttpRequest, desk: TheDesk, visitor: SiteOperator, sent: SentForm, site: str, person_id: str,
    event: MappingEvent,
) -> Response:  # fmt: skip
    """Accept, refuse or end a person's account there. A no has a reason, which the person reads."""
    try:
        answer_for(desk, visitor, site, person_id, event, sent.text("reason")[:_MOST_CHARACTERS])
    except Failure as failure:
        return _one(request, desk, visitor, site, failure=failure)
    return RedirectResponse(f"{PREFIX}sites/{site}", _SEE_OTHER)


def answer_for(
    desk: Desk, visitor: Visitor, site: str, person_id: str, event: MappingEvent, reason: str
) -> SiteMapping:
    """Write down what a site answers about a person, and why.

    Raises
    ------
    Failure
        If a no has no reason, or somebody answered before; nothing was changed.
    """
    if event is not MappingEvent.ACCEPT and not reason:
        raise Failure(WORDS_NEEDED)
    try:
        with desk.database.write() as connection:
            return change(
                connection, person_id=person_id, site=site, event=Event(event.value), by=visitor.actor.name,
                reason=reason, now=desk.clock(),
            )  # fmt: skip
    except MappingError as error:
        raise Failure(MAPPING_MOVED_ON) from error


def _one(request: HttpRequest, desk: Desk, visitor: Visitor, site: str, *, failure: Failure | None = None) -> Response:
    if site not in desk.offer.sites:
        raise Failure(DESK_PAGE_UNKNOWN)
    return render(request, visitor, "site.html", failure=failure, site=site_view(desk, site))
