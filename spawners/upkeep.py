"""What the worker does for running sessions: renew leases, settle what ended, stop what must end.

It goes by what the backends say, not by what the hub remembers. `decide` is the rule, pure; `Upkeep` carries it out.
Whoever is stopped has the reason written first, so that the next page can tell it.
"""

import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from federation.clock import Clock
from federation.database import Database
from federation.errors import Failure
from quota.answers import NotRenewed
from quota.ledger import Ledger
from quota.owners import Owner
from quota.tables import HoldState
from spawners.admission import Admission
from spawners.backends.base import Life, Observation
from spawners.context import SiteBackend
from spawners.ending import close, source_of
from spawners.leases import Lease, open_leases
from spawners.memberships import Memberships
from spawners.metrics import WorkerMetrics
from spawners.outlook import idle_stop_at, reason_at_lease_end, renewal_from
from spawners.outlooks import eligible_person
from spawners.sessions import Server, Session, Sessions
from spawners.silence import Silence
from spawners.tables import EndReason, SessionState

__all__ = ["Decision", "HubServers", "Rules", "Situation", "Upkeep", "decide"]

_log = logging.getLogger("nbfed.worker")


class Decision(Enum):
    """What to do for one open session."""

    WAIT = "wait"
    CLOSE = "close"
    RENEW = "renew"
    MARK_UNKNOWN = "mark unknown"
    START_AGAIN = "start again"
    STOP_IDLE = "stop: idle"
    STOP_LEASE = "stop: lease ended"
    STOP_WALLTIME = "stop: walltime over"
    CHECK_ACCESS = "check access"
    END_DIRECTLY = "end without the hub"
    END_LOST = "end: the hub lost it"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The times that decide."""

    lease: timedelta
    idle_stop: timedelta | None
    intent_patience: timedelta = timedelta(seconds=60)
    """A hub needs milliseconds from intent to submission; an older intent belongs to a hub that died."""
    start_patience: timedelta = timedelta(minutes=10)
    stop_patience: timedelta = timedelta(seconds=30)
    """How long the hub gets to carry out a stop before the worker ends the session itself."""
    lost_patience: timedelta = timedelta(minutes=10)
    """How long a hub that answers may be without an exchanged session: nobody can reach it, or see that it is idle."""
    silent_patience: timedelta = timedelta(minutes=10)
    """How long a site may be silent before that is an error."""
    walltime_grace: timedelta = timedelta(minutes=15)
    """How long a job may outlive its walltime before the worker ends it: schedulers look only now and then."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known of one open session now.

    Times are on the hub's clock, `lease_until` too; that is None without an open hold. `hub_has_it` is None when the hub
    could not be asked; `missing_since` is when it first said that it does not have the session.

    Parameters
    ----------
    renews
        Whether the lease is renewed; if not, it is the walltime of a job.
    handover
        How long the place may take to be handed a session.
    access_checked_at
        When it was last looked whether the person may still use a session that is not renewed.
    """

    session: Session
    seen: Observation
    lease_until: datetime | None
    hold_state: HoldState | None
    hub_has_it: bool | None
    last_activity: datetime | None
    stopping_since: datetime | None
    missing_since: datetime | None = None
    payer: Owner | None = None
    renews: bool = True
    handover: timedelta = timedelta(0)
    access_checked_at: datetime | None = None


class HubServers(Protocol):
    """What the worker needs of the hub. Each call raises `OSError` when the hub cannot be reached."""

    def active(self) -> Mapping[Server, datetime | None]:
        """Servers that the hub counts as active, with their last activity."""
        ...

    def start(self, server: Server) -> None:
        """Start a server with its stored options."""
        ...

    def stop(self, server: Server) -> None:
        """Stop a server."""
        ...


def decide(situation: Situation, rules: Rules, now: datetime) -> Decision:
    """What one session needs. Ended first, then a stop that is under way, then reasons to stop, then the lease."""
    session, seen = situation.session, situation.seen
    if session.state is SessionState.INTENT and _is_being_handed_over(situation, rules, now):
        return Decision.WAIT
    if seen.life is Life.ENDED:
        return Decision.CLOSE
    if seen.life is Life.UNKNOWN:
        return Decision.MARK_UNKNOWN
    if session.end_reason is not None:
        since = situation.stopping_since or now
        return Decision.END_DIRECTLY if now - since > rules.stop_patience else Decision.WAIT
    if situation.lease_until is None:
        return Decision.STOP_LEASE  # its hold is closed: nobody pays for it
    if without_hub := _of_a_hub_without_it(situation, rules, now):
        return without_hub
    if _is_idle(situation, rules, now):
        return Decision.STOP_IDLE
    if not situation.renews:
        return _of_a_walltime(situation, situation.lease_until, rules, now)
    return Decision.RENEW if now > renewal_from(situation.lease_until, rules.lease) else Decision.WAIT


def _is_being_handed_over(situation: Situation, rules: Rules, now: datetime) -> bool:
    """Whether the hub may be at it. Where that takes long, a job that is there while its hub is not says that it died."""
    found = situation.seen.life in (Life.PENDING, Life.RUNNING) and situation.hub_has_it is False
    if found and not situation.renews:
        return False
    return now - situation.session.created_at < max(rules.intent_patience, situation.handover)


def _of_a_hub_without_it(situation: Situation, rules: Rules, now: datetime) -> Decision | None:
    """What a session needs that its hub does not have; None if nothing yet."""
    session, missing_since = situation.session, situation.missing_since
    if session.exchanged_at is None and situation.hub_has_it is False:
        # A job may have waited for hours before its hub died.
        since = session.created_at if situation.renews else missing_since or now
        return Decision.END_DIRECTLY if now - since > rules.start_patience else Decision.START_AGAIN
    if session.exchanged_at is not None and missing_since is not None and now - missing_since > rules.lost_patience:
        return Decision.END_LOST
    return None


def _of_a_walltime(situation: Situation, ends_at: datetime, rules: Rules, now: datetime) -> Decision:
    """The scheduler ends a job at its walltime. Whether its person may still use it is looked at as often as for others."""
    if now > ends_at + rules.walltime_grace:
        return Decision.STOP_WALLTIME
    checked_at = situation.access_checked_at or situation.session.created_at
    return Decision.CHECK_ACCESS if now - checked_at > rules.lease / 2 else Decision.WAIT


def _is_idle(situation: Situation, rules: Rules, now: datetime) -> bool:
    stop_at = idle_stop_at(situation.session.ready_at, situation.last_activity, rules.idle_stop)
    return bool(situation.hub_has_it) and stop_at is not None and now > stop_at


class Upkeep:
    """One pass after another over all open sessions of a hub.

    Parameters
    ----------
    guard
        Raises when this process may not go on: called before each step.
    """

    def __init__(
        self,
        *,
        hub: str,
        database: Database,
        sessions: Sessions,
        ledger: Ledger,
        admission: Admission,
        backends: Mapping[str, SiteBackend],
        servers: HubServers,
        rules: Rules,
        clock: Clock,
        memberships: Memberships | None = None,
        metrics: WorkerMetrics | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._hub = hub
        self._memberships = memberships
        self._database = database
        self._sessions = sessions
        self._ledger = ledger
        self._admission = admission
        self._backends = backends
        self._servers = servers
        self._rules = rules
        self._clock = clock
        self._metrics = metrics or WorkerMetrics()
        self._guard = guard
        self._silence = Silence(rules.silent_patience, self._metrics)
        self._stopping: dict[str, datetime] = {}
        self._missing: dict[str, datetime] = {}
        self._checked: dict[str, datetime] = {}
        self._hub_is_away = False

    def run_once(self) -> list[tuple[str, Decision]]:
        """One pass; what was decided for each attempt. One session's trouble does not keep the others waiting."""
        active = self._active()
        open_sessions = self._sessions.open_on(self._hub)
        holds = self._holds()  # read after the sessions: whatever was submitted by then has its hold
        self._forget_all_but({session.attempt for session in open_sessions})
        done, silent = [], []
        for session in open_sessions:
            situation = self._situation(session, active, holds)
            decision = decide(situation, self._rules, self._clock())
            done.append((session.attempt, decision))
            if situation.seen.life is Life.UNKNOWN:
                silent.append(session)
            self._guard()
            try:
                self._carry_out(decision, situation)
            except (OSError, ValueError, LookupError, Failure) as error:
                _log.warning("%s for %s failed: %s; trying again", decision.value, session.attempt, error)
        self._silence.note(silent, self._clock())
        return done

    def settle_ended(self) -> None:
        """Only put into the books what has ended; for the moment after the service was stopped."""
        for session in self._sessions.open_on(self._hub):
            seen = self._observe(session.site, session.attempt)
            if seen.life is Life.ENDED:
                self._close(session, seen)

    def end_all(self, reason: EndReason) -> list[Session]:
        """End open sessions and put them into the books: the service is being stopped.

        Returns those that go on because their site has them do so. Nothing is written of them: whatever ends them later
        has its own reason.
        """
        going_on = []
        for session in self._sessions.open_on(self._hub):
            backend = self._backends.get(session.site)
            if backend is not None and not backend.ends_with_service:
                going_on.append(session)
                continue
            self._sessions.ending(session.attempt, reason)
            self._end(session)
        self.settle_ended()
        return going_on

    def _carry_out(self, decision: Decision, situation: Situation) -> None:
        session, seen = situation.session, situation.seen
        if seen.life is Life.RUNNING and seen.started_at is not None and situation.hold_state != HoldState.RUNNING:
            self._ledger.started(session.attempt, started_at=seen.started_at)
        match decision:
            case Decision.CLOSE:
                self._close(session, seen)
                self._tell_the_hub(session, situation)
            case Decision.RENEW:
                self._renew(situation)
            case Decision.MARK_UNKNOWN if situation.hold_state is not HoldState.UNKNOWN:
                self._ledger.unknown(session.attempt)
            case Decision.START_AGAIN:
                self._servers.start(session.server)
            case Decision.STOP_IDLE | Decision.STOP_LEASE | Decision.STOP_WALLTIME | Decision.CHECK_ACCESS:
                self._stop_or_check(decision, session, situation.payer)
            case Decision.END_DIRECTLY:
                self._sessions.ending(session.attempt, EndReason.FAILED)
                self._end(session)
                self._tell_the_hub(session, situation)
            case Decision.END_LOST:
                _log.warning("the hub does not know attempt %s of %s any more", session.attempt, session.server.user)
                self._sessions.ending(session.attempt, EndReason.LOST)
                self._end(session)

    def _stop_or_check(self, decision: Decision, session: Session, payer: Owner | None) -> None:
        match decision:
            case Decision.STOP_IDLE:
                self._stop(session, EndReason.IDLE)
            case Decision.STOP_LEASE:
                self._stop_for_want_of_a_lease(session, payer)
            case Decision.STOP_WALLTIME:
                self._stop(session, EndReason.WALLTIME)
            case Decision.CHECK_ACCESS:
                self._check_access(session, payer)

    def _renew(self, situation: Situation) -> None:
        """Renew from now on by a whole lease, if the person may still use this and something is left.

        A lease that ended while no worker looked is renewed late, not lost: only when that fails is its session stopped.
        """
        session, lease_until, payer = situation.session, situation.lease_until, situation.payer
        if self._memberships is not None:
            self._memberships.refresh(session.server.user)
        person = eligible_person(self._admission, session, payer)
        if person is not None:
            self._admission.give_default(person)
            until = self._clock() + self._ahead(situation.seen) + self._rules.lease
            answer = self._ledger.renew(session.attempt, until=until)
            if not isinstance(answer, NotRenewed):
                self._metrics.renewal("short" if answer.short else "renewed")
                return
        self._metrics.renewal("refused")
        _log.info("attempt %s is not renewed; it may run until %s", session.attempt, lease_until)
        if lease_until is None or lease_until <= self._clock():
            self._stop_for_want_of_a_lease(session, payer)

    def _check_access(self, session: Session, payer: Owner | None) -> None:
        if self._memberships is not None:
            self._memberships.refresh(session.server.user)
        if eligible_person(self._admission, session, payer) is None:
            self._stop(session, EndReason.ACCESS)
        self._checked[session.attempt] = self._clock()

    def _stop_for_want_of_a_lease(self, session: Session, payer: Owner | None) -> None:
        eligible = eligible_person(self._admission, session, payer) is not None
        self._stop(session, reason_at_lease_end(eligible=eligible))

    def _stop(self, session: Session, reason: EndReason) -> None:
        if not self._sessions.ending(session.attempt, reason):
            return  # somebody else ends it, or it is over: the server may be another attempt's by now
        _log.info("stopping attempt %s of %s: %s", session.attempt, session.server.user, reason.value)
        self._servers.stop(session.server)

    def _end(self, session: Session) -> None:
        backend = self._backends.get(session.site)
        if backend is None:
            _log.error("site %s of attempt %s is no longer configured", session.site, session.attempt)
            return
        seen = backend.asks.end(session.attempt, patience_seconds=backend.stop_seconds)
        if seen.life is Life.ENDED:
            self._close(session, seen)

    def _close(self, session: Session, seen: Observation) -> None:
        if close(session, seen, sessions=self._sessions, ledger=self._ledger, clock=self._clock) is not None:
            self._metrics.settlement(source_of(seen))

    def _tell_the_hub(self, session: Session, situation: Situation) -> None:
        """The hub would notice at its next poll; told now, the person's page is right at once.

        Not if the server has its next attempt by now: the hub would stop that one.
        """
        if situation.hub_has_it and self._sessions.open_of(session.server) is None:
            self._servers.stop(session.server)

    def _situation(
        self,
        session: Session,
        active: Mapping[Server, datetime | None] | None,
        holds: Mapping[str, Lease],
    ) -> Situation:
        hold, seen = holds.get(session.attempt), self._observe(session.site, session.attempt)
        backend, renews = self._backends.get(session.site), self._admission.policy.renews(session.site)
        if session.end_reason is not None:
            self._note_since(self._stopping, session.attempt)
        if active is not None and session.server not in active:
            self._note_since(self._missing, session.attempt)
        else:
            self._missing.pop(session.attempt, None)
        return Situation(
            session=session,
            seen=seen,
            lease_until=hold.until - self._ahead(seen, renews=renews) if hold else None,
            hold_state=hold.state if hold else None,
            hub_has_it=None if active is None else session.server in active,
            last_activity=None if active is None else active.get(session.server),
            stopping_since=self._stopping.get(session.attempt),
            missing_since=self._missing.get(session.attempt),
            payer=hold.payer if hold else None,
            renews=renews,
            handover=timedelta(seconds=backend.handover_seconds) if backend else timedelta(0),
            access_checked_at=self._checked.get(session.attempt),
        )

    def _ahead(self, seen: Observation, *, renews: bool = True) -> timedelta:
        """How far a session's own clock is ahead: the hub's was set back meanwhile, and no lease is longer for that. The
        clock of a batch system may be behind as well.
        """
        ahead = seen.at - self._clock() if seen.at is not None else timedelta(0)
        return max(timedelta(0), ahead) if renews else ahead

    def _forget_all_but(self, attempts: Set[str]) -> None:
        """Whoever ended the others."""
        for since in (self._stopping, self._missing, self._checked):
            for attempt in since.keys() - attempts:
                del since[attempt]

    def _note_since(self, since: dict[str, datetime], attempt: str) -> None:
        """Keep when something was first seen; a clock that was set back begins anew."""
        since[attempt] = min(self._clock(), since.get(attempt, self._clock()))

    def _observe(self, site: str, attempt: str) -> Observation:
        backend = self._backends.get(site)
        return backend.asks.observe(attempt) if backend else Observation(life=Life.UNKNOWN)

    def _active(self) -> Mapping[Server, datetime | None] | None:
        try:
            active = self._servers.active()
        except OSError as error:
            if not self._hub_is_away:
                _log.warning("the hub cannot be asked, sessions are looked after without it: %s", error)
            self._hub_is_away = True
            return None
        if self._hub_is_away:
            _log.info("the hub answers")
        self._hub_is_away = False
        return active

    def _holds(self) -> dict[str, Lease]:
        with self._database.read() as connection:
            return open_leases(connection, self._hub)
