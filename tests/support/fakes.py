"""Stand-ins for what surrounds the worker: a backend that says what it is told to, a hub, and a whole installation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from prometheus_client import CollectorRegistry

from federation.database import Database
from federation.ids import new_id
from federation.persons import Person
from federation.settings import Environment, Flavour, LocalSite
from quota.settings import DefaultGrant, Limit, LimitsSection
from spawners.admission import Admission, Policy
from spawners.backends.base import Life, Observation
from spawners.backends.child import Child
from spawners.context import SiteBackend
from spawners.memberships import Memberships
from spawners.metrics import WorkerMetrics
from spawners.reconciler import Reconciler
from spawners.sessions import Server, Session, Sessions
from spawners.upkeep import Rules, Upkeep
from tests.support.books import Books, open_books
from vetting.placement import Wish
from vetting.settings import Tier

__all__ = ["COMMUNITY", "HUB", "LEASE", "MEMBER", "FakeBackend", "FakeHubServers", "Installation", "policy"]

HUB = "hub"
LEASE = timedelta(minutes=45)
COMMUNITY = "urn:mace:example.org:group:demo"
MEMBER: Mapping[str, Any] = {"memberships": (COMMUNITY,)}
"""The facts of somebody who has tier T1."""


def policy(**changes: Any) -> Policy:
    """The rules of a small federation; `changes` replace parts of them."""
    environments = {name: {"title": name.title(), "local": {"prefix": name}} for name in ("python", "bare")}
    parts: dict[str, Any] = {
        "tiers": {"T0": Tier(), "T1": Tier(communities=[COMMUNITY])},
        "flavours": {
            "small": Flavour(cpu=1, memory_gib=2, weight=Decimal(1), tier="T1"),
            "medium": Flavour(cpu=2, memory_gib=6, weight=Decimal(4), tier="T1", title={"en": "Medium", "pt": "Média"}),
        },
        "environments": {name: Environment.model_validate(value) for name, value in environments.items()},
        "sites": {"here": LocalSite(kind="local", title="This machine", flavours=["small", "medium"])},
        "defaults": {"T1": DefaultGrant(amount_hours=10, period="month", sessions=2, flavours=["small"])},
        "limits": LimitsSection(),
    }  # fmt: skip
    return Policy(**{**parts, **changes})


def with_limit(**limit: int) -> LimitsSection:
    """Limits with a cap on the site `here`."""
    return LimitsSection(per_site={"here": Limit(**limit)})


@dataclass
class FakeBackend:
    """A place to run where everything happens when a test says so.

    Parameters
    ----------
    clock
        The hub's.
    ahead
        By how much its own clock is ahead of that: the hub's was set back.
    seen
        What it says of each attempt; of others, that they never came to be.
    silent
        It cannot be asked.
    stubborn
        Sessions do not end when they are told to.
    ended
        The attempts that it was told to end, with the patience that they got.
    on_observe
        Called before each answer.
    cleared
        The attempts that it was told to let go of.
    """

    clock: Callable[[], datetime]
    ahead: timedelta = timedelta()
    seen: dict[str, Observation] = field(default_factory=dict)
    silent: bool = False
    stubborn: bool = False
    ended: list[tuple[str, float]] = field(default_factory=list)
    on_observe: Callable[[str], object] = lambda attempt: None
    cleared: list[str] = field(default_factory=list)

    def runs(self, attempt: str) -> None:
        """It runs since now."""
        self.seen[attempt] = Observation(life=Life.RUNNING, started_at=self.time(), host="127.0.0.1", port=4321)

    def is_over(self, attempt: str, *, exit_code: int = 0, estimated: bool = False) -> None:
        """It ended by itself just now."""
        before = self.seen[attempt]
        self.seen[attempt] = Observation(
            life=Life.ENDED, started_at=before.started_at, ended_at=self.time(), exit_code=exit_code,
            estimated=estimated,
        )  # fmt: skip

    def observe(self, attempt: str) -> Observation:
        self.on_observe(attempt)
        if self.silent:
            return Observation(life=Life.UNKNOWN)
        return replace(self.seen.get(attempt, Observation(life=Life.ENDED)), at=self.time())

    def time(self) -> datetime:
        """What its own clock says."""
        return self.clock() + self.ahead

    def living(self) -> list[str]:
        return [attempt for attempt, seen in self.seen.items() if seen.life in (Life.RUNNING, Life.PENDING)]

    def end(self, attempt: str, *, patience_seconds: float) -> Observation:
        self.ended.append((attempt, patience_seconds))
        seen = self.observe(attempt)
        if seen.life in (Life.RUNNING, Life.PENDING) and not self.stubborn:
            self.is_over(attempt, exit_code=-15)
        return self.observe(attempt)

    def log_tail(self, attempt: str, characters: int) -> str:
        return ""

    def clear(self, is_over: Callable[[str], bool]) -> None:
        self.cleared += [attempt for attempt in self.seen if is_over(attempt)]


@dataclass
class FakeHubServers:
    """A hub as the worker asks it.

    Parameters
    ----------
    servers
        The servers that it has, with their last activity.
    away
        It cannot be reached.
    asked
        What it was asked to do, in this order.
    on_stop
        Called when it is asked to stop a server.
    """

    servers: dict[Server, datetime | None] = field(default_factory=dict)
    away: bool = False
    asked: list[tuple[str, Server]] = field(default_factory=list)
    on_stop: Callable[[Server], object] = lambda server: None

    def active(self) -> Mapping[Server, datetime | None]:
        self._reach()
        return dict(self.servers)

    def start(self, server: Server) -> None:
        self._reach()
        self.asked.append(("start", server))

    def stop(self, server: Server) -> None:
        self._reach()
        self.asked.append(("stop", server))
        self.on_stop(server)

    def _reach(self) -> None:
        if self.away:
            raise OSError("connection refused")


class Installation:
    """Books, sessions, admission, one site and one hub on a real database; whatever surrounds them is a fake.

    Parameters
    ----------
    database
        Made ready here.
    changes
        Replace parts of the policy.
    """

    def __init__(self, database: Database, **changes: Any) -> None:
        self.database = database
        self.policy = policy(**changes)
        self.books: Books = open_books(database, weights_milli=self.policy.weights_milli())
        self.clock, self.ledger = self.books.clock, self.books.ledger
        self.admission = Admission(database, self.ledger, self.policy, {"local"}, self.clock)
        self.sessions = Sessions(database, clock=self.clock)
        self.backend = FakeBackend(self.clock)
        self.servers = FakeHubServers()
        self.rules = Rules(lease=LEASE, idle_stop=timedelta(hours=1))
        self.registry = CollectorRegistry()
        self.metrics = WorkerMetrics(self.registry, ("here",))
        self.more_backends: dict[str, SiteBackend] = {}

    def upkeep(
        self, *, hub: str = HUB, memberships: Memberships | None = None, guard: Callable[[], None] = lambda: None
    ) -> Upkeep:
        """A worker that was just started."""
        return Upkeep(
            hub=hub, database=self.database, sessions=self.sessions, ledger=self.ledger, admission=self.admission,
            backends=self.backends, servers=self.servers, rules=self.rules, clock=self.clock, memberships=memberships,
            metrics=self.metrics, guard=guard,
        )  # fmt: skip

    def reconciler(self, *, hub: str = HUB, guard: Callable[[], None] = lambda: None) -> Reconciler:
        """The slower look of a worker that was just started."""
        return Reconciler(
            hub=hub, database=self.database, sessions=self.sessions, ledger=self.ledger, backends=self.backends,
            clock=self.clock, metrics=self.metrics, guard=guard,
        )  # fmt: skip

    @property
    def backends(self) -> dict[str, SiteBackend]:
        site = SiteBackend(asks=self.backend, child_class=Child, child_arguments=lambda _: {}, stop_seconds=7)
        return {"here": site, **self.more_backends}

    def member(self, name: str = "ana") -> Person:
        """Somebody of tier T1 who signed in."""
        return self.books.person(name, **MEMBER)

    def intend(
        self, person: Person, server: str = "", *, flavour: str = "small", hub: str = HUB, site: str = "here"
    ) -> Session:
        """An attempt that is only meant."""
        return self.sessions.intend(
            attempt=new_id(), server=Server(hub, person.user_name, server), person_id=person.id, site=site,
            flavour=flavour, environment="python", options={}, secret_hash="hash",
        )  # fmt: skip

    def submit(self, person: Person, server: str = "", **options: Any) -> Session:
        """An attempt that was admitted and handed over, and that the hub waits for."""
        session = self.intend(person, server, **options)
        wish = Wish(flavour=session.flavour, environment=session.environment)
        self.admission.reserve(session.attempt, person, session.server, wish, session.site)
        self.sessions.submitted(session.attempt, "ref")
        self.backend.seen[session.attempt] = Observation(life=Life.PENDING)
        self.servers.servers[session.server] = None
        return self.again(session)

    def run(self, person: Person, server: str = "", **options: Any) -> Session:
        """A session that runs and answered, since now."""
        session = self.submit(person, server, **options)
        self.backend.runs(session.attempt)
        self.sessions.claim(session.attempt, "hash", "nonce")
        self.sessions.confirm(session.attempt, "hash", "nonce")
        self.sessions.located(session.attempt, host="127.0.0.1", port=4321, started_at=self.clock())
        self.sessions.answered(session.attempt)
        self.ledger.started(session.attempt, started_at=self.clock())
        self.servers.servers[session.server] = self.clock()
        return self.again(session)

    def again(self, session: Session) -> Session:
        """The attempt as its row is now."""
        found = self.sessions.get(session.attempt)
        assert found is not None
        return replace(found)
