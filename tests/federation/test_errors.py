"""The catalogue of errors: codes are unique, statuses known, and whoever raises a problem fills its placeholders."""

import ast
import copy
import importlib
import pickle
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from types import ModuleType
from typing import Any

import pytest

import federation
import hub_config
import quota
import spawners
import vetting
from federation import errors
from federation.errors import DATABASE_AWAY, Failure, Problem, catalogue
from federation.i18n import LANGUAGES, use_language
from quota.reasons import Reason

HOUSES = (federation, quota, vetting, spawners, hub_config)
NOT_IMPORTED = ("hub_config.jupyterhub_config", "spawners.launcher", "federation.migrations.env")
OF_ENVIRONMENTS = "spawners.lab.nbfed_lab"
"""Runs in notebook environments, beside packages that the hub does not have."""
STATUSES = {400, 401, 403, 404, 405, 409, 413, 422, 429, 500, 502, 503, 504}
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def modules() -> list[ModuleType]:
    names = [
        name
        for house in HOUSES
        for _finder, name, _is_package in pkgutil.walk_packages(house.__path__, house.__name__ + ".")
        if name not in NOT_IMPORTED and not name.startswith(OF_ENVIRONMENTS)
    ]
    return [importlib.import_module(name) for name in names]


MODULES = modules()
CATALOGUE = list(catalogue())


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """The reader's."""
    use_language(request.param)
    yield request.param
    use_language("en")


@pytest.fixture
def empty_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    monkeypatch.setattr(errors, "_catalogue", {})


def placeholders(text: str) -> set[str]:
    return {name for _literal, name, _format, _conversion in Formatter().parse(text) if name is not None}


# --- the catalogue ------------------------------------------------------------------------------------------


def test_all_problems_are_in_the_catalogue_by_code() -> None:
    constants = {
        id(value): value for module in MODULES for value in vars(module).values() if isinstance(value, Problem)
    }
    assert sorted(problem.code for problem in constants.values()) == [problem.code for problem in CATALOGUE]


@pytest.mark.usefixtures("empty_catalogue")
def test_a_code_is_given_once() -> None:
    Problem(code="x", status=400, text="X.")
    with pytest.raises(ValueError, match=r"^the error code x is taken$"):
        Problem(code="x", status=503, text="Y.")
    assert [problem.text for problem in catalogue()] == ["X."]


@pytest.mark.parametrize("problem", CATALOGUE, ids=lambda problem: problem.code)
def test_every_problem_is_sound(problem: Problem) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", problem.code), "for metrics: words without numbers"
    assert problem.status in STATUSES
    for text in (problem.text, problem.advice):
        assert placeholders(text) == set(re.findall(r"\{(\w+)\}", text)), "plain names, nothing that is computed"
        assert text == text.strip()
    assert problem.text.endswith((".", "}"))
    assert problem.advice, "it says what to do next"


# --- whoever raises a problem fills its placeholders ------------------------------------------------------------


def raised() -> Iterator[Any]:
    """Each `Failure(PROBLEM, {…})` and `Reason(problem=PROBLEM)` in the code: where, the problem, and the figures."""
    for module in MODULES:
        tree = ast.parse(Path(str(module.__file__)).read_text())
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                for problem, figures in figures_of(module, function, call):
                    yield pytest.param(problem, figures, id=f"{module.__name__}.{function.name}-{problem.code}")


def figures_of(module: ModuleType, function: ast.AST, call: ast.Call) -> Iterator[tuple[Problem, set[str]]]:
    match call.func:
        case ast.Name("Failure"):
            values = vars(module).get(getattr(call.args[0], "id", ""))
            figures = keys_of(call.args[1], function) if len(call.args) > 1 else set[str]()
            named = [values]
        case ast.Name("Reason"):
            given = next(keyword.value for keyword in call.keywords if keyword.arg == "problem")
            named = [vars(module).get(node.id) for node in named_by(given, function)]
            figures = set(Reason(problem=DATABASE_AWAY).failure(NOW).figures)
        case ast.Attribute(ast.Name("self"), "_failure"):  # of the demo sign-in
            named = [vars(module).get(getattr(call.args[0], "id", ""))]
            figures = {"address"}
        case _:
            return
    yield from ((problem, figures) for problem in named if isinstance(problem, Problem))


def named_by(node: ast.expr, function: ast.AST) -> list[ast.Name]:
    """The constants that an argument may be: itself, or what its variable was set to."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    assigned = [
        part
        for statement in ast.walk(function)
        if isinstance(statement, ast.Assign)
        and {getattr(target, "id", "") for target in statement.targets} & {name.id for name in names}
        for part in ast.walk(statement.value)
        if isinstance(part, ast.Name)
    ]
    return [*names, *assigned]


def keys_of(node: ast.expr, function: ast.AST) -> set[str]:
    """The keys of a dictionary that is written there, or at the variable's assignment in the same function."""
    if isinstance(node, ast.Name):
        node = next(
            statement.value
            for statement in ast.walk(function)
            if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == node.id
        )
    assert isinstance(node, ast.Dict), ast.dump(node)
    return {str(ast.literal_eval(key)) for key in node.keys if key is not None}


RAISED = list(raised())


def test_of_every_problem_it_is_known_who_raises_it() -> None:
    assert {param.values[0].code for param in RAISED} == {problem.code for problem in CATALOGUE}


@pytest.mark.parametrize(("problem", "figures"), RAISED)
def test_all_placeholders_are_filled(problem: Problem, figures: set[str], language: str) -> None:
    failure = Failure(problem, {name: f"<{name}>" for name in figures})
    for text in (str(failure), failure.message):
        assert "{" not in text
        assert "}" not in text
    wanted = placeholders(problem.text) | placeholders(problem.advice)
    assert set(re.findall(r"<(\w+)>", failure.message)) == wanted


# --- one occurrence -----------------------------------------------------------------------------------------


@pytest.fixture
def problem(empty_catalogue: None) -> Problem:
    return Problem(code="too-many", status=429, text="{count} are too many.", advice="Stop {name}.")


def test_a_failure_tells_people_what_happened_and_what_to_do(problem: Problem) -> None:
    failure = Failure(problem, {"count": 3, "name": "one"})
    assert failure.message == "3 are too many. Stop one."
    assert str(failure) == "too-many: 3 are too many."


@pytest.mark.usefixtures("empty_catalogue")
def test_without_advice_there_is_only_the_text() -> None:
    assert Failure(Problem(code="x", status=400, text="No.")).message == "No."


@pytest.mark.parametrize("value", ["{name}", "%s", "{", "}", "{0}", "<b>"])
def test_figures_are_shown_as_they_are(problem: Problem, value: str) -> None:
    assert Failure(problem, {"count": value, "name": value}).message == f"{value} are too many. Stop {value}."


def test_a_failure_is_an_exception_like_any_other(problem: Problem) -> None:
    failure = Failure(problem, {"count": 3, "name": "one"}, retry_after_seconds=60, reference="ABCD")
    with pytest.raises(Failure) as caught:
        raise failure
    assert caught.value is failure
    assert {failure} == {failure}
    assert failure != Failure(problem, {"count": 3, "name": "one"}, retry_after_seconds=60, reference="ABCD")


@pytest.mark.parametrize(
    "twice", [copy.copy, lambda failure: pickle.loads(pickle.dumps(failure))], ids=["copy", "pickle"]
)
def test_a_failure_survives_being_handed_to_another_process(problem: Problem, twice: Any) -> None:
    failure = twice(Failure(problem, {"count": 3, "name": "one"}, retry_after_seconds=60))
    assert (failure.message, failure.retry_after_seconds) == ("3 are too many. Stop one.", 60)
