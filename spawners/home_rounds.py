"""What the worker does about people's homes: it notes whose time has begun to run, and tells them until when they are kept.

Nothing is removed here. A mail goes out when it begins, and one before it is over; who comes back meanwhile has their
home as it was.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from federation.clock import Clock
from federation.database import Database
from federation.outbox import announce
from federation.persons import REMOVED, Person, persons_by_id
from federation.settings import Homes as HomeSettings
from federation.settings import KubernetesSite
from spawners.admission import Admission
from spawners.homes import Home, Homes, WhyKept

__all__ = ["HOME_KEPT", "REMINDER", "HomeRounds"]

HOME_KEPT = "home-kept"
REMINDER = timedelta(days=14)
"""So long before the end they are told once more."""

_log = logging.getLogger("nbfed.worker")


class HomeRounds:
    """One look after another. `guard` raises when this process may not go on: called before each step."""

    def __init__(
        self,
        *,
        database: Database,
        homes: Homes,
        admission: Admission,
        clock: Clock,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._homes = homes
        self._admission = admission
        self._clock = clock
        self._guard = guard

    def run_once(self) -> None:
        """Look at every home of the sites that federation.yaml has with homes."""
        homes = self._homes.found()
        with self._database.read() as connection:
            people = persons_by_id(connection, {home.person_id for home in homes})
        for home in homes:
            site = self._admission.policy.sites.get(home.site)
            if isinstance(site, KubernetesSite) and site.homes and home.removing_at is None:
                self._guard()
                self._look(home, people[home.person_id], site, site.homes)

    def _look(self, home: Home, person: Person, site: KubernetesSite, settings: HomeSettings) -> None:
        now = self._clock()
        why = self._why_kept(home, person, settings, now)
        if why is None:
            if home.why_kept is not None:
                self._homes.free(home)
                _log.info("home %s at %s is in use again", home.volume, home.site)
        elif home.kept_until is None:
            self._begin(home, why, now + timedelta(days=settings.kept_days), site, now)
        elif home.kept_until - REMINDER <= now < home.kept_until:
            with suppress(IntegrityError), self._database.write() as connection:
                _tell(connection, home, why, home.kept_until, site, now, last=True)

    def _why_kept(self, home: Home, person: Person, settings: HomeSettings, now: datetime) -> WhyKept | None:
        if person.issuer == REMOVED:
            return WhyKept.REMOVED
        if not self._admission.may_return_to(person, home.site):
            return WhyKept.ACCESS
        return WhyKept.UNUSED if now - home.used_at >= timedelta(days=settings.unused_days) else None

    def _begin(self, home: Home, why: WhyKept, until: datetime, site: KubernetesSite, now: datetime) -> None:
        with self._database.write() as connection:
            begun = self._homes.keep(connection, home, why, until)
            if begun:
                _tell(connection, home, why, until, site, now)
        if begun:
            _log.info("home %s at %s is kept until %s: %s", home.volume, home.site, until.isoformat(), why)


def _tell(
    connection: Connection,
    home: Home,
    why: WhyKept,
    until: datetime,
    site: KubernetesSite,
    now: datetime,
    *,
    last: bool = False,
) -> None:
    """Once each; nobody would read what is sent to somebody whose personal data was removed."""
    if why is WhyKept.REMOVED:
        return
    event = f"{HOME_KEPT}:{home.person_id}:{home.site}:{until:%Y%m%dT%H%M%S}{':last' if last else ''}"
    figures = {"site": home.site, "title": site.title, "why": why.value, "until": until.isoformat()}
    announce(connection, event=event, kind=HOME_KEPT, person_id=home.person_id, now=now, due_at=now, **figures)
