"""What the federation offers: sites with their flavours and environments, who may use them, and how they are now.

For everybody who comes by; nothing of any person is in it. What is asked of people is what eligibility asks of somebody
of whom nothing is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.errors import Failure
from federation.i18n import country_name, gettext
from federation.persons import Facts
from federation.settings import BatchSite, Environment, Site, in_language
from quota.words import each_period
from vetting.desk.parts import Desk, Offer
from vetting.eligibility import Eligibility, derive
from vetting.missing import describe
from vetting.recorded import Recorded
from vetting.settings import Tier
from vetting.words import size_of

__all__ = ["Catalogue", "EnvironmentShown", "FlavourShown", "SiteShown", "TierShown", "catalogue_of"]


def _(message: str) -> str:
    return message


_KINDS = {
    "local": _("this machine itself: sessions start at once"),
    "kubernetes": _("a cloud: sessions start within a minute"),
    "batch": _("a supercomputer: sessions wait in its queue"),
}


@dataclass(frozen=True, kw_only=True)
class EnvironmentShown:
    """A set of software."""

    title: str
    text: str
    languages: str


@dataclass(frozen=True, kw_only=True)
class FlavourShown:
    """A size of session: the tier that it is for, and what one hour takes."""

    name: str
    title: str
    text: str
    weight: float
    tier: str


@dataclass(frozen=True, kw_only=True)
class SiteShown:
    """A site; `asks` is what it wants of everybody beside the tier, `closed` why it takes nothing just now.

    `gives_accounts` says whether people may need an account of their own there.
    """

    name: str
    title: str
    country: str
    kind: str
    files: str
    asks: list[str]
    gives_accounts: bool
    flavours: list[FlavourShown]
    environments: list[EnvironmentShown]
    closed: str


@dataclass(frozen=True, kw_only=True)
class TierShown:
    """A tier: what it gives by itself, what it asks, and whether a person decides about it."""

    name: str
    gives: str
    flavours: list[str]
    asks: list[str]
    is_decided: bool


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All of it."""

    sites: list[SiteShown]
    tiers: list[TierShown]


def catalogue_of(desk: Desk) -> Catalogue:
    """What there is, in the present language."""
    offer = desk.offer
    nobody = derive(Facts(), Recorded(), offer.tiers, sites=offer.sites, terms=None, now=desk.clock())
    closed = desk.closed()
    return Catalogue(
        sites=[_site(offer, name, nobody, closed) for name in offer.sites],
        tiers=[_tier(offer, name, nobody) for name in offer.tiers],
    )


def _site(offer: Offer, name: str, nobody: Eligibility, closed: Mapping[str, Failure]) -> SiteShown:
    site = offer.sites[name]
    return SiteShown(
        name=name,
        title=in_language(site.title, name),
        country=country_name(site.country),
        kind=gettext(_KINDS[site.kind]),
        files=in_language(site.files),
        asks=[describe(check) for check in nobody.at[name].asks],
        gives_accounts=isinstance(site, BatchSite) or any(_asks_a_mapping(tier) for tier in offer.tiers.values()),
        flavours=[_flavour(offer, flavour) for flavour in site.flavours],
        environments=[_environment(one) for one in offer.environments.values() if _is_at(one, site)],
        closed=closed[name].message if name in closed else "",
    )


def _asks_a_mapping(tier: Tier) -> bool:
    return any(rule.mapping is not None for rule in (tier, *tier.any))


def _flavour(offer: Offer, name: str) -> FlavourShown:
    flavour = offer.flavours[name]
    return FlavourShown(
        name=name,
        title=in_language(flavour.title, name),
        text=size_of(flavour),
        weight=float(flavour.weight),
        tier=flavour.tier,
    )


def _environment(environment: Environment) -> EnvironmentShown:
    return EnvironmentShown(
        title=in_language(environment.title),
        text=in_language(environment.description),
        languages=", ".join(environment.languages),
    )


def _is_at(environment: Environment, site: Site) -> bool:
    return getattr(environment, site.kind) is not None


def _tier(offer: Offer, name: str, nobody: Eligibility) -> TierShown:
    default = offer.defaults.get(name)
    return TierShown(
        name=name,
        gives=each_period(default.amount_hours, default.period) if default and default.amount_hours else "",
        flavours=[in_language(one.title, flavour) for flavour, one in offer.flavours.items() if one.tier == name],
        asks=[describe(check) for check in nobody.missing(name)],
        is_decided=offer.tiers[name].vetting == "review",
    )
