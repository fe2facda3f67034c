"""What it takes to know who may use what: claims → identity → tiers → roles → places, with the rules of a production.

Every person has values of their own among their entitlements, so that nothing is known from the person before. It is
processor time, so that others on the machine do not count.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from federation.terms import Acceptance, TermsInForce
from hub_config.settings import FederationYaml, parse
from tests.bench.report import ROOT, Report, percentile
from vetting.eligibility import derive
from vetting.identity import identify
from vetting.placement import Wish, places
from vetting.recorded import Evidence, MappingState, Recorded
from vetting.roles import roles_of

__all__ = ["measure"]

RULES = ROOT / "tests" / "data" / "config" / "good-production.yaml"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
TERMS = TermsInForce(version="2026-11", since=NOW - timedelta(days=9), previous="2025-01")
PEOPLE, GOAL_MS = 2000, 2.0
MANY = 490
VO = "urn:mace:egi.eu:group:vo.example.org"
_ASSURANCE = [
    "https://aai.egi.eu/LoA#Substantial", "https://aai.egi.eu/LoA#Low", "https://refeds.org/assurance/IAP/low",
    "https://refeds.org/assurance/IAP/medium", "https://refeds.org/assurance/ID/unique",
]  # fmt: skip


def measure(runs: int, seed: int) -> Report:
    """Run the part."""
    report = Report(f"derive: who may use what, {PEOPLE} people each run, processor time")
    content, chance = parse(RULES.read_text(encoding="utf-8"), str(RULES)), random.Random(seed)
    usual = [_person(chance, number, chance.randint(5, 40)) for number in range(PEOPLE)]
    heavy = [_person(chance, number, MANY) for number in range(PEOPLE // 20)]
    for title, people, goal in (
        ("5 to 40 entitlements", usual, GOAL_MS),
        (f"{MANY} entitlements and more", heavy, None),
    ):
        one_wish = [_milliseconds(people, lambda *one: _derive(content, *one, ["small"])) for _ in range(runs)]
        a_page = [
            _milliseconds(people, lambda *one: _derive(content, *one, list(content.flavours))) for _ in range(runs)
        ]
        report.add(f"{title}: one wish, p50", "ms", [percentile(one, 50) for one in one_wish])
        report.add(f"{title}: one wish, p99", "ms", [percentile(one, 99) for one in one_wish], goal)
        report.add(f"{title}: all flavours, p99", "ms", [percentile(one, 99) for one in a_page], goal)
    return report


def _person(chance: random.Random, number: int, entitlements: int) -> tuple[dict[str, Any], Recorded]:
    """Claims, and what is recorded; some have every tier, some none."""
    own = [f"urn:mace:egi.eu:group:vo{n}.example.org:team-{number}:role=member#aai.egi.eu" for n in range(entitlements)]
    common = [VO, f"{VO}:role=member", f"{VO}:role=support#aai.egi.eu", f"{VO}:hpc-andes:role=operator", "not-a-urn"]
    claims = {
        "voperson_id": f"{number:064x}@egi.eu",
        "name": "Inês Carvalho",
        "email": "ines@serraclara.example.org",
        "schac_home_organization": "serraclara.example.org",
        "eduperson_entitlement": [*own, *chance.sample(common, chance.randint(0, len(common)))],
        "eduperson_scoped_affiliation": [f"{one}@serraclara.example.org" for one in ("faculty", "member")],
        "eduperson_assurance": chance.sample(_ASSURANCE, chance.randint(0, len(_ASSURANCE))),
    }
    recorded = Recorded(
        acceptances=(Acceptance(version=chance.choice(["2026-11", "2025-01"]), at=NOW),),
        evidence=(Evidence(ends_at=NOW + timedelta(days=chance.randint(-9, 9))),),
        mappings={"hpc-andes": chance.choice(list(MappingState))},
    )
    return claims, recorded


def _milliseconds(people: list[tuple[Any, Recorded]], work: Callable[[Any, Recorded], object]) -> list[float]:
    times = []
    for claims, recorded in people:
        begun = time.thread_time()
        work(claims, recorded)
        times.append((time.thread_time() - begun) * 1000)
    return times


def _derive(content: FederationYaml, claims: Any, recorded: Recorded, flavours: list[str]) -> None:
    provider = content.identity.providers[0]
    facts = identify(
        claims, provider=provider.id, issuer="x", subject_claim=provider.subject_claim,
        owns_namespaces=provider.speaks_for, affiliation_scopes=provider.affiliation_scopes,
    ).facts  # fmt: skip
    eligibility = derive(facts, recorded, content.tiers, sites=content.sites, terms=TERMS, now=NOW)
    roles_of(facts, content.identity.roles)
    for flavour in flavours:
        places(
            Wish(flavour=flavour, environment="python"), eligibility=eligibility, flavours=content.flavours,
            environments=content.environments, sites=content.sites, kinds=("kubernetes", "batch"),
        )  # fmt: skip
