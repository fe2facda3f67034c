"""Under which virtual organisation the use of a person is reported. Pure."""

from collections.abc import Mapping

from federation.persons import Facts
from vetting.entitlements import Membership, grants, parse_all
from vetting.settings import Tier

__all__ = ["organisation_of"]


def organisation_of(facts: Facts, tiers: Mapping[str, Tier]) -> str:
    """The outermost group of the membership that counts for the highest tier; empty if none counts."""
    held, _ = parse_all(facts.memberships)
    for tier in reversed(list(tiers.values())):
        for one in held:
            if isinstance(one, Membership) and any(grants(one, community) for community in tier.communities or ()):
                return one.groups[0]
    return ""
