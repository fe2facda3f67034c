"""Identifiers: UUIDv7 (RFC 9562, section 5.7), so that they sort by the time they were made."""

import base64
import hashlib

import uuid_utils

__all__ = ["is_check_id", "new_check_id", "new_id", "read_reference", "reference"]

_VERSION_PLACE = 14
_MISREAD = str.maketrans("018", "OIB")  # references have none of these digits


def new_id() -> str:
    """A new UUIDv7 in its 36 character form."""
    return str(uuid_utils.uuid7())


def new_check_id() -> str:
    """An id for what goes the way of a session without being one. It says so itself: UUIDv8 (RFC 9562, section 5.8)."""
    made = new_id()
    return f"{made[:_VERSION_PLACE]}8{made[_VERSION_PLACE + 1 :]}"


def is_check_id(identifier: str) -> bool:
    """Whether it was made by `new_check_id`."""
    return identifier[_VERSION_PLACE : _VERSION_PLACE + 1] == "8"


def reference(identifier: str) -> str:
    """The short form of an id that a person can read out to support: eight letters and digits."""
    digest = hashlib.sha256(identifier.encode()).digest()
    return base64.b32encode(digest)[:8].decode()


def read_reference(written: str) -> str:
    """A reference as people wrote it down: in lower case, with digits for letters that look like them."""
    return written.strip().upper().translate(_MISREAD)
