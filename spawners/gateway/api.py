"""The gateway's HTTP interface, for hub, worker and commands (OpenAPI at /openapi.json).

Who may ask may use every batch site. On one machine that is who can open its socket, in a folder that nobody else may
enter; where it has an address, who shows the token, except for `/healthz`. Each error
is `{"error", "detail", "retry"}`. 4xx: the site, or the gateway for it, said no, and nothing was done. 503: nothing
reached the site. 504: it was asked, and nobody knows; the same request may be made again.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError

from federation.database import DatabaseUnavailable
from spawners.gateway import protocol
from spawners.gateway.answers import (
    Address,
    Cancelled,
    Error,
    ForwardWanted,
    HistoryWanted,
    HubAddress,
    JobView,
    PastJobs,
    Poll,
    SiteHealth,
    Submitted,
    SubmitWanted,
)
from spawners.gateway.book import PortsTaken
from spawners.gateway.calls import SiteAway
from spawners.gateway.forwards import ForwardRefused, NotReached
from spawners.gateway.masters import MasterError
from spawners.gateway.protocol import ErrorCode, GateRefusal, JobName
from spawners.gateway.served import Served

__all__ = ["application"]

open_router = APIRouter()
router = APIRouter()

_REFUSALS = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.BAD_VERB: 400,
    ErrorCode.TOO_BIG: 400,
    ErrorCode.NOT_MAPPED: 403,
    ErrorCode.BLOCKED: 403,
    ErrorCode.LIMIT: 403,
    ErrorCode.DRAINED: 409,
    ErrorCode.STAGE: 409,
    ErrorCode.SCHEDULER: 409,
    ErrorCode.BUSY: 409,
    ErrorCode.TIMEOUT: 504,
    ErrorCode.INTERNAL: 504,
}
"""HTTP status of a gate's refusal. After a timeout or a fault of its own, the gate may have done it."""
_WORTH_ANOTHER_TRY = {ErrorCode.DRAINED, ErrorCode.BUSY, ErrorCode.SCHEDULER, ErrorCode.TIMEOUT, ErrorCode.INTERNAL}


def application(sites: Mapping[str, Served], registry: CollectorRegistry, token: str | None = None) -> FastAPI:
    """The interface to these sites; while it serves, they are polled and kept. With a token, who asks must show it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.tasks = [asyncio.create_task(site.run()) for site in sites.values()]
        yield
        for task in app.state.tasks:
            task.cancel()
        await asyncio.gather(*app.state.tasks, return_exceptions=True)

    app = FastAPI(title="nbfed gateway", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.sites, app.state.registry, app.state.token = sites, registry, token
    app.include_router(open_router)
    app.include_router(router, dependencies=[Depends(_shows_token)])
    for kind in _KINDS:
        app.add_exception_handler(kind, _answer)
    return app


async def _shows_token(request: Request) -> None:
    token: str | None = request.app.state.token
    shown = request.headers.get("Authorization", "")
    if token is not None and not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
        raise HTTPException(401, "this is not the token of this gateway (NBFED_GATEWAY_TOKEN)")


async def _site_of(request: Request, site: str) -> Served:
    sites: Mapping[str, Served] = request.app.state.sites
    if site not in sites:
        raise HTTPException(404, f"there is no batch site {site!r} in federation.yaml")
    return sites[site]


Named = Annotated[Served, Depends(_site_of)]


@open_router.get("/healthz", response_class=PlainTextResponse)
async def healthz(request: Request) -> str:
    """Whether the gateway itself works; a site that is away is no fault of it."""
    ended = [task for task in request.app.state.tasks if task.done()]
    if ended:
        raise HTTPException(503, f"{len(ended)} sites are not looked after any more: {ended[0].exception()!r}")
    return "ok\n"


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/sites")
async def every_site(request: Request) -> dict[str, SiteHealth]:
    """How each site is."""
    return {name: site.health() for name, site in request.app.state.sites.items()}


@router.post("/sites/{site}/jobs")
async def submit(site: Named, wanted: SubmitWanted) -> Submitted:
    """Start an attempt as a job; the same attempt again finds the job of the first time."""
    return await site.submit(wanted)


@router.get("/sites/{site}/jobs")
async def jobs(site: Named) -> Poll:
    """All jobs of this installation there, as last seen."""
    return site.jobs()


@router.get("/sites/{site}/jobs/{attempt}")
async def job(site: Named, attempt: str) -> JobView:
    """One attempt, as last seen."""
    return await site.job(attempt)


@router.post("/sites/{site}/history")
async def history(site: Named, wanted: HistoryWanted) -> PastJobs:
    """What became of jobs that are over."""
    return await site.history(wanted.jobs)


@router.post("/sites/{site}/jobs/{attempt}/cancel")
async def cancel(site: Named, attempt: str, wanted: JobName) -> Cancelled:
    """End a job; false: there was no such job any more."""
    if wanted.attempt != attempt:
        raise HTTPException(400, "the attempt in the address and the one in the request differ")
    return await site.cancel(wanted)


@router.put("/sites/{site}/forwards/{attempt}")
async def open_forward(site: Named, attempt: protocol.Attempt, wanted: ForwardWanted) -> Address:
    """Have a way to a session, and where it begins; it was tried. The same again is the same."""
    host, port = await site.open_forward(attempt, wanted.node, wanted.port)
    return Address(host=host, port=port)


@router.delete("/sites/{site}/forwards/{attempt}", status_code=204)
async def close_forward(site: Named, attempt: protocol.Attempt) -> None:
    """Have no way to a session any more; twice is once."""
    await site.close_forward(attempt)


@router.get("/sites/{site}/reverse")
async def reverse(site: Named) -> HubAddress:
    """How jobs of the site reach the hub."""
    return HubAddress(hub_url=site.reverse.url)


# --- errors -------------------------------------------------------------------------------------------------------


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    status, said = _told(error)
    return JSONResponse(said.model_dump(), status)


def _told(error: Exception) -> tuple[int, Error]:
    """The HTTP status of a failure, and what is said of it."""
    match error:
        case GateRefusal():
            retry = error.error in _WORTH_ANOTHER_TRY
            return _REFUSALS[error.error], Error(error=error.error, detail=error.detail, retry=retry)
        case ForwardRefused():
            return 403, Error(error="forward-refused", detail=str(error))
        case ValidationError() | RequestValidationError():
            # What the protocol does not allow is not sent. The input is not repeated: it may hold a secret.
            wrong = error.errors()[0]
            where = ".".join(map(str, wrong["loc"]))
            return 400, Error(error="bad-request", detail=f"{where}: {wrong['msg']}"[:500])
        case HTTPException():
            return error.status_code, Error(error=f"http-{error.status_code}", detail=str(error.detail))
        case SiteAway(was_sent=True):
            return 504, Error(error="site-away", detail=error.detail, retry=True)
        case _:
            kind = next(_KINDS[each] for each in type(error).__mro__ if each in _KINDS)
            return 503, Error(error=kind, detail=str(error), retry=True)


_KINDS: dict[type[Exception], str] = {
    SiteAway: "site-away",
    MasterError: "site-away",
    NotReached: "not-reached",
    PortsTaken: "ports-taken",
    DatabaseUnavailable: "database-away",
    GateRefusal: "refused",
    ForwardRefused: "forward-refused",
    ValidationError: "bad-request",
    RequestValidationError: "bad-request",
    HTTPException: "http",
}
"""All failures that are told, and what those are called by which nothing was done."""
