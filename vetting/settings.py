"""The sections of federation.yaml about people: identity providers, roles, tiers, the desk.

Rules are read once, here: what a field holds is the entitlement or the expression itself, ready to be asked.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from federation.settings import Localised, Name, Section
from vetting import assurance, entitlements

__all__ = [
    "DeskSection",
    "IdentitySection",
    "Namespaces",
    "Provider",
    "RoleRules",
    "Rule",
    "Scopes",
    "Tier",
    "entitlements_of_nobody",
    "terms_of_nobody",
]

_RIGHT = "urn:mace:egi.eu:group:vo.example.org:role=operator"
_NAMESPACE = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,31}(:[^\s:#]+)+", re.IGNORECASE | re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.IGNORECASE | re.ASCII)
_SHOWN_CHARACTERS = 80
_OF_CHECK_IN = ("urn:mace:egi.eu",)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _entitlement(value: object) -> entitlements.Entitlement:
    if isinstance(value, entitlements.Entitlement):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no text; a right entitlement is {_RIGHT}")
    try:
        return entitlements.parse(value)
    except entitlements.NotUnderstood as error:
        raise ValueError(f"{_shown(value)} is no entitlement: {error.why}; a right one is {_RIGHT}") from error


def _expression(value: object) -> assurance.Expression:
    if isinstance(value, assurance.Expression):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no assurance expression; a right one is IAP/medium | profile/espresso")
    expression = assurance.parse(value)
    for uri in assurance.values(expression):
        name = uri.removeprefix(assurance.REFEDS)
        if name != uri and name not in assurance.REFEDS_NAMES:
            close = get_close_matches(name, assurance.REFEDS_NAMES, n=1)
            known = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(assurance.REFEDS_NAMES)}"
            raise ValueError(f"REFEDS has no value {_shown(name)}; {known} (values of others are written in full)")
    return expression


def _namespaces(value: object) -> tuple[str, ...] | Literal["any"]:
    if value == "any":
        return "any"
    if not isinstance(value, list | tuple):
        raise ValueError(f"{_shown(value)} is neither a list of namespaces, such as [urn:mace:example.org], nor any")
    for namespace in value:
        if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"{_shown(namespace)} is no namespace; a right one is urn:mace:example.org")
    return tuple(value)


def _scopes(value: object) -> tuple[str, ...] | Literal["home-organisation", "any"]:
    if value == "home-organisation" or value == "any":
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(
            f"{_shown(value)} is neither a list of domains, such as [example.org], nor home-organisation, nor any"
        )
    for domain in value:
        if not isinstance(domain, str) or not _DOMAIN.fullmatch(domain):
            raise ValueError(f"{_shown(domain)} is no domain; a right one is example.org")
    return tuple(domain.lower() for domain in value)


_TEXTS = {"type": "array", "items": {"type": "string"}}

RequiredEntitlement = Annotated[
    entitlements.Entitlement, PlainValidator(_entitlement), PlainSerializer(str), WithJsonSchema({"type": "string"})
]
RequiredAssurance = Annotated[
    assurance.Expression, PlainValidator(_expression), PlainSerializer(str), WithJsonSchema({"type": "string"})
]
Namespaces = Annotated[
    tuple[str, ...] | Literal["any"],
    PlainValidator(_namespaces),
    WithJsonSchema({"anyOf": [_TEXTS, {"const": "any"}]}),
]
"""URN namespaces, or the word for all of them."""

Scopes = Annotated[
    tuple[str, ...] | Literal["home-organisation", "any"],
    PlainValidator(_scopes),
    WithJsonSchema({"anyOf": [_TEXTS, {"enum": ["home-organisation", "any"]}]}),
]
"""Domains after the @ of an affiliation, or how they are checked."""

Affiliation = Literal["faculty", "student", "staff", "alum", "member", "affiliate", "employee", "library-walk-in"]
"""As eduPerson (202208) has them."""


class Provider(Section):
    """One OpenID provider on the sign-in page."""

    id: Name
    preset: Literal["egi-check-in", "egi-check-in-demo", "egi-check-in-dev", "generic"] = "generic"
    issuer: str | None = Field(None, description="needed for generic; presets know theirs")
    title: Localised = Field("", description="on the sign-in page; else the preset's, else the id")
    logo: str | None = Field(None, description="an SVG or PNG file for the sign-in page, at most 64 KiB")
    client_id: str
    client_secret_file: str | None = Field(None, description="else NBFED_CLIENT_SECRET_<ID>")
    scopes: list[str] | None = Field(
        None, description="what is asked for; else what we know of and the provider offers"
    )
    subject_claim: str | None = Field(
        None, description="says who somebody is; else the preset's (Check-in: voperson_id), or sub"
    )
    owns_namespaces: Namespaces | None = Field(
        None,
        description="the entitlements that this provider speaks for: a list of URN namespaces, all others from it are "
        "ignored; `[]` for none; `any` for all. Needed for generic; for Check-in `[urn:mace:egi.eu]`",
    )
    affiliation_scopes: Scopes = Field(
        "home-organisation",
        description="which affiliations count: those whose domain is the person's `schac_home_organization` or lies "
        "below it; or is, or lies below, one of these domains; or `any`, where the provider itself checks them",
    )

    @model_validator(mode="after")
    def _generic_says_everything(self) -> "Provider":
        if self.preset == "generic" and not self.issuer:
            raise ValueError("a generic provider needs an issuer")
        if self.preset == "generic" and self.owns_namespaces is None:
            raise ValueError(
                "a generic provider needs owns_namespaces: the entitlements that it speaks for, such as "
                "[urn:mace:example.org], [] for none, or any"
            )
        return self

    @property
    def speaks_for(self) -> tuple[str, ...] | Literal["any"]:
        """The namespaces whose entitlements count when they come from this provider."""
        return _OF_CHECK_IN if self.owns_namespaces is None else self.owns_namespaces


class RoleRules(Section):
    """Which entitlements carry which role; one of a list is enough."""

    reviewer: list[RequiredEntitlement] = Field(default_factory=list)
    operator: list[RequiredEntitlement] = Field(default_factory=list)
    trainer: list[RequiredEntitlement] = Field(default_factory=list)
    site_operator: dict[str, list[RequiredEntitlement]] = Field(default_factory=dict)


class IdentitySection(Section):
    """Where people sign in. Without providers, the demo sign-in is used (demo mode only)."""

    providers: list[Provider] = Field(default_factory=list)
    auth_state_key_file: str | None = Field(
        None,
        description="32 bytes in hexadecimal that people's tokens are encrypted with; several lines: the first encrypts, "
        "all decrypt. Else NBFED_CRYPT_KEY, else one of the state folder (demo mode only)",
    )
    snapshot_hours: Annotated[int, Field(ge=1, le=744)] = Field(
        24, description="how long what a provider said last counts while it cannot be asked again"
    )
    roles: RoleRules = Field(default_factory=RoleRules)


class Rule(Section):
    """Facts that must all hold."""

    communities: list[RequiredEntitlement] | None = Field(None, description="entitlements; one of them is needed")
    assurance: RequiredAssurance | None = Field(None, description="an assurance expression: | & ( )")
    affiliation: list[Affiliation] | None = Field(None, description="one of these at the home organisation")
    class_seat: Literal["held"] | None = Field(
        None, description="a seat in a class; there are no classes yet, so nobody has one"
    )
    evidence: Literal["recorded"] | None = Field(None, description="a reviewer recorded evidence that has not ended")
    terms: Literal["accepted"] | None = Field(None, description="the terms in force, or in the days of grace the last")
    mapping: Literal["accepted"] | None = Field(None, description="the site accepted the person")
    mfa: Literal["when-the-site-asks", "always"] | None = Field(
        None, description="a second factor: at sites with `mfa: true`, or at all"
    )


class Tier(Rule):
    """A tier is a rule, on top of the tier that it needs; of `any` one rule must hold."""

    needs: str | None = None
    any: list[Rule] = Field(default_factory=list)
    vetting: Literal["membership", "review"] = Field(
        "membership", description="membership alone gives it, or a person decides once"
    )


def entitlements_of_nobody(
    identity: IdentitySection, tiers: Mapping[str, Tier]
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Entitlements that a rule asks for and no provider may give: where they stand in the file, and what is wrong."""
    roles = identity.roles
    asked: list[tuple[tuple[int | str, ...], list[entitlements.Entitlement]]] = [
        ((*at, "communities"), rule.communities or []) for at, rule in _rules(tiers)
    ]
    asked += [(("identity", "roles", role), getattr(roles, role)) for role in ("reviewer", "operator", "trainer")]
    asked += [(("identity", "roles", "site_operator", site), rule) for site, rule in roles.site_operator.items()]
    for above, required in asked if identity.providers else ():
        for index, entitlement in enumerate(required):
            if not any(entitlements.owned_by(str(entitlement), its.speaks_for) for its in identity.providers):
                wrong = (
                    f"no provider speaks for {entitlement.namespace}, so nobody could have this; see owns_namespaces"
                )
                yield (*above, index), wrong


def terms_of_nobody(tiers: Mapping[str, Tier]) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Rules that ask for terms, in a federation that has none: where they stand in the file, and what is wrong."""
    wrong = "there are no terms to accept, so nobody could have this tier; name them in federation.terms"
    yield from (((*at, "terms"), wrong) for at, rule in _rules(tiers) if rule.terms is not None)


def _rules(tiers: Mapping[str, Tier]) -> Iterator[tuple[tuple[int | str, ...], Rule]]:
    """Each tier, and each alternative in it."""
    for name, tier in tiers.items():
        yield ("tiers", name), tier
        yield from ((("tiers", name, "any", index), rule) for index, rule in enumerate(tier.any))


class Answer(Section):
    """A text that reviewers send again and again; the person reads it in their language."""

    title: Localised = Field(description="what reviewers choose it by")
    text: Localised = Field(description="what the person reads")


class DeskSection(Section):
    """The access desk."""

    target_answer_days: Annotated[int, Field(ge=1, le=366)] = Field(3, description="how soon an answer is wanted")
    reviewer_ceiling_hours: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        1000, description="unit-hours that one reviewer alone may approve; two people approve more"
    )
    grant_months: Annotated[int, Field(ge=1, le=120)] = Field(
        12, description="how long what is asked for lasts, where nobody says"
    )
    membership_grace_days: Annotated[int, Field(ge=0, le=3660)] = Field(
        30, description="how long somebody may be in no community before what was given to them ends"
    )
    answers: dict[Name, Answer] = Field(
        default_factory=dict, max_length=50, description="texts that reviewers choose from, by name"
    )
