"""What is recorded of sites beside their settings: how far each is on its way, and when it is away."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment

__all__ = ["DowntimeTable", "SiteTable"]


class SiteTable(Base):
    """How far a site is. Who did what, when and why is in the audit trail; this is what holds now."""

    __tablename__ = "site"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    certification: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(2000))
    changed_by: Mapped[str] = mapped_column(String(256))
    changed_at: Mapped[datetime] = mapped_column(Moment)
    checked_at: Mapped[datetime | None] = mapped_column(Moment)


class DowntimeTable(Base):
    """One announcement; `ended_at` is when somebody ended it before its time, or took it back before it began."""

    __tablename__ = "downtime"
    __table_args__ = (Index("ix_downtime_ends_at", "ends_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    site: Mapped[str] = mapped_column(String(40))
    starts_at: Mapped[datetime] = mapped_column(Moment)
    ends_at: Mapped[datetime] = mapped_column(Moment)
    reason: Mapped[str] = mapped_column(String(2000))
    announced_by: Mapped[str] = mapped_column(String(256))
    announced_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
