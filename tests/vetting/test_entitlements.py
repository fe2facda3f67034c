"""Entitlements: every form is read as its standard says, or dropped one by one; memberships contain their parents."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vetting.entitlements import Capability, Entitlement, Membership, NotUnderstood, grants, owned_by, parse, parse_all

EGI = "urn:mace:egi.eu"
TEN_KB = "x" * 10_240


# --- what is read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            f"{EGI}:group:vo.example.org#aai.egi.eu", Membership(EGI, ("vo.example.org",), None, "aai.egi.eu"),
            id="group-with-authority",
        ),
        pytest.param(f"{EGI}:group:vo.example.org", Membership(EGI, ("vo.example.org",)), id="group-alone"),
        pytest.param(
            f"{EGI}:group:vo.example.org:role=member#aai.egi.eu",
            Membership(EGI, ("vo.example.org",), "member", "aai.egi.eu"), id="role-and-authority",
        ),
        pytest.param(
            f"{EGI}:group:vo.example.org:role=vm_operator", Membership(EGI, ("vo.example.org",), "vm_operator"),
            id="role-without-authority",
        ),
        pytest.param(
            f"{EGI}:group:vo:sub:subsub:role=manager#aai.egi.eu",
            Membership(EGI, ("vo", "sub", "subsub"), "manager", "aai.egi.eu"), id="subgroups-and-role",
        ),
        pytest.param(f"{EGI}:group:vo:sub", Membership(EGI, ("vo", "sub")), id="subgroup-alone"),
        pytest.param(
            "urn:geant:helmholtz.de:group:KIT#login.helmholtz.de",
            Membership("urn:geant:helmholtz.de", ("KIT",), None, "login.helmholtz.de"), id="helmholtz",
        ),
        pytest.param(
            "urn:geant:example.org:sub:space:group:vo", Membership("urn:geant:example.org:sub:space", ("vo",)),
            id="subnamespaces",
        ),
        pytest.param(
            f"{EGI}:group:vo:role=a%2Fb%3Dc", Membership(EGI, ("vo",), "a/b=c"), id="percent-encoded-role",
        ),
        pytest.param(f"{EGI}:group:caf%C3%A9", Membership(EGI, ("café",)), id="percent-encoded-utf-8"),
        pytest.param(f"{EGI}:group:a%3Ab", Membership(EGI, ("a:b",)), id="percent-encoded-colon-is-no-subgroup"),
        pytest.param(f"{EGI}:group:a%23b#c", Membership(EGI, ("a#b",), None, "c"), id="percent-encoded-hash"),
        pytest.param(f"{EGI}:group:café", Membership(EGI, ("café",)), id="unicode-as-it-is"),
        pytest.param("URN:MACE:EGI.EU:group:VO", Membership(EGI, ("VO",)), id="namespace-in-capitals"),
        pytest.param(f"{EGI}:group:VO:Role=x", Membership(EGI, ("VO", "Role=x")), id="role-in-capitals-is-a-group"),
        pytest.param(f"{EGI}:group:group:group", Membership(EGI, ("group", "group")), id="groups-called-group"),
        pytest.param(f"{EGI}:group:vo#", Membership(EGI, ("vo",)), id="empty-authority"),
        pytest.param(f"{EGI}:group:100%", Membership(EGI, ("100%",)), id="percent-sign-alone"),
        pytest.param(
            f"{EGI}:group:a%20b:role=x%20y", Membership(EGI, ("a b",), "x y"), id="percent-encoded-blank",
        ),
        pytest.param(
            f"{EGI}:group:vo:res:x:act:y", Membership(EGI, ("vo", "res", "x", "act", "y")),
            id="what-comes-first-says-what-it-is",
        ),
        # AARC-G027
        pytest.param(
            f"{EGI}:res:cloud:act:create,delete#aai.egi.eu",
            Capability(EGI, ("cloud",), frozenset({"create", "delete"}), "aai.egi.eu"), id="capability",
        ),
        pytest.param(
            f"{EGI}:res:cloud:child:grandchild:act:read",
            Capability(EGI, ("cloud", "child", "grandchild"), frozenset({"read"})), id="capability-of-a-child",
        ),
        pytest.param(f"{EGI}:res:rcauth#aai.egi.eu", Capability(EGI, ("rcauth",), frozenset(), "aai.egi.eu"),
                     id="capability-without-action"),
        pytest.param(f"{EGI}:res:group:x", Capability(EGI, ("group", "x")), id="resource-called-group"),
        pytest.param(f"{EGI}:res:act:act:x", Capability(EGI, ("act",), frozenset({"x"})), id="resource-called-act"),
        pytest.param(f"{EGI}:res:x:%61ct", Capability(EGI, ("x", "act")), id="child-called-act-is-encoded"),
        pytest.param(f"{EGI}:res:x:act:a%2Cb,c", Capability(EGI, ("x",), frozenset({"a,b", "c"})),
                     id="percent-encoded-comma"),
        # EGI Check-in's form before AARC-G002, and how it tells roles of GOCDB
        pytest.param(
            f"{EGI}:aai.egi.eu:vm_operator@vo.example.org",
            Membership(EGI, ("vo.example.org",), "vm_operator", "aai.egi.eu"), id="legacy-role-at-vo",
        ),
        pytest.param(
            f"{EGI}:aai.egi.eu:member@vo.example.org", Membership(EGI, ("vo.example.org",), "member", "aai.egi.eu"),
            id="legacy-member-at-vo",
        ),
        pytest.param(
            f"{EGI}:www.egi.eu:wiki-editors:member@egi.eu",
            Membership(EGI, ("egi.eu", "wiki-editors"), "member", "www.egi.eu"), id="legacy-with-a-group",
        ),
        pytest.param(
            f"{EGI}:goc.egi.eu:100453G0:GRIDOPS-CheckIn:Site+Administrator@egi.eu",
            Membership(EGI, ("egi.eu", "100453G0", "GRIDOPS-CheckIn"), "Site+Administrator", "goc.egi.eu"),
            id="legacy-of-gocdb",
        ),
        pytest.param(
            "URN:MACE:EGI.EU:aai.egi.eu:member@vo", Membership(EGI, ("vo",), "member", "aai.egi.eu"),
            id="legacy-in-capitals",
        ),
    ],
)  # fmt: skip
def test_entitlements_are_read(value: str, expected: Entitlement) -> None:
    assert parse(value) == expected
    assert parse(value).authority == expected.authority  # not part of equality


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(f"{EGI}:res", id="no-resource"),
        pytest.param(f"{EGI}:res:", id="empty-resource"),
        pytest.param(f"{EGI}:res:x::y", id="empty-child"),
        pytest.param(f"{EGI}:res:x:act", id="no-actions"),
        pytest.param(f"{EGI}:res:x:act:", id="empty-actions"),
        pytest.param(f"{EGI}:res:x:act:a,,b", id="empty-action"),
        pytest.param(f"{EGI}:res:x:act:a:b", id="something-after-the-actions"),
        pytest.param(f"{EGI}:res:x#a#b", id="capability-with-two-authorities"),
        pytest.param("urn:x:res:y", id="capability-without-delegated-namespace"),
        pytest.param(f"{EGI}:res:x%0A", id="capability-with-an-encoded-line-break"),
        pytest.param(f"{EGI}:aai.egi.eu:vm_operator@", id="legacy-without-vo"),
        pytest.param(f"{EGI}:aai.egi.eu:@vo", id="legacy-without-role"),
        pytest.param(f"{EGI}:member@vo", id="legacy-without-authority"),
        pytest.param(f"{EGI}:aai.egi.eu::member@vo", id="legacy-with-an-empty-group"),
        pytest.param(f"{EGI}:aai.egi.eu:member@vo@vo", id="legacy-with-two-vos"),
        pytest.param(f"{EGI}:aai.egi.eu:member@vo#aai.egi.eu", id="legacy-with-another-authority"),
        pytest.param(f"{EGI}:aai.egi.eu:role=x:member@vo", id="legacy-with-a-role-as-group"),
        pytest.param("urn:mace:other.org:aai.egi.eu:member@vo", id="legacy-is-of-check-in-alone"),
        pytest.param("urn:mace:dir:entitlement:common-lib-terms", id="library-terms"),
        pytest.param("https://example.org/entitlement/1", id="address"),
        pytest.param("", id="empty"),
        pytest.param(" ", id="blank"),
        pytest.param("urn:", id="urn-alone"),
        pytest.param("urn::group:vo", id="no-namespace-identifier"),
        pytest.param("urn:x:group:vo", id="no-delegated-namespace"),
        pytest.param("urn:mace::group:vo", id="empty-delegated-namespace"),
        pytest.param("urn:-x:egi.eu:group:vo", id="namespace-identifier-with-a-hyphen-first"),
        pytest.param(f"urn:{'x' * 33}:egi.eu:group:vo", id="namespace-identifier-too-long"),
        pytest.param(f"{EGI}:group", id="no-group"),
        pytest.param(f"{EGI}:group:", id="empty-group"),
        pytest.param(f"{EGI}:group::sub", id="empty-group-before-a-subgroup"),
        pytest.param(f"{EGI}:group:vo:", id="empty-subgroup"),
        pytest.param(f"{EGI}:group:role=member", id="role-without-group"),
        pytest.param(f"{EGI}:group:vo:role=", id="empty-role"),
        pytest.param(f"{EGI}:group:vo:role=a:sub", id="role-before-a-subgroup"),
        pytest.param(f"{EGI}:group:vo:role=a:role=b", id="two-roles"),
        pytest.param(f"{EGI}:group:vo:role%3Da", id="encoded-role"),
        pytest.param(f"{EGI}:group:vo#a#b", id="two-authorities"),
        pytest.param(f"{EGI}#x:group:vo", id="authority-in-the-namespace"),
        pytest.param(f"{EGI}:GROUP:vo", id="group-in-capitals"),
        pytest.param(f"{EGI}:group:vo\n{EGI}:group:admins", id="line-break"),
        pytest.param(f"{EGI}:group:vo\n", id="line-break-at-the-end"),
        pytest.param(f"{EGI}:group:vo\r", id="carriage-return"),
        pytest.param(f"{EGI}:group:vo%0Aadmins", id="encoded-line-break"),
        pytest.param(f"{EGI}:group:vo%00", id="encoded-nul"),
        pytest.param(f"{EGI}:group:vo\x00", id="nul"),
        pytest.param(f"{EGI}:group:vo\x1b[2J", id="terminal-escape"),
        pytest.param(f"{EGI}:group:vo\u2028x", id="line-separator"),
        pytest.param(f"{EGI}:group:vo\u202ex", id="right-to-left-override"),
        pytest.param(f"{EGI}:group:vo\u00a0x", id="no-break-space"),
        pytest.param(f"{EGI}:group:vo\ud800", id="lone-surrogate"),
        pytest.param(f"{EGI}:group:vo x", id="space"),
        pytest.param(f" {EGI}:group:vo", id="leading-space"),
        pytest.param(f"{EGI}:group:vo%FF", id="encoded-bytes-that-are-no-text"),
        pytest.param(f"{EGI}:group:{TEN_KB}", id="ten-kilobytes"),
        pytest.param(":" * 10_240, id="ten-kilobytes-of-colons"),
        pytest.param(f"{EGI}" + ":group:x" * 2_000, id="ten-kilobytes-of-groups"),
        pytest.param("urn:x:" + "%" * 10_240, id="ten-kilobytes-of-percent-signs"),
    ],
)
def test_anything_else_is_not_understood(value: str) -> None:
    with pytest.raises(NotUnderstood) as caught:
        parse(value)
    assert len(str(caught.value)) <= 80
    assert caught.value.why
    assert parse_all([value, f"{EGI}:group:vo"]) == ((Membership(EGI, ("vo",)),), (value,))


@pytest.mark.parametrize(("characters", "readable"), [(1023, True), (1024, True), (1025, False)])
def test_a_value_has_at_most_1024_characters(characters: int, readable: bool) -> None:
    value = f"{EGI}:group:".ljust(characters, "x")
    understood, rest = parse_all([value])
    assert (bool(understood), bool(rest)) == (readable, not readable)


@given(st.text())
@example(f"{EGI}:group:\ud800")
def test_no_text_makes_it_raise_anything_else(value: str) -> None:
    understood, rest = parse_all([value])
    assert len(understood) + len(rest) == 1


@given(st.lists(st.sampled_from(["urn", EGI, ":", "group", "role=", "#", "%", "%0A", "%3A", "é", "\n", " ", "x"])))
def test_no_mixture_of_its_parts_makes_it_raise_anything_else(parts: list[str]) -> None:
    understood, rest = parse_all(["".join(parts)])
    assert len(understood) + len(rest) == 1


NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12).filter(
    lambda name: name.isprintable() and not name.startswith("role=")
)
NAMESPACES = (
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9.-]{0,9}", fullmatch=True), min_size=1, max_size=3)
    .map(lambda parts: ":".join(["urn:geant", *parts]))
    .filter(lambda namespace: not {"group", "res"} & set(namespace.split(":")))
)
MEMBERSHIPS = st.builds(
    Membership,
    NAMESPACES,
    st.lists(NAMES, min_size=1, max_size=4).map(tuple),
    st.none() | NAMES,
    st.none() | st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True),
)


ACTIONS = st.frozensets(NAMES, max_size=3)
CAPABILITIES = st.builds(
    Capability,
    NAMESPACES,
    st.lists(NAMES | st.just("act"), min_size=1, max_size=4).map(tuple),
    ACTIONS,
    st.none() | st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True),
)


def written(entitlement: Membership) -> str:
    """As the standard says; everything that may be encoded is."""
    path = ":".join(quote(group, safe="") for group in entitlement.groups)
    role = f":role={quote(entitlement.role, safe='')}" if entitlement.role else ""
    authority = f"#{entitlement.authority}" if entitlement.authority else ""
    return f"{entitlement.namespace}:group:{path}{role}{authority}"


@given(MEMBERSHIPS)
def test_what_is_written_as_the_standard_says_is_read_back(entitlement: Membership) -> None:
    assert parse(written(entitlement)) == entitlement


@given(MEMBERSHIPS | CAPABILITIES)
def test_what_we_write_is_read_back(entitlement: Entitlement) -> None:
    read = parse(str(entitlement))
    assert (read, read.authority) == (entitlement, entitlement.authority)


PIECES = st.sampled_from(
    ["urn", EGI, ":", "group", ":group:", ":res:", ":act:", "role=", "#", "%", "%3A", "%20", "%61", "@", "é", ",", "x"]
)


@given(st.lists(PIECES, min_size=1, max_size=8).map(lambda pieces: f"{EGI}:" + "".join(pieces)))
@example(f"{EGI}:aai.egi.eu:admins:owner@vo.example.org")
@example(f"{EGI}:res:x:%61ct:act:b,a#c")
def test_what_is_read_and_written_means_the_same(value: str) -> None:
    understood, _rest = parse_all([value])
    for entitlement in understood:
        again = parse(str(entitlement))
        assert (again, again.authority, str(again)) == (entitlement, entitlement.authority, str(entitlement))


# --- what is held fulfils what is required --------------------------------------------------------------------


def entitlement(path: str) -> Entitlement:
    return parse(f"{EGI}:group:{path}")


@pytest.mark.parametrize(
    ("held", "required", "expected"),
    [
        pytest.param("vo", "vo", True, id="same-group"),
        pytest.param("vo", "other", False, id="other-group"),
        pytest.param("vo", "v", False, id="part-of-a-name"),
        pytest.param("vo", "VO", False, id="group-in-capitals"),
        pytest.param("vo:sub", "vo", True, id="subgroup-contains-its-parent"),
        pytest.param("vo:sub:subsub", "vo", True, id="subgroup-contains-its-grandparent"),
        pytest.param("vo", "vo:sub", False, id="parent-does-not-contain-the-subgroup"),
        pytest.param("vo:other", "vo:sub", False, id="sibling"),
        pytest.param("other:vo", "vo", False, id="a-group-of-that-name-elsewhere"),
        pytest.param("vo%3Asub", "vo", False, id="encoded-colon-is-no-subgroup"),
        pytest.param("vo:role=operator", "vo", True, id="required-without-role-is-met-by-any-role"),
        pytest.param("vo:sub:role=operator", "vo", True, id="role-in-a-subgroup-is-a-membership-of-the-parent"),
        pytest.param("vo:role=operator", "vo:role=operator", True, id="same-role"),
        pytest.param("vo:role=operator", "vo:role=support", False, id="other-role"),
        pytest.param("vo", "vo:role=operator", False, id="membership-is-no-role"),
        pytest.param("vo:sub:role=operator", "vo:role=operator", False, id="role-in-a-subgroup-is-none-in-the-parent"),
        pytest.param("vo:role=operator", "vo:sub:role=operator", False, id="role-in-the-parent-is-none-in-a-subgroup"),
        pytest.param("vo:role=operator", "vo:role=Operator", False, id="role-in-capitals"),
        pytest.param("vo#aai.egi.eu", "vo#other.example.org", True, id="authority-is-not-part-of-equality"),
        pytest.param("vo:role=operator#a", "vo:role=operator", True, id="authority-of-a-role-neither"),
        pytest.param("caf%C3%A9", "café", True, id="encoded-and-not"),
    ],
)
def test_held_fulfils_required(held: str, required: str, expected: bool) -> None:
    assert grants(entitlement(held), entitlement(required)) is expected


def test_a_group_of_another_namespace_is_another_group() -> None:
    assert not grants(parse("urn:mace:other.org:group:vo"), entitlement("vo"))
    assert not grants(parse(f"{EGI}:sub:group:vo"), entitlement("vo"))
    assert grants(parse("urn:MACE:EGI.EU:group:vo"), entitlement("vo"))


def capability(path: str) -> Entitlement:
    return parse(f"{EGI}:res:{path}")


@pytest.mark.parametrize(
    ("held", "required", "expected"),
    [
        pytest.param("x", "x", True, id="same-resource"),
        pytest.param("x", "y", False, id="other-resource"),
        pytest.param("x", "x:child", False, id="resource-is-not-its-child"),
        pytest.param("x:child", "x", False, id="child-is-not-the-resource"),
        pytest.param("x:act:a", "x", True, id="required-without-action-is-met-by-any"),
        pytest.param("x", "x:act:a", False, id="no-action-named-is-not-every-action"),
        pytest.param("x:act:a,b", "x:act:b", True, id="one-of-its-actions"),
        pytest.param("x:act:b,a", "x:act:a,b", True, id="order-of-actions"),
        pytest.param("x:act:a", "x:act:a,b", False, id="not-all-actions"),
        pytest.param("x:act:a", "x:act:A", False, id="action-in-capitals"),
        pytest.param("x#a", "x#b", True, id="authority-is-not-part-of-equality"),
    ],
)
def test_a_held_capability_fulfils_a_required_one(held: str, required: str, expected: bool) -> None:
    assert grants(capability(held), capability(required)) is expected


def test_a_group_is_no_capability_and_a_capability_no_group() -> None:
    assert not grants(entitlement("x"), capability("x"))
    assert not grants(capability("x"), entitlement("x"))


def test_the_form_before_the_standard_is_the_same_membership() -> None:
    legacy = parse(f"{EGI}:aai.egi.eu:vm_operator@vo.example.org")
    assert str(legacy) == f"{EGI}:group:vo.example.org:role=vm_operator#aai.egi.eu"
    assert grants(legacy, entitlement("vo.example.org"))
    assert grants(legacy, entitlement("vo.example.org:role=vm_operator"))
    assert not grants(legacy, entitlement("vo.example.org:role=operator"))


@given(MEMBERSHIPS)
def test_everything_fulfils_itself_its_group_and_its_parents(held: Membership) -> None:
    assert grants(held, held)
    for depth in range(1, len(held.groups) + 1):
        assert grants(held, Membership(held.namespace, held.groups[:depth], None, "another.example.org"))


@given(MEMBERSHIPS, NAMES)
def test_nothing_fulfils_a_group_below_it(held: Membership, below: str) -> None:
    assert not grants(held, Membership(held.namespace, (*held.groups, below)))


# --- whose it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "namespaces", "expected"),
    [
        pytest.param(f"{EGI}:group:vo", [EGI], True, id="own"),
        pytest.param("URN:mace:EGI.eu:group:vo", [EGI], True, id="own-in-capitals"),
        pytest.param(f"{EGI}:group:vo", ["urn:mace:EGI.EU"], True, id="configured-in-capitals"),
        pytest.param(f"{EGI}:group:vo", ["urn:geant:x", EGI], True, id="one-of-several"),
        pytest.param(EGI, [EGI], True, id="the-namespace-itself"),
        pytest.param("urn:mace:egi.eu.evil.org:group:vo", [EGI], False, id="longer-name"),
        pytest.param("urn:mace:egi.e:group:vo", [EGI], False, id="shorter-name"),
        pytest.param("urn:geant:helmholtz.de:group:KIT", [EGI], False, id="foreign"),
        pytest.param(f"x{EGI}:group:vo", [EGI], False, id="not-at-the-start"),
        pytest.param(f"{EGI}:group:vo", [], False, id="none"),
        pytest.param("", [""], True, id="empty"),
        pytest.param(f"{EGI}:group:vo", [""], False, id="empty-namespace-owns-nothing"),
        pytest.param(f"{EGI}:group:vo", "any", True, id="any"),
        pytest.param(f"{EGI}:group:vo", ["any"], False, id="any-in-a-list-is-a-name"),
    ],
)
def test_a_provider_owns_what_is_below_its_namespaces(value: str, namespaces: list[str], expected: bool) -> None:
    assert owned_by(value, namespaces) is expected
