"""What may be chosen for a session: the form, REST and stored options mean the same, and unknown things are refused."""

from typing import Any

import pytest

from federation.errors import Failure
from spawners.errors import OPTION_INVALID, OPTION_UNKNOWN
from spawners.options import ANY_SITE, from_form, to_options, to_wish
from tests.support.fakes import policy
from vetting.placement import Wish
from vetting.resources import Resources


def wish(options: dict[Any, Any]) -> Wish:
    rules = policy()
    return to_wish(options, flavours=rules.flavours, environments=rules.environments, sites=rules.sites)


def refusal(options: dict[Any, Any]) -> Failure:
    with pytest.raises(Failure) as caught:
        wish(options)
    return caught.value


# --- what is taken ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, Wish(flavour="small", environment="python"), id="nothing-said-is-the-first-of-each"),
        pytest.param({"flavour": "medium"}, Wish(flavour="medium", environment="python"), id="flavour"),
        pytest.param({"environment": "bare"}, Wish(flavour="small", environment="bare"), id="environment"),
        pytest.param({"site": "here"}, Wish(flavour="small", environment="python", site="here"), id="site"),
        pytest.param({"site": ANY_SITE}, Wish(flavour="small", environment="python"), id="any-site"),
        pytest.param(
            {"site": "here", "environment": "bare", "flavour": "medium"},
            Wish(flavour="medium", environment="bare", site="here"),
            id="all-in-another-order",
        ),
    ],
)
def test_known_options_are_a_wish(options: dict[str, str], expected: Wish) -> None:
    assert wish(options) == expected


def test_what_a_session_was_started_with_starts_the_same_again() -> None:
    stored = {"flavour": "medium", "environment": "bare", "site": "auto"}
    assert wish(stored) == wish({"flavour": "medium", "environment": "bare"})


def test_what_is_asked_of_a_batch_system_comes_from_forms_as_digits_and_from_programs_as_numbers() -> None:
    by_form = wish({"walltime_minutes": "120", "cores": "8", "gpus": "0", "partition": "fat"})
    assert by_form == wish({"walltime_minutes": 120, "cores": 8, "gpus": 0, "partition": "fat"})
    assert by_form.resources == Resources(walltime_minutes=120, cores=8, gpus=0, partition="fat")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"flavour": "medium", "site": "here", "environment": "bare"}, id="a-place"),
        pytest.param({"memory_gib": 4, "reservation": "school", "account": "proj-1"}, id="resources"),
    ],
)
def test_what_is_stored_of_a_wish_means_it_again(options: dict[str, Any]) -> None:
    assert wish(to_options(wish(options))) == wish(options)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"flavor": "small"}, id="another-spelling"),
        pytest.param({"Flavour": "small"}, id="capital"),
        pytest.param({"flavour": "small", "cpu": 64}, id="one-unknown-beside-a-known"),
        pytest.param({"": "small"}, id="empty-key"),
        pytest.param({1: "small"}, id="number"),
        pytest.param({None: "small"}, id="none"),
        pytest.param({"profile": "small"}, id="what-kubespawner-calls-it"),
    ],
)
def test_an_unknown_option_is_refused_and_the_known_are_named(options: dict[Any, Any]) -> None:
    failure = refusal(options)
    assert failure.problem is OPTION_UNKNOWN
    assert "flavour, environment, site" in failure.message


@pytest.mark.parametrize("option", ["flavour", "environment", "site"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("huge", id="unknown"),
        pytest.param("", id="empty"),
        pytest.param("Small", id="capital"),
        pytest.param("small ", id="blank-at-the-end"),
        pytest.param("small\n", id="line-end"),
        pytest.param(["small"], id="list-of-a-known-one"),
        pytest.param(["small", "medium"], id="two"),
        pytest.param({"small": 1}, id="mapping"),
        pytest.param(None, id="none"),
        pytest.param(0, id="number"),
        pytest.param(True, id="bool"),
        pytest.param("../here", id="path"),
    ],
)
def test_an_unknown_value_is_refused_and_the_possible_are_named(option: str, value: Any) -> None:
    failure = refusal({option: value})
    assert failure.problem is OPTION_INVALID
    assert failure.figures["option"] == option
    names = {"flavour": "small, medium", "environment": "python, bare", "site": "auto, here"}
    assert names[option] in failure.message


@pytest.mark.parametrize("option", ["cores", "memory_gib", "gpus", "walltime_minutes"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(-1, id="negative"),
        pytest.param("-1", id="negative-digits"),
        pytest.param(1.5, id="fraction"),
        pytest.param("1.5", id="fraction-in-digits"),
        pytest.param(True, id="bool"),
        pytest.param("", id="empty"),
        pytest.param("8\n#SBATCH --uid=0", id="a-second-line"),
        pytest.param("$(id)", id="a-command"),
        pytest.param("٣", id="digits-of-another-script"),
        pytest.param(10**9, id="too-much-for-anybody"),
        pytest.param([8], id="list"),
        pytest.param(None, id="none"),
    ],
)
def test_what_is_no_number_is_refused(option: str, value: Any) -> None:
    assert refusal({option: value}).problem is OPTION_INVALID


@pytest.mark.parametrize("option", ["partition", "account", "reservation"])
@pytest.mark.parametrize(
    "value",
    ["", "-x", "x; rm", "x\n", "x\n#SBATCH --uid=0", "$(id)", "`id`", "a b", "x" * 65, "é", "../x", 5, None, ["x"]],
)
def test_what_is_no_name_of_a_scheduler_is_refused(option: str, value: Any) -> None:
    assert refusal({option: value}).problem is OPTION_INVALID


def test_no_session_is_without_cores_but_one_may_be_without_gpus() -> None:
    assert refusal({"cores": 0}).problem is OPTION_INVALID
    assert wish({"gpus": 0}).resources.gpus == 0


def test_a_refusal_shows_only_the_beginning_of_what_was_sent() -> None:
    message = refusal({"flavour": "x" * 100_000}).message
    assert "xxx…" in message
    assert len(message) < 300
    assert len(refusal({"x" * 100_000: 1}).message) < 300


def test_a_refusal_shows_control_characters_as_such() -> None:
    assert "\\x1b[31m\\n" in refusal({"site": "\x1b[31m\n"}).message


# --- the form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "options"),
    [
        pytest.param({}, {}, id="empty"),
        pytest.param({"flavour": ["small"]}, {"flavour": "small"}, id="one-value"),
        pytest.param({"flavour": ["small"], "site": [""]}, {"flavour": "small"}, id="left-blank"),
        pytest.param({"site": []}, {}, id="no-value"),
        pytest.param({"flavour": ["small", "medium"]}, {"flavour": ["small", "medium"]}, id="two-values"),
        pytest.param({"_xsrf": ["token"], "server": ["one"]}, {}, id="what-belongs-to-the-page"),
        pytest.param({"cpu": ["64"]}, {"cpu": "64"}, id="unknown-fields-are-kept-and-refused-later"),
    ],
)
def test_a_form_is_only_reshaped(form: dict[str, list[Any]], options: dict[str, Any]) -> None:
    assert from_form(form) == options


def test_form_and_rest_mean_the_same() -> None:
    form = {"_xsrf": ["t"], "server": [""], "flavour": ["medium"], "environment": ["bare"], "site": ["here"]}
    assert wish(from_form(form)) == wish({"flavour": "medium", "environment": "bare", "site": "here"})


def test_a_field_that_is_sent_twice_is_refused_and_not_guessed() -> None:
    assert refusal(from_form({"flavour": ["small", "medium"]})).problem is OPTION_INVALID
