"""From a provider's claims to the facts that we keep of a person. Pure; never raises for what a provider sends
except where the person themselves cannot be told: then signing in is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from federation.persons import Facts
from federation.plain import plain
from vetting.entitlements import owned_by, parse_all

__all__ = ["Identity", "NoSubject", "identify"]

_ENTITLEMENT_CLAIMS = ("eduperson_entitlement", "entitlements")
_MOST_CHARACTERS = 512
_MOST_VALUES = 500
_SHOWN_CHARACTERS = 80


class NoSubject(ValueError):
    """The claims do not say who this is."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who signed in: the key is (issuer, subject); `preferred` only decorates the user name at the first sign-in."""

    issuer: str
    subject: str
    preferred: str
    facts: Facts


def identify(
    claims: Mapping[str, Any],
    *,
    provider: str,
    issuer: str,
    subject_claim: str,
    owns_namespaces: tuple[str, ...] | Literal["any"],
    affiliation_scopes: tuple[str, ...] | Literal["home-organisation", "any"] = "home-organisation",
) -> Identity:
    """Derive an identity from userinfo claims.

    Entitlements of namespaces that the provider does not own are ignored, and affiliations count only where their
    scope was checked. A claim of another type than the one that its specification gives counts as missing: a missing
    claim denies.

    Parameters
    ----------
    claims
        Of userinfo; nothing in them is trusted to have the right type.
    provider, issuer, subject_claim
        Whose they are, and which of them is the subject.
    owns_namespaces, affiliation_scopes
        What the provider may say; see the settings of a provider.

    Raises
    ------
    NoSubject
        If the claim that is this provider's subject is missing, empty or not a string.
    """
    subject = claims.get(subject_claim)
    if not isinstance(subject, str) or not subject or _text(subject) != subject:  # never changed: it is a key
        raise NoSubject(f"the claim {subject_claim} is missing or is not a text")
    memberships, rest = _memberships(claims, owns_namespaces)
    affiliations = _texts(claims.get("eduperson_scoped_affiliation"))
    home = _text(claims.get("schac_home_organization"))
    checked = tuple(value for value in affiliations if _is_checked(value, affiliation_scopes, home))
    return Identity(
        issuer=issuer,
        subject=subject,
        preferred=_text(claims.get("preferred_username")) or _text(claims.get("name")),
        facts=Facts(
            provider=provider,
            name=_text(claims.get("name")),
            email=_text(claims.get("email")),
            home_organisation=home or _scope(affiliations),
            affiliations=checked,
            unchecked_affiliations=tuple(value for value in affiliations if value not in checked),
            assurance=_texts(claims.get("eduperson_assurance")),
            memberships=memberships,
            mfa=_text(claims.get("acr")) == "https://refeds.org/profile/mfa",
            not_understood=tuple(plain(value[:_SHOWN_CHARACTERS]) for value in rest),
        ),
    )


def _memberships(
    claims: Mapping[str, Any], owns_namespaces: tuple[str, ...] | Literal["any"]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The provider's own entitlements, as they were sent: those that can be read, and the rest."""
    values = dict.fromkeys(value.strip(" ") for claim in _ENTITLEMENT_CLAIMS for value in _strings(claims.get(claim)))
    ours = [value for value in values if value and owned_by(value, owns_namespaces)]
    _understood, rest = parse_all(ours)
    not_understood = frozenset(rest)
    return tuple(value for value in ours if value not in not_understood), rest


def _is_checked(affiliation: str, scopes: tuple[str, ...] | Literal["home-organisation", "any"], home: str) -> bool:
    """Whether the domain of an affiliation is one that may be said of this person.

    A home organisation without a dot would be a whole country's or kind's domain, and vouches for nothing.
    """
    scope = affiliation.partition("@")[2].lower()
    if not scope or "@" in scope:
        return False
    if scopes == "any":
        return True
    allowed = ((home.lower(),) if "." in home.strip(".") else ()) if scopes == "home-organisation" else scopes
    return any(scope == domain or scope.endswith("." + domain) for domain in allowed)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS or not value.isprintable():
        return ""
    return value.strip()


def _strings(value: object) -> list[str]:
    return [item for item in value[:_MOST_VALUES] if isinstance(item, str)] if isinstance(value, list) else []


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for item in _strings(value) if (text := _text(item)))


def _scope(affiliations: tuple[str, ...]) -> str:
    return next((a.split("@", 1)[1] for a in affiliations if "@" in a), "")
