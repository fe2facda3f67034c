"""The terms of use: which versions were in force with which words, and who accepted what, when and in which language.

What was in force and what was accepted is never changed: the words are kept with each version, so that later on anybody
can say what a person agreed to. A version is in force from the moment at which it was published here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import JSON, BigInteger, Connection, Integer, String, UniqueConstraint, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from federation.audit import Act, record
from federation.database import Base, Moment
from federation.ids import new_id

__all__ = [
    "Acceptance",
    "AcceptanceTable",
    "TermsInForce",
    "TermsTable",
    "accept",
    "acceptance_in_force",
    "acceptances",
    "in_force",
    "publish",
    "words",
]


class TermsTable(Base):
    """Every version with its words (by language), in the order in which they came into force. Insert only."""

    __tablename__ = "terms"

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    version: Mapped[str] = mapped_column(String(64))
    since: Mapped[datetime] = mapped_column(Moment)
    words: Mapped[dict[str, str]] = mapped_column(JSON)


class AcceptanceTable(Base):
    """One person's acceptance of one version, in the words of one language. Insert only."""

    __tablename__ = "acceptance"
    __table_args__ = (UniqueConstraint("person_id", "version", name="uq_acceptance_person_version"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(36))
    version: Mapped[str] = mapped_column(String(64))
    language: Mapped[str] = mapped_column(String(8))
    accepted_at: Mapped[datetime] = mapped_column(Moment)


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """One acceptance of one version of the terms."""

    version: str
    at: datetime
    language: str = ""


@dataclass(frozen=True, kw_only=True)
class TermsInForce:
    """The terms that are in force.

    Parameters
    ----------
    version
        Theirs.
    since
        When they came into force.
    previous
        The version that was in force until then; "" where these are the first.
    grace_days
        How long an acceptance of the previous version counts after the change.
    """

    version: str
    since: datetime
    previous: str = ""
    grace_days: int = 30

    @property
    def reaccept_by(self) -> datetime:
        """Until when an acceptance of the previous version counts."""
        return self.since + timedelta(days=self.grace_days)


def acceptance_in_force(terms: TermsInForce, accepted: Iterable[Acceptance], now: datetime) -> Acceptance | None:
    """The acceptance that counts now: of the present version, or in the days of grace of the one just before it.

    An acceptance of a still older version does not come to life again by a change of the terms.
    """
    by_version = {acceptance.version: acceptance for acceptance in accepted}
    if terms.version in by_version:
        return by_version[terms.version]
    return by_version.get(terms.previous) if terms.previous and now < terms.reaccept_by else None


def publish(connection: Connection, version: str, words: Mapping[str, str], now: datetime) -> bool:
    """Make a version the one in force; False if it is already, with the same words.

    Words that are mended under the same version are kept as well, and ask nobody to accept anew.
    """
    newest = connection.execute(
        select(TermsTable.version, TermsTable.words).order_by(TermsTable.seq.desc()).limit(1)
    ).one_or_none()
    if newest is not None and (newest.version, newest.words) == (version, dict(words)):
        return False
    connection.execute(insert(TermsTable).values(version=version, words=dict(words), since=now))
    record(connection, at=now, act=Act.TERMS_PUBLISHED, actor="system", target=f"terms:{version}", reason="")
    return True


def in_force(connection: Connection, grace_days: int) -> TermsInForce | None:
    """The version that was published last; None before the first."""
    rows = connection.execute(select(TermsTable.version, TermsTable.since).order_by(TermsTable.seq.desc())).all()
    if not rows:
        return None
    since = rows[0].since
    for row in rows:
        if row.version != rows[0].version:
            return TermsInForce(version=rows[0].version, since=since, previous=row.version, grace_days=grace_days)
        since = row.since  # the same version with other words: in force since the first of them
    return TermsInForce(version=rows[0].version, since=since, grace_days=grace_days)


def words(connection: Connection) -> dict[str, str]:
    """The words in force, Markdown by language; {} where there are no terms."""
    found = connection.execute(select(TermsTable.words).order_by(TermsTable.seq.desc()).limit(1)).scalar_one_or_none()
    return dict(found or {})


def accept(connection: Connection, *, person_id: str, version: str, language: str, now: datetime) -> bool:
    """Write down that a person accepts a version; False if they did before. A second one at the same moment is none."""
    of_this = (AcceptanceTable.person_id == person_id, AcceptanceTable.version == version)
    if connection.execute(select(AcceptanceTable.id).where(*of_this)).first() is not None:
        return False
    row = {"id": new_id(), "person_id": person_id, "version": version, "language": language, "accepted_at": now}
    try:
        with connection.begin_nested():
            connection.execute(insert(AcceptanceTable).values(row))
    except IntegrityError:
        return False  # another tab was the first
    record(
        connection, at=now, act=Act.TERMS_ACCEPTED, actor=f"person:{person_id}", target=f"person:{person_id}",
        reason="", version=version, language=language,
    )  # fmt: skip
    return True


def acceptances(connection: Connection, person_id: str) -> tuple[Acceptance, ...]:
    """Everything that a person accepted, the newest first."""
    rows = connection.execute(
        select(AcceptanceTable.__table__)
        .where(AcceptanceTable.person_id == person_id)
        .order_by(AcceptanceTable.accepted_at.desc())
    )
    return tuple(Acceptance(version=row.version, at=row.accepted_at, language=row.language) for row in rows)
