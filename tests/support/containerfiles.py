"""The Containerfiles of `images/` as text: stages, instructions, and what of the checkout they are given."""

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["HOUSES", "IMAGES", "ROOT", "Stage", "is_let_in", "read_stages"]

ROOT = Path(__file__).parents[2]
HOUSES = ("federation", "quota", "vetting", "spawners", "hub_config")
IMAGES = ("hub", "gateway", "singleuser-minimal", "singleuser-python", "singleuser-scientific")
"""As `make images` names them."""


@dataclass(frozen=True)
class Stage:
    """From one FROM to the next; `instructions` are pairs of word and rest, in one line each."""

    base: str
    name: str
    instructions: list[tuple[str, str]]

    def last(self, word: str) -> str | None:
        """What the last instruction of a kind says; None if there is none."""
        return next((rest for each, rest in reversed(self.instructions) if each == word), None)

    def all(self, word: str) -> list[str]:
        return [rest for each, rest in self.instructions if each == word]


def read_stages(file: Path) -> list[Stage]:
    """Its stages in their order."""
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE)
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name, []))
        elif word and stages:
            stages[-1].instructions.append((word, rest.strip()))
    return stages


def is_let_in(ignore_file: Path, path: str) -> bool:
    """Whether a file of the checkout reaches the build: the last line that fits decides (docker's .dockerignore)."""
    let_in = True
    for line in ignore_file.read_text().split():
        pattern = line.removeprefix("!")
        parents = ["/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
        if any(fnmatch(each, pattern) or fnmatch(f"./{each}", pattern.replace("**/", "*/")) for each in parents):
            let_in = line.startswith("!")
    return let_in
