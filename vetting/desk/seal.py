"""The seal on forms: only a page that was made for this sign-in can send one. Pure.

A seal is a random part and its HMAC-SHA256 together with the sign-in's token. It is another one on every page, so that
nothing can be learned of it by how well a page compresses (BREACH), and nobody has to remember it.
"""

import hashlib
import hmac
import secrets

__all__ = ["holds", "seal"]

_RANDOM_BYTES = 12


def seal(key: bytes, session: str) -> str:
    """A new seal for forms of a sign-in."""
    random = secrets.token_urlsafe(_RANDOM_BYTES)
    return f"{random}.{_mac(key, session, random)}"


def holds(key: bytes, session: str, given: str) -> bool:
    """Whether a form's seal was made for this sign-in; nothing holds without one."""
    random, _dot, mac = given.partition(".")
    return bool(session and random) and hmac.compare_digest(mac.encode(), _mac(key, session, random).encode())


def _mac(key: bytes, session: str, random: str) -> str:
    return hmac.new(key, f"form|{random}|{session}".encode(), hashlib.sha256).hexdigest()
