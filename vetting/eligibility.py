"""Which tier a person has, and why. Pure: facts, what was recorded, rules and the moment go in; tiers with reasons out.

A rule holds when every field that it names holds. What nobody recorded counts as false: a missing fact denies. Two
fields are about a site, `mapping` and `mfa: when-the-site-asks`; so each tier is derived for each site, and a person has
a tier when they have it at one site at least.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from federation.persons import Facts
from federation.settings import BatchSite, Site
from federation.terms import TermsInForce, acceptance_in_force
from vetting import assurance, entitlements
from vetting.recorded import MappingState, Recorded
from vetting.settings import Rule, Tier

__all__ = ["AtSite", "Check", "Eligibility", "Standing", "derive"]

_ACCEPTED, _WITH_A_SECOND_FACTOR = Rule(mapping="accepted"), Rule(mfa="when-the-site-asks")
"""What a site asks of everybody, as the rules that it amounts to."""


@dataclass(frozen=True)
class Check:
    """One field of a rule: what it asks for, and whether the person has it.

    Parameters
    ----------
    field
        Of the rule; or "tier" (the one that is needed), "any", "review", "suspension".
    wanted
        As the rule says it.
    holds
        Whether the person has it.
    by
        What of theirs fulfils it, as their provider or the federation's records say it.
    until
        When it stops to hold, unless something is done.
    alternatives
        For "any": the checks of each rule of which one must hold.
    """

    field: str
    wanted: str
    holds: bool
    by: tuple[str, ...] = ()
    until: datetime | None = None
    alternatives: tuple[tuple["Check", ...], ...] = ()


@dataclass(frozen=True)
class Standing:
    """One tier: whether its rule holds, with every check that was made."""

    tier: str
    holds: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class AtSite:
    """One site: the tiers there, and what it asks of everybody, whatever their tier."""

    standings: tuple[Standing, ...]
    asks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Eligibility:
    """The highest tier whose rule holds at one site at least (None: not even the lowest); all tiers in the settings' order.

    `standings` say of each tier how it stands at the site where least is missing. `terms` is asked of everybody before
    anything is started, whatever the rules name; None where there are no terms.
    """

    tier: str | None
    standings: tuple[Standing, ...]
    at: Mapping[str, AtSite] = field(default_factory=dict)
    terms: Check | None = None

    def reaches(self, tier: str, site: str | None = None) -> bool:
        """Whether the person has this tier, at one site at least or at the one that is named."""
        return any(s.holds for s in self._standings(site) if s.tier == tier)

    def reaches_there(self, tier: str, site: str) -> bool:
        """Whether the person has this tier at a site and what the site itself asks of everybody. At a site that is not in
        the settings any more, only the tier counts.
        """
        if site not in self.at:
            return self.reaches(tier)
        return self.reaches(tier, site) and all(check.holds for check in self.at[site].asks)

    def missing(self, tier: str, site: str | None = None) -> tuple[Check, ...]:
        """The checks that keep the person from a tier. Those of a tier that is needed stand in its place."""
        return self._expanded(tier, site, holds=False)

    def given(self, tier: str, site: str | None = None) -> tuple[Check, ...]:
        """The checks of a tier, and of those that it needs, that hold."""
        return self._expanded(tier, site, holds=True)

    def _expanded(self, tier: str, site: str | None, *, holds: bool) -> tuple[Check, ...]:
        lower, found = set[str](), list[Check]()
        for standing in self._standings(site):
            for check in standing.checks if standing.tier == tier else ():
                if check.field == "tier" and check.wanted in lower:
                    found += self._expanded(check.wanted, site, holds=holds)
                elif check.holds == holds:
                    found.append(check)
            lower.add(standing.tier)
        return tuple(dict.fromkeys(found))

    def _standings(self, site: str | None) -> tuple[Standing, ...]:
        if site is None:
            return self.standings
        return self.at[site].standings if site in self.at else ()


def derive(
    facts: Facts,
    recorded: Recorded,
    tiers: Mapping[str, Tier],
    *,
    sites: Mapping[str, Site],
    terms: TermsInForce | None,
    now: datetime,
) -> Eligibility:
    """Apply the tiers' rules, in their order, to what is known of a person at a moment.

    Without sites, what a rule asks about a site does not hold; without `terms`, none are accepted.
    """
    held, _rest = entitlements.parse_all(facts.memberships)
    person = _Person(facts, held, recorded, sites, terms, now)
    by_site: dict[str | None, dict[str, Standing]] = {site: {} for site in sites or (None,)}
    about_a_site = set[str]()
    for name, tier in tiers.items():
        everywhere = None
        if _asks_about_a_site(tier) or tier.needs in about_a_site:
            about_a_site.add(name)
        else:
            everywhere = _standing(name, tier, person, None, next(iter(by_site.values())))
        for site, below in by_site.items():
            below[name] = everywhere or _standing(name, tier, person, site, below)
    standings = tuple(_nearest([below[name] for below in by_site.values()]) for name in tiers)
    return Eligibility(
        next((s.tier for s in reversed(standings) if s.holds), None),
        standings,
        {site: AtSite(tuple(by_site[site].values()), _asked_by(sites[site], person, site)) for site in sites},
        _terms(Rule(terms="accepted"), person, None) if terms else None,
    )


@dataclass(frozen=True)
class _Person:
    """What every check may look at."""

    facts: Facts
    entitlements: tuple[entitlements.Entitlement, ...]
    recorded: Recorded
    sites: Mapping[str, Site]
    terms: TermsInForce | None
    now: datetime


def _standing(name: str, tier: Tier, person: _Person, site: str | None, below: Mapping[str, Standing]) -> Standing:
    checks: list[Check] = []
    if person.recorded.suspended is not None:
        checks.append(Check("suspension", person.recorded.suspended.reason, holds=False))
    if tier.needs is not None:
        checks.append(Check("tier", tier.needs, tier.needs in below and below[tier.needs].holds))
    checks += _checks(tier, person, site)
    if tier.any:
        alternatives = tuple(_checks(rule, person, site) for rule in tier.any)
        wanted = " | ".join(" & ".join(check.wanted for check in checks) for checks in alternatives)
        one_holds = any(all(check.holds for check in part) for part in alternatives)
        checks.append(Check("any", wanted, one_holds, alternatives=alternatives))
    if tier.vetting == "review":
        checks.append(Check("review", name, name in person.recorded.admitted))
    return Standing(name, all(check.holds for check in checks), tuple(checks))


def _nearest(standings: list[Standing]) -> Standing:
    """Of one tier at several sites the one where least is missing; the first of them in the order of the settings."""
    return min(standings, key=lambda standing: sum(not check.holds for check in standing.checks))


def _asks_about_a_site(tier: Tier) -> bool:
    return any(rule.mapping is not None or rule.mfa == "when-the-site-asks" for rule in (tier, *tier.any))


def _asked_by(site: Site, person: _Person, name: str) -> tuple[Check, ...]:
    """A batch site runs sessions under the person's own account there, and may want to see a second factor."""
    if not isinstance(site, BatchSite):
        return ()
    mapping = _mapping(_ACCEPTED, person, name)
    return (mapping, _mfa(_WITH_A_SECOND_FACTOR, person, name)) if site.mfa else (mapping,)


# --- one check for each field of a rule ---------------------------------------------------------------------------


def _checks(rule: Rule, person: _Person, site: str | None) -> tuple[Check, ...]:
    return tuple(check(rule, person, site) for name, check in _FIELDS.items() if getattr(rule, name) is not None)


def _communities(rule: Rule, person: _Person, _site: str | None) -> Check:
    required = rule.communities or []
    by = tuple(str(held) for held in person.entitlements if any(entitlements.grants(held, one) for one in required))
    return Check("communities", ", ".join(map(str, required)), bool(by), by)


def _assurance(rule: Rule, person: _Person, _site: str | None) -> Check:
    assert rule.assurance is not None, "checked only where the rule names it"
    by = tuple(uri for uri in assurance.values(rule.assurance) if uri in person.facts.assurance)
    return Check("assurance", str(rule.assurance), assurance.holds(rule.assurance, by), by)


def _affiliation(rule: Rule, person: _Person, _site: str | None) -> Check:
    wanted = rule.affiliation or []
    scoped = ((value, value.partition("@")) for value in person.facts.affiliations)
    by = tuple(value for value, (affiliation, _, scope) in scoped if scope and affiliation in wanted)
    return Check("affiliation", ", ".join(wanted), bool(by), by)


def _class_seat(rule: Rule, person: _Person, _site: str | None) -> Check:
    return Check("class_seat", str(rule.class_seat), person.recorded.class_seat)


def _evidence(rule: Rule, person: _Person, _site: str | None) -> Check:
    until = max((one.ends_at for one in person.recorded.evidence if person.now < one.ends_at), default=None)
    return Check("evidence", str(rule.evidence), until is not None, until=until)


def _terms(rule: Rule, person: _Person, _site: str | None) -> Check:
    terms = person.terms
    acceptance = acceptance_in_force(terms, person.recorded.acceptances, person.now) if terms else None
    if terms is None or acceptance is None:
        return Check("terms", str(rule.terms), holds=False)
    until = None if acceptance.version == terms.version else terms.reaccept_by
    return Check("terms", str(rule.terms), holds=True, by=(acceptance.version,), until=until)


def _mapping(rule: Rule, person: _Person, site: str | None) -> Check:
    state = person.recorded.mappings.get(site) if site is not None else None
    by = () if state is None else (state.value,)
    return Check("mapping", str(rule.mapping), state is MappingState.ACCEPTED, by)


def _mfa(rule: Rule, person: _Person, site: str | None) -> Check:
    asked = rule.mfa == "always" or site is None or getattr(person.sites[site], "mfa", False)
    return Check("mfa", str(rule.mfa), person.facts.mfa or not asked)


_FIELDS: dict[str, Callable[[Rule, _Person, str | None], Check]] = {
    "communities": _communities,
    "assurance": _assurance,
    "affiliation": _affiliation,
    "class_seat": _class_seat,
    "evidence": _evidence,
    "terms": _terms,
    "mapping": _mapping,
    "mfa": _mfa,
}
"""In the order in which a person is told about them."""
