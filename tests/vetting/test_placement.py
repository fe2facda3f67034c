"""Placement: which places can take a wish, in which order, and why the others cannot."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from federation.errors import Failure
from federation.i18n import use_language
from federation.persons import Facts
from federation.settings import BatchSite, Environment, Flavour, KubernetesSite, LocalSite, Site
from federation.terms import Acceptance, TermsInForce
from vetting.eligibility import Eligibility, derive
from vetting.errors import (
    ACCESS_SUSPENDED,
    FLAVOUR_NEEDS_TIER,
    FLAVOUR_NOT_AT_SITE,
    NO_BATCH_SYSTEM,
    NO_PLACE,
    NOT_ELIGIBLE,
    RESOURCE_TOO_MUCH,
    SITE_ASKS_MORE,
    SITE_DOWNTIME,
    SITE_NOT_ATTACHED,
    SITE_NOT_OPEN,
    TERMS_NOT_ACCEPTED,
)
from vetting.placement import Certification, Downtime, Option, SiteState, Wish, choose, not_open, places
from vetting.recorded import Evidence, MappingState, Recorded, Suspension
from vetting.resources import Resources
from vetting.settings import Tier

FLAVOURS = {
    "small": Flavour(title={"en": "Small", "es": "Pequeña"}, cpu=1, memory_gib=2, weight=1),
    "gpu": Flavour(cpu=8, memory_gib=32, gpu=1, weight=20, tier="T2"),
    "free": Flavour(cpu=1, memory_gib=1, weight=1, tier="T0"),
}
ENVIRONMENTS = {
    "python": Environment.model_validate(
        {"title": "Python", "local": {"prefix": "x"}, "kubernetes": {"image": "x"}, "batch": {"module": "x"}}
    ),
    "local-only": Environment.model_validate({"title": "Local only", "local": {"prefix": "x"}}),
    "nowhere": Environment.model_validate({"title": "Nowhere"}),
}
SITES: dict[str, Site] = {
    "andes": BatchSite.model_validate(
        {
            "kind": "batch", "title": "HPC Andes", "flavours": ["gpu"], "dialect": "slurm", "nodes": ["c1"],
            "login": {"host": "x", "host_key_file": "x"}, "ports": "1-2", "walltime_hours": 1,
        }
    ),
    "cloud": KubernetesSite.model_validate(
        {"kind": "kubernetes", "title": "Cloud", "namespace": "x", "flavours": ["small", "gpu", "free"]}
    ),
    "here": LocalSite.model_validate({"kind": "local", "title": {"en": "Here", "es": "Aquí"}, "flavours": ["small"]}),
}  # fmt: skip
COMMUNITY = "urn:mace:example.org:group:demo"
TIERS = {
    "T0": Tier(),
    "T1": Tier.model_validate({"communities": [COMMUNITY], "terms": "accepted"}),
    "T2": Tier.model_validate({"needs": "T1", "evidence": "recorded"}),
}
KINDS = ("local", "kubernetes", "batch")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVERYWHERE = dict.fromkeys(SITES, MappingState.ACCEPTED)


def person(
    tier: str, *, mfa: bool = False, sites: dict[str, Site] = SITES, tiers: dict[str, Tier] = TIERS, **more: Any
) -> Eligibility:
    """Somebody who reaches a tier and whom every site accepted."""
    recorded = Recorded(
        **{
            "acceptances": (Acceptance(version="1", at=NOW),),
            "evidence": (Evidence(ends_at=NOW + HOUR),) if tier >= "T2" else (),
            "mappings": EVERYWHERE,
        }
        | more
    )
    return derive(
        Facts(mfa=mfa, memberships=(COMMUNITY,) if tier >= "T1" else ()),
        recorded,
        tiers,
        sites=sites,
        terms=TermsInForce(version="1", since=NOW - HOUR),
        now=NOW,
    )


def options(wish: Wish, tier: str = "T1", states: dict[str, SiteState] | None = None, **changes: Any) -> list[Option]:
    known = {"flavours": FLAVOURS, "environments": ENVIRONMENTS, "sites": SITES, "kinds": KINDS}
    if states is not None:
        known["away"] = not_open(states, changes.get("sites", SITES), NOW)
    return places(wish, **{"eligibility": person(tier), **known, **changes})


def wish(flavour: str = "small", environment: str = "python", site: str | None = None) -> Wish:
    return Wish(flavour=flavour, environment=environment, site=site)


def shown(found: list[Option]) -> list[tuple[str, Any]]:
    return [(option.site, option.why_not.problem if option.why_not else None) for option in found]


@pytest.mark.parametrize(
    ("wished", "tier", "expected"),
    [
        pytest.param(
            wish(), "T1", [("cloud", None), ("here", None), ("andes", FLAVOUR_NOT_AT_SITE)], id="open-ones-first"
        ),
        pytest.param(
            wish("gpu"), "T2", [("andes", None), ("cloud", None), ("here", FLAVOUR_NOT_AT_SITE)],
            id="order-of-the-settings",
        ),
        pytest.param(
            wish(environment="local-only"), "T1",
            [("here", None), ("andes", FLAVOUR_NOT_AT_SITE), ("cloud", FLAVOUR_NOT_AT_SITE)],
            id="environment-at-one-place",
        ),
        pytest.param(wish(site="here"), "T1", [("here", None)], id="named-place"),
        pytest.param(wish(site="andes"), "T1", [("andes", FLAVOUR_NOT_AT_SITE)], id="named-place-without-the-flavour"),
        pytest.param(wish(site="nowhere"), "T1", [], id="place-that-is-not-there"),
        pytest.param(
            wish("gpu"), "T1",
            [("andes", FLAVOUR_NEEDS_TIER), ("cloud", FLAVOUR_NEEDS_TIER), ("here", FLAVOUR_NEEDS_TIER)],
            id="tier-too-low",
        ),
        pytest.param(
            wish(), "T0", [("andes", NOT_ELIGIBLE), ("cloud", NOT_ELIGIBLE), ("here", NOT_ELIGIBLE)], id="lowest-tier"
        ),
        pytest.param(
            wish("free"), "T0", [("cloud", None), ("andes", FLAVOUR_NOT_AT_SITE), ("here", FLAVOUR_NOT_AT_SITE)],
            id="flavour-for-the-lowest-tier",
        ),
    ],
)  # fmt: skip
def test_all_places_each_with_why_not(wished: Wish, tier: str, expected: list[tuple[str, Any]]) -> None:
    assert shown(options(wished, tier)) == expected


def test_a_kind_of_place_that_this_hub_cannot_run_on_is_closed() -> None:
    found = options(wish(), kinds=("local",))
    assert shown(found) == [("here", None), ("andes", FLAVOUR_NOT_AT_SITE), ("cloud", SITE_NOT_ATTACHED)]


def test_without_places_there_are_none() -> None:
    assert options(wish(), sites={}) == []


def test_nobody_reaches_a_tier_that_is_not_there() -> None:
    flavours = {"small": replace_tier(FLAVOURS["small"], "T9")}
    assert {problem for _site, problem in shown(options(wish(), flavours=flavours))} == {FLAVOUR_NEEDS_TIER}


def replace_tier(flavour: Flavour, tier: str) -> Flavour:
    return flavour.model_copy(update={"tier": tier})


# --- what a site asks, and how it is ------------------------------------------------------------------------


def why_not(site: str, found: list[Option]) -> Failure | None:
    return next(option.why_not for option in found if option.site == site)


@pytest.mark.parametrize(
    ("mappings", "expected"),
    [
        pytest.param(EVERYWHERE, None, id="accepted"),
        pytest.param({}, SITE_ASKS_MORE, id="none"),
        pytest.param({"andes": MappingState.ASKED}, SITE_ASKS_MORE, id="asked"),
        pytest.param({"andes": MappingState.REFUSED}, SITE_ASKS_MORE, id="refused"),
        pytest.param({"andes": MappingState.ENDED}, SITE_ASKS_MORE, id="ended"),
        pytest.param({"cloud": MappingState.ACCEPTED}, SITE_ASKS_MORE, id="at-another-site"),
    ],
)
def test_a_batch_site_takes_whom_it_accepted_whatever_the_tier(
    mappings: dict[str, MappingState], expected: Any
) -> None:
    found = options(wish("gpu"), eligibility=person("T2", mappings=mappings))
    assert shown([option for option in found if option.site == "andes"]) == [("andes", expected)]
    assert why_not("cloud", found) is None


STRICT = {**SITES, "andes": SITES["andes"].model_copy(update={"mfa": True})}


@pytest.mark.parametrize(("mfa", "expected"), [(True, None), (False, SITE_ASKS_MORE)])
def test_a_site_that_asks_for_a_second_factor_takes_nobody_without(mfa: bool, expected: Any) -> None:
    found = options(wish("gpu"), eligibility=person("T2", mfa=mfa, sites=STRICT), sites=STRICT)
    assert dict(shown(found)) == {"andes": expected, "cloud": None, "here": FLAVOUR_NOT_AT_SITE}


def test_what_a_site_asks_is_told_and_what_the_person_has() -> None:
    found = options(wish("gpu", site="andes"), eligibility=person("T2", mappings={}, sites=STRICT), sites=STRICT)
    assert found[0].why_not is not None
    assert found[0].why_not.message == (
        "HPC Andes is not open to you yet. What is missing: the acceptance of the site; a sign-in with a second factor. "
        "Choose another site, or ask for access to this one."
    )
    assert [check.field for check in found[0].missing] == ["mapping", "mfa"]
    assert [check.field for check in found[0].given] == ["communities", "terms", "evidence"]


def test_what_a_tier_asks_of_a_site_is_the_sites_reason_and_not_the_persons() -> None:
    tiers = TIERS | {"T3": Tier.model_validate({"needs": "T2", "mapping": "accepted"})}
    flavours = {"gpu": replace_tier(FLAVOURS["gpu"], "T3")}
    found = options(wish("gpu"), eligibility=person("T2", tiers=tiers, mappings={}), flavours=flavours)
    assert dict(shown(found)) == {"andes": SITE_ASKS_MORE, "cloud": SITE_ASKS_MORE, "here": FLAVOUR_NOT_AT_SITE}
    found = options(
        wish("gpu"), eligibility=person("T2", tiers=tiers, mappings={"cloud": MappingState.ACCEPTED}), flavours=flavours
    )
    assert dict(shown(found)) == {"cloud": None, "andes": SITE_ASKS_MORE, "here": FLAVOUR_NOT_AT_SITE}
    assert shown(options(wish("gpu"), eligibility=person("T1", tiers=tiers), flavours=flavours))[0] == (
        "andes", FLAVOUR_NEEDS_TIER,
    )  # fmt: skip


def test_a_site_that_eligibility_knows_nothing_of_is_closed() -> None:
    assert shown(options(wish(site="here"), eligibility=person("T2", sites={}))) == [("here", SITE_ASKS_MORE)]


def test_who_is_suspended_is_told_why_and_nothing_else() -> None:
    suspended = person("T2", suspended=Suspension(since=NOW, reason="Your key was stolen."))
    found = options(wish("free"), eligibility=suspended)
    assert {problem for _site, problem in shown(found)} == {ACCESS_SUSPENDED}
    assert refusal(wish("free"), eligibility=suspended).message == (
        "Your access is suspended, so nothing can be started. Your key was stolen. "
        "Your files and your quota stay. Write to support if you think that this is a mistake."
    )


@pytest.mark.parametrize(
    ("certification", "expected"),
    [
        pytest.param(Certification.CANDIDATE, SITE_NOT_OPEN, id="candidate"),
        pytest.param(Certification.UNCERTIFIED, SITE_NOT_OPEN, id="uncertified"),
        pytest.param(Certification.CERTIFIED, None, id="certified"),
        pytest.param(Certification.SUSPENDED, SITE_NOT_OPEN, id="suspended"),
    ],
)
def test_only_a_certified_site_takes_sessions(certification: Certification, expected: Any) -> None:
    found = options(wish(), states={"cloud": SiteState(certification=certification)})
    assert dict(shown(found)) == {"here": None, "cloud": expected, "andes": FLAVOUR_NOT_AT_SITE}


def downtimes(*hours: tuple[int, int]) -> dict[str, SiteState]:
    """Of the cloud, in hours from now."""
    made = tuple(Downtime(starts_at=NOW + start * HOUR, ends_at=NOW + end * HOUR) for start, end in hours)
    return {"cloud": SiteState(downtimes=made)}


@pytest.mark.parametrize(
    ("hours", "back_after"),
    [
        pytest.param([], None, id="none"),
        pytest.param([(-1, 2)], 2, id="now"),
        pytest.param([(0, 2)], 2, id="begins-now"),
        pytest.param([(-1, 0)], None, id="ends-now"),
        pytest.param([(1, 2)], None, id="later"),
        pytest.param([(-2, -1)], None, id="over"),
        pytest.param([(-1, 2), (2, 3)], 3, id="two-in-a-row"),
        pytest.param([(1, 4), (-1, 2)], 4, id="overlapping-and-not-in-order"),
        pytest.param([(-1, 2), (3, 4)], 2, id="two-with-a-gap"),
        pytest.param([(-2, 5), (-1, 2)], 5, id="one-in-the-other"),
        pytest.param([(2, -2)], None, id="the-wrong-way-round"),
    ],
)
def test_a_site_in_a_downtime_says_when_it_is_back(hours: list[tuple[int, int]], back_after: int | None) -> None:
    found = options(wish(), states=downtimes(*hours))
    failure = why_not("cloud", found)
    assert (failure.problem if failure else None) == (None if back_after is None else SITE_DOWNTIME)
    assert (failure.retry_after_seconds if failure else None) == (None if back_after is None else back_after * 3600)
    assert found[0].site == ("cloud" if back_after is None else "here")


def test_a_downtime_names_its_end() -> None:
    failure = refusal(wish(site="cloud"), states=downtimes((-1, 2)))
    assert failure.message == (
        "Cloud is down for maintenance until Nov 24, 2026, 2:00:00\u202fPM UTC. Choose another site, or try again then."
    )


def test_what_stays_so_is_told_before_what_passes() -> None:
    states = downtimes((-1, 2)) | {"andes": SiteState(certification=Certification.SUSPENDED)}
    found = options(wish("gpu"), eligibility=person("T2", mappings={}), states=states)
    assert dict(shown(found)) == {"andes": SITE_ASKS_MORE, "cloud": SITE_DOWNTIME, "here": FLAVOUR_NOT_AT_SITE}


# --- the choice ---------------------------------------------------------------------------------------------


def refusal(wished: Wish, tier: str = "T1", **changes: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        choose(options(wished, tier, **changes), wished)
    return caught.value


def test_the_first_open_place_is_chosen() -> None:
    assert choose(options(wish()), wish()) == "cloud"
    assert choose(options(wish(site="here")), wish(site="here")) == "here"


def test_a_named_place_says_its_own_reason() -> None:
    assert refusal(wish(site="andes")).message == (
        "HPC Andes does not offer the flavour Small with the environment Python. "
        "Choose another combination on the start form."
    )


def test_where_no_place_offers_it_that_is_said_once() -> None:
    failure = refusal(wish(environment="nowhere"))
    assert failure.problem is NO_PLACE
    assert failure.figures == {"flavour": "Small", "environment": "Nowhere"}


def test_the_first_place_that_offers_it_says_why_it_is_closed() -> None:
    states = downtimes((-1, 2)) | {"here": SiteState(certification=Certification.CANDIDATE)}
    assert refusal(wish(), states=states).problem is SITE_DOWNTIME
    assert refusal(wish(environment="local-only"), states=states).problem is SITE_NOT_OPEN
    assert refusal(wish(), kinds=()).problem is NO_PLACE


@pytest.mark.parametrize("wished", [wish(), wish(site="nowhere")])
def test_without_any_place_that_is_an_outage(wished: Wish) -> None:
    assert refusal(wished, sites={}).problem is NO_PLACE


def test_who_may_not_is_told_so_and_not_that_there_is_no_place() -> None:
    failure = refusal(wish("gpu"))
    assert failure.message == (
        "The flavour gpu is for people of tier T2; yours is T1. Choose another flavour, or ask for access to this one."
    )


def test_who_has_nothing_yet_is_told_what_is_missing() -> None:
    failure = refusal(wish(), "T0")
    assert failure.figures == {"missing": f"membership of one of these communities: {COMMUNITY}"}
    assert failure.problem.status == 403


@pytest.mark.parametrize(
    ("wished", "tier"),
    [
        pytest.param(wish(), "T1", id="whose-tier-asks-for-them"),
        pytest.param(wish("gpu"), "T2", id="whose-tier-needs-one-that-does"),
        pytest.param(wish("free"), "T0", id="whose-tier-does-not-ask"),
    ],
)
def test_nothing_is_started_before_the_terms_are_accepted(wished: Wish, tier: str) -> None:
    agreed, not_agreed = person(tier), person(tier, acceptances=())
    assert options(wished, eligibility=agreed)[0].why_not is None
    found = options(wished, eligibility=not_agreed)
    assert {option.why_not.problem for option in found if option.why_not} == {TERMS_NOT_ACCEPTED}
    assert refusal(wished, eligibility=not_agreed).problem is TERMS_NOT_ACCEPTED
    assert "terms" in [check.field for check in found[0].missing]


def test_who_misses_more_than_the_terms_is_told_that() -> None:
    assert refusal(wish(), eligibility=person("T0", acceptances=())).problem is NOT_ELIGIBLE
    assert refusal(wish("gpu"), eligibility=person("T1", acceptances=())).problem is NOT_ELIGIBLE


def test_where_there_are_no_terms_nobody_is_asked_for_them() -> None:
    nobody = derive(Facts(), Recorded(), {"T0": Tier()}, sites=SITES, terms=None, now=NOW)
    assert options(wish("free"), eligibility=nobody)[0].why_not is None


def test_who_has_no_tier_at_all_is_told_what_is_missing() -> None:
    nothing = replace(person("T0"), tier=None)
    assert refusal(wish(), eligibility=nothing).problem is NOT_ELIGIBLE


def test_reasons_are_in_the_readers_language() -> None:
    use_language("es")
    try:
        assert "Pequeña" in refusal(wish(site="andes")).message
    finally:
        use_language("en")


# --- batch systems, and places that are away ----------------------------------------------------------------------


def test_a_wish_with_a_walltime_goes_only_where_there_is_a_batch_system() -> None:
    asks = replace(wish("gpu"), resources=Resources(walltime_minutes=60))
    assert shown(options(asks, "T2")) == [
        ("andes", None),
        ("cloud", NO_BATCH_SYSTEM),
        ("here", FLAVOUR_NOT_AT_SITE),
    ]
    longer = replace(asks, resources=Resources(walltime_minutes=61))
    assert dict(shown(options(longer, "T2")))["andes"] is RESOURCE_TOO_MUCH


def test_a_place_that_is_away_is_closed_for_now_and_the_next_one_is_taken() -> None:
    gone = Failure(SITE_NOT_OPEN, {"site": "HPC Andes"})
    found = options(wish("gpu"), "T2", away={"andes": gone})
    assert shown(found)[:2] == [("cloud", None), ("andes", SITE_NOT_OPEN)]
    assert choose(found, wish("gpu")) == "cloud"


def test_what_the_person_lacks_is_said_before_that_a_place_is_away() -> None:
    away = {"andes": Failure(SITE_NOT_OPEN, {"site": "HPC Andes"})}
    found = options(wish("gpu"), "T2", away=away, eligibility=person("T2", mappings={}))
    assert dict(shown(found))["andes"] is SITE_ASKS_MORE
