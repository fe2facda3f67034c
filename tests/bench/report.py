"""Under what circumstances something was measured, and in which order; figures are shown by `federation.figures`."""

import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from federation.figures import Report, percentile

__all__ = ["Report", "header", "in_turn", "percentile", "progress"]

ROOT = Path(__file__).parents[2]
_PACKAGES = ("jupyterhub", "sqlalchemy", "tornado", "playwright")


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


def progress(text: str) -> None:
    """A line for who waits, apart from the figures."""
    print(text, file=sys.stderr, flush=True)


def _git() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    return commit + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else "")
