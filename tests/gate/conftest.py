"""Two real batch sites with a gate each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gate import Gate
from tests.support.slurm import SlurmSite


@pytest.fixture(scope="session")
def gates(batch_sites: dict[str, SlurmSite]) -> Iterator[dict[str, Gate]]:
    made = {name: Gate(site, site.folder / "gate") for name, site in batch_sites.items()}
    yield made
    for gate in made.values():
        gate.remove()


@pytest.fixture
def gate(gates: dict[str, Gate]) -> Iterator[Gate]:
    """The gate of `andes`, which remembers jobs for minutes. Its policy is as before after the test."""
    yield from _as_before(gates["andes"])


@pytest.fixture
def forgetful_gate(gates: dict[str, Gate]) -> Iterator[Gate]:
    """The gate of `costa`, whose scheduler forgets a job seconds after its end."""
    yield from _as_before(gates["costa"])


def _as_before(gate: Gate) -> Iterator[Gate]:
    names = ("policy.json", "accounts")
    before = {name: (gate.folder / name).read_text() for name in names}
    yield gate
    for name in names:
        gate.write(name, before[name])
    for name in ("blocked", "drained"):
        Path(gate.folder / name).unlink(missing_ok=True)
