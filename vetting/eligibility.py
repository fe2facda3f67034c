"""Which tier a person has, and why. Pure: facts, rules and what was recorded go in, a tier with its reasons comes out.

A rule holds when every field that it names holds. What nobody recorded counts as false: a missing fact denies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.persons import Facts
from vetting import assurance, entitlements
from vetting.settings import Rule, Tier

__all__ = ["Check", "Eligibility", "Recorded", "Standing", "derive"]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the federation itself recorded of a person, beside what their provider says."""

    terms_accepted: bool = False
    evidence: bool = False
    mapping_accepted: bool = False
    reviewed: frozenset[str] = frozenset()
    """Tiers with `vetting: review` that a person was admitted to."""


@dataclass(frozen=True)
class Check:
    """One field of a rule: what it asks for, and whether the person has it."""

    field: str
    wanted: str
    holds: bool


@dataclass(frozen=True)
class Standing:
    """One tier: whether its rule holds, with every check that was made."""

    tier: str
    holds: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Eligibility:
    """The highest tier whose rule holds (None: not even the lowest), and all tiers in the order of the settings."""

    tier: str | None
    standings: tuple[Standing, ...]

    def reaches(self, tier: str) -> bool:
        """Whether the person has this tier."""
        return any(s.holds for s in self.standings if s.tier == tier)

    def missing(self, tier: str) -> tuple[Check, ...]:
        """The checks that keep the person from a tier."""
        return tuple(check for s in self.standings if s.tier == tier for check in s.checks if not check.holds)


def derive(facts: Facts, recorded: Recorded, tiers: Mapping[str, Tier]) -> Eligibility:
    """Apply the tiers' rules, in their order, to what is known of a person."""
    standings: list[Standing] = []
    for name, tier in tiers.items():
        checks = list(_checks(tier, facts, recorded))
        if tier.needs is not None:
            below = any(s.holds for s in standings if s.tier == tier.needs)
            checks.insert(0, Check("tier", tier.needs, below))
        if tier.any:
            alternatives = [_checks(rule, facts, recorded) for rule in tier.any]
            wanted = " | ".join(" & ".join(c.wanted for c in checks) for checks in alternatives)
            checks.append(Check("any", wanted, any(all(c.holds for c in part) for part in alternatives)))
        if tier.vetting == "review":
            checks.append(Check("review", name, name in recorded.reviewed))
        standings.append(Standing(name, all(check.holds for check in checks), tuple(checks)))
    highest = next((s.tier for s in reversed(standings) if s.holds), None)
    return Eligibility(highest, tuple(standings))


def _checks(rule: Rule, facts: Facts, recorded: Recorded) -> tuple[Check, ...]:
    checks = []
    if rule.communities is not None:
        held, _rest = entitlements.parse_all(facts.memberships)
        required, _bad = entitlements.parse_all(rule.communities)
        is_member = any(entitlements.grants(h, r) for h in held for r in required)
        checks.append(Check("communities", ", ".join(rule.communities), is_member))
    if rule.assurance is not None:
        met = assurance.holds(assurance.parse(rule.assurance), facts.assurance)
        checks.append(Check("assurance", rule.assurance, met))
    if rule.affiliation is not None:
        scoped = (affiliation.partition("@") for affiliation in facts.affiliations)
        held_affiliations = {affiliation for affiliation, _, scope in scoped if scope}
        checks.append(
            Check("affiliation", ", ".join(rule.affiliation), not held_affiliations.isdisjoint(rule.affiliation))
        )
    if rule.evidence is not None:
        checks.append(Check("evidence", rule.evidence, recorded.evidence))
    if rule.terms is not None:
        checks.append(Check("terms", rule.terms, recorded.terms_accepted))
    if rule.mapping is not None:
        checks.append(Check("mapping", rule.mapping, recorded.mapping_accepted))
    if rule.mfa is not None:
        checks.append(Check("mfa", rule.mfa, facts.mfa))
    return tuple(checks)
