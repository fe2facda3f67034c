"""The page about tier rules: each example can be used as it is, and gives what the page says."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.persons import Facts
from federation.terms import Acceptance, TermsInForce
from hub_config.settings import FederationYaml, SettingsError, parse
from vetting.eligibility import derive
from vetting.identity import identify
from vetting.recorded import Evidence, MappingState, Recorded
from vetting.roles import Roles, roles_of

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "write-tier-rules.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = {
    title: found[1] for title, text in SECTIONS.items() if (found := re.search(r"```yaml\n(.*?)```", text, re.DOTALL))
}
WRONG = "When a rule is wrong"
REST = """\
flavours: {small: {cpu: 1, memory_gib: 2, weight: 1, tier: T0}}
environments: {python: {title: Python, local: {prefix: python}}}
sites: {here: {kind: local, title: This machine, flavours: [small]}}
"""
NOW = datetime(2026, 11, 24, tzinfo=UTC)
VO = "urn:mace:egi.eu:group:vo.example.org"
MEMBER = Facts(memberships=(VO,), assurance=("https://aai.egi.eu/LoA#Substantial",))
ACCEPTED = Recorded(acceptances=(Acceptance(version="2026-11", at=NOW),))
IAP_MEDIUM = "https://refeds.org/assurance/IAP/medium"
MAPPED = Recorded(mappings={"here": MappingState.ACCEPTED})


def read(title: str) -> FederationYaml:
    return parse(EXAMPLES[title] + REST, "federation.yaml")


def test_every_example_is_looked_at() -> None:
    assert set(EXAMPLES) == {title for title, *_ in GIVES} | set(CARRIES) | {"Say which provider may say what", WRONG}


LET_IN, TERMS, WAYS = (
    "Let members of a community in",
    "Ask for assurance and for the terms",
    "Several ways to a higher tier",
)
DECIDE = "Let people decide instead of the membership"
OPEN = "Open a site that runs sessions under people's own accounts"
GIVES: list[tuple[str, Facts, Recorded, str]] = [
    (LET_IN, Facts(), Recorded(), "T0"),
    (LET_IN, MEMBER, Recorded(), "T1"),
    (LET_IN, Facts(memberships=(VO + ":lab:role=x#aai.egi.eu",)), Recorded(), "T1"),
    (TERMS, MEMBER, Recorded(), "T0"),
    (TERMS, MEMBER, ACCEPTED, "T1"),
    (TERMS, MEMBER, Recorded(acceptances=(Acceptance(version="2025-01", at=NOW),)), "T1"),
    (TERMS, replace(MEMBER, assurance=()), ACCEPTED, "T0"),
    (WAYS, MEMBER, ACCEPTED, "T1"),
    (WAYS, replace(MEMBER, assurance=(IAP_MEDIUM,)), ACCEPTED, "T1"),
    (
        WAYS,
        replace(MEMBER, assurance=(IAP_MEDIUM, "https://refeds.org/assurance/ID/eppn-unique-no-reassign")),
        ACCEPTED,
        "T2",
    ),
    (WAYS, replace(MEMBER, assurance=("https://refeds.org/assurance/profile/espresso",)), ACCEPTED, "T2"),
    (WAYS, replace(MEMBER, affiliations=("staff@example.org",)), ACCEPTED, "T2"),
    (WAYS, MEMBER, replace(ACCEPTED, evidence=(Evidence(ends_at=NOW + timedelta(days=1)),)), "T2"),
    (WAYS, replace(MEMBER, memberships=(), affiliations=("staff@example.org",)), ACCEPTED, "T0"),
    (DECIDE, Facts(memberships=("urn:mace:egi.eu:group:open.example.org",)), Recorded(), "T0"),
    (
        DECIDE,
        Facts(memberships=("urn:mace:egi.eu:group:open.example.org",)),
        Recorded(admitted=frozenset({"T1"})),
        "T1",
    ),
    (DECIDE, Facts(), Recorded(admitted=frozenset({"T1"})), "T0"),
    (OPEN, replace(MEMBER, assurance=(IAP_MEDIUM,)), Recorded(), "T2"),
    (OPEN, replace(MEMBER, assurance=(IAP_MEDIUM,)), MAPPED, "T3"),
    (OPEN, MEMBER, MAPPED, "T1"),
]


@pytest.mark.parametrize(("title", "facts", "recorded", "tier"), GIVES)
def test_an_example_gives_the_tier_that_it_says(title: str, facts: Facts, recorded: Recorded, tier: str) -> None:
    content = read(title)
    terms = content.federation.terms
    in_force = terms and TermsInForce(
        version=terms.version, since=NOW - timedelta(days=29), previous="2025-01", grace_days=terms.grace_days
    )
    assert derive(facts, recorded, content.tiers, sites=content.sites, terms=in_force, now=NOW).tier == tier


CARRIES: dict[str, dict[str, Roles]] = {
    "Say who reviews and who operates": {
        VO: Roles(),
        f"{VO}:role=support": Roles(reviewer=True),
        f"{VO}:role=operator": Roles(operator=True),
        f"{VO}:here:role=operator": Roles(site_operator=frozenset({"here"})),
    }
}


@pytest.mark.parametrize("title", CARRIES)
def test_an_example_gives_the_roles_that_it_says(title: str) -> None:
    rules = read(title).identity.roles
    assert {held: roles_of(Facts(memberships=(held,)), rules) for held in CARRIES[title]} == CARRIES[title]


@pytest.mark.parametrize(
    ("provider", "counts"),
    [
        pytest.param(0, ["urn:mace:egi.eu:group:vo.example.org", "staff@physics.example.org"], id="check-in"),
        pytest.param(1, ["urn:geant:example.org:group:staff", "staff@other.org"], id="own"),
    ],
)
def test_a_provider_of_the_example_speaks_for_its_own(provider: int, counts: list[str]) -> None:
    its = read("Say which provider may say what").identity.providers[provider]
    claims: dict[str, Any] = {
        its.subject_claim: "x",
        "entitlements": ["urn:mace:egi.eu:group:vo.example.org", "urn:geant:example.org:group:staff"],
        "eduperson_scoped_affiliation": ["staff@physics.example.org", "staff@other.org"],
        "schac_home_organization": "other.org",
    }
    facts = identify(
        claims, provider=its.id, issuer="x", subject_claim=its.subject_claim, owns_namespaces=its.speaks_for,
        affiliation_scopes=its.affiliation_scopes,
    ).facts  # fmt: skip
    assert [*facts.memberships, *facts.affiliations] == counts


def test_what_is_said_about_a_wrong_rule_is_what_the_page_shows() -> None:
    shown = re.search(r"```text\n(.*?)```", SECTIONS[WRONG], re.DOTALL)
    assert shown
    with pytest.raises(SettingsError) as caught:
        read(WRONG)
    assert str(caught.value) == shown[1].rstrip()


def test_entitlements_that_the_page_lists_are_entitlements() -> None:
    listed = re.findall(r"^\| `(urn:[^`]+)` \|", SECTIONS[LET_IN], re.MULTILINE)
    assert len(listed) == 5
    rest = yaml.safe_load(REST) | {"tiers": {"T0": {"communities": listed}}}
    assert parse(yaml.safe_dump(rest), "federation.yaml").tiers["T0"].communities is not None
