"""My access: who we think somebody is, what we saw of them, what each of it gives, and what is missing for the rest.

Everything here is what eligibility and placement say; nothing is decided anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from federation.errors import Failure
from federation.i18n import country_name, gettext
from federation.persons import Person
from federation.settings import Site, in_language
from hub_config.pages.form_view import payer_of
from hub_config.pages.views import PoolView, QuotaView, Views
from hub_config.wiring import House
from quota.amounts import to_unit_hours
from quota.course_picture import CoursePicture, course_picture
from quota.owners import Owner
from quota.statement import Standing
from quota.words import each_period
from spawners.paying import owner_of
from vetting import assurance
from vetting.desk.own import OwnSummary, own_summaries
from vetting.eligibility import Check, Eligibility
from vetting.errors import ACCESS_SUSPENDED, FLAVOUR_NOT_AT_SITE, TERMS_NOT_ACCEPTED
from vetting.missing import describe
from vetting.placement import Option, Wish
from vetting.recorded import Recorded
from vetting.roles import Roles, roles_of
from vetting.words import site_said, size_of

__all__ = ["AccessView", "AccessViews", "FlavourView", "SiteView", "TierView", "Wanted"]


def _(message: str) -> str:
    return message


_MOST_REQUESTS = 10


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One thing that is asked for: in words, whether the person has it, and where they get it ("terms", "desk", "")."""

    text: str
    holds: bool
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class TierView:
    """One tier: what it gives, and what it asks."""

    name: str
    holds: bool
    gives: list[str]
    asks: list[Wanted]


@dataclass(frozen=True, kw_only=True)
class FlavourView:
    """One flavour at one site: open, with the pool that would pay, or why not. `where` as in `Wanted`; `code` is that of
    the reason.
    """

    name: str
    title: str
    text: str
    weight: float
    lasts_hours: float
    pool: str = ""
    why_not: str = ""
    missing: list[str]
    where: str = ""
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class SiteView:
    """One site with its flavours; `mapping` says how far the person's account there is."""

    name: str
    title: str
    country: str
    mapping: str
    flavours: list[FlavourView]


@dataclass(frozen=True, kw_only=True)
class AccessView:
    """The page. Communities and assurance as they were sent, without what does not count."""

    name: str
    user_name: str
    email: str
    organisation: str
    provider: str
    subject: str
    facts_at: datetime
    is_stale: bool
    communities: list[str]
    affiliations: list[str]
    unchecked_affiliations: list[str]
    assurance: list[str]
    mfa: bool
    roles: list[str]
    not_understood: list[str]
    tier: str
    quota: QuotaView
    course: CoursePicture | None
    pools: list[PoolView]
    tiers: list[TierView]
    sites: list[SiteView]
    terms_accepted_at: datetime | None
    requests: list[OwnSummary]


class AccessViews:
    """Makes the page for a hub user name. Reads block; made in threads. Raises `Failure` where admission does."""

    def __init__(self, house: House, views: Views) -> None:
        self._house = house
        self._views = views

    def view(self, user_name: str) -> AccessView:
        """The page; gives this period's default quota if it was not given yet."""
        house = self._house
        admission, policy, now = house.admission, house.admission.policy, house.clock()
        person = admission.person(user_name)
        admission.give_default(person)
        eligibility = admission.eligibility(person)
        recorded, terms = admission.recorded(person)
        away = admission.away()
        quota, pools, accounts = self._views.quota(person, now)
        facts, roles = person.facts, house.settings.yaml.identity.roles
        return AccessView(
            name=facts.name or person.user_name,
            user_name=person.user_name,
            email=facts.email,
            organisation=facts.home_organisation,
            provider=facts.provider,
            subject=person.subject,
            facts_at=person.facts_at,
            is_stale=now - person.facts_at > policy.snapshot,
            communities=[membership.partition("#")[0] for membership in facts.memberships],
            affiliations=list(facts.affiliations),
            unchecked_affiliations=list(facts.unchecked_affiliations),
            assurance=[str(assurance.Value(uri)) for uri in facts.assurance],
            mfa=facts.mfa,
            roles=self._roles(roles_of(facts, roles, suspended=recorded.suspended is not None)),
            not_understood=list(facts.not_understood),
            tier=eligibility.tier or "",
            quota=quota,
            course=self._course(person, accounts[owner_of(person)], now),
            pools=pools,
            tiers=[self._tier(name, eligibility) for name in policy.tiers],
            sites=[self._site(name, person, eligibility, recorded, accounts, away) for name in policy.sites],
            terms_accepted_at=next((a.at for a in recorded.acceptances if terms and a.version == terms.version), None),
            requests=own_summaries(house.requests, policy.sites, person.id)[:_MOST_REQUESTS],
        )

    def _course(self, person: Person, account: Standing, now: datetime) -> CoursePicture | None:
        with self._house.database.read() as connection:
            return course_picture(connection, owner_of(person), account, now)

    def _roles(self, roles: Roles) -> list[str]:
        sites = [self._site_title(site) for site in sorted(roles.site_operator)]
        return [
            *([gettext("operator of the federation")] if roles.operator else []),
            *([gettext("reviewer")] if roles.reviewer else []),
            *([gettext("trainer")] if roles.trainer else []),
            *(gettext("operator of the site {site}").format(site=site) for site in sites),
        ]

    def _tier(self, name: str, eligibility: Eligibility) -> TierView:
        checks = (*eligibility.given(name), *eligibility.missing(name))
        return TierView(
            name=name,
            holds=eligibility.reaches(name),
            gives=list(self._gives(name)),
            asks=[Wanted(text=describe(check), holds=check.holds, where=_where(check)) for check in checks],
        )

    def _gives(self, tier: str) -> Iterator[str]:
        policy = self._house.admission.policy
        default = policy.defaults.get(tier)
        if default is not None and default.amount_hours:
            yield each_period(default.amount_hours, default.period)
        flavours = [in_language(f.title, name) for name, f in policy.flavours.items() if f.tier == tier]
        if flavours:
            yield gettext("the flavours {flavours}").format(flavours=", ".join(flavours))

    def _site(
        self,
        name: str,
        person: Person,
        eligibility: Eligibility,
        recorded: Recorded,
        accounts: Mapping[Owner, Standing],
        away: Mapping[str, Failure],
    ) -> SiteView:
        site = self._house.admission.policy.sites[name]
        state = recorded.mappings.get(name)
        return SiteView(
            name=name,
            title=self._site_title(name),
            country=country_name(site.country),
            mapping=site_said(state) if state else "",
            flavours=[self._flavour(each, name, person, eligibility, accounts, away) for each in site.flavours],
        )

    def _site_title(self, name: str) -> str:
        site: Site = self._house.admission.policy.sites[name]
        return in_language(site.title, name)

    def _flavour(
        self,
        name: str,
        site: str,
        person: Person,
        eligibility: Eligibility,
        accounts: Mapping[Owner, Standing],
        away: Mapping[str, Failure],
    ) -> FlavourView:
        flavour = self._house.admission.policy.flavours[name]
        option = self._best(name, site, eligibility, away)
        payer, no_payer = payer_of(self._house, person, name, accounts)
        why_not = option.why_not or no_payer
        weight = float(flavour.weight)
        return FlavourView(
            name=name,
            title=in_language(flavour.title, name),
            text=size_of(flavour),
            weight=weight,
            lasts_hours=float(to_unit_hours(accounts[payer.owner].left)) / weight if payer else 0.0,
            pool=payer.title if payer else "",
            why_not=why_not.message if why_not else "",
            missing=[describe(check) for check in option.missing] if option.why_not else [],
            where=_where_of(why_not),
            code=why_not.problem.code if why_not else "",
        )

    def _best(self, flavour: str, site: str, eligibility: Eligibility, away: Mapping[str, Failure]) -> Option:
        """Of all environments that a site could have, the one with which it is open, or which says most about why not."""
        admission = self._house.admission
        options = [
            option
            for environment in admission.policy.environments
            for option in admission.options_for(
                eligibility, Wish(flavour=flavour, environment=environment, site=site), away
            )
        ]
        return min(options, key=_says_least)


def _says_least(option: Option) -> int:
    if option.why_not is None:
        return 0
    return 2 if option.why_not.problem is FLAVOUR_NOT_AT_SITE else 1


def _where(check: Check) -> str:
    if check.holds and check.until is None:
        return ""
    return "terms" if check.field == "terms" else ("" if check.holds else "desk")


def _where_of(why_not: Failure | None) -> str:
    """Where to get what is missing; nowhere, if it passes by itself or nobody could give it."""
    if why_not is None or why_not.problem.status != 403 or why_not.problem is ACCESS_SUSPENDED:
        return ""
    return "terms" if why_not.problem is TERMS_NOT_ACCEPTED else "desk"
