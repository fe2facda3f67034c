"""What the worker does about requests: carries out what was approved, ends what is over, and says before that it will.

Each step is one event of the store, so a worker that dies in between, or a second one, does nothing twice.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import SQLAlchemyError

from federation.clock import Clock
from federation.database import Database, DatabaseUnavailable
from federation.errors import Failure
from federation.outbox import announce, announced, announced_like
from federation.persons import Facts, everybody, persons_by_id
from quota.granting import KeyTaken
from vetting.asking import Actor
from vetting.ends import End
from vetting.entitlements import grants, parse_all
from vetting.mappings import MappingError
from vetting.request_tables import RequestTable
from vetting.requests import Request, Requests
from vetting.roles import roles_of
from vetting.settings import RoleRules, Tier
from vetting.transitions import Event, State

__all__ = ["REMINDERS_DAYS", "RequestRounds", "is_member"]

REMINDERS_DAYS = (1, 7, 14, 30)
"""So many days before the end a person is told; the nearest one first."""

_MORNING_HOUR_UTC = 6

_SYSTEM = Actor(name="system", is_system=True)

_log = logging.getLogger("nbfed.worker")


class RequestRounds:
    """One round after another. `guard` raises when this process may not go on: called before each step."""

    def __init__(
        self,
        *,
        database: Database,
        requests: Requests,
        tiers: Mapping[str, Tier],
        clock: Clock,
        roles: RoleRules | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._requests = requests
        self._tiers = tiers
        self._roles = roles or RoleRules()
        self._clock = clock
        self._guard = guard

    def apply_all(self) -> None:
        """Carry out what was approved."""
        for request in self._requests.found(states=[State.APPROVED]):
            self._guard()
            self._apply(request)

    def watch_all(self) -> None:
        """Look whether what was given goes on: remind before it ends, and end what is over."""
        given = self._requests.found(states=[State.ACTIVE, State.SUSPENDED], limit=None)
        with self._database.read() as connection:
            people = persons_by_id(connection, {request.person_id for request in given})
            missing_since = memberships_missed(connection)
        now = self._clock()
        for request in given:
            member = is_member(people[request.person_id].facts, self._tiers)
            if member == (request.id in missing_since):
                self._guard()
                self._note_membership(request, None if member else now)
        with self._database.read():  # one view for all of them
            ends = {request.id: self._requests.end(request.id) for request in given}
        for request in given:
            self._guard()
            self._watch_end(request, ends[request.id])

    def tell_reviewers(self) -> None:
        """Once a day, in the morning, and only if something waits: a mail to each reviewer."""
        now = self._clock()
        waiting = self._requests.found(states=[State.SUBMITTED, State.AWAITING_SECOND], limit=None)
        if not waiting or now.hour < _MORNING_HOUR_UTC:
            return
        late = sum(request.due_at is not None and request.due_at < now for request in waiting)
        with self._database.read() as connection:
            told = announced_like(connection, f"request-digest:{now:%Y-%m-%d}:")
            reviewers = [] if told else self._reviewers(connection)
        if not reviewers:
            return
        with self._database.write() as connection:
            for person in reviewers:
                announce(
                    connection, event=f"request-digest:{now:%Y-%m-%d}:{person}", kind="request-digest", person_id=person,
                    now=now, due_at=now, waiting=len(waiting), late=late,
                )  # fmt: skip

    def _reviewers(self, connection: Connection) -> list[str]:
        """Everybody whose provider says that they are one."""
        return [person.id for person in everybody(connection) if roles_of(person.facts, self._roles).reviewer]

    def _apply(self, request: Request) -> None:
        try:
            self._requests.act(request.id, Event.APPLY, _SYSTEM)
        except DatabaseUnavailable:
            raise
        except (Failure, KeyTaken, MappingError, SQLAlchemyError, ValueError) as error:
            _log.error("request %s could not be applied: %s; trying again", request.id, error)
            self._requests.fail(request.id, str(error))
        else:
            _log.info("applied: request %s", request.id)

    def _note_membership(self, request: Request, gone_at: datetime | None) -> None:
        """Keep since when somebody is in no community; a membership that comes back in time ends nothing."""
        with self._database.write() as connection:
            connection.execute(
                update(RequestTable).where(RequestTable.id == request.id).values(membership_gone_at=gone_at)
            )

    def _watch_end(self, request: Request, end: End | None) -> None:
        now = self._clock()
        if end is None:
            return
        if end.at <= now:
            with suppress(Failure):  # somebody suspended or ended it just now
                self._requests.act(request.id, Event.EXPIRE, _SYSTEM)
                _log.info("ended: request %s, by its %s", request.id, end.cause)
            return
        days = next((days for days in REMINDERS_DAYS if end.at - now <= timedelta(days=days)), None)
        if days is not None and request.state is State.ACTIVE:
            self._remind(request, end, days)

    def _remind(self, request: Request, end: End, days: int) -> None:
        now = self._clock()
        event = f"request-ends:{request.id}:{end.at:%Y-%m-%d}:{days}"
        with self._database.read() as connection:
            if announced(connection, event):
                return
        with self._database.write() as connection:
            announce(
                connection, event=event, kind="request-ends", person_id=request.person_id, now=now, due_at=now,
                request=request.id, about=request.kind.value, days=days, ends_at=end.at.isoformat(),
                cause=end.cause.value,
            )  # fmt: skip


def memberships_missed(connection: Connection) -> set[str]:
    """The requests whose person was in no community when it was looked last."""
    query = select(RequestTable.id).where(
        RequestTable.membership_gone_at.is_not(None),
        RequestTable.state.in_([State.ACTIVE.value, State.SUSPENDED.value]),
    )
    return set(connection.execute(query).scalars())


def is_member(facts: Facts, tiers: Mapping[str, Tier]) -> bool:
    """Whether somebody is in one of the communities that any tier asks for; everybody is, where none asks."""
    asked = [one for tier in tiers.values() for rule in (tier, *tier.any) for one in rule.communities or ()]
    held, _rest = parse_all(facts.memberships)
    return not asked or any(grants(one, required) for one in held for required in asked)
