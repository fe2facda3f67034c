"""Who calls: by a token of the hub, or by the sign-in of a browser. What a browser sends is checked as a page's form is.

A token says whose it is; the hub is asked, and what it says counts for half a minute. A browser sends its cookie with
whatever any page makes it send: so without a token nothing is changed unless the origin is ours and the seal of one of
our pages is in a header.
"""

from typing import Annotated

from fastapi import Depends, Header
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from federation.errors import Failure
from vetting.desk import seal
from vetting.desk.gate import CHANGES, check_pace, is_ours, no_nul, session_of, the_desk, visitor_by
from vetting.errors import DESK_FORM_FOREIGN, DESK_FORM_OLD, DESK_TOKEN_NEEDED

__all__ = ["called"]

_BEARER = HTTPBearer(auto_error=False, description="A token of the hub that may use the access desk (`/hub/token`).")


async def called(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    seal_of_page: Annotated[str, Header(alias="X-Desk-Seal", include_in_schema=False)] = "",
) -> None:
    """Let a call pass that is not too much, and find out who calls.

    Raises
    ------
    Failure
        If it may not pass; nothing was done.
    """
    token = credentials.credentials if credentials is not None else ""
    check_pace(request, token or session_of(request))
    no_nul(request)
    if token:
        request.state.visitor = await run_in_threadpool(visitor_by, the_desk(request), token, "")
        if request.state.visitor is None:
            raise Failure(DESK_TOKEN_NEEDED)
    elif request.method in CHANGES:
        _check_page(request, seal_of_page)


def _check_page(request: Request, seal_of_page: str) -> None:
    desk, session = the_desk(request), session_of(request)
    if not session:
        raise Failure(DESK_TOKEN_NEEDED)
    if not is_ours(request.headers.get("origin", ""), request, desk):
        raise Failure(DESK_FORM_FOREIGN)
    if not seal.holds(desk.key, session, seal_of_page):
        raise Failure(DESK_FORM_OLD)
