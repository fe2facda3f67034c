"""Entitlements: group memberships and roles as URNs (AARC-G069), read and compared.

    urn:<NID>:<DELEGATED>[:<SUBNAMESPACE>]*:group:<GROUP>[:<SUBGROUP>]*[:role=<ROLE>][#<AUTHORITY>]

Each role is a value of its own and is scoped to the rightmost group. A membership of a subgroup contains its parents.
The authority says who vouches for the value and is not part of equality. What cannot be read is dropped, one by one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

__all__ = ["Entitlement", "NotUnderstood", "grants", "owned_by", "parse", "parse_all"]

_NAMESPACE = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,31}(:[^\s:#]+)+", re.IGNORECASE | re.ASCII)
_REST = re.compile(r"[^\s#]+(#[^\s#]*)?", re.ASCII)
_MOST_CHARACTERS = 1024


class NotUnderstood(ValueError):
    """The value is not an entitlement that we can read."""


@dataclass(frozen=True)
class Entitlement:
    """A membership: of `groups`, from the outermost in, with a role in the innermost one or none."""

    namespace: str
    groups: tuple[str, ...]
    role: str | None = None
    authority: str | None = None


def parse(value: str) -> Entitlement:
    """Read one value.

    Raises
    ------
    NotUnderstood
        If it is not a group membership in the form above.
    """
    namespace, _, rest = value.partition(":group:")
    readable = len(value) <= _MOST_CHARACTERS and value.isprintable()
    if not readable or not _NAMESPACE.fullmatch(namespace) or not _REST.fullmatch(rest):
        raise NotUnderstood(value[:80])
    path, _, authority = rest.partition("#")
    parts = path.split(":")
    role = _decoded(parts.pop().removeprefix("role=")) if parts[-1].startswith("role=") else None
    groups = tuple(_decoded(part) for part in parts)
    if not groups or any(group.startswith("role=") for group in groups):
        raise NotUnderstood(value[:80])
    return Entitlement(namespace.lower(), groups, role, authority or None)


def parse_all(values: Iterable[str]) -> tuple[tuple[Entitlement, ...], tuple[str, ...]]:
    """All that can be read, and what cannot."""
    understood, rest = [], []
    for value in values:
        try:
            understood.append(parse(value))
        except NotUnderstood:
            rest.append(value)
    return tuple(understood), tuple(rest)


def grants(held: Entitlement, required: Entitlement) -> bool:
    """Whether holding one value fulfils a required one: same namespace, the same group or one below it.

    A required value without a role is met by any role. A required role must be held in exactly that group.
    """
    if held.namespace != required.namespace:
        return False
    if required.role is not None:
        return (held.groups, held.role) == (required.groups, required.role)
    return held.groups[: len(required.groups)] == required.groups


def owned_by(value: str, namespaces: Iterable[str]) -> bool:
    """Whether a value belongs to one of the namespaces that a provider may speak for."""
    lowered = value.lower()
    return any(lowered == n.lower() or lowered.startswith(n.lower() + ":") for n in namespaces)


def _decoded(part: str) -> str:
    """A group or role without percent-encoding. What is not UTF-8 must not be read as if it were something else."""
    try:
        decoded = unquote(part, errors="strict")
    except UnicodeDecodeError:
        decoded = ""
    if not decoded.isprintable() or not decoded:
        raise NotUnderstood(part[:80])
    return decoded
