"""Schemathesis sends the API whatever its description allows, and what it forbids: nothing breaks, every answer is as it
is described, a GET changes nothing, and nobody is told what is another's.
"""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from federation.audit import Act
from tests.support.books import dump
from tests.support.desk_pages import ROLES, DeskPages
from vetting.asking import Kind
from vetting.desk.api.app import PATH
from vetting.desk.pace import Pace
from vetting.desk.parts import PREFIX

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SECRET = "what-only-ana-and-reviewers-read"
"""Stands in what Ana wrote, and in what was noted about her."""

FEW, MANY = 10, 200
DAILY = ("user", "reviewer")


@pytest.fixture
def people(pages: DeskPages) -> DeskPages:
    """A desk with a story, and somebody of each role with a token."""
    store = pages.store
    store.submitted("ana", purpose=SECRET, details=SECRET)
    store.active("ana", Kind.SITE, sites=("hpc",), hours=0, purpose=SECRET)
    store.denied("ben")
    for role in ROLES:
        name = role.replace(" ", "-")
        pages.sign_in.tokens[f"api-of-{role}".replace(" ", "-")] = pages.person(name, role).user_name
        store.open(name)
    endless = Pace(per_minute=10**9, burst=10**9)
    for state in (pages.app.state, pages.api.state):
        state.by_address = state.by_sign_in = endless
    return pages


def known(pages: DeskPages) -> st.SearchStrategy[dict[str, str]]:
    """What there is, for the places of addresses: made up ids lead nowhere."""
    requests = [one.id for one in pages.store.requests.found()]
    persons = [one.id for one in pages.store.people.values()]
    return st.fixed_dictionaries(
        {
            "request_id": st.sampled_from(requests), "person_id": st.sampled_from(persons),
            "site": st.sampled_from(["hpc", "cloud"]),
        }
    )  # fmt: skip


def what_is_kept(pages: DeskPages) -> Any:
    """All rows; that somebody was refused is written down at a GET, too."""
    rows = dump(pages.store.database)
    audit = [row for row in rows["audit"] if repr(Act.PAGE_REFUSED.value) not in row]
    return {**rows, "audit": audit}


@pytest.mark.parametrize(
    ("role", "examples"),
    [
        *(pytest.param(role, FEW, id=role) for role in DAILY),
        *(
            pytest.param(role, MANY, id=f"{role}-long", marks=[pytest.mark.long, pytest.mark.timeout(3600)])
            for role in ROLES
        ),
    ],
)
def test_whatever_is_sent_nothing_breaks_and_nothing_leaks(people: DeskPages, role: str, examples: int) -> None:
    schema = schemathesis.openapi.from_asgi(f"{PREFIX}{PATH}/openapi.json", people.app)
    token = f"api-of-{role}".replace(" ", "-")
    told = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(
            case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)),
            places=st.none() | known(people),
        )
        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def calls(case: Case, places: dict[str, str] | None) -> None:
            nonlocal told
            if places is not None and case.path_parameters:
                case.path_parameters = {**case.path_parameters, **{
                    name: value for name, value in places.items() if name in case.path_parameters
                }}  # fmt: skip
            note(f"{case.method} {case.formatted_path}")
            before = what_is_kept(people) if case.method == "GET" else None
            answer = case.call(headers={"Authorization": f"Bearer {token}"})
            case.validate_response(answer, checks=CHECKS)
            assert before is None or what_is_kept(people) == before
            if role not in ("reviewer", "operator"):
                assert SECRET not in answer.text
            told += SECRET in answer.text

        calls()
    assert (told > 0) is (role in ("reviewer", "operator"))
