"""The start form: what may be chosen, what it takes and who pays for it, and why what is closed is closed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from federation.errors import Failure
from federation.i18n import gettext
from federation.persons import Person
from federation.settings import BatchSite, in_language
from hub_config.wiring import House
from quota.amounts import to_unit_hours, whole_seconds
from quota.answers import Payer
from quota.owners import Owner
from quota.statement import Standing
from spawners.options import ANY_SITE
from vetting.eligibility import Eligibility
from vetting.placement import Wish
from vetting.resources import longest_minutes
from vetting.words import size_of

__all__ = ["BatchChoices", "Choice", "StartForm", "payer_of", "start_form"]

_WALLTIMES = (15, 30, 60, 120, 240, 480, 720, 1440, 2880, 4320, 10_080)
_LESS_USUAL = ("cores", "memory_gib", "gpus", "partition", "account", "reservation")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One thing to choose on the start form; closed when `why_not` is set. `pool` would pay, where that is not one's own
    account.
    """

    name: str
    title: str
    text: str = ""
    weight: float = 0.0
    lasts_hours: float = 0.0
    why_not: str = ""
    pool: str = ""
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class BatchChoices:
    """What may be asked of batch systems, over all that can be chosen.

    Parameters
    ----------
    walltimes
        In minutes, ascending.
    partitions, accounts, reservations
        Names of all sites together; which site has which is checked when something is started.
    typed
        What was typed before, by field.
    """

    walltimes: list[int]
    partitions: list[str]
    accounts: list[str]
    reservations: list[str]
    typed: Mapping[str, str]

    @property
    def is_open(self) -> bool:
        """Whether the less usual choices are shown: something was typed there."""
        return any(self.typed.get(name) for name in _LESS_USUAL)


@dataclass(frozen=True, kw_only=True)
class StartForm:
    """The start form: flavours, environments and sites, with what was typed before; `batch` where there are batch sites."""

    flavours: list[Choice]
    environments: list[Choice]
    sites: list[Choice]
    server: str = ""
    may_name: bool = False
    batch: BatchChoices | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything can be started with it."""
        return any(not choice.why_not for choice in self.flavours)


def start_form(house: House, person: Person, accounts: Mapping[Owner, Standing], typed: Mapping[str, str]) -> StartForm:
    """The form for a person; `accounts` are their own and those of their pools, `typed` what they chose before."""
    policy, admission = house.admission.policy, house.admission
    eligibility = admission.eligibility(person)
    default = policy.default_for(eligibility)
    environments = [
        Choice(name=name, title=in_language(e.title), text=in_language(e.description))
        for name, e in policy.environments.items()
        if any(getattr(e, policy.sites[site].kind) is not None for site in house.backends)
    ]
    away = admission.away()
    flavours = [_choice(house, name, person, accounts, eligibility, environments, away) for name in policy.flavours]
    sites = [
        Choice(
            name=name,
            title=in_language(policy.sites[name].title),
            text=in_language(policy.sites[name].files),
            why_not=away[name].message if name in away else "",
        )
        for name in house.backends
    ]
    if len(sites) > 1:
        sites.insert(0, Choice(name=ANY_SITE, title=gettext("The first that fits")))
    return StartForm(
        flavours=_with_chosen(flavours, typed.get("flavour")),
        environments=_with_chosen(environments, typed.get("environment")),
        sites=_with_chosen(sites, typed.get("site")),
        server=typed.get("server", ""),
        may_name=default is None or default.sessions is None or default.sessions > 1,
        batch=_batch_choices(house, typed),
    )


def _batch_choices(house: House, typed: Mapping[str, str]) -> BatchChoices | None:
    policy = house.admission.policy
    sites = [site for name in house.backends if isinstance(site := policy.sites[name], BatchSite)]
    if not sites:
        return None
    longest = max(longest_minutes(policy.flavours[flavour], site) for site in sites for flavour in site.flavours)
    return BatchChoices(
        walltimes=[minutes for minutes in _WALLTIMES if minutes < longest] + [longest],
        partitions=_names(name for site in sites for name in (site.partition, *site.partitions) if name),
        accounts=_names(name for site in sites for name in site.charge_accounts),
        reservations=_names(name for site in sites for name in site.reservations),
        typed=typed,
    )


def _names(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _choice(
    house: House,
    name: str,
    person: Person,
    accounts: Mapping[Owner, Standing],
    eligibility: Eligibility,
    environments: list[Choice],
    away: Mapping[str, Failure],
) -> Choice:
    flavour = house.admission.policy.flavours[name]
    options = [
        option
        for environment in environments
        for option in house.admission.options_for(eligibility, Wish(flavour=name, environment=environment.name), away)
    ]
    refusals = [option.why_not for option in options if option.why_not is not None]
    why_not = refusals[0] if refusals and len(refusals) == len(options) else None
    payer, no_payer = payer_of(house, person, name, accounts)
    why_not = why_not or no_payer
    weight = float(flavour.weight)
    return Choice(
        name=name,
        title=in_language(flavour.title, name),
        text=size_of(flavour),
        weight=weight,
        lasts_hours=float(to_unit_hours(accounts[payer.owner].left)) / weight if payer else 0.0,
        why_not=why_not.message if why_not else "",
        pool=payer.title if payer else "",
    )


def payer_of(
    house: House, person: Person, flavour: str, accounts: Mapping[Owner, Standing]
) -> tuple[Payer | None, Failure | None]:
    """The first account that has enough for the shortest lease, else the first that may pay; or why none may."""
    admission = house.admission
    try:
        payers = admission.payers(person, flavour)
    except Failure as failure:
        return None, failure
    shortest = timedelta(minutes=admission.policy.limits.shortest_lease_minutes)
    needed = whole_seconds(shortest) * admission.policy.weights_milli()[flavour]
    return next((payer for payer in payers if accounts[payer.owner].left >= needed), payers[0]), None


def _with_chosen(choices: list[Choice], wanted: str | None) -> list[Choice]:
    """Mark what was typed before, else the first that is open."""
    open_ones = [choice.name for choice in choices if not choice.why_not]
    chosen = wanted if wanted in open_ones else (open_ones[0] if open_ones else None)
    return [Choice(**{**vars(choice), "chosen": choice.name == chosen}) for choice in choices]
