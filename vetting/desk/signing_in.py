"""The way to a sign-in and back: a state in a cookie of this browser, and PKCE.

What is remembered meanwhile is in that cookie, and for ten minutes: the desk may be started anew in between, and there
may be several of it.
"""

import hmac
import json

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from federation.errors import Failure
from vetting.desk.addresses import own_page
from vetting.desk.gate import SESSION_COOKIE, AnyVisitor, TheDesk
from vetting.desk.parts import PREFIX, Desk, SignInFailed
from vetting.errors import DESK_SIGN_IN_FAILED

__all__ = ["router"]

_CALLBACK = f"{PREFIX}oauth_callback"
_COOKIE = "nbfed-desk-sign-in"
_SECONDS = 600
_SEE_OTHER = 303

router = APIRouter()


@router.get("/sign-in")
def begin(desk: TheDesk, next: str = "") -> Response:  # noqa: A002 - the name that pages know
    """Send the browser to the hub, and let it remember where it wants to go on."""
    departure = desk.sign_in.begin()
    answer = RedirectResponse(departure.address, _SEE_OTHER)
    kept = {"state": departure.state, "verifier": departure.verifier, "next": own_page(next)}
    answer.set_cookie(
        _COOKIE, json.dumps(kept).encode().hex(), max_age=_SECONDS, path=_CALLBACK, httponly=True, samesite="lax",
        secure=_is_https(desk),
    )  # fmt: skip
    return answer


@router.get("/oauth_callback")
def finish(request: Request, desk: TheDesk, visitor: AnyVisitor, code: str = "", state: str = "") -> Response:
    """Back from the hub, with a code; go on where the person wanted to."""
    kept = _kept(request)
    if not (state and code and hmac.compare_digest(kept.get("state", "").encode(), state.encode())):
        if visitor is not None:  # an old tab, or the same address again
            return RedirectResponse(PREFIX, _SEE_OTHER)
        raise Failure(DESK_SIGN_IN_FAILED)
    try:
        token = desk.sign_in.finish(code, kept["verifier"])
    except SignInFailed as error:
        raise Failure(DESK_SIGN_IN_FAILED) from error
    answer = RedirectResponse(own_page(kept["next"]), _SEE_OTHER)
    answer.delete_cookie(_COOKIE, path=_CALLBACK)
    answer.set_cookie(
        SESSION_COOKIE, token, path=PREFIX, httponly=True, samesite="lax", secure=_is_https(desk)
    )  # fmt: skip
    return answer


def _kept(request: Request) -> dict[str, str]:
    """What the browser remembers of the sign-in that it began; {} if it is nothing of ours."""
    try:
        kept = json.loads(bytes.fromhex(request.cookies.get(_COOKIE, "")))
    except ValueError:
        return {}
    is_ours = isinstance(kept, dict) and all(isinstance(kept.get(name), str) for name in ("state", "verifier", "next"))
    return kept if is_ours else {}


def _is_https(desk: Desk) -> bool:
    return desk.offer.origin.startswith("https:")
