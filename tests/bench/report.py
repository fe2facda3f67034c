"""Figures and how they are shown: one row for each, with median, spread, goal, and whether the median reaches it."""

import math
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

__all__ = ["Report", "Row", "header", "in_turn", "percentile"]

ROOT = Path(__file__).parents[2]
_PACKAGES = ("jupyterhub", "sqlalchemy", "tornado", "playwright")


@dataclass(frozen=True)
class Row:
    """One figure, measured several times; a goal is the most that the median may be."""

    what: str
    unit: str
    values: Sequence[float]
    goal: float | None = None

    def cells(self) -> tuple[str, ...]:
        if not self.values:
            return (self.what, self.unit, "-", "-", "0", _goal(self.goal), "no" if self.goal is not None else "")
        median = statistics.median(self.values)
        reached = "" if self.goal is None else "yes" if median <= self.goal else "NO"
        spread = f"{_figure(min(self.values))}-{_figure(max(self.values))}"
        return (self.what, self.unit, _figure(median), spread, str(len(self.values)), _goal(self.goal), reached)


@dataclass
class Report:
    """What one part found: figures, and sentences about what is not as it should be."""

    title: str
    rows: list[Row] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def add(self, what: str, unit: str, values: Iterable[float], goal: float | None = None) -> None:
        self.rows.append(Row(what, unit, list(values), goal))

    def find(self, sentence: str) -> None:
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


def header(runs: int, seed: int) -> str:
    """Under what circumstances it was measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    load = "/".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"commit {_git()}; Python {platform.python_version()}, {packages}\n"
        f"{len(os.sched_getaffinity(0))} cores, load {load} before; {runs} runs each, taken in turn, seed {seed}"
    )


def in_turn(names: Sequence[str], runs: int, seed: int) -> Iterator[tuple[int, str]]:
    """(run, name): each name once in each run, in an order that is drawn anew for each run."""
    chance = random.Random(seed)
    for run in range(runs):
        yield from ((run, name) for name in chance.sample(names, len(names)))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed; of 50 values the 99th percentile is the largest."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def progress(text: str) -> None:
    """A line for who waits, apart from the figures."""
    print(text, file=sys.stderr, flush=True)


def _git() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    return commit + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def _figure(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _goal(goal: float | None) -> str:
    return "" if goal is None else f"<= {goal:g}"
