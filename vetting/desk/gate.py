"""What every request to a page passes before anything is done: pace, origin, seal, sign-in, right; in this order.

A page that changes something cannot leave any of it out: the router that carries the pages asks for it (`app.py`).
Whoever tries what is not open to them is in the audit trail.
"""

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from federation.audit import Act, record
from federation.errors import Failure
from vetting.desk import seal
from vetting.desk.forms import Form, read_form
from vetting.desk.parts import Desk
from vetting.desk.rights import Right
from vetting.desk.visitors import Visitor, visitor_of
from vetting.errors import (
    DESK_FORM_FOREIGN,
    DESK_FORM_OLD,
    DESK_PAGE_UNKNOWN,
    DESK_ROLE_NEEDED,
    DESK_SIGN_IN_FIRST,
    DESK_TOO_FAST,
)

__all__ = [
    "CHANGES",
    "SESSION_COOKIE",
    "AnyVisitor",
    "SentForm",
    "SignInNeeded",
    "TheDesk",
    "check_pace",
    "guarded",
    "is_ours",
    "no_nul",
    "open_to",
    "session_of",
    "the_desk",
    "visitor_by",
]

SESSION_COOKIE = "nbfed-desk"
"""Holds the token of the sign-in. The hub is asked whose it is, so it needs no seal of ours."""

_HUB_SESSION_COOKIE = "jupyterhub-session-id"
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class SignInNeeded(Exception):
    """The page is only for people who signed in."""


def the_desk(request: Request) -> Desk:
    """What the pages work with."""
    desk: Desk = request.app.state.desk
    return desk


def session_of(request: Request) -> str:
    """The token of the sign-in; "" where there is none."""
    return request.cookies.get(SESSION_COOKIE, "")


async def guarded(request: Request) -> None:
    """Let a request pass that is not too much, and, if it changes something, was sent by a page of ours.

    Raises
    ------
    Failure
        If it may not pass; nothing was done.
    """
    check_pace(request, session_of(request))
    no_nul(request)
    if request.method not in CHANGES:
        return
    desk = the_desk(request)
    if not is_ours(request.headers.get("origin", ""), request, desk):
        raise Failure(DESK_FORM_FOREIGN)
    form = await read_form(request)
    if not session_of(request):
        raise Failure(DESK_SIGN_IN_FIRST)
    if not seal.holds(desk.key, session_of(request), form.text("seal")):
        raise Failure(DESK_FORM_OLD)


def check_pace(request: Request, session: str) -> None:
    """Count a request of an address, and one that changes something of a sign-in.

    Raises
    ------
    Failure
        If it is too much.
    """
    wait_seconds = request.app.state.by_address.wait_seconds(_address(request))
    if request.method in CHANGES and not wait_seconds:
        wait_seconds = request.app.state.by_sign_in.wait_seconds(session)
    if wait_seconds:
        raise Failure(DESK_TOO_FAST, retry_after_seconds=wait_seconds)


def no_nul(request: Request) -> None:
    """Refuse an address with a NUL in it, which PostgreSQL cannot even be asked about.

    Raises
    ------
    Failure
        If it has one.
    """
    if "\0" in request.scope["path"] or b"\0" in unquote_to_bytes(request.scope["query_string"]):
        raise Failure(DESK_PAGE_UNKNOWN)


def any_visitor(request: Request) -> Visitor | None:
    """Who looks at the page, if they signed in. Blocks; asked once for each request.

    Raises
    ------
    HubAway
        If the hub cannot be asked.
    """
    if not hasattr(request.state, "visitor"):
        session = request.cookies.get(_HUB_SESSION_COOKIE, "")
        request.state.visitor = visitor_by(the_desk(request), session_of(request), session)
    visitor: Visitor | None = request.state.visitor
    return visitor


def visitor_by(desk: Desk, token: str, session: str) -> Visitor | None:
    """Whose a token is. Blocks.

    Raises
    ------
    HubAway
        If the hub cannot be asked.
    """
    name = desk.sign_in.user_name(token, session) if token else None
    return visitor_of(desk, name) if name else None


TheDesk = Annotated[Desk, Depends(the_desk)]
AnyVisitor = Annotated[Visitor | None, Depends(any_visitor)]
SentForm = Annotated[Form, Depends(read_form)]


def open_to(right: Right) -> Any:
    """A dependency: the visitor, who signed in and has this right; where the address names a site, at that site."""

    async def asked(request: Request) -> Visitor:
        return await run_in_threadpool(_checked, request, right)

    return Depends(asked)


def _checked(request: Request, right: Right) -> Visitor:
    visitor = any_visitor(request)
    if visitor is None:
        raise Failure(DESK_SIGN_IN_FIRST) if request.method in CHANGES else SignInNeeded
    site = request.path_params.get("site")
    if not visitor.may(right, site):
        _write_down(the_desk(request), visitor, right, request.url.path)
        raise Failure(DESK_ROLE_NEEDED)
    return visitor


def _write_down(desk: Desk, visitor: Visitor, right: Right, path: str) -> None:
    with desk.database.write() as connection:
        record(
            connection, at=desk.clock(), act=Act.PAGE_REFUSED, actor=visitor.actor.name, target=path[:200], reason="",
            right=right.value,
        )  # fmt: skip


def is_ours(origin: str, request: Request, desk: Desk) -> bool:
    """Whether a page of the public address sent it, or one of the very host that the browser believes to talk to. Browsers
    name the origin with every POST (Fetch, section 3.1).
    """
    scheme = desk.offer.origin.partition(":")[0]
    return origin in (desk.offer.origin, f"{scheme}://{request.headers.get('host', '')}")


def _address(request: Request) -> str:
    """Where the request came to the proxy from; the proxy writes it last (configurable-http-proxy, x-forwarded-for)."""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded or (request.client.host if request.client else "")
