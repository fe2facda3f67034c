"""Where sessions go that name no site: the default tier to Kubernetes, and whom a batch site accepted to that site. Each
is told why. Everything is real: a cluster, and Slurm behind sshd and its gate.
"""

import json
import os
from collections.abc import Iterator

import pytest

from spawners.backends.pods import ATTEMPT
from spawners.sessions import Server, Session
from tests.kubernetes.place import ENVIRONMENT, Namespace, Place
from tests.services.test_session import lines_of, wait_for
from tests.support.federation import Federation, running_federation
from tests.support.person import Person
from tests.support.slurm import SlurmSite
from tests.support.sshd import account_or_skip

pytestmark = pytest.mark.timeout(600)

FLAVOUR = "shared"
"""Offered by the batch site and by the cloud, not by this machine."""
SECONDS = 180


@pytest.fixture(scope="module")
def cloud(place: Place) -> Iterator[Namespace]:
    with place.namespace(homes=2) as made:
        yield made


@pytest.fixture(scope="module")
def federation(batch_sites: dict[str, SlurmSite], cloud: Namespace) -> Iterator[Federation]:
    """The batch sites come first in federation.yaml, so who may use them goes there."""
    account_or_skip()
    environment = {
        "title": "Python",
        "kubernetes": {"image": cloud.place.image},
        "batch": {"path": f"{os.environ['NBFED_ENVIRONMENTS']}/{ENVIRONMENT}"},
    }
    default = {"amount_hours": 100, "period": "month", "sessions": 2, "flavours": [FLAVOUR]}
    with running_federation(
        batch_sites,
        sites={"cloud": cloud.site(flavours=[FLAVOUR])},
        batch_flavours=[FLAVOUR],
        environments={ENVIRONMENT: environment},
        flavours={FLAVOUR: {"cpu": 1, "memory_gib": 1, "weight": 1}},
        tiers={"T3": {"needs": "T1", "mapping": "accepted"}},
        defaults={"T1": default, "T3": default},
        listen={"hub_ip": cloud.place.hub_ip},
    ) as running:
        yield running


def started(federation: Federation, person: Person) -> Session:
    """A session of theirs, for which they named no site, once a kernel in it answered."""
    answer = person.start(flavour=FLAVOUR, environment=ENVIRONMENT)
    assert answer.status_code == 200, answer.text[:3000]
    person.wait_until_ready(seconds=SECONDS)
    kernel = person.kernel()
    assert kernel.run("print(6 * 7)").strip() == "42"
    kernel.close()
    session = federation.service.house.sessions.open_of(Server("hub", person.user_name, ""))
    assert session is not None
    return session


def test_the_default_tier_goes_to_kubernetes_and_whom_a_batch_site_accepted_goes_there_each_told_why(
    federation: Federation, cloud: Namespace
) -> None:
    service = federation.service
    newcomer, accepted = (Person(service.base_url).sign_in(persona) for persona in ("trainer", "researcher"))
    federation.map(accepted, "andes")

    first, second = started(federation, newcomer), started(federation, accepted)
    assert (first.site, second.site) == ("cloud", "andes")
    pods = {pod["metadata"]["labels"][ATTEMPT] for pod in cloud.all("pods")}
    assert first.attempt in pods
    assert second.attempt not in pods
    assert federation.job_of("andes", second.attempt)

    told = newcomer.home().get_text(" ", strip=True)
    assert "HPC Andes is not open to you yet. What is missing: the acceptance of the site" in told
    told = accepted.home().get_text(" ", strip=True)
    assert "HPC Andes is not open to you yet" not in told
    for person, tier, site in ((newcomer, "T1", "The cloud"), (accepted, "T3", "HPC Andes")):
        said = json.loads(service.nbfed("quota", "explain", person.user_name, FLAVOUR, "--json").stdout)
        access = next(part["lines"] for part in said["parts"] if part["code"] == "access")
        figures = {line["code"]: line["figure"] for line in access}
        assert (figures["tier"], figures["place"]) == (tier, site)

    for person in (newcomer, accepted):
        person.stop()
        line = wait_for(lambda who=person: (one := lines_of(service, who.user_name)[0]).state == "settled" and one, 120)
        assert line.charged > 0
