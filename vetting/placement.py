"""Where a session may run: an ordered list of places, each with why or why not. Pure.

The start form, the suggestion to reviewers and the router ask this same function.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from math import ceil

from federation.errors import Failure
from federation.i18n import moment
from federation.settings import Environment, Flavour, Site, in_language
from vetting.eligibility import Check, Eligibility
from vetting.errors import (
    ACCESS_SUSPENDED,
    FLAVOUR_NEEDS_TIER,
    FLAVOUR_NOT_AT_SITE,
    NO_PLACE,
    NOT_ELIGIBLE,
    SITE_ASKS_MORE,
    SITE_DOWNTIME,
    SITE_NOT_ATTACHED,
    SITE_NOT_OPEN,
    TERMS_NOT_ACCEPTED,
)
from vetting.missing import describe_all
from vetting.resources import Resources, why_not

__all__ = ["Certification", "Downtime", "Option", "SiteState", "Wish", "choose", "not_open", "places"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person asks for; `site` None leaves the place to us, and then `resources` decides, too."""

    flavour: str
    environment: str
    site: str | None = None
    resources: Resources = field(default_factory=Resources)


class Certification(StrEnum):
    """How far a site is on its way into the federation, as in EGI's procedures: only certified ones take sessions."""

    CANDIDATE = "candidate"
    UNCERTIFIED = "uncertified"
    CERTIFIED = "certified"
    SUSPENDED = "suspended"


@dataclass(frozen=True, kw_only=True)
class Downtime:
    """When a site is away, by its own announcement: from `starts_at` until before `ends_at`."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class SiteState:
    """What is recorded of a site beside its settings."""

    certification: Certification = Certification.CERTIFIED
    downtimes: tuple[Downtime, ...] = ()

    def down_until(self, now: datetime) -> datetime | None:
        """When the site is back; None while it is there. Downtimes that follow each other are one."""
        until = None
        for downtime in sorted(self.downtimes, key=lambda one: one.starts_at):
            if downtime.starts_at <= (until or now) < downtime.ends_at:
                until = downtime.ends_at
        return until


@dataclass(frozen=True, kw_only=True)
class Option:
    """One place: open to the wish, or `why_not`.

    Parameters
    ----------
    given, missing
        What the flavour's tier and the site ask of the person: what they have, and what they do not have.
    """

    site: str
    why_not: Failure | None = None
    given: tuple[Check, ...] = ()
    missing: tuple[Check, ...] = ()


@dataclass(frozen=True)
class _Asked:
    """A wish with everything that it names, and who wishes."""

    wish: Wish
    eligibility: Eligibility
    flavour: Flavour
    environment: Environment
    kinds: Collection[str]
    away: Mapping[str, Failure]
    titles: dict[str, str] = field(default_factory=dict)


def places(
    wish: Wish,
    *,
    eligibility: Eligibility,
    flavours: Mapping[str, Flavour],
    environments: Mapping[str, Environment],
    sites: Mapping[str, Site],
    kinds: Collection[str],
    away: Mapping[str, Failure] | None = None,
) -> list[Option]:
    """All sites (or the one that is wished), those that can take the wish first; the order of the settings otherwise.

    Parameters
    ----------
    kinds
        The kinds of sites that this hub has a backend for.
    away
        Sites that do not take anything just now, and why: `not_open`, cannot be reached, or refused this very start.
    """
    flavour, environment = flavours[wish.flavour], environments[wish.environment]
    titles = {
        "flavour": in_language(flavour.title, wish.flavour),
        "environment": in_language(environment.title),
    }
    asked = _Asked(wish, eligibility, flavour, environment, kinds, away or {}, titles)
    person = _not_for_this_person(asked)
    options = [
        Option(
            site=name,
            why_not=person or _not_here(asked, name, site),
            given=_asked_there(asked, name, holds=True),
            missing=_asked_there(asked, name, holds=False),
        )
        for name, site in sites.items()
        if wish.site in (None, name)
    ]
    return sorted(options, key=lambda option: option.why_not is not None)


def choose(options: list[Option], wish: Wish) -> str:
    """The first place that is open.

    Raises
    ------
    Failure
        Why there is none: of a named site its own reason; of several the first that offers it says why it is closed,
        and if there is none, that is said.
    """
    if options and options[0].why_not is None:
        return options[0].site
    reasons = [option.why_not for option in options if option.why_not is not None]
    telling = [reason for reason in reasons if reason.problem not in (FLAVOUR_NOT_AT_SITE, SITE_NOT_ATTACHED)]
    if reasons and wish.site is not None:
        raise reasons[0]
    if telling:
        raise telling[0]
    titles = reasons[0].figures if reasons else {"flavour": wish.flavour, "environment": wish.environment}
    raise Failure(NO_PLACE, {"flavour": titles["flavour"], "environment": titles["environment"]})


def not_open(states: Mapping[str, SiteState], sites: Mapping[str, Site], now: datetime) -> dict[str, Failure]:
    """The sites that take nothing just now by what is recorded of them, and why."""
    reasons = {name: _shut(state, in_language(sites[name].title, name), now) for name, state in states.items()}
    return {name: why for name, why in reasons.items() if why is not None}


def _shut(state: SiteState, title: str, now: datetime) -> Failure | None:
    if state.certification is not Certification.CERTIFIED:
        return Failure(SITE_NOT_OPEN, {"site": title})
    until = state.down_until(now)
    if until is None:
        return None
    seconds = ceil((until - now).total_seconds())
    return Failure(SITE_DOWNTIME, {"site": title, "until": moment(until)}, retry_after_seconds=seconds)


def _asked_there(asked: _Asked, site: str, *, holds: bool) -> tuple[Check, ...]:
    """What the flavour's tier and the site itself ask, as far as it holds or does not."""
    eligibility, tier = asked.eligibility, asked.flavour.tier
    of_tier = eligibility.given(tier, site) if holds else eligibility.missing(tier, site)
    of_site = eligibility.at[site].asks if site in eligibility.at else ()
    of_all = (eligibility.terms,) if eligibility.terms is not None else ()
    return tuple(dict.fromkeys([*of_tier, *(check for check in (*of_site, *of_all) if check.holds == holds)]))


def _not_for_this_person(asked: _Asked) -> Failure | None:
    """What closes every place: the person does not have the flavour's tier anywhere, or did not accept the terms."""
    eligibility, tier = asked.eligibility, asked.flavour.tier
    missing = eligibility.missing(tier)
    suspension = next((check for check in missing if check.field == "suspension"), None)
    if suspension is not None:
        return Failure(ACCESS_SUSPENDED, {"reason": suspension.wanted})
    terms = [check for check in (*missing, eligibility.terms) if check and check.field == "terms" and not check.holds]
    others = [check for check in missing if check.field != "terms"]
    if eligibility.reaches(tier) or (missing and all(_is_of_a_site(check) for check in others)):
        return Failure(TERMS_NOT_ACCEPTED) if terms else None
    tiers = [standing.tier for standing in eligibility.standings]
    if eligibility.tier is None or eligibility.tier == tiers[0]:
        return Failure(NOT_ELIGIBLE, {"missing": describe_all(missing)})
    return Failure(FLAVOUR_NEEDS_TIER, {"flavour": asked.titles["flavour"], "tier": tier, "yours": eligibility.tier})


def _not_here(asked: _Asked, name: str, site: Site) -> Failure | None:
    """What closes one place: first what stays so, then what the person can ask for, then what passes."""
    title = in_language(site.title)
    wished = {"flavour": asked.titles["flavour"], "environment": asked.titles["environment"], "site": title}
    if asked.wish.flavour not in site.flavours or getattr(asked.environment, site.kind) is None:
        return Failure(FLAVOUR_NOT_AT_SITE, wished)
    if site.kind not in asked.kinds:
        return Failure(SITE_NOT_ATTACHED, wished)
    refusal = why_not(asked.wish.resources, asked.flavour, site, title)
    if refusal is not None:
        return refusal
    missing = _asked_there(asked, name, holds=False)
    if missing or not asked.eligibility.reaches(asked.flavour.tier, name):
        return Failure(SITE_ASKS_MORE, {"site": title, "missing": describe_all(missing)})
    return asked.away.get(name)


def _is_of_a_site(check: Check) -> bool:
    return check.field == "mapping" or (check.field, check.wanted) == ("mfa", "when-the-site-asks")
