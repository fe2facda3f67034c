"""Claims → identity → tiers → roles → places, as a whole, against a second opinion (`oracle.py`)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from federation.settings import Environment, Flavour, Site
from federation.terms import Acceptance, TermsInForce
from tests.vetting.oracle import answer
from vetting.eligibility import derive
from vetting.identity import identify
from vetting.placement import Certification, Downtime, SiteState, Wish, not_open, places
from vetting.recorded import Evidence, MappingState, Recorded, Suspension
from vetting.roles import roles_of
from vetting.settings import Provider, RoleRules, Tier

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VO, OTHER = "urn:mace:egi.eu:group:vo.example.org", "urn:geant:helmholtz.de:group:KIT"
REFEDS = "https://refeds.org/assurance/"
TIERS, SITES, FLAVOURS = ("T0", "T1", "T2", "T3"), ("here", "cloud", "andes", "pampa"), ("small", "gpu", "node")

# --- the module under test, from plain values to plain values -------------------------------------------------------

A_SITE: TypeAdapter[Site] = TypeAdapter(Site)
ENVIRONMENT = Environment.model_validate(
    {"title": "x", "local": {"prefix": "x"}, "kubernetes": {"image": "x"}, "batch": {"module": "x"}}
)
OF_KIND: dict[str, dict[str, Any]] = {
    "local": {},
    "kubernetes": {"namespace": "x"},
    "batch": {
        "dialect": "slurm", "nodes": ["c1"], "login": {"host": "x", "host_key_file": "x"}, "ports": "1-2",
        "walltime_hours": 1,
    },
}  # fmt: skip


def site(plain: Mapping[str, Any]) -> Site:
    known = {key: plain[key] for key in ("kind", "flavours", "mfa") if key in plain}
    return A_SITE.validate_python({"title": "x", **OF_KIND[plain["kind"]], **known})


def state(plain: Mapping[str, Any]) -> SiteState:
    downtimes = tuple(Downtime(starts_at=start, ends_at=end) for start, end in plain.get("downtimes", ()))
    return SiteState(certification=Certification(plain.get("certification", "certified")), downtimes=downtimes)


def recorded_as(plain: Mapping[str, Any]) -> Recorded:
    return Recorded(
        acceptances=tuple(Acceptance(version=version, at=NOW) for version in plain.get("acceptances", ())),
        evidence=tuple(Evidence(ends_at=end) for end in plain.get("evidence", ())),
        mappings={at: MappingState(how) for at, how in plain.get("mappings", {}).items()},
        admitted=frozenset(plain.get("admitted", ())),
        class_seat=plain.get("class_seat", False),
        suspended=Suspension(since=NOW, reason="x") if plain.get("suspended") else None,
    )


class Rules:
    """Rules read once; then asked about claims."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self.provider = Provider.model_validate(
            {"id": "x", "issuer": "https://x", "client_id": "x", **plain["provider"]}
        )
        self.tiers = {name: Tier.model_validate(rule) for name, rule in plain["tiers"].items()}
        self.roles = RoleRules.model_validate(plain["roles"])
        self.flavours = {
            name: Flavour.model_validate({"cpu": 1, "memory_gib": 1, "weight": 1, **flavour})
            for name, flavour in plain["flavours"].items()
        }
        self.sites = {name: site(one) for name, one in plain["sites"].items()}
        self.states = {name: state(one) for name, one in plain["sites"].items()}
        self.terms = TermsInForce(**plain["terms"]) if plain.get("terms") else None

    def answer(self, claims: Mapping[str, Any], recorded: Recorded) -> dict[str, Any]:
        facts = identify(
            claims, provider="x", issuer="https://x", subject_claim="sub",
            owns_namespaces=self.provider.speaks_for, affiliation_scopes=self.provider.affiliation_scopes,
        ).facts  # fmt: skip
        eligibility = derive(facts, recorded, self.tiers, sites=self.sites, terms=self.terms, now=NOW)
        roles = roles_of(facts, self.roles, suspended=recorded.suspended is not None)
        open_at: dict[str, set[str]] = {name: set() for name in self.sites}
        for flavour in self.flavours:
            for option in places(
                Wish(flavour=flavour, environment="x"), eligibility=eligibility, flavours=self.flavours,
                environments={"x": ENVIRONMENT}, sites=self.sites, kinds=tuple(OF_KIND),
                away=not_open(self.states, self.sites, NOW),
            ):  # fmt: skip
                if option.why_not is None:
                    open_at[option.site].add(flavour)
        names = {name for name in ("operator", "reviewer", "trainer") if getattr(roles, name)}
        return {
            "tiers": {at: [t for t in self.tiers if eligibility.reaches(t, at)] for at in self.sites},
            "tier": eligibility.tier,
            "roles": names | {f"site operator of {at}" for at in roles.site_operator},
            "open": open_at,
        }


# --- what is drawn --------------------------------------------------------------------------------------------------

ASKED_FOR = (
    VO, f"{VO}:sub", f"{VO}:role=member", f"{VO}:sub:role=operator#aai.egi.eu", f"{VO}:caf%C3%A9", OTHER,
    "urn:mace:egi.eu:res:cloud", "urn:mace:egi.eu:res:cloud:act:create", "urn:mace:egi.eu:res:cloud:act:create,read",
    "urn:mace:egi.eu:aai.egi.eu:vm_operator@vo.example.org",
)  # fmt: skip
ALSO_HELD = (
    f"{VO}:sub:subsub:role=x#y", f"{VO}:role=operator", f"{VO}:café", f"{VO}:role=vm_operator", f"{VO}.evil",
    "URN:MACE:EGI.EU:group:vo.example.org", f" {VO} ", f"{VO}\n{OTHER}", f"{VO}%0A", f"{VO}:", f"{VO}:role=", f"{VO}#a#b",
    "urn:mace:egi.eu:aai.egi.eu:sub:operator@vo.example.org", "urn:mace:egi.eu:aai.egi.eu:member@vo.example.org@x",
    "urn:mace:egi.eu:res:cloud:act:read,create,delete#aai.egi.eu", "urn:mace:egi.eu:res:cloud:child:act:create",
    "urn:mace:egi.eu:res:cloud:act:", f"{OTHER}:role=operator#login.helmholtz.de", "",
    f"{VO}:sub:role=member", f"{VO}:sub:role=x:role=y", "x" * 2000,
)  # fmt: skip
REQUIRED, HELD = st.sampled_from(ASKED_FOR), st.sampled_from(ASKED_FOR + ALSO_HELD)
PIECES = st.lists(
    st.sampled_from(["urn:mace:egi.eu", ":", ":group:", ":res:", ":act:", "role=", "#", "@", "%", "%3A", "vo.example.org",
                     "sub", "cloud", "create", ",", "é"]), max_size=8,
).map("".join)  # fmt: skip
ASSURANCE = [
    "https://aai.egi.eu/LoA#Low",
    "https://aai.egi.eu/LoA#Substantial",
    "IAP/low",
    "IAP/medium",
    "profile/espresso",
]
HOMES: list[Any] = ["a.org", "a.org", "A.org", "physics.a.org", "b.org", "org", ".org", "", None, ["a.org"]]
SCOPES: list[Any] = ["home-organisation", "any", ["a.org"], []]
AFFILIATIONS = ["faculty@a.org", "staff@physics.a.org", "student@b.org", "member", "staff@", "faculty@a.org@b.org",
                "member@A.ORG", "employee@org", "staff@xa.org"]  # fmt: skip
GARBAGE = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.dictionaries(st.text(max_size=3), st.none())
)


@st.composite
def claim(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Any:
    """Mostly a list of these; sometimes with things between them that are none, or something else."""
    match draw(st.integers(0, 9)):
        case 0:
            return draw(GARBAGE)
        case 1:
            return draw(st.lists(values | GARBAGE, max_size=4))
        case _:
            return draw(st.lists(values, min_size=1, max_size=6))


CLAIMS = st.fixed_dictionaries(
    {
        "sub": st.just("x"),
        "eduperson_entitlement": claim(HELD | PIECES),
        "eduperson_assurance": claim(
            st.sampled_from([*(v if ":" in v else REFEDS + v for v in ASSURANCE), "IAP/medium", f" {REFEDS}IAP/low "])
        ),
        "eduperson_scoped_affiliation": claim(st.sampled_from(AFFILIATIONS)),
    },
    optional={
        "entitlements": claim(REQUIRED),
        "schac_home_organization": st.sampled_from(HOMES),
        "acr": st.sampled_from(["https://refeds.org/profile/mfa", "https://refeds.org/profile/sfa", True]),
        "preferred_username": GARBAGE,
    },
)
EXPRESSIONS = st.recursive(
    st.sampled_from(ASSURANCE),
    lambda inner: st.builds(
        "{}{}{}".format, inner, st.sampled_from([" & ", " | ", "&"]), inner
    ) | inner.map("({})".format),
    max_leaves=4,
)  # fmt: skip
RULE = {
    "communities": st.lists(REQUIRED, max_size=2),
    "assurance": EXPRESSIONS,
    "affiliation": st.lists(st.sampled_from(["faculty", "staff", "student", "member", "employee"]), max_size=2),
    "class_seat": st.just("held"),
    "evidence": st.just("recorded"),
    "terms": st.just("accepted"),
    "mapping": st.just("accepted"),
    "mfa": st.sampled_from(["always", "when-the-site-asks"]),
}

FIELDS = st.sampled_from([*sorted(RULE), "mapping", "mapping", "mfa"])


@st.composite
def rule(draw: st.DrawFn, most: int = 2) -> dict[str, Any]:
    """Few fields: of many nobody would ever have them all."""
    return {field: draw(RULE[field]) for field in draw(st.lists(FIELDS, max_size=most, unique=True))}


@st.composite
def tiers(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in TIERS[: draw(st.integers(1, 4))]:
        made[name] = draw(rule()) if made or draw(st.booleans()) else {}
        if made and draw(st.booleans()) and len(made) > 1:
            made[name]["needs"] = draw(st.sampled_from([lower for lower in made if lower != name]))
        if draw(st.integers(0, 2)) == 0:
            made[name]["any"] = draw(st.lists(rule(), max_size=3))
        if draw(st.integers(0, 5)) == 0:
            made[name]["vetting"] = "review"
    return made


SITE = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["local", "kubernetes"]),
        "flavours": st.lists(st.sampled_from(FLAVOURS), min_size=1, unique=True),
    },
    optional={
        "certification": st.sampled_from(["certified", "certified", "candidate", "uncertified", "suspended"]),
        "downtimes": st.lists(st.tuples(st.sampled_from([-2, -1, 0, 1]), st.sampled_from([-1, 0, 1, 2])).map(
            lambda hours: (NOW + hours[0] * HOUR, NOW + hours[1] * HOUR)), max_size=2),
    },
)  # fmt: skip
A_BATCH_SITE = st.tuples(SITE, st.booleans()).map(lambda drawn: {**drawn[0], "kind": "batch", "mfa": drawn[1]})
TERMS = st.none() | st.builds(
    lambda hours, days: {"version": "3", "previous": "2", "since": NOW - hours * HOUR, "grace_days": days},
    st.sampled_from([0, 23, 24, 48]), st.sampled_from([0, 1, 30]),
)  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    made = draw(tiers())
    sites = {name: draw(SITE | A_BATCH_SITE) for name in SITES[: draw(st.sampled_from([1, 3, 4]))]}
    tier = st.sampled_from(list(made))
    return {
        "provider": {
            "owns_namespaces": draw(st.sampled_from([[], [VO], *[["urn:mace:egi.eu"], "any"] * 3])),
            "affiliation_scopes": draw(st.sampled_from(SCOPES)),
        },
        "tiers": made,
        "roles": {
            **{role: draw(st.lists(REQUIRED, max_size=3)) for role in ("operator", "reviewer", "trainer")},
            "site_operator": {name: draw(st.lists(REQUIRED, max_size=2)) for name in sites},
        },
        "flavours": {name: {"tier": draw(tier)} for name in FLAVOURS},
        "sites": sites,
        "terms": draw(TERMS),
    }


HOW_FAR = ["accepted", "accepted", "accepted", "asked", "refused", "ended"]
RECORDED = st.fixed_dictionaries(
    {"mappings": st.dictionaries(st.sampled_from(SITES), st.sampled_from(HOW_FAR))},
    optional={
        "acceptances": st.lists(st.sampled_from(["1", "2", "2", "3", "3", ""]), max_size=2),
        "evidence": st.lists(st.sampled_from([NOW - HOUR, NOW, NOW + HOUR]), max_size=2),
        "admitted": st.lists(st.sampled_from(TIERS), unique=True),
        "class_seat": st.booleans(),
        "suspended": st.sampled_from([False, False, False, True]),
    },
)  # fmt: skip


def with_one_less(claims: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every way to take away one claim, or one value of a claim."""
    less = [{name: value for name, value in claims.items() if name != away} for away in claims if away != "sub"]
    for name, value in claims.items():
        if isinstance(value, list):
            less += [{**claims, name: value[:index] + value[index + 1 :]} for index in range(len(value))]
    return less


def more_than(after: dict[str, Any], before: dict[str, Any]) -> list[Any]:
    """What somebody has after, and did not have before."""
    gained = [tier for tier in TIERS if after["tier"] is not None and after["tier"] >= tier > (before["tier"] or "")]
    gained += sorted(after["roles"] - before["roles"])
    for what in ("tiers", "open"):
        gained += [(what, at, one) for at, had in after[what].items() for one in had if one not in before[what][at]]
    return gained


# --- every case of a few things -------------------------------------------------------------------------------------


def one_tier(tier: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "provider": {"owns_namespaces": "any", "affiliation_scopes": "any"},
        "tiers": {"T1": tier},
        "roles": {},
        "flavours": {"small": {"tier": "T1"}},
        "sites": {"here": {"kind": "local", "flavours": ["small"]}},
        **more,
    }


def agree(claims: dict[str, Any], recorded: dict[str, Any], plain_rules: dict[str, Any]) -> dict[str, Any]:
    mine = Rules(plain_rules).answer(claims, recorded_as(recorded))
    assert mine == answer(claims, recorded, plain_rules, NOW), (claims, recorded, plain_rules)
    return mine


@pytest.mark.parametrize("required", ASKED_FOR)
def test_every_value_that_is_held_against_one_that_is_asked_for(required: str) -> None:
    rules = one_tier({"communities": [required]}, roles={"operator": [required]})
    answers = [agree({"sub": "x", "entitlements": [held]}, {}, rules) for held in ASKED_FOR + ALSO_HELD]
    assert {None, "T1"} == {one["tier"] for one in answers}


@pytest.mark.parametrize("scopes", SCOPES, ids=str)
def test_every_affiliation_with_every_home_organisation(scopes: Any) -> None:
    provider = {"owns_namespaces": [], "affiliation_scopes": scopes}
    rules = one_tier({"affiliation": ["faculty", "staff", "member", "employee"]}, provider=provider)
    for affiliation, home in product(AFFILIATIONS, HOMES):
        agree({"sub": "x", "eduperson_scoped_affiliation": [affiliation], "schac_home_organization": home}, {}, rules)


def test_every_acceptance_at_every_moment_after_a_change_of_the_terms() -> None:
    choices = [(), *((one,) for one in ("", "1", "2", "3")), ("1", "2"), ("2", "3")]
    for accepted, hours, days, previous in product(choices, (0, 23, 24, 25), (0, 1), ("", "2")):
        terms = {"version": "3", "previous": previous, "since": NOW - hours * HOUR, "grace_days": days}
        agree({"sub": "x"}, {"acceptances": accepted}, one_tier({"terms": "accepted"}, terms=terms))


@pytest.mark.parametrize(
    "expression", ["{} & {} | {}", "{} | {} & {}", "({} | {}) & {}", "{} & ({} | {})", "(({}))&{}&{}"]
)
def test_every_set_of_values_against_an_expression(expression: str) -> None:
    asked = ASSURANCE[1:4]
    rules = one_tier({"assurance": expression.format(*asked)})
    for held in chain.from_iterable(combinations(asked, size) for size in range(4)):
        in_full = [value if ":" in value else REFEDS + value for value in held]
        agree({"sub": "x", "eduperson_assurance": in_full}, {}, rules)


# --- anything -------------------------------------------------------------------------------------------------------


def check(claims: dict[str, Any], recorded: dict[str, Any], plain_rules: dict[str, Any]) -> None:
    read = Rules(plain_rules)
    mine = read.answer(claims, recorded_as(recorded))
    assert mine == answer(claims, recorded, plain_rules, NOW)
    for fewer in with_one_less(claims):
        assert more_than(read.answer(fewer, recorded_as(recorded)), mine) == []


@settings(max_examples=400)
@given(CLAIMS, RECORDED, rules())
def test_it_says_what_the_second_opinion_says_and_less_never_gives_more(
    claims: dict[str, Any], recorded: dict[str, Any], plain_rules: dict[str, Any]
) -> None:
    check(claims, recorded, plain_rules)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(CLAIMS, RECORDED, rules())
def test_it_says_what_the_second_opinion_says_ten_thousand_times(
    claims: dict[str, Any], recorded: dict[str, Any], plain_rules: dict[str, Any]
) -> None:
    check(claims, recorded, plain_rules)
