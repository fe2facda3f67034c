"""Eligibility: which facts give which tier, that nothing is given for nothing, and what a person is told is missing."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.persons import Facts
from vetting.eligibility import Check, Eligibility, Recorded, derive
from vetting.settings import Tier

VO = "urn:mace:egi.eu:group:vo.example.org"
SUBSTANTIAL = "https://aai.egi.eu/LoA#Substantial"
LOW = "https://aai.egi.eu/LoA#Low"
IAP_MEDIUM = "https://refeds.org/assurance/IAP/medium"


def tiers(**rules: dict[str, Any]) -> dict[str, Tier]:
    return {name: Tier.model_validate(rule) for name, rule in rules.items()}


TIERS = tiers(
    T0={},
    T1={"communities": [VO], "terms": "accepted", "assurance": f"{SUBSTANTIAL} | IAP/medium"},
    T2={
        "needs": "T1",
        "any": [{"assurance": "IAP/medium"}, {"affiliation": ["faculty", "staff"]}, {"evidence": "recorded"}],
    },
    T3={"needs": "T2", "mapping": "accepted", "mfa": "when-the-site-asks"},
)
"""As in the design's example."""

TERMS = Recorded(terms_accepted=True)
MEMBER = Facts(memberships=(VO,), assurance=(SUBSTANTIAL,))
ALL = Facts(memberships=(VO,), assurance=(SUBSTANTIAL, IAP_MEDIUM), affiliations=("staff@example.org",), mfa=True)
ALL_RECORDED = Recorded(terms_accepted=True, evidence=True, mapping_accepted=True)


@pytest.mark.parametrize(
    ("facts", "recorded", "expected"),
    [
        pytest.param(Facts(), Recorded(), "T0", id="signed-in-and-nothing-else"),
        pytest.param(Facts(), ALL_RECORDED, "T0", id="everything-recorded-and-no-claims"),
        pytest.param(ALL, Recorded(), "T0", id="all-claims-and-nothing-recorded"),
        pytest.param(MEMBER, TERMS, "T1", id="member"),
        pytest.param(replace(MEMBER, assurance=(IAP_MEDIUM,)), TERMS, "T2", id="member-with-other-assurance"),
        pytest.param(replace(MEMBER, assurance=(LOW,)), TERMS, "T0", id="member-with-low-assurance"),
        pytest.param(replace(MEMBER, assurance=()), TERMS, "T0", id="member-without-assurance"),
        pytest.param(replace(MEMBER, memberships=()), TERMS, "T0", id="no-membership"),
        pytest.param(replace(MEMBER, memberships=(VO + ".evil",)), TERMS, "T0", id="membership-of-another-community"),
        pytest.param(replace(MEMBER, memberships=("x", VO)), TERMS, "T1", id="membership-beside-garbage"),
        pytest.param(replace(MEMBER, memberships=(VO + ":sub:role=x#a",)), TERMS, "T1", id="membership-of-a-subgroup"),
        pytest.param(
            replace(MEMBER, memberships=(), not_understood=(VO,)), TERMS, "T0", id="not-understood-is-not-held"
        ),
        pytest.param(MEMBER, Recorded(), "T0", id="terms-not-accepted"),
        pytest.param(replace(MEMBER, affiliations=("staff@example.org",)), TERMS, "T2", id="affiliation"),
        pytest.param(replace(MEMBER, affiliations=("student@example.org",)), TERMS, "T1", id="other-affiliation"),
        pytest.param(replace(MEMBER, affiliations=("staff",)), TERMS, "T1", id="affiliation-without-scope"),
        pytest.param(replace(MEMBER, affiliations=("staff@",)), TERMS, "T1", id="affiliation-with-an-empty-scope"),
        pytest.param(replace(MEMBER, affiliations=("Staff@example.org",)), TERMS, "T1", id="affiliation-in-capitals"),
        pytest.param(replace(MEMBER, affiliations=("x@staff@y",)), TERMS, "T1", id="affiliation-as-scope"),
        pytest.param(MEMBER, replace(TERMS, evidence=True), "T2", id="evidence"),
        pytest.param(Facts(), replace(TERMS, evidence=True), "T0", id="evidence-without-the-tier-below"),
        pytest.param(ALL, ALL_RECORDED, "T3", id="everything"),
        pytest.param(replace(ALL, mfa=False), ALL_RECORDED, "T2", id="no-second-factor"),
        pytest.param(ALL, replace(ALL_RECORDED, mapping_accepted=False), "T2", id="no-mapping"),
        pytest.param(MEMBER, replace(TERMS, mapping_accepted=True), "T1", id="mapping-without-the-tier-below"),
    ],
)
def test_the_example_of_the_design(facts: Facts, recorded: Recorded, expected: str) -> None:
    assert derive(facts, recorded, TIERS).tier == expected


@pytest.mark.parametrize(
    ("rule", "facts", "recorded"),
    [
        pytest.param({"communities": [VO]}, MEMBER, Recorded(), id="communities"),
        pytest.param({"communities": ["urn:mace:x.org:group:y", VO]}, MEMBER, Recorded(), id="one-of-two-communities"),
        pytest.param({"assurance": SUBSTANTIAL}, MEMBER, Recorded(), id="assurance"),
        pytest.param({"affiliation": ["staff"]}, ALL, Recorded(), id="affiliation"),
        pytest.param({"evidence": "recorded"}, Facts(), Recorded(evidence=True), id="evidence"),
        pytest.param({"terms": "accepted"}, Facts(), Recorded(terms_accepted=True), id="terms"),
        pytest.param({"mapping": "accepted"}, Facts(), Recorded(mapping_accepted=True), id="mapping"),
        pytest.param({"mfa": "always"}, Facts(mfa=True), Recorded(), id="mfa"),
        pytest.param({"mfa": "when-the-site-asks"}, Facts(mfa=True), Recorded(), id="mfa-when-asked"),
        pytest.param({"vetting": "review"}, Facts(), Recorded(reviewed=frozenset({"T"})), id="review"),
        pytest.param(
            {"any": [{"mfa": "always"}, {"terms": "accepted"}]}, Facts(mfa=True), Recorded(), id="first-of-any"
        ),
        pytest.param({"any": [{"mfa": "always"}, {"terms": "accepted"}]}, Facts(), TERMS, id="second-of-any"),
    ],
)
def test_each_rule_alone_holds_with_its_fact_and_not_without(
    rule: dict[str, Any], facts: Facts, recorded: Recorded
) -> None:
    assert derive(facts, recorded, tiers(T=rule)).tier == "T"
    assert derive(Facts(), Recorded(), tiers(T=rule)).tier is None


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        pytest.param({}, True, id="nothing-asked"),
        pytest.param({"communities": []}, False, id="one-of-no-communities"),
        pytest.param({"communities": ["not an entitlement"]}, False, id="a-community-that-cannot-be-read"),
        pytest.param({"affiliation": []}, False, id="one-of-no-affiliations"),
        pytest.param({"any": []}, True, id="no-alternatives"),
        pytest.param({"any": [{}]}, True, id="an-alternative-that-asks-nothing"),
        pytest.param({"vetting": "review"}, False, id="review-of-another-tier"),
        pytest.param({"needs": "T"}, False, id="needs-itself"),
        pytest.param({"needs": "later"}, False, id="needs-a-tier-that-is-not-there"),
    ],
)
def test_rules_that_ask_for_nothing(rule: dict[str, Any], holds: bool) -> None:
    recorded = replace(ALL_RECORDED, reviewed=frozenset({"other"}))
    assert derive(ALL, recorded, tiers(T=rule)).reaches("T") is holds


def test_with_no_tiers_nobody_has_one() -> None:
    assert derive(ALL, ALL_RECORDED, {}) == Eligibility(None, ())


def test_all_fields_of_a_rule_must_hold() -> None:
    both = tiers(T={"terms": "accepted", "mfa": "always"})
    assert derive(Facts(mfa=True), TERMS, both).tier == "T"
    assert derive(Facts(mfa=False), TERMS, both).tier is None
    assert derive(Facts(mfa=True), Recorded(), both).tier is None


def test_all_fields_of_one_alternative_must_hold() -> None:
    either = tiers(T={"any": [{"terms": "accepted", "mfa": "always"}, {"evidence": "recorded", "mapping": "accepted"}]})
    assert derive(Facts(mfa=True), Recorded(evidence=True), either).tier is None
    assert derive(Facts(mfa=True), TERMS, either).tier == "T"


def test_the_last_tier_whose_rule_holds_counts() -> None:
    unlinked = tiers(T1={"terms": "accepted"}, T2={"mfa": "always"})
    eligibility = derive(Facts(mfa=True), Recorded(), unlinked)
    assert eligibility.tier == "T2"
    assert not eligibility.reaches("T1")


def test_a_tier_that_nobody_configured_is_reached_by_nobody() -> None:
    eligibility = derive(ALL, ALL_RECORDED, TIERS)
    assert not eligibility.reaches("T9")
    assert eligibility.missing("T9") == ()


def test_what_is_missing_is_told_as_the_rule_says_it() -> None:
    eligibility = derive(Facts(), Recorded(), TIERS)
    assert eligibility.missing("T0") == ()
    assert eligibility.missing("T1") == (
        Check("communities", VO, holds=False),
        Check("assurance", f"{SUBSTANTIAL} | IAP/medium", holds=False),
        Check("terms", "accepted", holds=False),
    )
    assert eligibility.missing("T2") == (
        Check("tier", "T1", holds=False),
        Check("any", "IAP/medium | faculty, staff | recorded", holds=False),
    )


def test_only_what_is_missing_is_told() -> None:
    eligibility = derive(MEMBER, Recorded(), TIERS)
    assert eligibility.missing("T1") == (Check("terms", "accepted", holds=False),)


# --- removing a fact never raises a tier ------------------------------------------------------------------------

VALUES = {
    "memberships": (VO, VO + ":role=operator", VO + ":sub", "urn:mace:other.org:group:x"),
    "assurance": (SUBSTANTIAL, LOW, IAP_MEDIUM, "https://refeds.org/assurance/profile/espresso"),
    "affiliations": ("staff@a.org", "faculty@b.org", "student@a.org", "member"),
}


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), unique=True).map(tuple)


FACTS = st.builds(Facts, **{name: some(values) for name, values in VALUES.items()}, mfa=st.booleans())
RECORDED = st.builds(
    Recorded, terms_accepted=st.booleans(), evidence=st.booleans(), mapping_accepted=st.booleans(),
    reviewed=st.frozensets(st.sampled_from(["T0", "T1", "T2", "T3"])),
)  # fmt: skip
RULES = st.fixed_dictionaries(
    {},
    optional={
        "communities": some(VALUES["memberships"]).map(list),
        "assurance": st.sampled_from([SUBSTANTIAL, f"{SUBSTANTIAL} | IAP/medium", f"{LOW} & profile/espresso"]),
        "affiliation": some(("staff", "faculty", "student", "member")).map(list),
        "evidence": st.just("recorded"),
        "terms": st.just("accepted"),
        "mapping": st.just("accepted"),
        "mfa": st.sampled_from(["always", "when-the-site-asks"]),
    },
)


@st.composite
def any_tiers(draw: st.DrawFn) -> dict[str, Tier]:
    made: dict[str, Tier] = {}
    for name in ("T0", "T1", "T2", "T3")[: draw(st.integers(0, 4))]:
        rule = draw(RULES) | {
            "any": draw(st.lists(RULES, max_size=2)),
            "vetting": draw(st.sampled_from(["membership", "review"])),
            "needs": draw(st.sampled_from([None, *made])),
        }
        made[name] = Tier.model_validate(rule)
    return made


def with_less(facts: Facts, recorded: Recorded) -> list[tuple[Facts, Recorded]]:
    """Every way to take away one thing."""
    less: list[tuple[Facts, Recorded]] = []
    for field in VALUES:
        held = getattr(facts, field)
        less += [(replace(facts, **{field: held[:i] + held[i + 1 :]}), recorded) for i in range(len(held))]
    less.append((replace(facts, mfa=False), recorded))
    for field in ("terms_accepted", "evidence", "mapping_accepted"):
        without: dict[str, Any] = {field: False}
        less.append((facts, replace(recorded, **without)))
    less += [(facts, replace(recorded, reviewed=recorded.reviewed - {name})) for name in recorded.reviewed]
    return less


@given(FACTS, RECORDED, any_tiers())
def test_taking_away_a_fact_never_raises_a_tier(facts: Facts, recorded: Recorded, rules: dict[str, Tier]) -> None:
    before = derive(facts, recorded, rules)
    for fewer_facts, fewer_recorded in with_less(facts, recorded):
        after = derive(fewer_facts, fewer_recorded, rules)
        assert [s.tier for s in after.standings if s.holds and not before.reaches(s.tier)] == []


@given(FACTS, RECORDED, any_tiers())
def test_the_tier_is_the_last_that_holds_and_nothing_is_missing_for_it(
    facts: Facts, recorded: Recorded, rules: dict[str, Tier]
) -> None:
    eligibility = derive(facts, recorded, rules)
    assert [s.tier for s in eligibility.standings] == list(rules)
    assert eligibility.tier == next((s.tier for s in reversed(eligibility.standings) if s.holds), None)
    assert all(s.holds == (eligibility.missing(s.tier) == ()) for s in eligibility.standings)
