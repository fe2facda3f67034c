"""What a page costs on the wire, as Chromium counts it: bytes received (headers included, compressed) and requests."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page

__all__ = ["Answer", "Wire"]

LATENCY_MS = 300
BYTES_PER_SECOND = 125_000
_TEXT = re.compile(r"html|css|javascript|json|svg|text/plain|xml")
_STATIC = re.compile(r"css|javascript")
_VERSION = re.compile(r"[?&]v=|[.-][0-9a-f]{8,}\.\w+$")
_SMALL = 1000
_DAY = 86_400


@dataclass
class Answer:
    """One response; `plain` is its length before compression."""

    url: str
    mime: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    plain: int = 0
    received: int = 0
    from_cache: bool = False

    def faults(self) -> list[str]:
        """What a slow line suffers from, in words."""
        if self.from_cache or self.status != 200:
            return []
        found = []
        if _TEXT.search(self.mime) and self.plain > _SMALL and "content-encoding" not in self.headers:
            found.append("not compressed")
        kept = self.headers.get("cache-control", "")
        if _kept_seconds(kept) < _DAY:
            if _VERSION.search(self.url):
                found.append(f"its address has a version, but cache-control is {kept!r}")
            elif _STATIC.search(self.mime):
                found.append(f"its address has no version and cache-control is {kept!r}: asked for on every page")
        return found

    @property
    def path(self) -> str:
        """The address without what differs from run to run."""
        parts = urlsplit(self.url)
        path = re.sub(r"/user/[^/]+/", "/user/*/", parts.path)
        return path + ("?v=" if parts.query.startswith("v=") else "?" if parts.query else "")

    def __str__(self) -> str:
        return f"{self.path} ({self.mime}, {self.plain / 1000:.0f} kB, {self.received / 1000:.0f} kB received)"


class Wire:
    """Counts what one page receives; the line can be made slow. `take` gives what came since the last time."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self._session = context.new_cdp_session(page)
        self._open: dict[str, Answer] = {}
        self._done: list[Answer] = []
        for event in ("requestWillBeSent", "responseReceived", "requestServedFromCache", "dataReceived",
                      "loadingFinished", "loadingFailed"):  # fmt: skip
            self._session.on(f"Network.{event}", getattr(self, f"_{event}"))
        self._session.send("Network.enable")

    def slow_down(self) -> None:
        """1 Mbit/s both ways, 300 ms until the first byte of each answer."""
        line = {"latency": LATENCY_MS, "downloadThroughput": BYTES_PER_SECOND, "uploadThroughput": BYTES_PER_SECOND}
        self._session.send("Network.emulateNetworkConditions", {"offline": False, **line})

    def take(self) -> list[Answer]:
        """All answers since the last call, redirects and cached ones among them."""
        taken, self._done = self._done, []
        return taken

    def _requestWillBeSent(self, event: dict[str, Any]) -> None:  # noqa: N802 - the protocol's names
        redirect = event.get("redirectResponse")
        if redirect:
            before = self._open.get(event["requestId"]) or Answer(redirect["url"])
            before.status, before.received = redirect["status"], redirect["encodedDataLength"]
            self._done.append(before)
        self._open[event["requestId"]] = Answer(event["request"]["url"])

    def _responseReceived(self, event: dict[str, Any]) -> None:  # noqa: N802
        answer, response = self._open.get(event["requestId"]), event["response"]
        if answer is None:
            return
        answer.mime, answer.status = response["mimeType"], response["status"]
        answer.headers = {name.lower(): value for name, value in response["headers"].items()}
        answer.from_cache = answer.from_cache or bool(response.get("fromDiskCache"))

    def _requestServedFromCache(self, event: dict[str, Any]) -> None:  # noqa: N802
        if answer := self._open.get(event["requestId"]):
            answer.from_cache = True

    def _dataReceived(self, event: dict[str, Any]) -> None:  # noqa: N802
        if answer := self._open.get(event["requestId"]):
            answer.plain += event["dataLength"]

    def _loadingFinished(self, event: dict[str, Any]) -> None:  # noqa: N802
        if answer := self._open.pop(event["requestId"], None):
            answer.received = int(event["encodedDataLength"])
            if not answer.url.startswith(("data:", "blob:")):
                self._done.append(answer)

    def _loadingFailed(self, event: dict[str, Any]) -> None:  # noqa: N802
        self._open.pop(event["requestId"], None)


def _kept_seconds(cache_control: str) -> int:
    if "no-cache" in cache_control or "no-store" in cache_control:
        return 0
    age = re.search(r"max-age=(\d+)", cache_control)
    return int(age.group(1)) if age else 0
