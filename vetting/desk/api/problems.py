"""What goes wrong, for programs: problem documents (RFC 9457) with the codes of the catalogue."""

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from federation.database import DatabaseUnavailable
from federation.errors import DATABASE_AWAY, Failure
from federation.i18n import gettext
from vetting.desk.gate import SignInNeeded
from vetting.desk.parts import HubAway
from vetting.desk.shield import TooLarge
from vetting.errors import (
    DESK_BROKEN,
    DESK_HUB_AWAY,
    DESK_INPUT_UNFIT,
    DESK_METHOD,
    DESK_PAGE_UNKNOWN,
    DESK_TOKEN_NEEDED,
    DESK_TOO_LARGE,
)

__all__ = ["MEDIA_TYPE", "RESPONSES", "ProblemDocument", "refused_by_the_router", "tell_broken", "tell_problems"]

_LOG = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:notebooks-federation:problem:"
_BAD_REQUEST, _UNAUTHORIZED, _METHOD_NOT_ALLOWED = 400, 401, 405
_MOST_ERRORS = 20


class InputError(BaseModel):
    """One thing that is wrong with what was sent."""

    where: str = Field(description="the way to it, such as `body.asked.ends_at`")
    what: str


class ProblemDocument(BaseModel):
    """Why something was refused, or went wrong (RFC 9457)."""

    type: str = Field(description="the code as a URN")
    title: str = Field(description="what happened, in the language of `Accept-Language`")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="the same, with what to do next")
    code: str = Field(description="stable; the list is in the reference, “Errors and refusals”")
    errors: list[InputError] = Field(default_factory=list, description="with `desk-input-unfit`: what does not fit")


_CONTENT: dict[str, Any] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "It was refused; nothing was changed.", "content": _CONTENT},
    "5XX": {"description": "An outage or an error of ours.", "content": _CONTENT},
}
"""What every address may answer beside what is asked for."""


def tell_problems(app: FastAPI) -> None:
    """Let an application tell everything that goes wrong in this form."""
    handlers: dict[type[Exception], Callable[[Request, Any], Response]] = {
        Failure: lambda _request, error: _document(error),
        SignInNeeded: lambda _request, _error: _document(Failure(DESK_TOKEN_NEEDED)),
        DatabaseUnavailable: _database_away,
        HubAway: _hub_away,
        TooLarge: lambda _request, _error: _document(Failure(DESK_TOO_LARGE)),
        HTTPException: refused_by_the_router,
        RequestValidationError: _unfit,
    }
    for kind, tell in handlers.items():
        app.add_exception_handler(kind, tell)


def tell_broken(_request: Request) -> Response:
    """An error that nobody thought of: nothing of it is told."""
    return _document(Failure(DESK_BROKEN))


def _document(failure: Failure, errors: list[InputError] | None = None) -> Response:
    problem = failure.problem
    document = ProblemDocument(
        type=_TYPE + problem.code, title=gettext(problem.text).format(**failure.figures), status=problem.status,
        detail=failure.message, code=problem.code, errors=errors or [],
    )  # fmt: skip
    headers = {"Retry-After": str(failure.retry_after_seconds)} if failure.retry_after_seconds else {}
    if problem.status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(document.model_dump(), problem.status, headers, MEDIA_TYPE)


def _database_away(_request: Request, error: Exception) -> Response:
    _LOG.error("The books cannot be reached: %s", error)
    return _document(Failure(DATABASE_AWAY))


def _hub_away(_request: Request, error: Exception) -> Response:
    _LOG.error("The hub cannot be asked whose a token is: %s", error)
    return _document(Failure(DESK_HUB_AWAY))


def refused_by_the_router(_request: Request, error: HTTPException) -> Response:
    """There is no such address, it is not used in this way, or its body cannot be read."""
    # A body that cannot be read is told in this way as well, whatever the reason (fastapi, routing.py).
    unread = DESK_TOO_LARGE if isinstance(error.__cause__, TooLarge) else DESK_INPUT_UNFIT
    problem = {_BAD_REQUEST: unread, _METHOD_NOT_ALLOWED: DESK_METHOD}.get(error.status_code, DESK_PAGE_UNKNOWN)
    answer = _document(Failure(problem))
    answer.headers.update(error.headers or {})  # which methods there are
    return answer


def _unfit(_request: Request, error: RequestValidationError) -> Response:
    found = [
        InputError(where=".".join(map(str, one["loc"])), what=str(one["msg"])) for one in error.errors()[:_MOST_ERRORS]
    ]
    return _document(Failure(DESK_INPUT_UNFIT), found)
