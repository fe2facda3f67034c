"""Helm, compiled once from its Go module into the cache, to lint and render our chart.

python -m tests.support.helm        # fill the cache, and say how long it took
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.cache import made_once
from tests.support.missing import skip_or_fail

__all__ = ["Helm", "HelmMissing", "helm_or_skip", "prepare"]

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "helm_values" / "helm"
KUBERNETES = "1.34"
"""For which version it renders: the one of our cluster."""

_BUILD_SECONDS = 3600


class HelmMissing(Exception):
    """It cannot be had on this machine; the message says why."""


class Helm:
    """The program; it asks no cluster and no registry here."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command, at the root of the checkout."""
        return subprocess.run(
            [str(self._program), *words], capture_output=True, text=True, check=False, timeout=120, cwd=ROOT
        )

    def render(
        self,
        chart: str,
        values: Sequence[str],
        settings: Mapping[str, str] | None = None,
        *,
        namespace: str = "federation",
    ) -> list[Any]:
        """The objects of a chart with these files of values, and `--set` for each setting."""
        done = self.template(chart, values, settings, namespace=namespace)
        assert done.returncode == 0, done.stderr
        return [content for content in yaml.safe_load_all(done.stdout) if content]

    def template(
        self,
        chart: str,
        values: Sequence[str],
        settings: Mapping[str, str] | None = None,
        *,
        namespace: str = "federation",
    ) -> subprocess.CompletedProcess[str]:
        """The same, as the program tells it."""
        words = ["template", "nbfed", chart, "--namespace", namespace, "--kube-version", KUBERNETES]
        words += [word for file in values for word in ("--values", file)]
        words += [word for name, value in (settings or {}).items() for word in ("--set-string", f"{name}={value}")]
        return self.run(*words)


def prepare() -> Helm:
    """The program, compiled if it is not in the cache yet.

    Raises
    ------
    HelmMissing
        If it cannot be had.
    """
    key = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("go.mod", "go.sum"))).hexdigest()[:12]
    return Helm(made_once(f"helm-{key}", _build) / "helm")


def helm_or_skip() -> Helm:
    """The program; without it a test is skipped, with the reason, except in CI."""
    try:
        return prepare()
    except HelmMissing as missing:
        skip_or_fail(f"no helm: {missing}")


def _build(folder: Path) -> None:
    if shutil.which("go") is None:
        raise HelmMissing("not installed: go, which compiles Helm")
    began = time.monotonic()
    print("compiling Helm: about two minutes of a core's time, once", file=sys.stderr)
    done = subprocess.run(
        ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / "helm", "helm.sh/helm/v3/cmd/helm"],
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"},
        capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS, cwd=SOURCE,
    )  # fmt: skip
    if done.returncode:
        raise HelmMissing(f"go build failed: {done.stderr[-2000:]}")
    print(f"compiled in {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    try:
        prepare()
    except HelmMissing as missing:
        sys.exit(f"Helm cannot be had: {missing}")
