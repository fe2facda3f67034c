"""Where a session may run: an ordered list of places, each with why or why not. Pure.

The start form, the suggestion to reviewers and the router ask this same function.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from federation.errors import Failure
from federation.settings import Environment, Flavour, Site, in_language
from vetting.eligibility import Eligibility
from vetting.errors import FLAVOUR_NEEDS_TIER, FLAVOUR_NOT_AT_SITE, NO_PLACE, NOT_ELIGIBLE
from vetting.missing import describe

__all__ = ["Option", "Wish", "choose", "places"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person asks for; `site` None leaves the place to us."""

    flavour: str
    environment: str
    site: str | None = None


@dataclass(frozen=True, kw_only=True)
class Option:
    """One place: open to the wish, or `why_not`."""

    site: str
    why_not: Failure | None = None


def places(
    wish: Wish,
    *,
    eligibility: Eligibility,
    flavours: Mapping[str, Flavour],
    environments: Mapping[str, Environment],
    sites: Mapping[str, Site],
    kinds: Collection[str],
) -> list[Option]:
    """All sites (or the one that is wished), those that can take the wish first; the order of the settings otherwise.

    `kinds` are the kinds of sites that this hub has a backend for.
    """
    flavour, environment = flavours[wish.flavour], environments[wish.environment]
    refusal = _not_for_this_person(wish.flavour, flavour, eligibility)
    options = []
    for name, site in sites.items():
        if wish.site not in (None, name):
            continue
        why_not = refusal
        if why_not is None and not _offers(site, wish.flavour, environment, kinds):
            figures = {
                "site": in_language(site.title),
                "flavour": in_language(flavour.title, wish.flavour),
                "environment": in_language(environment.title),
            }
            why_not = Failure(FLAVOUR_NOT_AT_SITE, figures)
        options.append(Option(site=name, why_not=why_not))
    return sorted(options, key=lambda option: option.why_not is not None)


def choose(options: list[Option], wish: Wish) -> str:
    """The first place that is open.

    Raises
    ------
    Failure
        Why there is none: of a named site its own reason, of several that no place offers it.
    """
    if options and options[0].why_not is None:
        return options[0].site
    reasons = [option.why_not for option in options if option.why_not is not None]
    if reasons and (wish.site is not None or reasons[0].problem is not FLAVOUR_NOT_AT_SITE):
        raise reasons[0]
    titles = reasons[0].figures if reasons else {"flavour": wish.flavour, "environment": wish.environment}
    raise Failure(NO_PLACE, {"flavour": titles["flavour"], "environment": titles["environment"]})


def _not_for_this_person(name: str, flavour: Flavour, eligibility: Eligibility) -> Failure | None:
    if eligibility.reaches(flavour.tier):
        return None
    tiers = [standing.tier for standing in eligibility.standings]
    if eligibility.tier is None or eligibility.tier == tiers[0]:
        missing = "; ".join(describe(check) for check in eligibility.missing(flavour.tier))
        return Failure(NOT_ELIGIBLE, {"missing": missing})
    figures = {"flavour": in_language(flavour.title, name), "tier": flavour.tier, "yours": eligibility.tier}
    return Failure(FLAVOUR_NEEDS_TIER, figures)


def _offers(site: Site, flavour: str, environment: Environment, kinds: Collection[str]) -> bool:
    return site.kind in kinds and flavour in site.flavours and getattr(environment, site.kind) is not None
