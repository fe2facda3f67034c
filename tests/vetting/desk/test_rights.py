"""Who may do what, role by role and right by right."""

import pytest

from tests.support.desk_pages import ROLES, DeskPages
from vetting.desk.rights import Right, may
from vetting.roles import Roles

TABLE = """
                own  see-requests  decide  support  answer-for-site  operate
user            yes  -             -       -        -                -
reviewer        yes  yes           yes     yes      -                -
trainer         yes  -             -       -        -                -
site operator   yes  -             -       -        yes              -
operator        yes  yes           -       yes      -                yes
"""
HEAD, *LINES = TABLE.strip("\n").splitlines()
RIGHTS = HEAD.split()
ROWS = [
    pytest.param(line[:16].strip(), Right(right), cell == "yes", id=f"{line[:16].strip()}-{right}")
    for line in LINES
    for right, cell in zip(RIGHTS, line[16:].split(), strict=True)
]


def test_the_table_names_every_role_and_every_right() -> None:
    assert {row.values[0] for row in ROWS} == set(ROLES)
    assert [right.value for right in Right] == RIGHTS


@pytest.mark.parametrize(("role", "right", "allowed"), ROWS)
def test_a_role_has_a_right_or_not(pages: DeskPages, role: str, right: Right, allowed: bool) -> None:
    from vetting.desk.visitors import visitor_of

    person = pages.person("pat", role)
    assert visitor_of(pages.desk, person.user_name).may(right) is allowed


@pytest.mark.parametrize(
    ("site", "allowed"), [pytest.param("hpc", True, id="own"), pytest.param("cloud", False, id="another")]
)
def test_a_site_operator_answers_for_their_own_site_only(site: str, allowed: bool) -> None:
    roles = Roles(site_operator=frozenset({"hpc"}))
    assert may(roles, Right.ANSWER_FOR_SITE, site) is allowed


def test_an_operator_answers_for_no_site() -> None:
    assert not may(Roles(operator=True, reviewer=True), Right.ANSWER_FOR_SITE, "hpc")
