"""Puts the desk together: its routes, what stands around them, and how errors are told."""

import logging
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from federation.database import DatabaseUnavailable
from federation.errors import DATABASE_AWAY, Failure
from vetting.desk import (
    asking_pages,
    audit_pages,
    catalogue_pages,
    grant_pages,
    review_pages,
    session_pages,
    signing_in,
    site_pages,
)
from vetting.desk.api.app import PATH, api_application
from vetting.desk.api.problems import refused_by_the_router
from vetting.desk.gate import SignInNeeded, guarded
from vetting.desk.pace import Pace
from vetting.desk.pages import Pages, render
from vetting.desk.parts import PREFIX, Desk, HubAway
from vetting.desk.shield import BoundedBody, Language, NothingTold, SafeHeaders, TooLarge
from vetting.desk.visitors import Visitor
from vetting.errors import DESK_BROKEN, DESK_HUB_AWAY, DESK_METHOD, DESK_PAGE_UNKNOWN, DESK_TOO_LARGE

__all__ = ["HEALTH", "PAGES", "WELL", "application"]

_LOG = logging.getLogger(__name__)
_MODULES = (
    signing_in, catalogue_pages, asking_pages, review_pages, session_pages, site_pages, grant_pages, audit_pages,
)  # fmt: skip
PAGES = tuple(module.router for module in _MODULES)
HEALTH = f"{PREFIX}healthz"
"""Where whoever runs the desk asks whether it answers; a database or a hub that is away is told on the pages."""
WELL = "ok\n"
_SEE_OTHER, _METHOD_NOT_ALLOWED = 303, 405
_SMALL_BYTES = 1000


def application(desk: Desk) -> FastAPI:
    """The desk as an ASGI application, below `PREFIX`."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.desk = desk
    app.state.pages = Pages(desk)
    app.state.by_address = Pace(per_minute=900, burst=300)  # many people of one institution may come from one
    app.state.by_sign_in = Pace(per_minute=30, burst=20)
    pages = APIRouter(dependencies=[Depends(guarded)])
    for router in PAGES:
        pages.include_router(router)
    app.include_router(pages, prefix=PREFIX.rstrip("/"))
    app.add_api_route(HEALTH, _health, response_class=PlainTextResponse)
    api = api_application()
    for name in ("desk", "by_address", "by_sign_in"):
        setattr(api.state, name, getattr(app.state, name))
    app.mount(PREFIX + PATH, api)
    for kind, tell in (
        (SignInNeeded, _to_sign_in), (Failure, _failed), (DatabaseUnavailable, _database_away), (HubAway, _hub_away),
        (TooLarge, _too_large), (HTTPException, _refused_by_the_router), (RequestValidationError, _no_such_page),
    ):  # fmt: skip
        app.add_exception_handler(kind, tell)
    # The last one stands outermost.
    app.add_middleware(BoundedBody)
    app.add_middleware(NothingTold, tell=_broken)
    app.add_middleware(GZipMiddleware, minimum_size=_SMALL_BYTES)
    app.add_middleware(Language, offered=tuple(desk.offer.federation.languages))
    app.add_middleware(SafeHeaders)
    return app


async def _health() -> str:
    return WELL


def _to_sign_in(request: Request, _error: Exception) -> Response:
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{PREFIX}sign-in?{urlencode({'next': here})}", _SEE_OTHER)


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure), "registered for failures"
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    return render(request, visitor, "failed.html", failure=error)


def _database_away(request: Request, error: Exception) -> Response:
    _LOG.error("The books cannot be reached: %s", error)
    return _failed(request, Failure(DATABASE_AWAY))


def _hub_away(request: Request, error: Exception) -> Response:
    _LOG.error("The hub cannot be asked who somebody is: %s", error)
    return _failed(request, Failure(DESK_HUB_AWAY))


def _too_large(request: Request, _error: Exception) -> Response:
    return _failed(request, Failure(DESK_TOO_LARGE))


def _no_such_page(request: Request, _error: Exception) -> Response:
    return _failed(request, Failure(DESK_PAGE_UNKNOWN))


def _broken(request: Request) -> Response:
    return _failed(request, Failure(DESK_BROKEN))


def _refused_by_the_router(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for these"
    if request.scope["path"].startswith(PREFIX + PATH):  # a line break in it does not get as far as the API
        return refused_by_the_router(request, error)
    if error.status_code == _METHOD_NOT_ALLOWED:
        return _failed(request, Failure(DESK_METHOD))
    return _failed(request, Failure(DESK_PAGE_UNKNOWN))
