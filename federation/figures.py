"""Figures that were measured, and how they are shown: one row for each, with median, spread, goal, and whether the
median reaches it.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["Report", "Row", "percentile"]


@dataclass(frozen=True)
class Row:
    """One figure, measured several times; a goal is the most, or the least, that the median may be."""

    what: str
    unit: str
    values: Sequence[float]
    goal: float | None = None
    at_least: bool = False

    @property
    def reached(self) -> bool | None:
        """None without a goal, or without a value."""
        if self.goal is None or not self.values:
            return None
        median = statistics.median(self.values)
        return median >= self.goal if self.at_least else median <= self.goal

    def cells(self) -> tuple[str, ...]:
        """What, unit, median, spread, number, goal, reached."""
        goal = "" if self.goal is None else f"{'>=' if self.at_least else '<='} {self.goal:g}"
        if not self.values:
            return (self.what, self.unit, "-", "-", "0", goal, "no" if self.goal is not None else "")
        spread = f"{_figure(min(self.values))}-{_figure(max(self.values))}"
        reached = {None: "", True: "yes", False: "NO"}[self.reached]
        return (
            self.what,
            self.unit,
            _figure(statistics.median(self.values)),
            spread,
            str(len(self.values)),
            goal,
            reached,
        )


@dataclass
class Report:
    """What one part found: figures, and sentences about what is not as it should be."""

    title: str
    rows: list[Row] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def add(
        self, what: str, unit: str, values: Iterable[float], goal: float | None = None, *, at_least: bool = False
    ) -> None:
        """One more figure."""
        self.rows.append(Row(what, unit, list(values), goal, at_least))

    def find(self, sentence: str) -> None:
        """One more sentence; the same one again is said once."""
        if sentence not in self.findings:
            self.findings.append(sentence)

    def __str__(self) -> str:
        head = ("", "unit", "median", "min-max", "n", "goal", "reached")
        lines = [head, *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        text = [f"\n== {self.title}"]
        text += [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        text += [f"  ! {sentence}" for sentence in self.findings]
        return "\n".join(text)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed; of 50 values the 99th percentile is the largest."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _figure(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
