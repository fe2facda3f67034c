"""May this person start this, now, and where? Everything that is asked before a session is started.

Identity -> tier -> place -> quota. Refusals are `Failure`s of the catalogue; an outage of the books is one too: what
costs something fails closed.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from federation.clock import Clock, system_clock
from federation.database import Database, DatabaseUnavailable
from federation.errors import DATABASE_AWAY, Failure
from federation.ids import new_id
from federation.persons import Facts, Person, find_by_user_name
from federation.settings import BatchSite, Environment, Flavour, KubernetesSite, Site, Terms, in_language
from federation.terms import TermsInForce, in_force
from quota.amounts import weight_milli
from quota.answers import Admitted, Denied, Payer, Place
from quota.capping import Cap
from quota.defaults import missing_default, period_bounds
from quota.errors import NOT_IN_DEFAULT
from quota.granting import KeyTaken
from quota.ledger import Ledger
from quota.owners import Owner
from quota.settings import DefaultGrant, LimitsSection, Pool
from quota.statement import Standing, standing
from quota.tables import OwnerKind
from spawners.errors import PERSON_UNKNOWN
from spawners.paying import caps_on_all, caps_on_person, gauges_of, owner_of, pool_owner, pool_payer, pools_of
from spawners.sessions import Server
from vetting.eligibility import Eligibility, derive
from vetting.mappings import mappings
from vetting.placement import Option, Wish, choose, not_open, places
from vetting.recorded import MappingState, Recorded
from vetting.records import recorded_of
from vetting.resources import longest_minutes
from vetting.settings import Tier
from vetting.sites import site_states

__all__ = ["Admission", "Policy", "Times"]

_SHORTEST_WALLTIME_MINUTES = 60


@dataclass(frozen=True, kw_only=True)
class Times:
    """What a reservation is for: `lease`, `shortest` at the least, and before it `queue` for free."""

    lease: timedelta
    shortest: timedelta
    queue: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The parts of federation.yaml that decide."""

    tiers: dict[str, Tier]
    flavours: dict[str, Flavour]
    environments: dict[str, Environment]
    sites: dict[str, Site]
    defaults: dict[str, DefaultGrant]
    limits: LimitsSection
    pools: dict[str, Pool] = field(default_factory=dict)
    terms: Terms | None = None
    snapshot: timedelta = timedelta(days=36500)
    """How long what a provider said counts; older than that, it counts as if nothing had been said."""

    def weights_milli(self) -> dict[str, int]:
        """The weight of each flavour in thousandths."""
        return {name: weight_milli(flavour.weight) for name, flavour in self.flavours.items()}

    def renews(self, site: str) -> bool:
        """Whether the leases of sessions there are renewed. A job's walltime is set aside as a whole: the scheduler
        ends it, and nobody can make it longer.
        """
        return not isinstance(self.sites.get(site), BatchSite)

    def times(self, wish: Wish, site: str) -> Times:
        """How long to reserve for. Who did not choose a walltime gets the longest that their quota allows."""
        limits, place = self.limits, self.sites[site]
        if not isinstance(place, BatchSite):
            return Times(
                lease=timedelta(minutes=limits.lease_minutes), shortest=timedelta(minutes=limits.shortest_lease_minutes)
            )
        longest = longest_minutes(self.flavours[wish.flavour], place)
        chosen = wish.resources.walltime_minutes
        return Times(
            lease=timedelta(minutes=longest if chosen is None else chosen),
            shortest=timedelta(minutes=min(longest, _SHORTEST_WALLTIME_MINUTES) if chosen is None else chosen),
            queue=timedelta(hours=place.queue_hours),
        )

    def default_for(self, eligibility: Eligibility) -> DefaultGrant | None:
        """The default of the highest tier that the person has and that has one."""
        reached = [name for name in self.tiers if name in self.defaults and eligibility.reaches(name)]
        return self.defaults[reached[-1]] if reached else None


class Admission:
    """Asks the rules and the books. All calls block; the hub makes them in threads.

    Parameters
    ----------
    closed
        Says which sites take nothing just now, and why.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        policy: Policy,
        kinds: Collection[str],
        clock: Clock = system_clock,
        closed: Callable[[], Mapping[str, Failure]] = dict,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._kinds = kinds
        self._clock = clock
        self.closed = closed
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
        """The person's tier, with reasons, by what is recorded of them now.

        Raises
        ------
        federation.database.DatabaseUnavailable
            If that cannot be read: who cannot be looked up is not let in.
        """
        policy, now = self.policy, self._clock()
        recorded, terms = self.recorded(person)
        return derive(self._said(person), recorded, policy.tiers, sites=policy.sites, terms=terms, now=now)

    def may_return_to(self, person: Person, site: str) -> bool:
        """Whether a person could start anything at a site again, by what their provider said last, however long ago: who
        only did not sign in for a while has not lost their files' place.
        """
        policy = self.policy
        recorded, terms = self.recorded(person)
        known = derive(person.facts, recorded, policy.tiers, sites=policy.sites, terms=terms, now=self._clock())
        flavours = policy.sites[site].flavours
        return any(known.reaches_there(policy.flavours[name].tier, site) for name in flavours)

    def home_gib(self, person: Person, site: str) -> int:
        """How large a person's home at a Kubernetes site is to be: what the last of their tiers says that says anything."""
        place = self.policy.sites[site]
        assert isinstance(place, KubernetesSite), "only these have homes"
        assert place.homes is not None, "asked only where there are some"
        eligibility = self.eligibility(person)
        named = [name for name in self.policy.tiers if name in place.homes.per_tier and eligibility.reaches(name, site)]
        return place.homes.per_tier[named[-1]] if named else place.homes.size_gib

    def recorded(self, person: Person) -> tuple[Recorded, TermsInForce | None]:
        """What is recorded of a person, and the terms that are in force.

        Raises
        ------
        federation.database.DatabaseUnavailable
            If it cannot be read.
        """
        terms = self.policy.terms
        with self._database.read() as connection:
            recorded = recorded_of(connection, person.id)
            return recorded, in_force(connection, terms.grace_days) if terms is not None else None

    def _said(self, person: Person) -> Facts:
        """What the provider said of a person, unless that was too long ago."""
        return person.facts if self._clock() - person.facts_at <= self.policy.snapshot else Facts()

    def place(self, person: Person, wish: Wish) -> str:
        """The site for a wish.

        Raises
        ------
        Failure
            Why there is none.
        federation.database.DatabaseUnavailable
            If what is recorded of the person cannot be read.
        """
        return choose(self.options(person, wish), wish)

    def options(self, person: Person, wish: Wish, away: Mapping[str, Failure] | None = None) -> list[Option]:
        """All places for a wish, each with why or why not. `away` are those that refused this very start, and why.

        Raises
        ------
        federation.database.DatabaseUnavailable
            If what is recorded of the person cannot be read.
        """
        return self.options_for(self.eligibility(person), wish, self.away(away))

    def options_for(self, eligibility: Eligibility, wish: Wish, away: Mapping[str, Failure]) -> list[Option]:
        """The same for somebody whose eligibility is known. Asks nobody: `away` are the places that are closed."""
        policy = self.policy
        return places(
            wish,
            eligibility=eligibility,
            flavours=policy.flavours,
            environments=policy.environments,
            sites=policy.sites,
            kinds=self._kinds,
            away=away,
        )

    def away(self, refused: Mapping[str, Failure] | None = None) -> dict[str, Failure]:
        """The sites that take nothing just now, and why: by what is recorded of them, else because they `refused` a
        start, else by what is known of their backends.

        Raises
        ------
        federation.database.DatabaseUnavailable
            If what is recorded cannot be read.
        """
        sites, now = self.policy.sites, self._clock()
        with self._database.read() as connection:
            states = site_states(connection, sites, now)
        return {**self.closed(), **(refused or {}), **not_open(states, sites, now)}

    def account_at(self, person: Person, site: str) -> str | None:
        """The account at a site that the site accepted for a person.

        Raises
        ------
        federation.database.DatabaseUnavailable
            If it cannot be read.
        """
        with self._database.read() as connection:
            known = mappings(connection, person_id=person.id, site=site)
        return next((one.account for one in known if one.state is MappingState.ACCEPTED), None)

    def give_default(self, person: Person) -> None:
        """Give the present period's default quota, if the person's tier has one and it was not given yet; and that of the
        pools that they may use.
        """
        setting = self.policy.default_for(self.eligibility(person))
        if setting is not None:
            self._give(setting, owner_of(person), person.id, "default quota of the tier")
        for name, pool in pools_of(self._said(person), self.policy.pools).items():
            self._give(pool, pool_owner(name), f"pool:{name}", "quota of the pool")

    def may_spend(self, person: Person, payer: Owner) -> bool:
        """Whether an account may still pay for a person's sessions: their own, or that of a pool that is open to them."""
        return payer == owner_of(person) or payer in map(pool_owner, pools_of(self._said(person), self.policy.pools))

    def default_of_payer(self, person: Person, payer: Owner) -> tuple[DefaultGrant | Pool | None, str]:
        """What the account that pays for a person's session is given in each period, and its name in the grants' keys."""
        if payer == owner_of(person):
            return self.policy.default_for(self.eligibility(person)), person.id
        return self.policy.pools.get(payer.ref) if payer.kind is OwnerKind.GROUP else None, f"pool:{payer.ref}"

    def _give(self, setting: DefaultGrant | Pool, owner: Owner, ref: str, reason: str) -> None:
        now = self._clock()
        with self._database.read() as connection:
            grants = standing(connection, owner, now).grants
        default = missing_default(setting, ref, grants, now)
        if default is None:
            return
        with suppress(KeyTaken):  # somebody gave another amount for this period right now; the next look makes it up
            self._ledger.grant(
                key=default.key,
                owner=owner,
                amount=default.amount,
                starts_at=default.starts_at,
                ends_at=default.ends_at,
                created_by="system",
                reason=reason,
            )

    def reserve(self, attempt: str, person: Person, server: Server, wish: Wish, site: str) -> Admitted:
        """Reserve a lease for an attempt.

        Raises
        ------
        Failure
            Why not; nothing is reserved then.
        """
        try:
            self.give_default(person)
            answer = self._ledger.reserve(**self._asked(attempt, person, server, wish, site))
        except DatabaseUnavailable as error:
            raise Failure(DATABASE_AWAY) from error
        if isinstance(answer, Denied):
            raise answer.reasons[0].failure(self._clock())
        return answer

    def preview(self, person: Person, server: Server, wish: Wish, site: str) -> Admitted | Denied:
        """What `reserve` would answer now; nothing is kept of it.

        Raises
        ------
        Failure
            If no account may pay, or the database is away.
        """
        try:
            return self._ledger.preview(**self._asked(new_id(), person, server, wish, site))
        except DatabaseUnavailable as error:
            raise Failure(DATABASE_AWAY) from error

    def payers(self, person: Person, flavour: str) -> list[Payer]:
        """The accounts that may pay for a flavour, in the order in which they are asked.

        Raises
        ------
        Failure
            If there is none.
        """
        now = self._clock()
        with self._database.read() as connection:
            what_is = standing(connection, owner_of(person), now)
        refusal = self.not_in_default(person, flavour, what_is)
        own = [] if refusal else [Payer(owner=owner_of(person), returns_at=self.returns_at(person, now))]
        pools = [
            pool_payer(name, pool, period_bounds(pool.period, now)[1])
            for name, pool in pools_of(self._said(person), self.policy.pools).items()
            if flavour in pool.flavours
        ]
        if refusal is not None and not pools:
            raise refusal
        return [*own, *pools]

    def caps(self, person: Person, server: Server, wish: Wish, site: str) -> list[Cap]:
        """The caps that hold whoever pays."""
        policy, limits = self.policy, self.policy.limits
        default = policy.default_for(self.eligibility(person))
        title = in_language(policy.sites[site].title, site) if site in policy.sites else site  # may be gone by now
        return [
            *caps_on_person(server.user, default, limits.per_user),
            *caps_on_all(
                site, title, limits.per_site.get(site),
                wish.flavour, in_language(policy.flavours[wish.flavour].title, wish.flavour),
                limits.per_flavour.get(wish.flavour),
            ),
        ]  # fmt: skip

    def _asked(self, attempt: str, person: Person, server: Server, wish: Wish, site: str) -> dict[str, Any]:
        """The arguments of `Ledger.reserve`."""
        times = self.policy.times(wish, site)
        return {
            "attempt": attempt,
            "payers": self.payers(person, wish.flavour),
            "place": Place(hub=server.hub, user=server.user, server=server.name, site=site),
            "flavour": wish.flavour,
            "lease": times.lease,
            "shortest": times.shortest,
            "queue": times.queue,
            "gauges": gauges_of(self.policy.flavours[wish.flavour]),
            "caps": self.caps(person, server, wish, site),
        }

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
