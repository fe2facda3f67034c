"""Assurance expressions: `profile/espresso | IAP/medium & ID/eppn-unique-no-reassign`.

Values are assurance URIs as providers send them; the prefix https://refeds.org/assurance/ (REFEDS Assurance Framework)
may be left out. `&` binds before `|`; parentheses group. An expression is parsed once and asked of a set of values.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

__all__ = [
    "REFEDS",
    "REFEDS_NAMES",
    "AllOf",
    "AnyOf",
    "AssuranceError",
    "Expression",
    "Value",
    "holds",
    "parse",
    "values",
]

REFEDS = "https://refeds.org/assurance/"
REFEDS_NAMES = (
    "IAP/low", "IAP/medium", "IAP/high", "IAP/local-enterprise",
    "ID/unique", "ID/eppn-unique-no-reassign", "ID/eppn-unique-reassign-1y",
    "ATP/ePA-1m", "ATP/ePA-1d",
    "profile/cappuccino", "profile/espresso",
    "version/2",
)  # fmt: skip
"""The values of the REFEDS Assurance Framework, versions 1.0 and 2.0, without their prefix."""

_TOKEN = re.compile(r"[&|()]|[^\s&|()]+")
_DEEPEST = 50


class AssuranceError(ValueError):
    """The text is not an assurance expression; the message says at which character, counted from 1."""

    def __init__(self, position: int, wrong: str) -> None:
        super().__init__(f"character {position}: {wrong}")


@dataclass(frozen=True)
class Value:
    """One assurance URI, in full."""

    uri: str

    def __str__(self) -> str:
        short = self.uri.removeprefix(REFEDS)
        return short if _full(short) == self.uri else self.uri


@dataclass(frozen=True)
class AllOf:
    """All of two or more."""

    parts: tuple["Expression", ...]

    def __str__(self) -> str:
        return " & ".join(str(part) if isinstance(part, Value) else f"({part})" for part in self.parts)


@dataclass(frozen=True)
class AnyOf:
    """One of two or more."""

    parts: tuple["Expression", ...]

    def __str__(self) -> str:
        return " | ".join(f"({part})" if isinstance(part, AnyOf) else str(part) for part in self.parts)


Expression = Value | AllOf | AnyOf


def parse(text: str) -> Expression:
    """Read an expression; `str` of what comes out is read as the same expression again.

    Raises
    ------
    AssuranceError
        If it is empty, two values have no operator between them, an operator has no value on one side, or a
        parenthesis is not closed, not opened, or more than 50 deep.
    """
    return _Reader(text).expression()


def holds(expression: Expression, held: Collection[str]) -> bool:
    """Whether a person with these assurance values meets the expression."""
    match expression:
        case Value(uri):
            return uri in held
        case AllOf(parts):
            return all(holds(part, held) for part in parts)
        case AnyOf(parts):
            return any(holds(part, held) for part in parts)


def values(expression: Expression) -> tuple[str, ...]:
    """The assurance URIs that an expression asks about, in its order."""
    match expression:
        case Value(uri):
            return (uri,)
        case AllOf(parts) | AnyOf(parts):
            return tuple(dict.fromkeys(uri for part in parts for uri in values(part)))


def _full(token: str) -> str:
    return token if "://" in token or token.lower().startswith("urn:") else REFEDS + token


class _Reader:
    """Recursive descent over the tokens, one method for each level of the grammar."""

    def __init__(self, text: str) -> None:
        self._tokens = [(match.start() + 1, match.group()) for match in _TOKEN.finditer(text)]
        self._tokens.append((len(text.rstrip()) + 1, ""))
        self._at = 0
        self._depth = 0

    def expression(self) -> Expression:
        expression = self._any_of()
        position, token = self._tokens[self._at]
        if token == ")":
            raise AssuranceError(position, "this parenthesis was not opened")
        if token:
            raise AssuranceError(position, f"'&' or '|' was expected before {token!r}")
        return expression

    def _any_of(self) -> Expression:
        parts = [self._all_of()]
        while self._accept("|"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self) -> Expression:
        parts = [self._one()]
        while self._accept("&"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self) -> Expression:
        position, token = self._tokens[self._at]
        if not token:
            raise AssuranceError(position, "a value was expected, but the text ends")
        if token in "&|)":
            raise AssuranceError(position, f"a value was expected before {token!r}")
        self._at += 1
        return self._group(position) if token == "(" else Value(_full(token))

    def _group(self, opened: int) -> Expression:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise AssuranceError(opened, f"more than {_DEEPEST} parentheses in each other")
        inner = self._any_of()
        self._depth -= 1
        position, token = self._tokens[self._at]
        if token and token != ")":
            raise AssuranceError(position, f"'&' or '|' was expected before {token!r}")
        if not token:
            raise AssuranceError(opened, "this parenthesis is not closed")
        self._at += 1
        return inner

    def _accept(self, sign: str) -> bool:
        found = self._tokens[self._at][1] == sign
        self._at += found
        return found
