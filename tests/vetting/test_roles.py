"""Roles: which entitlement carries which role, and that nothing else does."""

from typing import Any

import pytest

from federation.persons import Facts
from vetting.roles import Roles, roles_of
from vetting.settings import RoleRules

VO = "urn:mace:egi.eu:group:vo.example.org"
RULES = RoleRules.model_validate(
    {
        "operator": [f"{VO}:role=operator"],
        "reviewer": [f"{VO}:role=support", f"{VO}:desk"],
        "trainer": ["urn:mace:egi.eu:res:classes:act:teach"],
        "site_operator": {
            "andes": [f"{VO}:andes:role=operator"],
            "pampa": [f"{VO}:pampa:role=operator"],
            "nobodys": [],
        },
    }
)


@pytest.mark.parametrize(
    ("memberships", "expected"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param([VO], {}, id="member"),
        pytest.param([f"{VO}:role=member"], {}, id="another-role"),
        pytest.param([f"{VO}:role=operator#aai.egi.eu"], {"operator": True}, id="operator"),
        pytest.param([f"{VO}:role=Operator"], {}, id="role-in-capitals"),
        pytest.param(["urn:mace:egi.eu:aai.egi.eu:operator@vo.example.org"], {"operator": True}, id="in-the-old-form"),
        pytest.param(["urn:mace:other.org:group:vo.example.org:role=operator"], {}, id="another-namespace"),
        pytest.param([f"{VO}:sub:role=operator"], {}, id="role-of-a-subgroup-is-none-of-its-parent"),
        pytest.param([f"{VO}:role=support"], {"reviewer": True}, id="reviewer"),
        pytest.param([f"{VO}:desk"], {"reviewer": True}, id="reviewer-by-a-group"),
        pytest.param([f"{VO}:desk:role=anything"], {"reviewer": True}, id="any-role-in-that-group"),
        pytest.param([f"{VO}:desk:night"], {"reviewer": True}, id="a-group-below-it"),
        pytest.param(["urn:mace:egi.eu:res:classes:act:teach,plan"], {"trainer": True}, id="trainer-by-a-capability"),
        pytest.param(["urn:mace:egi.eu:res:classes"], {}, id="a-capability-without-the-action"),
        pytest.param([f"{VO}:andes:role=operator"], {"site_operator": frozenset({"andes"})}, id="site-operator"),
        pytest.param(
            [f"{VO}:andes:role=operator", f"{VO}:pampa:role=operator", f"{VO}:role=support"],
            {"site_operator": frozenset({"andes", "pampa"}), "reviewer": True}, id="several",
        ),
        pytest.param(["garbage", f"{VO}:role=operator"], {"operator": True}, id="beside-garbage"),
    ],
)  # fmt: skip
def test_roles_follow_from_entitlements(memberships: list[str], expected: dict[str, Any]) -> None:
    facts = Facts(memberships=tuple(memberships))
    assert roles_of(facts, RULES) == Roles(**expected)
    assert roles_of(facts, RULES, suspended=True) == Roles()


def test_without_rules_nobody_has_a_role() -> None:
    assert roles_of(Facts(memberships=(f"{VO}:role=operator",)), RoleRules()) == Roles()


def test_what_was_not_understood_carries_no_role() -> None:
    assert roles_of(Facts(not_understood=(f"{VO}:role=operator",)), RULES) == Roles()
