"""What every test may use. Services are started by the modules that need them, with `tests.support.service`."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation import migrations
from federation.database import Database
from tests.support.service import Service, running_service

ROOT = Path(__file__).parents[1]


def _environments() -> Path:
    """Where `make setup` installed the notebook environments; the same rule as in the Makefile."""
    locks = b"".join(path.read_bytes() for path in sorted(ROOT.glob("images/environments/*/requirements.lock")))
    base = Path("/var/lib/notebooks-federation") if os.geteuid() == 0 else ROOT / ".environments"
    return base / hashlib.sha256(locks).hexdigest()[:12]


os.environ.setdefault("NBFED_ENVIRONMENTS", str(_environments()))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty federation database."""
    made = Database(f"sqlite:///{tmp_path / 'federation.sqlite'}")
    migrations.upgrade(made)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The demo's installation, running, for the tests of one module."""
    with running_service() as running:
        yield running
