"""Puts the API together: an application of its own, mounted below the desk's, so that errors are told its way."""

from fastapi import APIRouter, Depends, FastAPI

from vetting.desk.api import reading, requests
from vetting.desk.api.gate import called
from vetting.desk.api.problems import RESPONSES, ProblemDocument, tell_broken, tell_problems
from vetting.desk.shield import NothingTold

__all__ = ["PATH", "api_application"]

PATH = "api/v1"
"""Below the desk's own."""

_ABOUT = """\
Ask for more, decide about requests, answer for a site, and read what there is: with the rights that one has on the pages.

A call brings a token of the hub: `Authorization: Bearer TOKEN`. Make one on the hub's page for tokens; the scope
`access:services!service=desk` is enough. Amounts are whole milli-unit-seconds: a unit-hour is 3,600,000. What goes wrong
is a problem document with a stable code. An event whose answer was lost may be sent again: if it was done, it is refused
with `request-moved-on`, and nothing is done twice.
"""


_TAGS = {
    "catalogue": "What there is. For everybody, without a token.",
    "me": "Who calls.",
    "own requests": "For everybody who signed in, about what is their own.",
    "review": "For reviewers; operators may read.",
    "sites": "For site operators, about their own sites.",
    "grants": "For operators.",
    "audit": "For operators.",
}


def api_application() -> FastAPI:
    """The API as an ASGI application; who mounts it sets `state` as the desk's own application has it."""
    app = FastAPI(
        title="Access desk", version="1", description=_ABOUT, docs_url=None, redoc_url=None, redirect_slashes=False,
        responses=RESPONSES, openapi_tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
    )  # fmt: skip
    calls = APIRouter(dependencies=[Depends(called)])
    for router in (reading.router, requests.router):
        calls.include_router(router)
    app.include_router(calls)
    tell_problems(app)
    app.add_middleware(NothingTold, tell=tell_broken)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Add the problem document to the description: no address answers it as its own."""
    plain = app.openapi

    def described() -> dict[str, object]:
        schema = plain()
        problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = schema["components"]["schemas"]
        schemas.update(problem.pop("$defs", {}))
        schemas["ProblemDocument"] = problem
        return schema

    app.openapi = described  # type: ignore[method-assign]  # as FastAPI documents it ("Extending OpenAPI")
