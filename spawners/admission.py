"""May this person start this, now, and where? Everything that is asked before a session is started.

Identity -> tier -> place -> quota. Refusals are `Failure`s of the catalogue; an outage of the books is one too: what
costs something fails closed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from federation.clock import Clock, system_clock
from federation.database import Database, DatabaseUnavailable
from federation.errors import DATABASE_AWAY, Failure
from federation.persons import Facts, Person, find_by_user_name
from federation.settings import Environment, Flavour, Site, in_language
from quota.amounts import weight_milli
from quota.defaults import default_of_period, period_bounds
from quota.errors import NOT_IN_DEFAULT, SESSIONS_CAP, SITE_FULL
from quota.ledger import Admitted, Cap, Denied, Gauges, Ledger, Place
from quota.page import Owner
from quota.reasons import Reason
from quota.settings import DefaultGrant, LimitsSection
from quota.statement import Standing, standing
from quota.tables import OwnerKind
from spawners.errors import PERSON_UNKNOWN
from spawners.sessions import Server
from vetting.eligibility import Eligibility, Recorded, derive
from vetting.placement import Wish, choose, places
from vetting.settings import Tier

__all__ = ["Admission", "Policy", "owner_of"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The parts of federation.yaml that decide."""

    tiers: dict[str, Tier]
    flavours: dict[str, Flavour]
    environments: dict[str, Environment]
    sites: dict[str, Site]
    defaults: dict[str, DefaultGrant]
    limits: LimitsSection
    snapshot: timedelta = timedelta(days=36500)
    """How long what a provider said counts; older than that, it counts as if nothing had been said."""

    def weights_milli(self) -> dict[str, int]:
        """The weight of each flavour in thousandths."""
        return {name: weight_milli(flavour.weight) for name, flavour in self.flavours.items()}

    def default_for(self, eligibility: Eligibility) -> DefaultGrant | None:
        """The default of the highest tier that the person has and that has one."""
        reached = [name for name in self.tiers if name in self.defaults and eligibility.reaches(name)]
        return self.defaults[reached[-1]] if reached else None


def owner_of(person: Person) -> Owner:
    """The account that pays for a person's sessions."""
    return Owner(OwnerKind.USER, person.id)


class Admission:
    """Asks the rules and the books. All calls block; the hub makes them in threads."""

    def __init__(
        self, database: Database, ledger: Ledger, policy: Policy, kinds: Collection[str], clock: Clock = system_clock
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._kinds = kinds
        self._clock = clock
        self.policy = policy

    def person(self, user_name: str) -> Person:
        """Who has this hub user name.

        Raises
        ------
        Failure
            If nobody has, or the database is away.
        """
        try:
            with self._database.read() as connection:
                person = find_by_user_name(connection, user_name)
        except DatabaseUnavailable as error:
            raise Failure(DATABASE_AWAY) from error
        if person is None:
            raise Failure(PERSON_UNKNOWN, {"user": user_name})
        return person

    def eligibility(self, person: Person) -> Eligibility:
        """The person's tier, with reasons."""
        policy = self.policy
        said = person.facts if self._clock() - person.facts_at <= policy.snapshot else Facts()
        return derive(said, Recorded(), policy.tiers, sites=policy.sites, terms=None, now=self._clock())

    def place(self, person: Person, wish: Wish) -> str:
        """The site for a wish.

        Raises
        ------
        Failure
            Why there is none.
        """
        policy = self.policy
        options = places(
            wish,
            eligibility=self.eligibility(person),
            flavours=policy.flavours,
            environments=policy.environments,
            sites=policy.sites,
            kinds=self._kinds,
            now=self._clock(),
        )
        return choose(options, wish)

    def give_default(self, person: Person) -> None:
        """Give the present period's default quota, if the person's tier has one and it was not given yet."""
        setting = self.policy.default_for(self.eligibility(person))
        default = default_of_period(setting, person.id, self._clock()) if setting else None
        if default is None:
            return
        self._ledger.grant(
            key=default.key,
            owner=owner_of(person),
            amount=default.amount,
            starts_at=default.starts_at,
            ends_at=default.ends_at,
            created_by="system",
            reason="default quota of the tier",
        )

    def reserve(self, attempt: str, person: Person, server: Server, wish: Wish, site: str) -> Admitted:
        """Reserve a lease for an attempt.

        Raises
        ------
        Failure
            Why not; nothing is reserved then.
        """
        limits, flavour = self.policy.limits, self.policy.flavours[wish.flavour]
        now = self._clock()
        try:
            self.give_default(person)
            with self._database.read() as connection:
                refusal = self.not_in_default(person, wish.flavour, standing(connection, owner_of(person), now))
            if refusal is not None:
                raise refusal
            answer = self._ledger.reserve(
                attempt=attempt,
                payer=owner_of(person),
                place=Place(hub=server.hub, user=server.user, server=server.name, site=site),
                flavour=wish.flavour,
                lease=timedelta(minutes=limits.lease_minutes),
                shortest=timedelta(minutes=limits.shortest_lease_minutes),
                gauges=Gauges(cpu=flavour.cpu, memory_mib=flavour.memory_gib * 1024, gpu=flavour.gpu),
                caps=[*self._person_caps(person, server), *self._site_caps(site)],
                returns_at=self.returns_at(person, now),
            )
        except DatabaseUnavailable as error:
            raise Failure(DATABASE_AWAY) from error
        if isinstance(answer, Denied):
            raise answer.reasons[0].failure(now)
        return answer

    def not_in_default(self, person: Person, flavour: str, standing: Standing) -> Failure | None:
        """Why the default quota does not pay for a flavour, where a person has no other quota."""
        setting = self.policy.default_for(self.eligibility(person))
        if setting is None or flavour in setting.flavours:
            return None
        if any(grant.active and not grant.is_default for grant in standing.grants):
            return None
        title = in_language(self.policy.flavours[flavour].title, flavour)
        return Failure(NOT_IN_DEFAULT, {"flavour": title})

    def returns_at(self, person: Person, now: datetime) -> datetime | None:
        """When the person's next default quota comes."""
        setting = self.policy.default_for(self.eligibility(person))
        return period_bounds(setting.period, now)[1] if setting and setting.amount_hours else None

    def _person_caps(self, person: Person, server: Server) -> list[Cap]:
        setting = self.policy.default_for(self.eligibility(person))
        if setting is None or setting.sessions is None:
            return []
        reason = Reason(problem=SESSIONS_CAP, resource="sessions")
        return [Cap(column="user", ref=server.user, gauge="sessions", limit=setting.sessions, reason=reason)]

    def _site_caps(self, site: str) -> list[Cap]:
        limit = self.policy.limits.per_site.get(site)
        if limit is None:
            return []
        memory = limit.memory_gib * 1024 if limit.memory_gib is not None else None
        gauges = {"sessions": limit.sessions, "cpu": limit.cpu, "memory_mib": memory, "gpu": limit.gpu}
        title = in_language(self.policy.sites[site].title)
        return [
            Cap(
                column="site",
                ref=site,
                gauge=gauge,
                limit=most,
                reason=Reason(problem=SITE_FULL, resource=gauge, scope=title),
            )
            for gauge, most in gauges.items()
            if most is not None
        ]
