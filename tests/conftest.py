"""What every test may use. Services are started by the modules that need them, with `tests.support.service`."""

import contextlib
import hashlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from xdist.scheduler import LoadScopeScheduling

from federation.database import Database
from tests.support.databases import (
    Databases,
    PostgresDatabases,
    PostgresStock,
    SqliteDatabases,
    postgres_or_skip,
    with_tables,
)
from tests.support.keycloak import Keycloak, KeycloakMissing, running_keycloak
from tests.support.missing import skip_or_fail
from tests.support.postgres import PostgresServer, running_postgres
from tests.support.service import RUNNING, Service, running_service
from tests.support.slurm import SlurmSite, running_sites
from tests.support.slurm import why_not as why_no_batch_sites
from tests.support.slurm_accounting import AccountedSite, running_accounted_site
from tests.support.slurm_accounting import why_not as why_no_accounting

ROOT = Path(__file__).parents[1]


def _environments() -> Path:
    """Where `make setup` installed the notebook environments; the same rule as in the Makefile."""
    lab = (ROOT / "spawners" / "lab" / name for name in ("wheel.py", "nbfed_lab/__init__.py", "nbfed_lab/extension.js"))
    locks = (ROOT / "images" / "environments" / name / "requirements.lock" for name in ("minimal", "python"))
    inside = [*locks, *lab]
    base = Path("/var/lib/notebooks-federation") if os.geteuid() == 0 else ROOT / ".environments"
    return base / hashlib.sha256(b"".join(path.read_bytes() for path in inside)).hexdigest()[:12]


os.environ.setdefault("NBFED_ENVIRONMENTS", str(_environments()))

# A machine that is busy is no failure.
hypothesis_settings.register_profile("nbfed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("nbfed")


_TOGETHER = ("tests/hpc/", "tests/spawners/gate/", "tests/spawners/gateway/")
"""Folders whose tests change the machine's accounts, and share batch sites that take long to start."""


class _Together(LoadScopeScheduling):
    """Where several processes share the tests (pytest-xdist), those of a module stay in one, for what it has started; and
    so do all of some folders.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "batch" if nodeid.startswith(_TOGETHER) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Together(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Who reads of a failure has only the report: the logs are gone with the service."""
    report = yield
    if report.failed:
        report.sections += [(f"logs of {service.base_url}", service.all_logs()) for service in RUNNING]
    return report


# --- databases --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables and nothing in them, to be copied."""
    file = tmp_path_factory.mktemp("tables") / "federation.sqlite"
    with_tables(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run. Tests that stop one start their own."""
    postgres_or_skip()
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_stock(postgres: PostgresServer) -> Iterator[PostgresStock]:
    """Makes its databases."""
    stock = PostgresStock(postgres)
    yield stock
    stock.close()


@pytest.fixture
def kind() -> str:
    """Which kind of database tests get. Folders whose tests run on both kinds say so in their conftest.py."""
    return "sqlite"


@pytest.fixture
def databases(kind: str, request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Makes databases of the kind; they are gone after the test."""
    made: Databases
    if kind == "sqlite":
        made = SqliteDatabases(request.getfixturevalue("tmp_path"), request.getfixturevalue("tables"))
    else:
        made = PostgresDatabases(request.getfixturevalue("postgres_stock"))
    yield made
    made.close()


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """An empty federation database."""
    made = Database(databases.migrated())
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def keycloak_server() -> Iterator[Keycloak]:
    """A Keycloak for the whole run; it takes seconds to start. Use `keycloak`."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_keycloak())
        except KeycloakMissing as missing:
            skip_or_fail(f"Keycloak cannot be had: {missing}")
        yield server


@pytest.fixture(scope="module")
def keycloak(keycloak_server: Keycloak) -> Keycloak:
    """The Keycloak with the realm as in its file, for the tests of one module."""
    keycloak_server.load_realm()
    return keycloak_server


@pytest.fixture(scope="session")
def batch_sites() -> Iterator[dict[str, SlurmSite]]:
    """Two real Slurm sites, by name, for the whole run. Who stops a daemon starts it again."""
    reason = why_no_batch_sites()
    if reason is not None:
        skip_or_fail(reason)
    with running_sites() as sites:
        yield sites


@pytest.fixture(scope="session")
def accounted_site() -> Iterator[AccountedSite]:
    """A third one, `sierra`, with real accounting (slurmdbd). Who stops a daemon starts it again."""
    reason = why_no_accounting()
    if reason is not None:
        skip_or_fail(reason)
    with running_accounted_site() as site:
        yield site


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The demo's installation, running, for the tests of one module."""
    with running_service() as running:
        yield running
