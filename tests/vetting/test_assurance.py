"""Assurance expressions: `&` before `|`, parentheses, and what is said about a text that is none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetting.assurance import (
    REFEDS,
    REFEDS_NAMES,
    AllOf,
    AnyOf,
    AssuranceError,
    Expression,
    Value,
    holds,
    parse,
    values,
)  # fmt: skip

A, B, C = (Value(REFEDS + letter) for letter in "ABC")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("A", A, id="one"),
        pytest.param("A & B", AllOf((A, B)), id="all-of"),
        pytest.param("A | B", AnyOf((A, B)), id="any-of"),
        pytest.param("A & B & C", AllOf((A, B, C)), id="all-of-three"),
        pytest.param("A | B | C", AnyOf((A, B, C)), id="any-of-three"),
        pytest.param("A | B & C", AnyOf((A, AllOf((B, C)))), id="and-binds-before-or"),
        pytest.param("A & B | C", AnyOf((AllOf((A, B)), C)), id="and-binds-before-or-on-the-left"),
        pytest.param("(A | B) & C", AllOf((AnyOf((A, B)), C)), id="parentheses"),
        pytest.param("A & (B | C)", AllOf((A, AnyOf((B, C)))), id="parentheses-on-the-right"),
        pytest.param("((A))", A, id="parentheses-around-one"),
        pytest.param("(A&B)|C", AnyOf((AllOf((A, B)), C)), id="no-blanks"),
        pytest.param("  A\n &\tB  ", AllOf((A, B)), id="other-blanks"),
        pytest.param(
            "profile/espresso | IAP/medium & ID/eppn-unique-no-reassign",
            AnyOf((
                Value(REFEDS + "profile/espresso"),
                AllOf((Value(REFEDS + "IAP/medium"), Value(REFEDS + "ID/eppn-unique-no-reassign"))),
            )),
            id="the-one-of-the-documentation",
        ),
        pytest.param("https://aai.egi.eu/LoA#Substantial", Value("https://aai.egi.eu/LoA#Substantial"), id="full-address"),
        pytest.param("urn:mace:example.org:iap:silver", Value("urn:mace:example.org:iap:silver"), id="urn"),
        pytest.param("(" * 50 + "A" + ")" * 50, A, id="fifty-parentheses"),
        pytest.param(REFEDS + "IAP/low", Value(REFEDS + "IAP/low"), id="full-address-of-refeds"),
    ],
)  # fmt: skip
def test_expressions_are_read(text: str, expected: Expression) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "character 1: a value was expected, but the text ends", id="empty"),
        pytest.param("   ", "character 1: a value was expected, but the text ends", id="blank"),
        pytest.param("A &", "character 4: a value was expected, but the text ends", id="nothing-after-and"),
        pytest.param("A | ", "character 4: a value was expected, but the text ends", id="nothing-after-or"),
        pytest.param("& A", "character 1: a value was expected before '&'", id="nothing-before-and"),
        pytest.param("| A", "character 1: a value was expected before '|'", id="nothing-before-or"),
        pytest.param("A & | B", "character 5: a value was expected before '|'", id="two-operators"),
        pytest.param("A && B", "character 4: a value was expected before '&'", id="doubled-operator"),
        pytest.param("(A", "character 1: this parenthesis is not closed", id="not-closed"),
        pytest.param("((A) | B", "character 1: this parenthesis is not closed", id="outer-not-closed"),
        pytest.param("(", "character 2: a value was expected, but the text ends", id="only-opened"),
        pytest.param("A)", "character 2: this parenthesis was not opened", id="not-opened"),
        pytest.param(")", "character 1: a value was expected before ')'", id="only-closed"),
        pytest.param("()", "character 2: a value was expected before ')'", id="empty-parentheses"),
        pytest.param("A B", "character 3: '&' or '|' was expected before 'B'", id="no-operator"),
        pytest.param("A (B)", "character 3: '&' or '|' was expected before '('", id="no-operator-before-a-parenthesis"),
        pytest.param("A | (B & (C)", "character 5: this parenthesis is not closed", id="which-one-is-not-closed"),
        pytest.param("(" * 51 + "A", "character 51: more than 50 parentheses in each other", id="too-deep"),
        pytest.param("(" * 100_000, "character 51: more than 50 parentheses in each other", id="far-too-deep"),
        pytest.param("(A B)", "character 4: '&' or '|' was expected before 'B'", id="no-operator-inside"),
    ],
)
def test_what_is_no_expression_is_said(text: str, message: str) -> None:
    with pytest.raises(AssuranceError, match=f"^{re.escape(message)}$"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "held", "expected"),
    [
        pytest.param("IAP/medium", {REFEDS + "IAP/medium"}, True, id="has-it"),
        pytest.param("IAP/medium", {REFEDS + "IAP/low"}, False, id="has-another"),
        pytest.param("IAP/medium", {"IAP/medium"}, False, id="short-form-is-for-rules-only"),
        pytest.param("IAP/medium", {REFEDS + "IAP/medium "}, False, id="almost"),
        pytest.param("IAP/medium", set(), False, id="has-nothing"),
        pytest.param("A & B", {A.uri}, False, id="one-of-two"),
        pytest.param("A & B", {A.uri, B.uri, C.uri}, True, id="more-than-two"),
        pytest.param("A | B & C", {A.uri}, True, id="or-alone"),
        pytest.param("(A | B) & C", {A.uri}, False, id="parentheses-count"),
    ],
)
def test_whether_somebody_meets_an_expression(text: str, held: set[str], expected: bool) -> None:
    assert holds(parse(text), held) is expected


LETTERS = "ABCDE"
TEXTS = st.recursive(
    st.sampled_from(LETTERS),
    lambda inner: st.lists(inner, min_size=2, max_size=3).flatmap(
        lambda parts: st.sampled_from([" & ", " | ", "&", "|"]).map(lambda sign: f"({sign.join(parts)})")
    ),
    max_leaves=12,
)
UNGROUPED = st.lists(TEXTS, min_size=1, max_size=5).flatmap(
    lambda parts: st.lists(st.sampled_from("&|"), min_size=len(parts), max_size=len(parts)).map(
        lambda signs: " ".join(word for pair in zip(parts, signs, strict=True) for word in pair)[:-2]
    )
)


@given(UNGROUPED, st.sets(st.sampled_from(LETTERS)))
def test_it_agrees_with_python_about_any_expression(text: str, held: set[str]) -> None:
    # Python's & also binds before |, over numbers bit by bit.
    truth = eval(text, {"__builtins__": {}}, {letter: int(letter in held) for letter in LETTERS})
    assert holds(parse(text), {REFEDS + letter for letter in held}) is bool(truth)


EXPRESSIONS = st.recursive(
    st.sampled_from([*map(Value, ("https://aai.egi.eu/LoA#Low", "urn:mace:x", "http://x")), A, B, C]),
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)),
        st.sampled_from([AllOf, AnyOf]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=15,
)


@given(EXPRESSIONS)
def test_what_is_written_is_read_back(expression: Expression) -> None:
    assert parse(str(expression)) == expression


@given(UNGROUPED)
def test_what_is_read_and_written_is_the_same_expression(text: str) -> None:
    expression = parse(text)
    assert str(parse(str(expression))) == str(expression)
    assert parse(str(expression)) == expression


@pytest.mark.parametrize("name", REFEDS_NAMES)
def test_names_of_refeds_are_short_and_long(name: str) -> None:
    assert parse(name) == parse(REFEDS + name) == Value(REFEDS + name)
    assert str(parse(REFEDS + name)) == name


def test_an_expression_is_written_with_no_more_parentheses_than_it_needs() -> None:
    assert str(parse("((A) & (B)) | (C)")) == "A & B | C"
    assert str(parse("(A|B) & C")) == "(A | B) & C"


def test_the_values_that_an_expression_asks_about() -> None:
    assert values(parse("A & (B | A)")) == (A.uri, B.uri)


@given(st.text(st.sampled_from("AB&|() ")))
def test_any_other_text_is_an_error_that_names_a_place_in_it(text: str) -> None:
    try:
        parse(text)
    except AssuranceError as error:
        found = re.match(r"character (\d+): ", str(error))
        assert found
        assert 1 <= int(found[1]) <= len(text) + 1
