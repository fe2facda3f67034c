"""What stands around every page: headers that browsers protect people by, the reader's language, bounds of what is sent.

Pure ASGI: what is set here for a request holds in the endpoint that answers it.
"""

import logging
from collections.abc import Callable, Sequence
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from federation.i18n import LANGUAGE_COOKIE, negotiate, use_language
from federation.plain import plain

__all__ = ["MOST_BYTES", "BoundedBody", "Language", "NothingTold", "SafeHeaders", "TooLarge"]

_LOG = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
"""Two long texts, each character written as twelve, and all else, fit into it."""

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self' data:",  # Bootstrap draws its signs so
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # "no-referrer" would make browsers send forms with the origin "null".
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class TooLarge(Exception):
    """More is sent than anything here needs."""


class SafeHeaders:
    """Puts the headers on every answer, errors among them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending)


class Language:
    """Speaks the language that the person chose on any page of the hub, else the one that the browser asks for."""

    def __init__(self, app: ASGIApp, *, offered: Sequence[str]) -> None:
        self._app = app
        self._offered = offered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            chosen = _cookie(headers.get("cookie", ""), LANGUAGE_COOKIE)
            use_language(negotiate(chosen, headers.get("accept-language", ""), self._offered))
        await self._app(scope, receive, send)


class NothingTold:
    """An error that nobody thought of is in the log, and what is told is a page without any of it.

    Parameters
    ----------
    tell
        Makes that page.
    """

    def __init__(self, app: ASGIApp, *, tell: Callable[[Request], Response]) -> None:
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:  # whatever it is: people get a page that says what to do, and the log has the rest
            if began or scope["type"] != "http":
                raise
            _LOG.exception("%s %s failed", scope["method"], plain(scope["path"]))
            await self._tell(Request(scope))(scope, receive, send)


class BoundedBody:
    """Reads no more of a request than `MOST_BYTES`, whatever it says of its length.

    Raises
    ------
    TooLarge
        To whoever reads the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def receiving() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BYTES:
                raise TooLarge
            return message

        await self._app(scope, receiving, send)


def _cookie(header: str, name: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return morsel.value if morsel else None
