"""Eligibility: which facts give which tier, that nothing is given for nothing, and what a person is told is missing."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.persons import Facts
from federation.settings import BatchSite, KubernetesSite, Site
from federation.terms import Acceptance, TermsInForce
from vetting.eligibility import Check, Eligibility
from vetting.eligibility import derive as derive_at
from vetting.recorded import Evidence, MappingState, Recorded, Suspension
from vetting.settings import Tier

VO = "urn:mace:egi.eu:group:vo.example.org"
SUBSTANTIAL = "https://aai.egi.eu/LoA#Substantial"
LOW = "https://aai.egi.eu/LoA#Low"
IAP_MEDIUM = "https://refeds.org/assurance/IAP/medium"


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
IN_FORCE = TermsInForce(version="2026-11", since=NOW - 10 * DAY, previous="2025-01", grace_days=30)


def batch_site(*, mfa: bool) -> BatchSite:
    return BatchSite.model_validate(
        {
            "kind": "batch", "title": "HPC", "flavours": ["node"], "dialect": "slurm", "nodes": ["c1"], "mfa": mfa,
            "login": {"host": "x", "host_key_file": "x"}, "ports": "1-2", "walltime_hours": 1,
        }
    )  # fmt: skip


CLOUD = KubernetesSite.model_validate({"kind": "kubernetes", "title": "Cloud", "namespace": "x", "flavours": ["small"]})
SITES: dict[str, Site] = {"cloud": CLOUD, "andes": batch_site(mfa=False), "pampa": batch_site(mfa=True)}


def derive(facts: Facts, recorded: Recorded, tiers: Mapping[str, Tier], **options: Any) -> Eligibility:
    return derive_at(facts, recorded, tiers, **{"sites": SITES, "terms": IN_FORCE, "now": NOW} | options)


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

TERMS = Recorded(acceptances=(Acceptance(version="2026-11", at=NOW - DAY),))
EVIDENCE = (Evidence(ends_at=NOW + DAY),)
EVERYWHERE = dict.fromkeys(SITES, MappingState.ACCEPTED)
MEMBER = Facts(memberships=(VO,), assurance=(SUBSTANTIAL,))
ALL = Facts(memberships=(VO,), assurance=(SUBSTANTIAL, IAP_MEDIUM), affiliations=("staff@example.org",), mfa=True)
ALL_RECORDED = replace(TERMS, evidence=EVIDENCE, mappings=EVERYWHERE)


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
        pytest.param(MEMBER, replace(TERMS, evidence=EVIDENCE), "T2", id="evidence"),
        pytest.param(Facts(), replace(TERMS, evidence=EVIDENCE), "T0", id="evidence-without-the-tier-below"),
        pytest.param(ALL, ALL_RECORDED, "T3", id="everything"),
        pytest.param(replace(ALL, mfa=False), ALL_RECORDED, "T3", id="no-second-factor-and-a-site-that-asks-for-none"),
        pytest.param(ALL, replace(ALL_RECORDED, mappings={}), "T2", id="no-mapping"),
        pytest.param(MEMBER, replace(TERMS, mappings=EVERYWHERE), "T1", id="mapping-without-the-tier-below"),
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
        pytest.param({"evidence": "recorded"}, Facts(), Recorded(evidence=EVIDENCE), id="evidence"),
        pytest.param({"terms": "accepted"}, Facts(), TERMS, id="terms"),
        pytest.param({"mapping": "accepted"}, Facts(), Recorded(mappings=EVERYWHERE), id="mapping"),
        pytest.param({"mfa": "always"}, Facts(mfa=True), Recorded(), id="mfa"),
        pytest.param({"vetting": "review"}, Facts(), Recorded(admitted=frozenset({"T"})), id="review"),
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
        pytest.param({"affiliation": []}, False, id="one-of-no-affiliations"),
        pytest.param({"any": []}, True, id="no-alternatives"),
        pytest.param({"any": [{}]}, True, id="an-alternative-that-asks-nothing"),
        pytest.param({"vetting": "review"}, False, id="review-of-another-tier"),
        pytest.param({"needs": "T"}, False, id="needs-itself"),
        pytest.param({"needs": "later"}, False, id="needs-a-tier-that-is-not-there"),
    ],
)
def test_rules_that_ask_for_nothing(rule: dict[str, Any], holds: bool) -> None:
    recorded = replace(ALL_RECORDED, admitted=frozenset({"other"}))
    assert derive(ALL, recorded, tiers(T=rule)).reaches("T") is holds


def test_with_no_tiers_nobody_has_one() -> None:
    nothing = derive(ALL, ALL_RECORDED, {}, sites={})
    assert (nothing.tier, nothing.standings, nothing.at) == (None, (), {})


def test_all_fields_of_a_rule_must_hold() -> None:
    both = tiers(T={"terms": "accepted", "mfa": "always"})
    assert derive(Facts(mfa=True), TERMS, both).tier == "T"
    assert derive(Facts(mfa=False), TERMS, both).tier is None
    assert derive(Facts(mfa=True), Recorded(), both).tier is None


def test_all_fields_of_one_alternative_must_hold() -> None:
    either = tiers(T={"any": [{"terms": "accepted", "mfa": "always"}, {"evidence": "recorded", "mapping": "accepted"}]})
    assert derive(Facts(mfa=True), Recorded(evidence=EVIDENCE), either).tier is None
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
    of_t1 = (
        Check("communities", VO, holds=False),
        Check("assurance", f"{SUBSTANTIAL} | IAP/medium", holds=False),
        Check("terms", "accepted", holds=False),
    )
    alternatives = (
        (Check("assurance", "IAP/medium", holds=False),),
        (Check("affiliation", "faculty, staff", holds=False),),
        (Check("evidence", "recorded", holds=False),),
    )
    of_t2 = Check("any", "IAP/medium | faculty, staff | recorded", holds=False, alternatives=alternatives)
    assert eligibility.missing("T0") == ()
    assert eligibility.missing("T1") == of_t1
    assert eligibility.missing("T2") == (*of_t1, of_t2)


def test_only_what_is_missing_is_told() -> None:
    eligibility = derive(MEMBER, Recorded(), TIERS)
    assert eligibility.missing("T1") == (Check("terms", "accepted", holds=False),)


@pytest.mark.parametrize("needs", ["T", "later"])
def test_a_needed_tier_that_does_not_stand_above_is_missing_itself(needs: str) -> None:
    eligibility = derive(ALL, ALL_RECORDED, tiers(T={"needs": needs}, later={}))
    assert eligibility.missing("T") == (Check("tier", needs, holds=False),)


def test_what_is_given_is_told_with_what_gives_it() -> None:
    eligibility = derive(replace(MEMBER, memberships=(VO + ":sub:role=x#a", "urn:mace:x.org:group:y")), TERMS, TIERS)
    assert (
        eligibility.given("T2")
        == eligibility.given("T1")
        == (
            Check("communities", VO, holds=True, by=(VO + ":sub:role=x#a",)),
            Check("assurance", f"{SUBSTANTIAL} | IAP/medium", holds=True, by=(SUBSTANTIAL,)),
            Check("terms", "accepted", holds=True, by=("2026-11",)),
        )
    )


# --- what the federation recorded -------------------------------------------------------------------------------


CHANGED = NOW - 10 * DAY


@pytest.mark.parametrize(
    ("versions", "terms", "holds", "until"),
    [
        pytest.param(["2026-11"], IN_FORCE, True, None, id="present-version"),
        pytest.param(["2025-01", "2026-11"], IN_FORCE, True, None, id="previous-and-present-version"),
        pytest.param(["2025-01"], IN_FORCE, True, CHANGED + 30 * DAY, id="previous-version-in-the-days-of-grace"),
        pytest.param(
            ["2025-01"], replace(IN_FORCE, since=NOW - 30 * DAY), False, None, id="previous-version-as-they-end"
        ),
        pytest.param(
            ["2025-01"], replace(IN_FORCE, since=NOW - 30 * DAY + timedelta(seconds=1)), True,
            NOW + timedelta(seconds=1), id="previous-version-just-before-they-end",
        ),
        pytest.param(["2025-01"], replace(IN_FORCE, grace_days=0), False, None, id="previous-version-without-grace"),
        pytest.param(["2024-01"], IN_FORCE, False, None, id="a-still-older-version"),
        pytest.param(["2027-01"], IN_FORCE, False, None, id="a-version-that-is-not-in-force"),
        pytest.param([""], replace(IN_FORCE, previous=""), False, None, id="no-version-and-no-previous-one"),
        pytest.param([], IN_FORCE, False, None, id="never-accepted"),
        pytest.param(["2026-11"], None, False, None, id="no-terms-in-force"),
    ],
)  # fmt: skip
def test_terms(versions: list[str], terms: TermsInForce | None, holds: bool, until: datetime | None) -> None:
    recorded = Recorded(acceptances=tuple(Acceptance(version=version, at=NOW - DAY) for version in versions))
    (standing,) = derive(Facts(), recorded, tiers(T={"terms": "accepted"}), terms=terms).standings
    assert (standing.holds, standing.checks[0].until) == (holds, until)


@pytest.mark.parametrize(
    ("ends", "until"),
    [
        pytest.param([], None, id="none"),
        pytest.param([NOW + DAY], NOW + DAY, id="one-that-has-not-ended"),
        pytest.param([NOW], None, id="one-that-ends-now"),
        pytest.param([NOW - DAY], None, id="one-that-has-ended"),
        pytest.param([NOW + DAY, NOW + 2 * DAY, NOW - DAY], NOW + 2 * DAY, id="the-one-that-ends-last"),
    ],
)
def test_evidence_has_an_end(ends: list[datetime], until: datetime | None) -> None:
    recorded = Recorded(evidence=tuple(Evidence(ends_at=end) for end in ends))
    (standing,) = derive(Facts(), recorded, tiers(T={"evidence": "recorded"})).standings
    assert (standing.holds, standing.checks[0].until) == (until is not None, until)


def test_who_is_suspended_has_no_tier_and_is_told_why() -> None:
    suspended = replace(ALL_RECORDED, suspended=Suspension(since=NOW - DAY, reason="Mining."))
    eligibility = derive(ALL, suspended, TIERS)
    assert eligibility.tier is None
    assert not any(standing.holds for site in eligibility.at.values() for standing in site.standings)
    assert eligibility.missing("T3") == (Check("suspension", "Mining.", holds=False),)


@pytest.mark.parametrize(("seat", "expected"), [(False, "T0"), (True, "T1")])
def test_low_assurance_is_enough_with_a_class_seat(seat: bool, expected: str) -> None:
    rules = tiers(
        T0={}, T1={"any": [{"assurance": SUBSTANTIAL}, {"assurance": LOW, "class_seat": "held"}]}
    )  # fmt: skip
    low = replace(MEMBER, assurance=(LOW,))
    assert derive(low, Recorded(class_seat=seat), rules).tier == expected


# --- what a site asks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mappings", "mfa", "expected"),
    [
        pytest.param({}, True, [], id="no-mapping"),
        pytest.param({"andes": MappingState.ACCEPTED}, False, ["andes"], id="accepted-where-no-second-factor-is-asked"),
        pytest.param({"pampa": MappingState.ACCEPTED}, False, [], id="accepted-where-a-second-factor-is-asked"),
        pytest.param({"pampa": MappingState.ACCEPTED}, True, ["pampa"], id="accepted-and-a-second-factor"),
        pytest.param({"andes": MappingState.ASKED}, True, [], id="asked"),
        pytest.param({"andes": MappingState.REFUSED}, True, [], id="refused"),
        pytest.param({"andes": MappingState.ENDED}, True, [], id="ended"),
        pytest.param({"elsewhere": MappingState.ACCEPTED}, True, [], id="accepted-at-a-site-that-is-not-there"),
        pytest.param(EVERYWHERE, False, ["cloud", "andes"], id="everywhere-without-a-second-factor"),
        pytest.param(EVERYWHERE, True, ["cloud", "andes", "pampa"], id="everywhere-with-a-second-factor"),
    ],
)
def test_the_third_tier_is_reached_site_by_site(
    mappings: dict[str, MappingState], mfa: bool, expected: list[str]
) -> None:
    eligibility = derive(replace(ALL, mfa=mfa), replace(ALL_RECORDED, mappings=mappings), TIERS)
    assert [site for site in SITES if eligibility.reaches("T3", site)] == expected
    assert eligibility.reaches("T3") is bool(expected)
    assert all(eligibility.reaches("T2", site) for site in SITES)


@pytest.mark.parametrize(
    ("mappings", "site", "may_go_on"),
    [
        pytest.param({}, "cloud", True, id="a-cloud-asks-for-no-mapping"),
        pytest.param({}, "andes", False, id="a-batch-site-asks-for-one-whatever-the-tier"),
        pytest.param({"andes": MappingState.ACCEPTED}, "andes", True, id="accepted"),
        pytest.param({"andes": MappingState.ENDED}, "andes", False, id="ended"),
        pytest.param({}, "a-site-that-is-gone", True, id="a-site-that-is-not-in-the-settings-any-more"),
    ],
)
def test_a_session_may_go_on_where_its_person_has_the_tier_and_what_the_site_asks(
    mappings: dict[str, MappingState], site: str, may_go_on: bool
) -> None:
    eligibility = derive(replace(ALL, mfa=False), replace(ALL_RECORDED, mappings=mappings), TIERS)
    assert eligibility.reaches_there("T2", site) is may_go_on


@pytest.mark.parametrize("beside", [{}, {"mapping": "accepted"}], ids=["alone", "beside-a-mapping"])
def test_a_second_factor_that_is_always_asked_for_is_asked_for_at_every_site(beside: dict[str, Any]) -> None:
    rules = tiers(T={"mfa": "always", **beside})
    assert [site for site in SITES if derive(Facts(), ALL_RECORDED, rules).reaches("T", site)] == []
    assert [site for site in SITES if derive(Facts(mfa=True), ALL_RECORDED, rules).reaches("T", site)] == list(SITES)


def test_a_tier_above_one_that_is_about_a_site_is_about_that_site_too() -> None:
    rules = tiers(T2={"mapping": "accepted"}, T3={"needs": "T2", "evidence": "recorded"})
    eligibility = derive(Facts(), Recorded(evidence=EVIDENCE, mappings={"andes": MappingState.ACCEPTED}), rules)
    assert [site for site in SITES if eligibility.reaches("T3", site)] == ["andes"]


def test_a_tier_is_not_put_together_from_two_sites() -> None:
    rules = tiers(T2={"mapping": "accepted"}, T3={"needs": "T2", "mfa": "when-the-site-asks"})
    recorded = Recorded(mappings={"pampa": MappingState.ACCEPTED})
    assert derive(Facts(), recorded, rules).tier == "T2"
    assert derive(Facts(mfa=True), recorded, rules).tier == "T3"


def test_of_a_tier_that_is_missing_everywhere_the_site_where_least_is_missing_is_told() -> None:
    recorded = replace(ALL_RECORDED, mappings={"pampa": MappingState.ACCEPTED})
    eligibility = derive(replace(ALL, mfa=False), recorded, TIERS)
    assert [check.field for check in eligibility.missing("T3")] == ["mapping"]
    assert [check.field for check in eligibility.missing("T3", "pampa")] == ["mfa"]
    assert [check.field for check in eligibility.missing("T3", "andes")] == ["mapping"]


@pytest.mark.parametrize(
    ("site", "facts", "recorded", "expected"),
    [
        pytest.param("cloud", Facts(), Recorded(), [], id="kubernetes"),
        pytest.param("andes", Facts(), Recorded(), [("mapping", False)], id="batch"),
        pytest.param("andes", Facts(), ALL_RECORDED, [("mapping", True)], id="batch-with-a-mapping"),
        pytest.param("pampa", Facts(), ALL_RECORDED, [("mapping", True), ("mfa", False)], id="batch-with-mfa"),
        pytest.param("pampa", Facts(mfa=True), ALL_RECORDED, [("mapping", True), ("mfa", True)], id="batch-and-mfa"),
    ],
)
def test_what_a_site_asks_of_everybody(
    site: str, facts: Facts, recorded: Recorded, expected: list[tuple[str, bool]]
) -> None:
    eligibility = derive(facts, recorded, TIERS)
    assert [(check.field, check.holds) for check in eligibility.at[site].asks] == expected


def test_without_sites_what_is_asked_about_a_site_does_not_hold() -> None:
    eligibility = derive(replace(ALL, mfa=False), ALL_RECORDED, TIERS, sites={})
    assert eligibility.tier == "T2"
    assert [check.field for check in eligibility.missing("T3")] == ["mapping", "mfa"]
    assert not eligibility.reaches("T0", "cloud")


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
    Recorded,
    acceptances=st.sampled_from([(), *((Acceptance(version=v, at=NOW),) for v in ("2026-11", "2025-01", "2024-01"))]),
    evidence=st.sampled_from([(), (Evidence(ends_at=NOW),), EVIDENCE]),
    mappings=st.dictionaries(st.sampled_from(list(SITES)), st.sampled_from(MappingState)),
    admitted=st.frozensets(st.sampled_from(["T0", "T1", "T2", "T3"])),
    class_seat=st.booleans(),
    suspended=st.sampled_from([None, None, None, Suspension(since=NOW, reason="x")]),
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "communities": some(VALUES["memberships"]).map(list),
        "assurance": st.sampled_from([SUBSTANTIAL, f"{SUBSTANTIAL} | IAP/medium", f"{LOW} & profile/espresso"]),
        "affiliation": some(("staff", "faculty", "student", "member")).map(list),
        "class_seat": st.just("held"),
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
    nothing: list[dict[str, Any]] = [{"acceptances": ()}, {"evidence": ()}, {"class_seat": False}]
    nothing += [{"admitted": recorded.admitted - {name}} for name in recorded.admitted]
    nothing += [
        {"mappings": {site: state for site, state in recorded.mappings.items() if site != away}}
        for away in recorded.mappings
    ]
    nothing.append({"suspended": Suspension(since=NOW, reason="x")})
    return less + [(facts, replace(recorded, **without)) for without in nothing]


@given(FACTS, RECORDED, any_tiers())
def test_taking_away_a_fact_never_raises_a_tier(facts: Facts, recorded: Recorded, rules: dict[str, Tier]) -> None:
    before = derive(facts, recorded, rules)
    for fewer_facts, fewer_recorded in with_less(facts, recorded):
        after = derive(fewer_facts, fewer_recorded, rules)
        assert [s.tier for s in after.standings if s.holds and not before.reaches(s.tier)] == []
        assert [
            (site, s.tier)
            for site in SITES
            for s in after.at[site].standings
            if s.holds and not before.reaches(s.tier, site)
        ] == []


@given(FACTS, RECORDED, any_tiers())
def test_the_tier_is_the_last_that_holds_and_nothing_is_missing_for_it(
    facts: Facts, recorded: Recorded, rules: dict[str, Tier]
) -> None:
    eligibility = derive(facts, recorded, rules)
    assert [s.tier for s in eligibility.standings] == list(rules)
    assert eligibility.tier == next((s.tier for s in reversed(eligibility.standings) if s.holds), None)
    assert all(s.holds == (eligibility.missing(s.tier) == ()) for s in eligibility.standings)
    for site in SITES:
        assert [s.tier for s in eligibility.at[site].standings] == list(rules)
        assert all(s.holds == (eligibility.missing(s.tier, site) == ()) for s in eligibility.at[site].standings)
    assert all(eligibility.reaches(t) == any(eligibility.reaches(t, site) for site in SITES) for t in rules)
