"""People's home folders at Kubernetes sites: which there are, and how long each is kept once its person has no use of it.

A home is made at a person's first session at a site and is there again at the next one. Whoever may not start sessions
there any more, or did not for long, is told until when their files are kept. After that nothing happens by itself: an
operator removes a home, with a reason, and the audit trail keeps both. What is removed is written down before.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Row, String, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from federation.audit import Act, record
from federation.clock import Clock
from federation.database import Base, Database, Moment
from spawners.tables import SessionTable

__all__ = ["Home", "HomeError", "HomeTable", "Homes", "WhyKept"]


class WhyKept(StrEnum):
    """Why a home is only kept, and not used any more."""

    ACCESS = "access"
    """The person may not start sessions there."""
    UNUSED = "unused"
    """They could, and did not for long."""
    REMOVED = "removed"
    """Their personal data was removed: nobody is left who could."""


class HomeTable(Base):
    """`why_kept` and `kept_until` are set together: since then the home waits for its end. `removing_at` is written before
    its volume is removed, `removed_at` afterwards.
    """

    __tablename__ = "home"

    person_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    site: Mapped[str] = mapped_column(String(40), primary_key=True)
    volume: Mapped[str] = mapped_column(String(63))
    size_gib: Mapped[int] = mapped_column(Integer)
    made_at: Mapped[datetime] = mapped_column(Moment)
    used_at: Mapped[datetime] = mapped_column(Moment)
    why_kept: Mapped[str | None] = mapped_column(String(16))
    kept_until: Mapped[datetime | None] = mapped_column(Moment)
    removing_at: Mapped[datetime | None] = mapped_column(Moment)
    removed_at: Mapped[datetime | None] = mapped_column(Moment)


@dataclass(frozen=True, kw_only=True)
class Home:
    """One person's folder at one site.

    Parameters
    ----------
    volume
        What the site calls it.
    used_at
        When a session last began to use it.
    """

    person_id: str
    site: str
    volume: str
    size_gib: int
    made_at: datetime
    used_at: datetime
    why_kept: WhyKept | None
    kept_until: datetime | None
    removing_at: datetime | None
    removed_at: datetime | None

    def is_due(self, now: datetime) -> bool:
        """Whether it need not be kept any longer."""
        return self.kept_until is not None and self.kept_until <= now


class HomeError(Exception):
    """It may not be removed; the message says why, to operators. Nothing was changed."""


class Homes:
    """What is recorded of homes. All calls block."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def found(self, *, person_id: str | None = None, site: str | None = None) -> list[Home]:
        """Those that were not removed, the longest unused first.

        Raises
        ------
        federation.database.DatabaseUnavailable
            If it cannot be read.
        """
        query = select(HomeTable.__table__).where(HomeTable.removed_at.is_(None)).order_by(HomeTable.used_at)
        if person_id is not None:
            query = query.where(HomeTable.person_id == person_id)
        if site is not None:
            query = query.where(HomeTable.site == site)
        with self._database.read() as connection:
            return [_home(row) for row in connection.execute(query)]

    def used(self, person_id: str, site: str, *, volume: str, size_gib: int) -> None:
        """A session of theirs begins to use it: it is there, and is not waiting for its end.

        Raises
        ------
        federation.database.DatabaseUnavailable
            If it cannot be written.
        """
        now = self._clock()
        row = {
            "volume": volume, "size_gib": size_gib, "used_at": now, "why_kept": None, "kept_until": None,
            "removing_at": None, "removed_at": None,
        }  # fmt: skip
        same = (HomeTable.person_id == person_id, HomeTable.site == site)
        new = {**row, "made_at": now}
        # Another start may make it at this moment: then it is there.
        with suppress(IntegrityError), self._database.write() as connection:
            there = update(HomeTable).where(*same, HomeTable.removed_at.is_(None)).values(row)
            again = update(HomeTable).where(*same).values(new)
            if not (connection.execute(there).rowcount or connection.execute(again).rowcount):
                connection.execute(insert(HomeTable).values(person_id=person_id, site=site, **new))

    def keep(self, connection: Connection, home: Home, why: WhyKept, until: datetime) -> bool:
        """From now on it waits for its end; False if it does already, or was used meanwhile."""
        done = connection.execute(
            update(HomeTable)
            .where(*_same(home), HomeTable.used_at == home.used_at, HomeTable.why_kept.is_(None))
            .values(why_kept=why.value, kept_until=until)
        )
        return done.rowcount == 1

    def free(self, home: Home) -> None:
        """Its person may use it again."""
        with self._database.write() as connection:
            connection.execute(
                update(HomeTable)
                .where(*_same(home), HomeTable.removing_at.is_(None))
                .values(why_kept=None, kept_until=None)
            )

    def remove(self, home: Home, volume: Callable[[str], None], *, by: str, reason: str, early: bool = False) -> None:
        """Remove a home for good. What was begun and did not end is taken up again by the same call.

        Parameters
        ----------
        volume
            Removes the volume of this name; there may be none any more. What it raises is raised.
        early
            Also one that is to be kept still.

        Raises
        ------
        HomeError
            If it may not be removed.
        federation.database.DatabaseUnavailable
            If it cannot be written; then nothing was removed.
        """
        now = self._clock()
        with self._database.write() as connection:
            known = _home(connection.execute(select(HomeTable.__table__).where(*_same(home))).one())
            if known.removed_at is not None:
                raise HomeError("it was removed already")
            if _is_used(connection, known):
                raise HomeError("a session that uses it is not over; stop that first")
            if not (early or known.removing_at or known.is_due(now)):
                raise HomeError("it is still to be kept; see `nbfed home list`, or say --early and why")
            if known.removing_at is None:
                connection.execute(update(HomeTable).where(*_same(home)).values(removing_at=now))
                record(
                    connection, at=now, act=Act.HOME_REMOVED, actor=by, target=f"person:{home.person_id}", reason=reason,
                    site=home.site, volume=home.volume, size_gib=home.size_gib, early=not known.is_due(now),
                )  # fmt: skip
        volume(home.volume)
        with self._database.write() as connection:
            connection.execute(
                update(HomeTable).where(*_same(home), HomeTable.removed_at.is_(None)).values(removed_at=self._clock())
            )


def _is_used(connection: Connection, home: Home) -> bool:
    query = select(SessionTable.attempt).where(
        SessionTable.person_id == home.person_id, SessionTable.site == home.site, SessionTable.ended_at.is_(None)
    )
    return connection.execute(query.limit(1)).first() is not None


def _same(home: Home) -> tuple[ColumnElement[bool], ...]:
    return HomeTable.person_id == home.person_id, HomeTable.site == home.site


def _home(row: Row[Any]) -> Home:
    values = dict(row._mapping)
    why = values.pop("why_kept")
    return Home(**values, why_kept=WhyKept(why) if why else None)
