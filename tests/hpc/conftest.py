"""One federation on real parts for all tests of this folder: making it takes most of a minute."""

from collections.abc import Iterator

import pytest

from tests.support.federation import Federation, running_federation
from tests.support.person import Person
from tests.support.slurm import SlurmSite
from tests.support.slurm_accounting import AccountedSite
from tests.support.sshd import account_or_skip


@pytest.fixture(scope="package")
def federation(batch_sites: dict[str, SlurmSite], accounted_site: AccountedSite) -> Iterator[Federation]:
    """Hub, worker, proxy, gateway, and three Slurm sites with sshd and gate; `sierra` has real accounting."""
    account_or_skip()
    with running_federation({**batch_sites, accounted_site.name: accounted_site}) as running:
        yield running


@pytest.fixture
def ana(federation: Federation) -> Iterator[Person]:
    """Somebody whom the sites accepted; her sessions end with the test."""
    person = federation.sign_in("researcher")
    yield person
    federation.end_sessions_of(person)
