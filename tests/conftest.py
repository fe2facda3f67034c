"""What every test may use. Services are started by the modules that need them, with `tests.support.service`."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from federation import migrations
from federation.database import Database
from tests.support.keycloak import Keycloak, KeycloakMissing, running_keycloak
from tests.support.service import Service, running_service

ROOT = Path(__file__).parents[1]


def _environments() -> Path:
    """Where `make setup` installed the notebook environments; the same rule as in the Makefile."""
    locks = b"".join(path.read_bytes() for path in sorted(ROOT.glob("images/environments/*/requirements.lock")))
    base = Path("/var/lib/notebooks-federation") if os.geteuid() == 0 else ROOT / ".environments"
    return base / hashlib.sha256(locks).hexdigest()[:12]


os.environ.setdefault("NBFED_ENVIRONMENTS", str(_environments()))

# A machine that is busy is no failure.
hypothesis_settings.register_profile("nbfed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("nbfed")


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables and nothing in them. To be copied: that is faster than making them each time."""
    file = tmp_path_factory.mktemp("tables") / "federation.sqlite"
    database = Database(f"sqlite:///{file}")
    migrations.upgrade(database)
    database.dispose()
    return file


@pytest.fixture
def database(tmp_path: Path, tables: Path) -> Iterator[Database]:
    """An empty federation database."""
    file = shutil.copy(tables, tmp_path / "federation.sqlite")
    made = Database(f"sqlite:///{file}")
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def keycloak_server() -> Iterator[Keycloak]:
    """A Keycloak for the whole run; it takes seconds to start. Use `keycloak`."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_keycloak())
        except KeycloakMissing as missing:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"Keycloak cannot be had: {missing}")
        yield server


@pytest.fixture(scope="module")
def keycloak(keycloak_server: Keycloak) -> Keycloak:
    """The Keycloak with the realm as in its file, for the tests of one module."""
    keycloak_server.load_realm()
    return keycloak_server


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The demo's installation, running, for the tests of one module."""
    with running_service() as running:
        yield running
