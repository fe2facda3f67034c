"""Whether an ID token may be believed (OpenID Connect Core 1.0, 3.1.3.7).

Signed by a key that the provider publishes now, with an algorithm that we believe; by this issuer, for this client, at
this time, and for the very sign-in that this browser began.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt

from hub_config.sign_in.discovery import ALGORITHMS
from hub_config.sign_in.http import AnswerRefused, ask
from hub_config.sign_in.refused import Reason, SignInRefused

__all__ = ["Keys", "usable_keys", "verify"]

LEEWAY_SECONDS = 60
"""How far the provider's clock and ours may be apart."""

_AGAIN_SECONDS = 30
_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_WHY = {
    jwt.InvalidIssuerError: Reason.WRONG_ISSUER,
    jwt.InvalidAudienceError: Reason.WRONG_AUDIENCE,
    jwt.ExpiredSignatureError: Reason.WRONG_TIME,
    jwt.ImmatureSignatureError: Reason.WRONG_TIME,
    jwt.InvalidIssuedAtError: Reason.WRONG_TIME,
    jwt.InvalidAlgorithmError: Reason.WRONG_ALGORITHM,
    jwt.InvalidSignatureError: Reason.WRONG_SIGNATURE,
}


def usable_keys(document: Any) -> list[jwt.PyJWK]:
    """The public signature keys of a JWK set (RFC 7517), without those that we cannot use."""
    listed = document.get("keys") if isinstance(document, dict) else None
    found = []
    for entry in listed if isinstance(listed, list) else []:
        if (
            not isinstance(entry, dict)
            or entry.get("use", "sig") != "sig"
            or entry.get("kty") not in _FAMILIES.values()
        ):
            continue
        try:
            found.append(jwt.PyJWK(entry))
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
    return found


class Keys:
    """The keys that a provider publishes; read again, at most every half minute, when one is not among them."""

    def __init__(
        self,
        question: Callable[[str, str], Awaitable[Any]] = ask,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._question = question
        self._now = now
        self._lock = asyncio.Lock()
        self._keys: list[jwt.PyJWK] = []
        self._read_at: float | None = None

    async def find(self, uri: str, key_id: str | None, algorithm: str) -> jwt.PyJWK:
        """The key of that id, of a kind that the algorithm needs; without an id the only one of that kind.

        Raises
        ------
        SignInRefused
            If there is none.
        ProviderAway
            If the keys must be read, and cannot.
        """
        async with self._lock:
            found = self._among(key_id, algorithm)
            if found is None and (self._read_at is None or self._now() - self._read_at > _AGAIN_SECONDS):
                try:
                    self._keys = usable_keys(await self._question("GET", uri))
                except AnswerRefused as error:
                    raise SignInRefused(Reason.UNKNOWN_KEY, f"the keys cannot be read: {error}") from error
                self._read_at = self._now()
                found = self._among(key_id, algorithm)
        if found is None:
            raise SignInRefused(Reason.UNKNOWN_KEY, f"no {algorithm} key {key_id!r} is published")
        return found

    def _among(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        family = _FAMILIES[algorithm[:2]]
        fitting = [key for key in self._keys if key.key_type == family and key.key_id in (key_id, None)]
        if key_id is None:
            fitting = [key for key in self._keys if key.key_type == family]
        return fitting[0] if len(fitting) == 1 else None


async def verify(
    token: object,
    *,
    keys: Keys,
    jwks_uri: str,
    issuer: str,
    client_id: str,
    algorithms: tuple[str, ...],
    nonce: str | None,
) -> dict[str, Any]:
    """The claims of an ID token.

    Parameters
    ----------
    nonce
        What the browser's sign-in began with; None for a token that came at a refresh (Core 1.0, 12.2).

    Raises
    ------
    SignInRefused
        If it may not be believed.
    ProviderAway
        If the provider's keys cannot be read.
    """
    if not isinstance(token, str) or not token:
        raise SignInRefused(Reason.NO_ID_TOKEN)
    key_id, algorithm = _header(token)
    if algorithm not in algorithms or algorithm not in ALGORITHMS:
        raise SignInRefused(Reason.WRONG_ALGORITHM, f"signed with {algorithm}")
    key = await keys.find(jwks_uri, key_id, algorithm)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=client_id,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except jwt.PyJWTError as error:
        raise SignInRefused(_reason(error), _about(token)) from None
    except (TypeError, ValueError):
        raise SignInRefused(Reason.WRONG_SIGNATURE, "the key does not fit") from None
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise SignInRefused(Reason.NO_SUBJECT, "the ID token's sub is no text")
    if claims.get("azp", client_id) != client_id:
        raise SignInRefused(Reason.WRONG_AUDIENCE, f"authorised party {str(claims['azp'])[:80]}")
    if nonce is not None and not _same(claims.get("nonce"), nonce):
        raise SignInRefused(Reason.WRONG_NONCE, f"subject {claims['sub']}")
    return claims


def _header(token: str) -> tuple[str | None, str]:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise SignInRefused(Reason.NO_ID_TOKEN, "what came is no JWT") from None
    key_id = header.get("kid")
    return (key_id if isinstance(key_id, str) else None), str(header.get("alg"))[:20]


def _reason(error: jwt.PyJWTError) -> Reason:
    return next((reason for kind, reason in _WHY.items() if isinstance(error, kind)), Reason.NO_ID_TOKEN)


def _about(token: str) -> str:
    """Who and what a refused token claims to be, for whoever reads the log. Not believed, and not the token."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return "claims cannot be read"
    return ", ".join(f"{name} {str(claims[name])[:80]}" for name in ("iss", "aud", "exp", "sub") if name in claims)


def _same(told: object, expected: str) -> bool:
    return isinstance(told, str) and hmac.compare_digest(told.encode(), expected.encode())
