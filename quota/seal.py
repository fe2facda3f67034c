"""The seal of an account: one SHA-256 over all of its entries, in their order.

Each entry is hashed together with the seal before it, so an entry that was changed, removed, added or moved by hand
gives another seal than the one that the balance keeps. `quota.verify` computes it anew from the entries. It does not
keep out somebody who rewrites entries and seal together: keep backups where that person cannot reach them.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

from federation.clock import as_utc

__all__ = ["EMPTY", "sealed"]

EMPTY = ""
"""Of an account without entries."""

_SEALED = itemgetter("account_id", "hold_id", "grant_id", "kind", "amount", "at", "actor", "reason", "key")
_json = json.JSONEncoder(ensure_ascii=True).encode


def sealed(seal: str, entry: Mapping[str, Any]) -> str:
    """The seal after one more entry: 64 hexadecimal digits."""
    facts = [_plain(value) if isinstance(value, datetime) else value for value in _SEALED(entry)]
    return hashlib.sha256(f"{seal}\n{_json(facts)}".encode()).hexdigest()


def _plain(moment: datetime) -> str:
    return as_utc(moment).isoformat(timespec="microseconds")
