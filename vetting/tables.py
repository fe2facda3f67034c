"""What people decided about a person: evidence, admissions to tiers, accounts at sites, suspensions.

A row is one decision and how it ended; who did what, when and why is in the audit trail, which is never changed.
"""

from datetime import datetime

from sqlalchemy import Boolean, Index, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment

__all__ = ["AdmissionTable", "EvidenceTable", "MappingTable", "SiteAccountTable", "SuspensionTable"]

_OPEN_MAPPING = "state IN ('asked', 'accepted')"
_NOT_ENDED = "ended_at IS NULL"


class EvidenceTable(Base):
    """That somebody saw evidence; it counts until `ends_at`, or until it was `ended_at` before."""

    __tablename__ = "evidence"
    __table_args__ = (Index("ix_evidence_person", "person_id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(36))
    what: Mapped[str] = mapped_column(String(2000))
    recorded_by: Mapped[str] = mapped_column(String(256))
    recorded_at: Mapped[datetime] = mapped_column(Moment)
    ends_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class AdmissionTable(Base):
    """That somebody admitted a person to a tier with `vetting: review`."""

    __tablename__ = "admission"
    __table_args__ = (
        Index(
            "uq_admission_in_force", "person_id", "tier", unique=True,
            sqlite_where=text(_NOT_ENDED), postgresql_where=text(_NOT_ENDED),
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(36))
    tier: Mapped[str] = mapped_column(String(255))
    reason: Mapped[str] = mapped_column(String(2000))
    admitted_by: Mapped[str] = mapped_column(String(256))
    admitted_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class MappingTable(Base):
    """One attempt to give a person an account at a site; of those that are asked or accepted one at a time."""

    __tablename__ = "mapping"
    __table_args__ = (
        Index("ix_mapping_person", "person_id"),
        Index(
            "uq_mapping_open", "person_id", "site", unique=True,
            sqlite_where=text(_OPEN_MAPPING), postgresql_where=text(_OPEN_MAPPING),
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(36))
    site: Mapped[str] = mapped_column(String(40))
    account: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(2000))
    changed_by: Mapped[str] = mapped_column(String(256))
    asked_at: Mapped[datetime] = mapped_column(Moment)
    changed_at: Mapped[datetime] = mapped_column(Moment)


class SiteAccountTable(Base):
    """Whose an account of a site is, for ever: no second person is ever given it. Insert only."""

    __tablename__ = "site_account"

    site: Mapped[str] = mapped_column(String(40), primary_key=True)
    account: Mapped[str] = mapped_column(String(32), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(36))
    since: Mapped[datetime] = mapped_column(Moment)


class SuspensionTable(Base):
    """That an operator suspended a person; in force until it is ended. `at_once`: what runs ends now."""

    __tablename__ = "suspension"
    __table_args__ = (
        Index(
            "uq_suspension_in_force", "person_id", unique=True,
            sqlite_where=text(_NOT_ENDED), postgresql_where=text(_NOT_ENDED),
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(36))
    reason: Mapped[str] = mapped_column(String(2000))
    suspended_by: Mapped[str] = mapped_column(String(256))
    since: Mapped[datetime] = mapped_column(Moment)
    at_once: Mapped[bool] = mapped_column(Boolean, server_default=false())
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
