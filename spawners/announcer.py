"""Puts into the outbox what people are to be told while they are away: that their quota is nearly or wholly spent, that
a session will be stopped because its lease will not be renewed, and, if they asked for it, that one runs which waited.

Each is one event: it is announced once, however many workers look, and however often. What is to come within a session
that somebody uses is told there, and on the home page; an idle stop only there.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, or_, select
from sqlalchemy.exc import IntegrityError

from federation.clock import Clock
from federation.database import Database
from federation.errors import Failure
from federation.ids import reference
from federation.outbox import announce
from quota.notices import threshold_reached
from quota.owners import Owner
from quota.statement import Standing, standing
from quota.tables import IS_OPEN, AccountTable, HoldTable, OwnerKind
from spawners.outlooks import Outlooks
from spawners.sessions import Session, Sessions

__all__ = ["QUOTA_SPENT", "SESSION_READY", "SESSION_STOPS", "Announcer"]

QUOTA_SPENT = "quota-spent"
SESSION_STOPS = "session-stops"
SESSION_READY = "session-ready"

_log = logging.getLogger("nbfed.worker")
_LOOK_BACK = timedelta(hours=1)
"""A session that ended since then may have spent the quota."""


class Announcer:
    """One look after another. `guard` raises when this process may not go on: called before each step."""

    def __init__(
        self,
        *,
        hub: str,
        database: Database,
        sessions: Sessions,
        outlooks: Outlooks,
        clock: Clock,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._hub = hub
        self._database = database
        self._sessions = sessions
        self._outlooks = outlooks
        self._clock = clock
        self._guard = guard

    def run_once(self) -> None:
        """Announce what is new."""
        now = self._clock()
        with self._database.read() as connection:
            standings = {person: standing(connection, Owner(OwnerKind.USER, person), now) for person in
                         _who_spent(connection, self._hub, now - _LOOK_BACK)}  # fmt: skip
        for person, what_is in standings.items():
            self._guard()
            self._announce_spent(person, what_is, now)
        for session in self._sessions.open_on(self._hub):
            self._guard()
            try:
                self._announce_ready(session, now)
                self._announce_stop(session, now)
            except Failure as failure:
                _log.warning("cannot look ahead for %s: %s; trying again", session.attempt, failure)

    def _announce_spent(self, person: str, what_is: Standing, now: datetime) -> None:
        percent = threshold_reached(what_is)
        if percent is None:
            return
        # Another grant, or the next period, begins anew.
        grants = reference(",".join(sorted(grant.id for grant in what_is.grants if grant.active)))
        figures = {
            "percent": percent,
            "granted_milli_unit_seconds": what_is.granted,
            "left_milli_unit_seconds": what_is.left,
            "ends_at": what_is.ends_at.isoformat() if what_is.ends_at else None,
        }
        self._announce(f"{QUOTA_SPENT}:{percent}:{person}:{grants}", QUOTA_SPENT, person, now, figures)

    def _announce_ready(self, session: Session, now: datetime) -> None:
        """To who asked for it on the page that waits."""
        if not session.tell_when_ready or session.ready_at is None or session.end_reason is not None:
            return
        figures = {"server": session.server.name, "site": session.site, "reference": reference(session.attempt)}
        self._announce(f"{SESSION_READY}:{session.attempt}", SESSION_READY, session.person_id, now, figures)

    def _announce_stop(self, session: Session, now: datetime) -> None:
        # As if the hub did not have it: then only the end of the lease counts, not that it is idle.
        outlook = self._outlooks.of(session, now, hub_has_it=False, last_activity=None)
        if outlook is None or outlook.notice is None:
            return
        figures = {
            "reason": outlook.notice.reason.value,
            "at": outlook.notice.at.isoformat(),
            "server": session.server.name,
            "reference": reference(session.attempt),
        }
        event = f"{SESSION_STOPS}:{session.attempt}:{outlook.notice.reason}"
        self._announce(event, SESSION_STOPS, session.person_id, now, figures)

    def _announce(self, event: str, kind: str, person: str, now: datetime, figures: dict[str, Any]) -> None:
        try:
            with self._database.write() as connection:
                new = announce(connection, event=event, kind=kind, person_id=person, now=now, due_at=now, **figures)
        except IntegrityError:
            return  # another worker announced it at this moment
        if new:
            _log.info("announced: %s", event)


def _who_spent(connection: Connection, hub: str, since: datetime) -> list[str]:
    """The persons whose own accounts pay for sessions, or have paid since then."""
    rows = connection.execute(
        select(AccountTable.owner_ref)
        .join_from(HoldTable, AccountTable, AccountTable.id == HoldTable.account_id)
        .where(HoldTable.hub == hub, AccountTable.owner_kind == OwnerKind.USER.value)
        .where(or_(IS_OPEN, HoldTable.ended_at >= since))
        .distinct()
    )
    return list(rows.scalars())
