"""What a provider says of itself (OpenID Connect Discovery 1.0, 3), read when it is needed and kept.

A provider that is away neither keeps the hub from starting nor the others from working. What was read once stays in
use while the provider is away; what it says is read again after an hour.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hub_config.sign_in.http import AnswerRefused, ask
from hub_config.sign_in.refused import ProviderAway, SignInRefused

__all__ = ["ALGORITHMS", "BadMetadata", "Discovery", "Metadata", "address", "read"]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that we believe: with a key pair. Never `none`, never HS*, whose key is our own secret."""

_KEPT_SECONDS = 3600
_LOOK_SECONDS = 20
_AGAIN_SECONDS = 0.3
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class BadMetadata(ValueError):
    """The document cannot be used; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The parts that we use. `algorithms` are those of ours that the provider signs with."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None
    scopes: tuple[str, ...] | None
    algorithms: tuple[str, ...]
    challenge_methods: tuple[str, ...] | None
    names_itself: bool
    """Whether its answers carry `iss` (RFC 9207)."""


def address(issuer: str) -> str:
    """Where the document is."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def read(document: Any, issuer: str) -> Metadata:
    """Check a document and take our parts of it.

    Raises
    ------
    BadMetadata
        If it is another issuer's, lacks an endpoint, or leaves the issuer's https.
    """
    if not isinstance(document, dict):
        raise BadMetadata("it is no mapping")
    if document.get("issuer") != issuer:
        raise BadMetadata(f"it says that its issuer is {str(document.get('issuer'))[:200]}, and not {issuer}")
    ends = document.get("end_session_endpoint")
    offered = _texts(document, "id_token_signing_alg_values_supported") or ("RS256",)
    algorithms = tuple(name for name in ALGORITHMS if name in offered)
    if not algorithms:
        raise BadMetadata(f"it signs with {', '.join(offered)[:200]}, none of which can be believed")
    return Metadata(
        issuer=issuer,
        authorization_endpoint=_endpoint(document, "authorization_endpoint", issuer),
        token_endpoint=_endpoint(document, "token_endpoint", issuer),
        userinfo_endpoint=_endpoint(document, "userinfo_endpoint", issuer),
        jwks_uri=_endpoint(document, "jwks_uri", issuer),
        end_session_endpoint=_endpoint(document, "end_session_endpoint", issuer) if ends else None,
        scopes=_texts(document, "scopes_supported"),
        algorithms=algorithms,
        challenge_methods=_texts(document, "code_challenge_methods_supported"),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _endpoint(document: dict[str, Any], name: str, issuer: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise BadMetadata(f"it names no {name}")
    try:
        parts = urlsplit(value)
    except ValueError:
        raise BadMetadata(f"its {name} is no address") from None
    plain_is_fine = urlsplit(issuer).scheme == "http" or parts.hostname in _LOOPBACK
    if not parts.hostname or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not plain_is_fine):
        raise BadMetadata(f"its {name} is no https address")
    return value


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...] | None:
    value = document.get(name)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else None


class Discovery:
    """The document of one issuer.

    Parameters
    ----------
    issuer
        As the provider writes it itself.
    question
        Asks a provider; see `hub_config.sign_in.http.ask`.
    """

    def __init__(
        self,
        issuer: str,
        question: Callable[[str, str], Awaitable[Any]] = ask,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._question = question
        self._now = now
        self._lock = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._read_at = 0.0
        self._looked_at: float | None = None
        self._trouble: str | None = None

    async def metadata(self, *, patience_seconds: float = 0) -> Metadata:
        """What the provider says; from memory if that is not older than an hour.

        Raises
        ------
        ProviderAway
            If nothing usable was ever read, and nothing is within the patience.
        """
        if self._metadata is not None and self._now() - self._read_at < _KEPT_SECONDS:
            return self._metadata
        deadline = self._now() + patience_seconds
        while True:
            await self._look()
            if self._metadata is not None:
                return self._metadata
            if self._now() >= deadline:
                raise ProviderAway(self._trouble or "")
            await asyncio.sleep(_AGAIN_SECONDS)

    async def trouble(self, *, patience_seconds: float, recent_seconds: float = _LOOK_SECONDS) -> str | None:
        """Why the provider cannot be used now, or None. Looks again if the last look is not that recent."""
        if self._looked_at is None or self._now() - self._looked_at > recent_seconds:
            try:
                await asyncio.wait_for(self._look(), patience_seconds)
            except TimeoutError:
                self._trouble = f"{self.issuer}: nothing in {patience_seconds:g} s"
                self._looked_at = self._now()
        return self._trouble

    async def _look(self) -> None:
        async with self._lock:
            try:
                document = await self._question("GET", address(self.issuer))
                self._metadata, self._trouble = read(document, self.issuer), None
                self._read_at = self._now()
            except (ProviderAway, AnswerRefused, SignInRefused, BadMetadata) as error:
                self._trouble = str(error)
            self._looked_at = self._now()
