"""Identifiers: UUIDv7 (RFC 9562, section 5.7), so that they sort by the time they were made."""

import base64
import hashlib

import uuid_utils

__all__ = ["new_id", "reference"]


def new_id() -> str:
    """A new UUIDv7 in its 36 character form."""
    return str(uuid_utils.uuid7())


def reference(identifier: str) -> str:
    """The short form of an id that a person can read out to support: eight letters and digits."""
    digest = hashlib.sha256(identifier.encode()).digest()
    return base64.b32encode(digest)[:8].decode()
