"""Identity: what is kept of a provider's claims, whatever a provider sends."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.persons import Facts
from hub_config.demo.personas import PERSONAS
from vetting.identity import Identity, NoSubject, identify

ISSUER = "https://aai.egi.eu/auth/realms/egi"
SUBJECT = "a" * 64 + "@egi.eu"
EGI = "urn:mace:egi.eu"
GROUP = f"{EGI}:group:vo.example.org#aai.egi.eu"
ROLE = f"{EGI}:group:vo.example.org:role=member#aai.egi.eu"
TEN_MB = 10_000_000

CLAIMS: dict[str, Any] = {
    "sub": "something-else",
    "voperson_id": SUBJECT,
    "name": "Inês Carvalho",
    "preferred_username": "icarvalho",
    "email": "ines@serraclara.example.org",
    "schac_home_organization": "serraclara.example.org",
    "eduperson_entitlement": [GROUP, ROLE],
    "eduperson_scoped_affiliation": ["faculty@serraclara.example.org", "member@serraclara.example.org"],
    "eduperson_assurance": ["https://aai.egi.eu/LoA#Substantial"],
    "acr": "https://refeds.org/profile/mfa",
}
"""As Check-in says them in userinfo, and the home organisation as other proxies say it."""


def identity(claims: Any, **options: Any) -> Identity:
    return identify(
        claims,
        **{"provider": "check-in", "issuer": ISSUER, "subject_claim": "voperson_id", "owns_namespaces": (EGI,)}
        | options,
    )


def facts(**claims: Any) -> Facts:
    return identity({"voperson_id": SUBJECT, **claims}).facts


def test_the_claims_of_check_in() -> None:
    assert identity(CLAIMS) == Identity(
        issuer=ISSUER,
        subject=SUBJECT,
        preferred="icarvalho",
        facts=Facts(
            provider="check-in",
            name="Inês Carvalho",
            email="ines@serraclara.example.org",
            home_organisation="serraclara.example.org",
            affiliations=("faculty@serraclara.example.org", "member@serraclara.example.org"),
            assurance=("https://aai.egi.eu/LoA#Substantial",),
            memberships=(GROUP, ROLE),
            mfa=True,
        ),
    )


@pytest.mark.parametrize("persona", PERSONAS, ids=lambda persona: persona.key)
def test_everything_about_the_personas_is_understood(persona: Any) -> None:
    found = identity(persona.claims, owns_namespaces="any")
    assert found.subject == persona.subject
    assert found.facts.memberships == persona.entitlements
    assert found.facts.unchecked_affiliations == ()
    assert found.facts.not_understood == ()


# --- the subject --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(None, id="null"),
        pytest.param("", id="empty"),
        pytest.param("   ", id="blank"),
        pytest.param(12345, id="number"),
        pytest.param(True, id="true"),
        pytest.param([SUBJECT], id="list"),
        pytest.param({"sub": SUBJECT}, id="mapping"),
        pytest.param("x" * 513, id="too-long"),
        pytest.param("a\nb", id="line-break"),
        pytest.param("a\x00b", id="nul"),
        pytest.param("a\ud800", id="lone-surrogate"),
        pytest.param(" a", id="leading-blank"),
        pytest.param("a ", id="trailing-blank"),
        pytest.param("a\u202eb", id="right-to-left-override"),
    ],
)
def test_without_a_subject_nobody_is_anybody(subject: object) -> None:
    with pytest.raises(NoSubject, match=r"^the claim voperson_id is missing or is not a text$"):
        identity({**CLAIMS, "voperson_id": subject})


def test_another_claim_does_not_stand_in_for_the_subject() -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != "voperson_id"}
    with pytest.raises(NoSubject):
        identity(claims)


def test_the_claim_of_the_subject_is_the_configured_one() -> None:
    assert identity(CLAIMS, subject_claim="sub").subject == "something-else"


@pytest.mark.parametrize("subject", ["A", "a", "é", "e\u0301", "a b", "a" * 512])
def test_a_subject_is_kept_as_it_is(subject: str) -> None:
    assert identity({"voperson_id": subject}).subject == subject


# --- claims of wrong types: a claim that is not what its specification says is missing ------------------------

WRONG_LISTS = [
    pytest.param(None, id="null"),
    pytest.param(GROUP, id="string-for-a-list"),
    pytest.param(f"{GROUP} {ROLE}", id="string-of-several"),
    pytest.param({GROUP: True}, id="mapping"),
    pytest.param({"values": [GROUP]}, id="mapping-with-a-list"),
    pytest.param(7, id="number"),
    pytest.param(True, id="true"),
    pytest.param([[GROUP]], id="list-in-a-list"),
    pytest.param([{"value": GROUP}], id="mapping-in-a-list"),
    pytest.param([None, 7, True, 1.5], id="list-of-other-things"),
    pytest.param([], id="empty-list"),
    pytest.param("x" * TEN_MB, id="string-of-ten-megabytes"),
]


@pytest.mark.parametrize(
    ("claim", "field"),
    [
        pytest.param("eduperson_entitlement", "memberships", id="eduperson_entitlement"),
        pytest.param("entitlements", "memberships", id="entitlements"),
        pytest.param("eduperson_assurance", "assurance", id="eduperson_assurance"),
        pytest.param("eduperson_scoped_affiliation", "affiliations", id="eduperson_scoped_affiliation"),
    ],
)
@pytest.mark.parametrize("value", WRONG_LISTS)
def test_a_list_that_is_none_is_missing(claim: str, field: str, value: object) -> None:
    found = facts(**{claim: value})
    assert getattr(found, field) == ()
    assert found.not_understood == ()


@pytest.mark.parametrize(
    ("claim", "field"),
    [
        pytest.param("name", "name", id="name"),
        pytest.param("email", "email", id="email"),
        pytest.param("schac_home_organization", "home_organisation", id="schac_home_organization"),
    ],
)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="null"),
        pytest.param(["x"], id="list"),
        pytest.param({"x": "y"}, id="mapping"),
        pytest.param(7, id="number"),
        pytest.param("a\nb", id="line-break"),
        pytest.param("x" * 513, id="too-long"),
        pytest.param("x" * TEN_MB, id="ten-megabytes"),
    ],
)
def test_a_text_that_is_none_is_missing(claim: str, field: str, value: object) -> None:
    assert getattr(facts(**{claim: value}), field) == ""


@pytest.mark.parametrize(
    "acr",
    [
        pytest.param(None, id="null"),
        pytest.param(True, id="true"),
        pytest.param(["https://refeds.org/profile/mfa"], id="list"),
        pytest.param("https://refeds.org/profile/sfa", id="single-factor"),
        pytest.param("https://refeds.org/profile/mfa2", id="longer"),
    ],
)
def test_a_second_factor_is_only_what_refeds_says(acr: object) -> None:
    assert facts(acr=acr).mfa is False


def test_good_values_beside_wrong_ones_are_kept() -> None:
    assert facts(eduperson_entitlement=[7, GROUP, None, [ROLE]]).memberships == (GROUP,)


def test_a_list_of_ten_megabytes_is_cut() -> None:
    values = [f"{EGI}:group:vo{number}" for number in range(TEN_MB // 25)]
    found = facts(eduperson_entitlement=values, eduperson_assurance=values)
    assert found.memberships == tuple(values[:500])
    assert found.assurance == tuple(values[:500])
    assert len(json.dumps(vars(found))) < 100_000


def test_five_hundred_values_of_twenty_kilobytes_leave_little() -> None:
    found = facts(eduperson_entitlement=[f"{EGI}:group:{number}" + "x" * 20_000 for number in range(500)])
    assert found.memberships == ()
    assert len(json.dumps(vars(found))) < 100_000


# --- entitlements -------------------------------------------------------------------------------------------


def test_both_names_of_the_claim_count_and_doubles_count_once() -> None:
    assert facts(eduperson_entitlement=[GROUP, GROUP], entitlements=[ROLE, GROUP]).memberships == (GROUP, ROLE)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(f"{EGI}:res:cloud:act:", f"{EGI}:res:cloud:act:", id="capability-without-actions"),
        pytest.param(f"{EGI}:aai.egi.eu:rcauth", f"{EGI}:aai.egi.eu:rcauth", id="obsolete"),
        pytest.param(f"{GROUP}\n{ROLE}", f"{GROUP}\\x0a{ROLE}"[:80], id="line-break"),
        pytest.param(f"{EGI}:group:\x1b[2J", f"{EGI}:group:\\x1b[2J", id="terminal-escape"),
        pytest.param(f"{EGI}:group:\ud800", f"{EGI}:group:\\xd800", id="lone-surrogate"),
        pytest.param(f"{EGI}:group:" + "x" * 2000, (f"{EGI}:group:" + "x" * 80)[:80], id="too-long"),
    ],
)
def test_what_is_not_understood_is_kept_to_be_shown(value: str, shown: str) -> None:
    found = facts(eduperson_entitlement=[value, ROLE])
    assert found.memberships == (ROLE,)
    assert [text[:80] for text in found.not_understood] == [shown]
    assert found.not_understood[0].isprintable()


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param("urn:geant:helmholtz.de:group:KIT:role=operator", id="another-namespace"),
        pytest.param(f"{EGI}.evil.org:group:vo.example.org:role=operator", id="longer-name"),
        pytest.param("urn:mace:egi.eu", id="the-namespace-alone"),
        pytest.param("garbage", id="no-urn"),
        pytest.param("", id="empty"),
        pytest.param("   ", id="blank"),
    ],
)
def test_a_role_in_a_namespace_that_the_provider_does_not_own_is_not_held(foreign: str) -> None:
    found = facts(eduperson_entitlement=[foreign, ROLE])
    assert found.memberships == (ROLE,)
    assert found.not_understood in ((), (EGI,))


@pytest.mark.parametrize(
    ("owns_namespaces", "expected"),
    [
        pytest.param((), [], id="none"),
        pytest.param((EGI,), [0, 1, 2], id="one"),
        pytest.param((f"{EGI}:group:vo.example.org",), [0], id="one-community"),
        pytest.param((EGI, "urn:geant:helmholtz.de"), [0, 1, 2, 3], id="two"),
        pytest.param("any", [0, 1, 2, 3], id="any"),
    ],
)
def test_a_provider_speaks_for_its_namespaces_and_for_no_other(owns_namespaces: Any, expected: list[int]) -> None:
    values = [
        f"{EGI}:group:vo.example.org:role=member",
        f"{EGI}:res:cloud:act:create",
        f"{EGI}:aai.egi.eu:vm_operator@vo.example.org",
        "urn:geant:helmholtz.de:group:KIT",
    ]
    found = identity({"voperson_id": "x", "entitlements": values}, owns_namespaces=owns_namespaces).facts
    assert found.memberships == tuple(values[index] for index in expected)
    assert found.not_understood == ()


# --- affiliations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "home", "affiliation", "counts"),
    [
        pytest.param("home-organisation", "a.org", "staff@a.org", True, id="home-organisation"),
        pytest.param("home-organisation", "A.org", "staff@a.ORG", True, id="capitals-do-not-matter"),
        pytest.param("home-organisation", "a.org", "staff@physics.a.org", True, id="below-the-home-organisation"),
        pytest.param("home-organisation", "physics.a.org", "staff@a.org", False, id="above-the-home-organisation"),
        pytest.param("home-organisation", "a.org", "staff@b.org", False, id="another-organisation"),
        pytest.param("home-organisation", "a.org", "staff@xa.org", False, id="a-name-that-ends-like-it"),
        pytest.param("home-organisation", "", "staff@a.org", False, id="home-organisation-not-said"),
        pytest.param("home-organisation", ["a.org"], "staff@a.org", False, id="home-organisation-is-a-list"),
        pytest.param("home-organisation", "org", "staff@a.org", False, id="a-top-level-domain-vouches-for-nothing"),
        pytest.param("home-organisation", ".org", "staff@a.org", False, id="nor-with-a-dot"),
        pytest.param("home-organisation", "a.org", "staff", False, id="no-scope"),
        pytest.param("home-organisation", "a.org", "staff@", False, id="empty-scope"),
        pytest.param("home-organisation", "a.org", "staff@b.org@a.org", False, id="two-scopes"),
        pytest.param("home-organisation", "a.org", "staff@b.org@x.a.org", False, id="two-scopes-and-a-dot"),
        pytest.param(("a.org",), "", "staff@a.org", True, id="listed"),
        pytest.param(("b.org", "a.org"), "b.org", "staff@physics.a.org", True, id="below-a-listed-one"),
        pytest.param(("b.org",), "a.org", "staff@a.org", False, id="not-listed-whatever-the-home-organisation"),
        pytest.param((), "a.org", "staff@a.org", False, id="none-listed"),
        pytest.param("any", "", "staff@a.org", True, id="the-provider-checks-them"),
        pytest.param("any", "a.org", "staff", False, id="the-provider-checks-them-and-there-is-none"),
    ],
)
def test_an_affiliation_counts_where_its_scope_was_checked(
    scopes: Any, home: Any, affiliation: str, counts: bool
) -> None:
    claims = {"voperson_id": "x", "schac_home_organization": home, "eduperson_scoped_affiliation": [affiliation]}
    found = identity(claims, affiliation_scopes=scopes).facts
    expected = ((affiliation,), ()) if counts else ((), (affiliation,))
    assert (found.affiliations, found.unchecked_affiliations) == expected


# --- names and organisations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "preferred"),
    [
        pytest.param({"preferred_username": "ines", "name": "Inês"}, "ines", id="preferred"),
        pytest.param({"name": "Inês"}, "Inês", id="new-users-of-check-in-have-no-preferred-name"),
        pytest.param({"preferred_username": ["ines"], "name": "Inês"}, "Inês", id="preferred-is-a-list"),
        pytest.param({"email": "ines@example.org"}, "", id="an-e-mail-address-is-no-name"),
    ],
)
def test_the_name_for_the_user_name(claims: dict[str, Any], preferred: str) -> None:
    assert identity({"voperson_id": "x", **claims}).preferred == preferred


@pytest.mark.parametrize(
    ("claims", "organisation"),
    [
        pytest.param(
            {"schac_home_organization": "a.org", "eduperson_scoped_affiliation": ["x@b.org"]}, "a.org", id="said"
        ),
        pytest.param({"eduperson_scoped_affiliation": ["member", "x@b.org", "x@c.org"]}, "b.org", id="first-scope"),
        pytest.param({"eduperson_scoped_affiliation": ["member"]}, "", id="no-scope"),
        pytest.param({"email": "ines@example.org"}, "", id="not-from-the-e-mail-address"),
    ],
)
def test_the_home_organisation(claims: dict[str, Any], organisation: str) -> None:
    assert facts(**claims).home_organisation == organisation


# --- whatever comes -----------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([GROUP, ROLE, SUBJECT]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
KNOWN_CLAIMS = st.sampled_from(sorted([*CLAIMS, "entitlements", "schac_home_organization"]))


@settings(max_examples=300)
@given(st.dictionaries(KNOWN_CLAIMS | st.text(), JSON), st.sampled_from([(), (EGI,), "any"]))
def test_any_claims_are_an_identity_or_are_refused_for_their_subject(
    claims: dict[str, Any], owns_namespaces: Any
) -> None:
    subject = claims.get("voperson_id")
    try:
        found = identity(claims, owns_namespaces=owns_namespaces)
    except NoSubject:
        assert not isinstance(subject, str) or not subject or subject != subject.strip() or not subject.isprintable()
        return
    assert (found.issuer, found.subject) == (ISSUER, subject)
    for value in vars(found.facts).values():
        texts = value if isinstance(value, tuple) else (value,)
        assert all(isinstance(text, bool) or text.isprintable() for text in texts)
    json.dumps(vars(found.facts)).encode()
