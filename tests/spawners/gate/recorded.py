"""A dialect whose scheduler answers with outputs that were recorded elsewhere."""

import os
import pwd
from pathlib import Path
from typing import Any

from spawners.gate.acting import Result
from spawners.gate.dialect import Dialect

DATA = Path(__file__).parents[2] / "data" / "dialects"
GIVEN: dict[str, Any] = {"cpus": 4, "memory_mib": 2048, "gpus": 0, "minutes": 90,
                         "partition": None, "account": None, "reservation": None}  # fmt: skip
ATTEMPT = "01234567-89ab-cdef-0123-456789abcdef"
NAME = f"nbfed-{ATTEMPT}"
LOG = f".nbfed/sessions/{ATTEMPT}/job.log"


def person(name: str) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", os.getuid(), os.getgid(), "", f"/home/{name}", "/bin/bash"))


class Policy(dict[str, Any]):
    """The site's policy, as far as dialects look at it."""

    def __init__(self, **changes: Any) -> None:
        super().__init__({"path": "/opt/bin", "environment": {}, "options": [], "history": "accounting", **changes})


class Recorded:
    """Runs nothing: answers with what it was given, in order, and notes what was asked."""

    def __init__(self, kind: type[Dialect], *answers: Result, **policy: Any) -> None:
        self.asked: list[list[str]] = []
        self.texts: list[str] = []
        self._answers = list(answers)
        self.dialect = kind(Policy(**policy), self._run)  # type: ignore[arg-type]

    def _run(self, argv: list[str], env: dict[str, str], text: str = "") -> Result:
        self.asked.append(argv)
        self.texts.append(text)
        return self._answers.pop(0)
