"""What looking at something found, for operators: what is well, what is not, and what to do about it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from federation.plain import plain

__all__ = ["Check", "State", "described", "report", "summary"]


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """What one look found. `advice` is what to do; empty where all is well."""

    name: str
    state: State
    text: str
    advice: str = ""


def report(checks: Sequence[Check]) -> str:
    """The checks as a table, with what to do below each that is not well, and how many there are of each kind."""
    width = max(len(check.name) for check in checks)
    return "\n".join([*(described(check, width) for check in checks), "", summary(checks)])


def described(check: Check, width: int) -> str:
    """One check as a row of that table; `width` is that of the longest name."""
    lines = [f"{check.state:<4}  {check.name:<{width}}  " + _indented(check.text, width + 8)]
    if check.advice:
        lines.append(" " * (width + 8) + _indented(check.advice, width + 8))
    return "\n".join(lines)


def summary(checks: Sequence[Check]) -> str:
    """How many there are of each kind."""
    counts = Counter(check.state for check in checks)
    return ", ".join(f"{counts[state]} {state}" for state in State)


def _indented(text: str, blanks: int) -> str:
    return ("\n" + " " * blanks).join(plain(line) for line in text.splitlines())
