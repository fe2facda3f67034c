"""One federation on real parts for all tests of this folder: making it takes most of a minute."""

from collections.abc import Iterator

import pytest

from tests.support.federation import Federation, running_federation
from tests.support.person import Person
from tests.support.slurm import SlurmSite
from tests.support.sshd import account_or_skip


@pytest.fixture(scope="session")
def federation(batch_sites: dict[str, SlurmSite]) -> Iterator[Federation]:
    """Hub, worker, proxy, gateway, and two Slurm sites with sshd and gate."""
    account_or_skip()
    with running_federation(batch_sites) as running:
        yield running


@pytest.fixture
def ana(federation: Federation) -> Iterator[Person]:
    """Somebody whom both sites accepted; her sessions end with the test."""
    person = Person(federation.service.base_url).sign_in("researcher")
    for site in federation.slurm:
        federation.map(person, site)
    yield person
    federation.end_sessions_of(person)
