"""Assurance expressions: `profile/espresso | IAP/medium & ID/eppn-unique-no-reassign`.

Values are assurance URIs as providers send them; the prefix https://refeds.org/assurance/ (REFEDS Assurance Framework)
may be left out. `&` binds before `|`; parentheses group. An expression is parsed once and asked of a set of values.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["AllOf", "AnyOf", "AssuranceError", "Expression", "Value", "holds", "parse"]

REFEDS = "https://refeds.org/assurance/"
_TOKEN = re.compile(r"\s*(?:([&|()])|([^\s&|()]+))")


class AssuranceError(ValueError):
    """The text is not an assurance expression; the message says where."""


@dataclass(frozen=True)
class Value:
    uri: str


@dataclass(frozen=True)
class AllOf:
    parts: tuple["Expression", ...]


@dataclass(frozen=True)
class AnyOf:
    parts: tuple["Expression", ...]


Expression = Value | AllOf | AnyOf


def parse(text: str) -> Expression:
    """Read an expression.

    Raises
    ------
    AssuranceError
        If it is empty, an operator has no value on one side, or a parenthesis is not closed.
    """
    tokens = _tokens(text)
    expression, rest = _any_of(tokens)
    if rest:
        raise AssuranceError(f"{rest[0]!r} was not expected in {text!r}")
    return expression


def holds(expression: Expression, values: Collection[str]) -> bool:
    """Whether a person with these assurance values meets the expression."""
    match expression:
        case Value(uri):
            return uri in values
        case AllOf(parts):
            return all(holds(part, values) for part in parts)
        case AnyOf(parts):
            return any(holds(part, values) for part in parts)


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:  # pragma: no cover - the pattern takes any character
            raise AssuranceError(f"cannot read {text!r}")
        tokens.append(match.group(1) or match.group(2))
        position = match.end()
    return tokens


def _any_of(tokens: list[str]) -> tuple[Expression, list[str]]:
    first, rest = _all_of(tokens)
    parts = [first]
    while rest and rest[0] == "|":
        part, rest = _all_of(rest[1:])
        parts.append(part)
    return (first if len(parts) == 1 else AnyOf(tuple(parts))), rest


def _all_of(tokens: list[str]) -> tuple[Expression, list[str]]:
    first, rest = _one(tokens)
    parts = [first]
    while rest and rest[0] == "&":
        part, rest = _one(rest[1:])
        parts.append(part)
    return (first if len(parts) == 1 else AllOf(tuple(parts))), rest


def _one(tokens: list[str]) -> tuple[Expression, list[str]]:
    if not tokens:
        raise AssuranceError("a value was expected at the end")
    token, rest = tokens[0], tokens[1:]
    if token == "(":
        inner, rest = _any_of(rest)
        if not rest or rest[0] != ")":
            raise AssuranceError("a parenthesis is not closed")
        return inner, rest[1:]
    if token in "&|)":
        raise AssuranceError(f"a value was expected before {token!r}")
    return Value(token if "://" in token else REFEDS + token), rest
