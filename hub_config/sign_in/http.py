"""One question to a provider: bounded in time and size, to that address alone, and nothing of it in a log."""

import json
import re
from typing import Any

import httpx

from federation.trust import trusted
from hub_config.sign_in.refused import ProviderAway, Reason, SignInRefused

__all__ = ["MOST_BYTES", "AnswerRefused", "ask"]

MOST_BYTES = 1024 * 1024
"""A thousand entitlements are about 100 KiB."""

_TIMES = httpx.Timeout(10.0, connect=5.0)
_ERROR = re.compile(r"[a-z_]{1,40}")


class AnswerRefused(Exception):
    """The provider refused (HTTP 3xx or 4xx); `error` is the code of RFC 6749, 5.2, or empty."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"HTTP {status} {error}".strip())
        self.status = status
        self.error = error


async def ask(method: str, url: str, *, headers: dict[str, str] | None = None, body: bytes | None = None) -> Any:
    """The JSON of an answer. Redirects are not followed: a token is sent nowhere else.

    Raises
    ------
    ProviderAway
        If nothing answers in time, or the answer is an error of the provider's own (5xx).
    AnswerRefused
        If the provider refuses.
    SignInRefused
        If the answer is too large, or no JSON.
    """
    try:
        # Not through a proxy that the environment names: what is asked may be on this machine.
        async with (
            httpx.AsyncClient(verify=trusted(), timeout=_TIMES, trust_env=False) as client,
            client.stream(method, url, headers=headers, content=body) as answer,
        ):
            content = await _content(answer)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ProviderAway(f"{_place(url)}: {type(error).__name__}") from error
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise ProviderAway(f"{_place(url)}: HTTP {answer.status_code}")
    if not answer.is_success:
        raise AnswerRefused(answer.status_code, _error(content))
    return _json(content)


async def _content(answer: httpx.Response) -> bytes:
    parts = bytearray()
    async for part in answer.aiter_bytes():
        parts += part
        if len(parts) > MOST_BYTES:
            raise SignInRefused(Reason.UNUSABLE_ANSWER, f"{_place(str(answer.url))}: more than {MOST_BYTES} bytes")
    return bytes(parts)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise SignInRefused(Reason.UNUSABLE_ANSWER, "the answer is no JSON") from None


def _error(content: bytes) -> str:
    try:
        error = json.loads(content).get("error")
    except (ValueError, RecursionError, AttributeError):
        return ""
    # Not whatever is sent: it is logged, and a provider might give back what it was sent.
    return error if isinstance(error, str) and _ERROR.fullmatch(error) else ""


def _place(url: str) -> str:
    """The address without its query, which may hold secrets."""
    return url.partition("?")[0]
