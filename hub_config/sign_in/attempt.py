"""One sign-in under way, kept in a signed cookie of the browser that began it: what comes back must fit to it."""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, fields

from hub_config.sign_in.refused import Reason, SignInRefused

__all__ = ["Attempt", "own_path"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """`state` ties the answer to the browser, `nonce` the ID token, `code_verifier` the code (RFC 7636)."""

    provider: str
    state: str
    nonce: str
    code_verifier: str
    next_url: str

    @classmethod
    def begin(cls, provider: str, next_url: str) -> "Attempt":
        """A new one; its three secrets are independent, with 256 bits each."""
        state, nonce, code_verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(provider=provider, state=state, nonce=nonce, code_verifier=code_verifier, next_url=next_url)

    @classmethod
    def continued(cls, cookie: bytes | None, state: str) -> "Attempt":
        """The attempt of a cookie, whose signature was checked, if the answer's state is its own.

        Raises
        ------
        SignInRefused
            If there is no cookie, or the state is another's.
        """
        if not cookie:
            raise SignInRefused(Reason.STATE_MISSING, "the browser has no sign-in under way")
        try:
            attempt = cls(**json.loads(cookie))
        except (ValueError, TypeError):
            raise SignInRefused(Reason.STATE_MISSING, "the browser's sign-in is of another version") from None
        if not all(isinstance(getattr(attempt, field.name), str) for field in fields(cls)):
            raise SignInRefused(Reason.STATE_MISSING, "the browser's sign-in is of another version")
        if not hmac.compare_digest(state.encode(), attempt.state.encode()):
            raise SignInRefused(Reason.WRONG_STATE, f"provider {attempt.provider}")
        return attempt

    def cookie(self) -> str:
        """To be signed."""
        return json.dumps(asdict(self))

    @property
    def code_challenge(self) -> str:
        """S256 of the verifier."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.code_verifier.encode()).digest()).rstrip(b"=").decode()


def own_path(target: str) -> str:
    """A path of this host to go on to after signing in; empty for anything that could lead elsewhere."""
    # Browsers take a backslash for a slash, and drop what cannot be printed.
    plain = target.isprintable() and "\\" not in target
    return target if plain and target.startswith("/") and not target.startswith("//") else ""
