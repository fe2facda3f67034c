"""Entitlements: group memberships, roles and capabilities as URNs, read, compared and written.

    urn:<NID>:<DELEGATED>[:<SUBNAMESPACE>]*:group:<GROUP>[:<SUBGROUP>]*[:role=<ROLE>][#<AUTHORITY>]   AARC-G069, G002
    urn:<NID>:<DELEGATED>[:<SUBNAMESPACE>]*:res:<RESOURCE>[:<CHILD>]*[:act:<ACTION>[,<ACTION>]*][#<AUTHORITY>]     G027
    urn:mace:egi.eu:<AUTHORITY>:[<GROUP>:]*<ROLE>@<VO>                                 EGI Check-in's form before these

Each role is a value of its own and is scoped to the rightmost group. A membership of a subgroup contains its parents.
The authority says who vouches for the value and is not part of equality. What cannot be read is dropped, one by one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

__all__ = ["Capability", "Entitlement", "Membership", "NotUnderstood", "grants", "owned_by", "parse", "parse_all"]

_NAMESPACE = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,31}(:[!-\"$-9;-~]+)+", re.IGNORECASE | re.ASCII)
_KIND = re.compile(r":(group|res):")
_LEGACY = re.compile(
    r"urn:mace:egi\.eu:(?P<authority>[^:#@]+):(?P<groups>([^:#@]+:)*)(?P<role>[^:#@]+)@(?P<vo>[^:#@]+)", re.IGNORECASE
)
_MOST_CHARACTERS = 1024
_ENCODED = str.maketrans({character: f"%{ord(character):02X}" for character in "%:#, "})


class NotUnderstood(ValueError):
    """The value is not an entitlement that we can read; `why` says in a few words what is wrong with it."""

    def __init__(self, value: str, why: str) -> None:
        super().__init__(value[:80])
        self.why = why


@dataclass(frozen=True)
class Membership:
    """A membership of `groups`, from the outermost in, with a role in the innermost one or none."""

    namespace: str
    groups: tuple[str, ...]
    role: str | None = None
    authority: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        role = [] if self.role is None else [f"role={_encoded(self.role)}"]
        return ":".join([self.namespace, "group", *map(_encoded, self.groups), *role]) + _fragment(self.authority)


@dataclass(frozen=True)
class Capability:
    """Access to a resource, or to the innermost of several, for some actions or with none named."""

    namespace: str
    resource: tuple[str, ...]
    actions: frozenset[str] = frozenset()
    authority: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        # A child that is called "act" would look like the start of the actions.
        path = ["%61ct" if part == "act" else _encoded(part) for part in self.resource]
        actions = ["act", ",".join(sorted(map(_encoded, self.actions)))] if self.actions else []
        return ":".join([self.namespace, "res", *path, *actions]) + _fragment(self.authority)


Entitlement = Membership | Capability


def parse(value: str) -> Entitlement:
    """Read one value.

    Raises
    ------
    NotUnderstood
        If it has none of the forms above.
    """
    if len(value) > _MOST_CHARACTERS:
        raise NotUnderstood(value, f"it is longer than {_MOST_CHARACTERS} characters")
    return _parse(value)


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
    """Whether holding one value fulfils a required one.

    A membership fulfils its own group and those above it. A required value without role is met by any role; a required
    role must be held in exactly that group. A capability fulfils its own resource alone, neither a child nor what is
    above it; the required actions must be among those that it names.
    """
    match held, required:
        case Membership(), Membership():
            same_group = held.groups[: len(required.groups)] == required.groups
            same_role = required.role is None or (held.groups, held.role) == (required.groups, required.role)
            return held.namespace == required.namespace and same_group and same_role
        case Capability(), Capability():
            same_resource = (held.namespace, held.resource) == (required.namespace, required.resource)
            return same_resource and required.actions <= held.actions
    return False


def owned_by(value: str, namespaces: Iterable[str] | Literal["any"]) -> bool:
    """Whether a value belongs to one of the namespaces that a provider may speak for, or it may speak for any."""
    if namespaces == "any":
        return True
    lowered = value.lower()
    return any(lowered == n.lower() or lowered.startswith(n.lower() + ":") for n in namespaces)


@lru_cache(maxsize=4096)  # people of the same communities hold the same values
def _parse(value: str) -> Entitlement:
    if not value.isprintable() or " " in value:
        raise NotUnderstood(value, "it has blanks, line breaks or other characters that cannot be shown")
    kind = _KIND.search(value)
    if kind is None:
        return _legacy(value)
    namespace, rest = value[: kind.start()], value[kind.end() :]
    if not _NAMESPACE.fullmatch(namespace):
        raise NotUnderstood(value, "it does not begin with a namespace such as urn:mace:egi.eu")
    path, _, authority = rest.partition("#")
    if "#" in authority:
        raise NotUnderstood(value, "it has two authorities")
    read = _membership if kind[1] == "group" else _capability
    return read(value, namespace.lower(), path.split(":"), authority or None)


def _legacy(value: str) -> Membership:
    found = _LEGACY.fullmatch(value)
    if found is None:
        raise NotUnderstood(value, "it names neither a group (:group:) nor a resource (:res:)")
    groups = [found["vo"], *found["groups"].split(":")[:-1]]
    return _membership(value, "urn:mace:egi.eu", [*groups, f"role={found['role']}"], found["authority"])


def _membership(value: str, namespace: str, parts: list[str], authority: str | None) -> Membership:
    role = _decoded(value, parts.pop().removeprefix("role=")) if parts[-1].startswith("role=") else None
    groups = tuple(_decoded(value, part) for part in parts)
    if not groups:
        raise NotUnderstood(value, "it names no group")
    if any(group.startswith("role=") for group in groups):
        raise NotUnderstood(value, "only its last part can be a role")
    return Membership(namespace, groups, role, authority)


def _capability(value: str, namespace: str, parts: list[str], authority: str | None) -> Capability:
    actions = frozenset[str]()
    if "act" in parts[1:]:
        at = parts.index("act", 1)
        parts, named = parts[:at], parts[at + 1 :]
        if len(named) != 1:
            raise NotUnderstood(value, "after :act: there must be actions and nothing else")
        actions = frozenset(_decoded(value, action) for action in named[0].split(","))
    return Capability(namespace, tuple(_decoded(value, part) for part in parts), actions, authority)


def _decoded(value: str, part: str) -> str:
    """A part without percent-encoding. What is not UTF-8 must not be read as if it were something else."""
    try:
        decoded = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise NotUnderstood(value, "its percent-encoding is not UTF-8") from None
    if not decoded:
        raise NotUnderstood(value, "one of its parts is empty")
    if not decoded.isprintable():
        raise NotUnderstood(value, "it has encoded characters that cannot be shown")
    return decoded


def _encoded(part: str) -> str:
    return part.translate(_ENCODED)


def _fragment(authority: str | None) -> str:
    return "" if authority is None else f"#{authority}"
