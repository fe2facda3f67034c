"""Somebody as reviewers see them: what their provider said, with what of it was checked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from federation.persons import Person
from vetting import assurance

__all__ = ["PersonShown", "person_as_of", "person_now"]


@dataclass(frozen=True, kw_only=True)
class PersonShown:
    """`at` says when the provider said it; None where it never did."""

    user_name: str
    name: str
    email: str
    organisation: str
    provider: str
    issuer: str
    subject: str
    assurance: list[str]
    affiliations: list[str]
    unchecked_affiliations: list[str]
    memberships: list[str]
    mfa: bool
    at: datetime | None


def person_now(person: Person) -> PersonShown:
    """What is known of somebody at present."""
    said = {"issuer": person.issuer, "subject": person.subject, **asdict(person.facts)}
    return _shown(person.user_name, said, person.facts_at)


def person_as_of(user_name: str, claims: Mapping[str, Any], at: datetime | None) -> PersonShown:
    """What was known when a request was sent. What was not kept is empty."""
    return _shown(user_name, claims, at)


def _shown(user_name: str, said: Mapping[str, Any], at: datetime | None) -> PersonShown:
    def text(name: str) -> str:
        return str(said.get(name, ""))

    def texts(name: str) -> list[str]:
        return [str(value) for value in said.get(name, ())]

    return PersonShown(
        user_name=user_name,
        name=text("name"),
        email=text("email"),
        organisation=text("home_organisation"),
        provider=text("provider"),
        issuer=text("issuer"),
        subject=text("subject"),
        assurance=[str(assurance.Value(uri)) for uri in texts("assurance")],
        affiliations=texts("affiliations"),
        unchecked_affiliations=texts("unchecked_affiliations"),
        memberships=texts("memberships"),
        mfa=bool(said.get("mfa")),
        at=at,
    )
