"""Two sites with a real sshd each, for the whole run of these tests."""

from collections.abc import Iterator

import pytest

from tests.support.gateway_rig import Rig, running_rig
from tests.support.sshd import account_or_skip


@pytest.fixture(scope="session")
def _rig() -> Iterator[Rig]:
    account_or_skip()
    with running_rig("andes", "pampas") as rig:
        yield rig


@pytest.fixture
def rig(_rig: Rig) -> Iterator[Rig]:
    """The sites `andes` and `pampas`; their gates answer well and have no jobs."""
    yield _rig
    for gate in _rig.gates.values():
        gate.forget()
