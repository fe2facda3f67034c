"""Production mode as the how-to page has it: its settings, its secrets and its nginx, with a provider over https, and a
batch site.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.services.test_desk import desk, page, send
from tests.support.certificates import Authority, trusted
from tests.support.federation import Federation, running_federation
from tests.support.keycloak import CLIENT_SECRET, Keycloak, KeycloakMissing, running_keycloak
from tests.support.missing import skip_or_fail
from tests.support.person import Person
from tests.support.service import Service
from tests.support.slurm import SlurmSite
from tests.support.sshd import account_or_skip, free_range
from tests.support.web_server import nginx_or_skip, running_nginx

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "run-in-production.md").read_text()
SITE = "costa"
COMMUNITY = "urn:mace:egi.eu:group:vo.example.org"


def block(what: str) -> str:
    """What the page has between the lines of the block that is marked so."""
    found = re.search(rf"<!-- production: {re.escape(what)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, f"the page has no block {what!r}"
    return found[1]


def run(what: str, service: Service) -> str:
    """Run the page's commands where federation.yaml lies; what they said."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", block(what)], env={**service.environment(), "PATH": programs}, cwd=service.root,
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Place:
    """All of it. `plain` is where browsers come that type no https."""

    federation: Federation
    plain: str

    @property
    def service(self) -> Service:
        return self.federation.service


@pytest.fixture(scope="module")
def place(batch_sites: dict[str, SlurmSite]) -> Iterator[Place]:
    account_or_skip()
    nginx_or_skip()
    folder = Path(tempfile.mkdtemp(prefix="nbfed-production-", dir="/var/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        authority = Authority(folder)
        authority.sign("web", "notebooks.example.org", hosts=("127.0.0.1",))
        certificate, key = folder / "web.crt", folder / "web.key"
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("SSL_CERT_FILE", str(folder / "ca.crt"))
        keycloak = stack.enter_context(provider(certificate, key))
        https, http, proxy = free_range(3)
        servers = (
            block("nginx").replace("/etc/ssl/notebooks/fullchain.pem", str(certificate))
            .replace("/etc/ssl/notebooks/key.pem", str(key))
            .replace("listen 443", f"listen 127.0.0.1:{https}").replace("listen 80", f"listen 127.0.0.1:{http}")
            .replace("127.0.0.1:8000", f"127.0.0.1:{proxy}").replace("$host$request_uri", f"$host:{https}$request_uri")
        )  # fmt: skip
        stack.enter_context(running_nginx(folder, servers))
        said = yaml.safe_load(block("federation.yaml"))
        secret_file = said["identity"]["providers"][0]["client_secret_file"]

        def prepare(service: Service) -> None:
            run("secrets", service)
            (service.root / secret_file).write_text(CLIENT_SECRET)
            keycloak.register(service.base_url)

        federation = stack.enter_context(
            running_federation(
                {SITE: batch_sites[SITE]}, prepare=prepare, sites={"here": None}, environments={"python": None},
                federation={**said["federation"], "base_url": f"https://127.0.0.1:{https}"},
                listen={**said["listen"], "public_port": proxy},
                identity={**said["identity"], "providers": [keycloak.provider(client_secret_file=secret_file)],
                          "roles": {"reviewer": [f"{COMMUNITY}:role=support"]}},
                tiers={"T1": {"communities": [COMMUNITY], "terms": "accepted"}},
            )
        )  # fmt: skip
        yield Place(federation, f"http://127.0.0.1:{http}/")


@contextmanager
def provider(certificate: Path, key: Path) -> Iterator[Keycloak]:
    """A Keycloak over https, with our realm."""
    with ExitStack() as stack:
        try:
            keycloak = stack.enter_context(running_keycloak((certificate, key)))
        except KeycloakMissing as missing:
            skip_or_fail(f"Keycloak cannot be had: {missing}")
        keycloak.load_realm()
        yield keycloak


@pytest.fixture(scope="module")
def ines(place: Place) -> Person:
    """Somebody whom the site accepted."""
    person = Person(place.service.base_url)
    answer = person.sign_in_with_password("ines")
    assert (answer.status_code, answer.url.path) == (200, "/hub/home"), answer.text[:2000]
    place.federation.map(person, SITE)
    return person


def test_who_types_no_https_is_led_there(place: Place) -> None:
    answer = httpx.get(place.plain + "hub/home?x=1", trust_env=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, place.service.base_url + "hub/home?x=1")


def test_every_cookie_is_for_https_alone(place: Place) -> None:
    with httpx.Client(trust_env=False, verify=trusted(), follow_redirects=True) as client:
        first = client.get(place.service.base_url)
    cookies = [line for answer in first.history for line in answer.headers.get_list("Set-Cookie")
               if answer.url.path.startswith("/hub/")]  # fmt: skip
    assert cookies
    assert [line for line in cookies if "; Secure" not in line] == []


def test_a_session_at_a_batch_site_its_kernel_and_its_books(place: Place, ines: Person) -> None:
    account = place.federation.map(ines, SITE)
    assert ines.start(flavour="small", environment="minimal", site=SITE, walltime_minutes="15").status_code == 200
    assert ines.wait_until_ready(seconds=120).startswith(place.service.base_url)
    kernel = ines.kernel()
    assert kernel.run("import getpass; print(getpass.getuser())").strip() == account
    kernel.close()

    large = {"type": "file", "format": "text", "content": "x" * 5_000_000}
    assert ines.session_api("PUT", "api/contents/large.txt", json=large).is_success
    assert ines.session_api("DELETE", "api/contents/large.txt").is_success

    session = place.federation.session_of(ines)
    job = place.federation.job_of(SITE, session.attempt)
    ines.stop()
    place.federation.assert_exact(SITE, job, place.federation.closed(ines, session.attempt))


def test_a_request_is_kept_at_the_access_desk(place: Place, ines: Person) -> None:
    kept = send(ines, desk(ines, "ask?kind=quota"), "#ask-form", "[value=keep]", purpose="Penguins")
    assert str(kept.url).startswith(place.service.base_url + "services/desk/requests/")
    assert page(kept).select_one("#state")["data-state"] == "draft"


def test_what_the_page_looks_at_is_well(place: Place) -> None:
    said = run("look", place.service)
    assert "https://" in said
