"""Persons: who signed in, under which hub user name, and what their provider said of them last.

A person is `(issuer, subject)` and nothing else: never an e-mail address, never a preferred user name. The hub user
name is derived once, at the first sign-in, and kept for ever.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slugify import slugify
from sqlalchemy import JSON, Connection, Index, Row, String, UniqueConstraint, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment
from federation.ids import new_id

__all__ = [
    "REMOVED",
    "Facts",
    "FormerFactsTable",
    "Person",
    "PersonTable",
    "candidates",
    "find_by_user_name",
    "forget",
    "former_facts",
    "person_key",
    "remember",
    "user_name",
]

_SLUG_CHARACTERS = 24
_SUFFIX_CHARACTERS = 6
_CALLED = ("name", "email", "home_organisation")
_MOST_FORMER = 10

REMOVED = "removed"
"""The issuer of people whose personal data was removed. No provider's: those are addresses."""


class PersonTable(Base):
    __tablename__ = "person"
    __table_args__ = (UniqueConstraint("issuer", "subject", name="uq_person_issuer_subject"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    issuer: Mapped[str] = mapped_column(String(512))
    subject: Mapped[str] = mapped_column(String(512))
    user_name: Mapped[str] = mapped_column(String(64), unique=True)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    facts_at: Mapped[datetime] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)


class FormerFactsTable(Base):
    """What a provider called a person before it called them otherwise; the newest few."""

    __tablename__ = "former_facts"
    __table_args__ = (Index("ix_former_facts_person", "person_id", "until"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(36))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    until: Mapped[datetime] = mapped_column(Moment)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a provider said of a person at one moment. Empty where it said nothing: a missing claim denies.

    Parameters
    ----------
    affiliations, unchecked_affiliations
        `faculty@example.org`: those whose domain was checked, and those that are shown and count for nothing.
    memberships
        Entitlements of the provider's own namespaces that could be read, as they were sent.
    not_understood
        Those that could not be read; cut, and safe to show.
    """

    provider: str = ""
    name: str = ""
    email: str = ""
    home_organisation: str = ""
    affiliations: tuple[str, ...] = ()
    unchecked_affiliations: tuple[str, ...] = ()
    assurance: tuple[str, ...] = ()
    memberships: tuple[str, ...] = ()
    mfa: bool = False
    not_understood: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person as the federation knows them; `facts_at` says how old the facts are."""

    id: str
    issuer: str
    subject: str
    user_name: str
    facts: Facts
    facts_at: datetime


def person_key(issuer: str, subject: str) -> str:
    """The one string that stands for a person: SHA-256 over `issuer|subject`, in base32, lower case."""
    return base64.b32encode(hashlib.sha256(f"{issuer}|{subject}".encode()).digest()).decode().rstrip("=").lower()


def user_name(preferred: str, key: str, *, suffix_characters: int = _SUFFIX_CHARACTERS) -> str:
    """The hub user name of a new person: a slug of what they are called, and the start of their key.

    Valid for any input: lower case ASCII letters, digits and hyphens, at most 24 + 1 + the suffix. Two persons whose
    preferred names slug alike still differ in the suffix.
    """
    slug = slugify(preferred.partition("@")[0], max_length=_SLUG_CHARACTERS, word_boundary=True) or "user"
    return f"{slug}-{key[:suffix_characters]}"


def remember(
    connection: Connection, *, issuer: str, subject: str, preferred: str, facts: Facts, now: datetime
) -> Person:
    """Store what a provider said of a person at sign-in; their user name is made at the first one and never changes.

    A name, an e-mail address or an institution that changed is kept for a while, with when it changed.
    """
    where = (PersonTable.issuer == issuer, PersonTable.subject == subject)
    before = connection.execute(select(PersonTable.id, PersonTable.facts).where(*where)).one_or_none()
    if before is None:
        _insert(connection, issuer, subject, preferred, facts, now)
    else:
        _keep_former(connection, before.id, before.facts, facts, now)
        connection.execute(update(PersonTable).where(*where).values(facts=_to_json(facts), facts_at=now))
    return _person(connection.execute(select(PersonTable.__table__).where(*where)).one())


def find_by_user_name(connection: Connection, name: str) -> Person | None:
    """The person with this hub user name, if there is one."""
    row = connection.execute(select(PersonTable.__table__).where(PersonTable.user_name == name)).one_or_none()
    return _person(row) if row else None


def former_facts(connection: Connection, person_id: str) -> list[tuple[datetime, dict[str, str]]]:
    """What a person was called until when, the newest first: name, email and home_organisation, as far as each changed."""
    table = FormerFactsTable
    rows = connection.execute(
        select(table.until, table.facts)
        .where(table.person_id == person_id)
        .order_by(table.until.desc(), table.id.desc())
    )
    return [(row.until, row.facts) for row in rows]


def forget(connection: Connection, person: Person, now: datetime) -> str:
    """Remove what says who a person is; the hub user name that stands in for theirs from now on.

    Issuer and subject become what no provider says, so they lead nowhere, and nobody is ever this person again: whoever
    signs in as before is somebody new. The row and its id stay, because the books name it.
    """
    name = f"removed-{person.id.replace('-', '')}"
    connection.execute(
        update(PersonTable)
        .where(PersonTable.id == person.id)
        .values(issuer=REMOVED, subject=person.id, user_name=name, facts=_to_json(Facts()), facts_at=now)
    )
    connection.execute(delete(FormerFactsTable).where(FormerFactsTable.person_id == person.id))
    return name


def candidates(connection: Connection, text: str) -> list[Person]:
    """Everyone whom an operator may mean by `text`: exact id, user name, subject or e-mail; else a part of a name."""
    table = PersonTable.__table__
    exact = select(table).where(or_(PersonTable.id == text, PersonTable.user_name == text, PersonTable.subject == text))
    found = [_person(row) for row in connection.execute(exact)]
    if found:
        return found
    everyone = [_person(row) for row in connection.execute(select(table).order_by(PersonTable.user_name))]
    wanted = text.casefold()
    by_email = [person for person in everyone if person.facts.email.casefold() == wanted]
    if by_email or "@" in text:
        return by_email
    return [person for person in everyone if wanted in person.user_name or wanted in person.facts.name.casefold()]


def _keep_former(connection: Connection, person_id: str, before: dict[str, Any], facts: Facts, now: datetime) -> None:
    former = {name: before[name] for name in _CALLED if before.get(name) and before[name] != getattr(facts, name)}
    if not former:
        return
    table = FormerFactsTable
    connection.execute(insert(table).values(id=new_id(), person_id=person_id, facts=former, until=now))
    of_person = select(table.id).where(table.person_id == person_id)
    old = of_person.order_by(table.until.desc(), table.id.desc()).offset(_MOST_FORMER)
    outdated = connection.execute(old).scalars().all()
    connection.execute(delete(table).where(table.id.in_(outdated)))


def _insert(connection: Connection, issuer: str, subject: str, preferred: str, facts: Facts, now: datetime) -> None:
    key = person_key(issuer, subject)
    for suffix_characters in range(_SUFFIX_CHARACTERS, len(key) + 1):
        row = {
            "id": new_id(),
            "issuer": issuer,
            "subject": subject,
            "user_name": user_name(preferred, key, suffix_characters=suffix_characters),
            "facts": _to_json(facts),
            "facts_at": now,
            "created_at": now,
        }
        try:
            with connection.begin_nested():
                connection.execute(insert(PersonTable).values(row))
        except IntegrityError:
            known = select(PersonTable.id).where(PersonTable.issuer == issuer, PersonTable.subject == subject)
            if connection.execute(known).first():
                return  # Another process was the first to remember them.
            continue  # The name is another person's: a longer part of the key tells them apart.
        return
    raise RuntimeError(f"no free user name for {issuer}|{subject}")


def _to_json(facts: Facts) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(facts).items()}


def _person(row: Row[Any]) -> Person:
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.facts.items()
        if name in Facts.__dataclass_fields__
    }
    return Person(
        id=row.id,
        issuer=row.issuer,
        subject=row.subject,
        user_name=row.user_name,
        facts=Facts(**known),
        facts_at=row.facts_at,
    )
