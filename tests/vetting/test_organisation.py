"""The virtual organisation that a session is reported under."""

import pytest

from federation.persons import Facts
from vetting.organisation import organisation_of
from vetting.settings import Tier

TIERS = {
    "T0": Tier(),
    "T1": Tier(communities=["urn:mace:egi.eu:group:vo.example.org", "urn:mace:egi.eu:group:climate"]),
    "T2": Tier(needs="T1", communities=["urn:mace:egi.eu:group:physics:analysis"]),
}


@pytest.mark.parametrize(
    ("memberships", "organisation"),
    [
        ([], ""),
        (["urn:mace:egi.eu:group:unknown"], ""),
        (["no entitlement"], ""),
        (["urn:mace:egi.eu:group:vo.example.org:role=member#aai.egi.eu"], "vo.example.org"),
        (["urn:mace:egi.eu:group:climate:models"], "climate"),  # of a subgroup, the group
        (["urn:mace:egi.eu:group:climate", "urn:mace:egi.eu:group:physics:analysis"], "physics"),  # the highest tier
        (["urn:mace:egi.eu:res:cloud#aai.egi.eu"], ""),  # a capability is no group
    ],
)
def test_it_is_the_outermost_group_of_what_gives_the_highest_tier(memberships, organisation) -> None:
    assert organisation_of(Facts(memberships=tuple(memberships)), TIERS) == organisation
