"""`make run HPC=1`: two sites beside this machine, checked and certified, with accounts for whoever signs in; and nothing
of it is left after Ctrl-C.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_config.demo.hpc.slurm import SITES, why_not
from tests.services.test_session import wait_for
from tests.support.missing import skip_or_fail
from tests.support.person import Person
from tests.support.service import Service, running_service
from tests.support.sshd import account_or_skip, free_range

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]


@pytest.fixture
def demo() -> Iterator[Service]:
    account_or_skip()
    if reason := why_not():
        skip_or_fail(reason)
    ports = free_range(20)
    with running_service(start=False, gateway={"forward_ports": f"{ports[0]}-{ports[-1]}"}) as service:
        service.start("demo-hpc")
        yield service


def folder_of(service: Service) -> str:
    """Where the sites of this run have their files."""
    text = (service.state.root / "federation-hpc.yaml").read_text()
    found = re.search(r"/var/tmp/nbfed-demo-\w+", text)
    assert found is not None
    return found[0]


def processes_in(folder: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in words:
            found.append(words)
    return found


def test_a_newcomer_has_notebooks_at_two_sites_and_ctrl_c_ends_all_of_it(demo: Service) -> None:
    folder = folder_of(demo)
    assert any("slurmctld" in words for words in processes_in(folder))
    ana = Person(demo.base_url).sign_in("researcher")
    for site in SITES:
        wait_for(lambda site=site: f"The HPC site {site} passed its check" in demo.log.read_text(), 240)
        answer = ana.start(flavour="small", environment="minimal", site=site, server=site, walltime_minutes="15")
        assert answer.status_code == 200, answer.text[:3000]
        ana.wait_until_ready(site, seconds=180)
        kernel = ana.kernel(site)
        assert kernel.run("import getpass; print(getpass.getuser())").strip() == SITES[site][0]
        kernel.close()
    demo.stop()
    wait_for(lambda: not processes_in(folder), 60)
    assert not Path(folder).exists()
    assert not list(Path("/etc/sudoers.d").glob(f"{Path(folder).name}-*"))
