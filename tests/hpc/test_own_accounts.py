"""A site that lets nobody in but each account for itself (`access: user-certificate`), on real parts: its own Slurm, its
gate without sudo, its sshd with a port for that.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hub_config.gateway_wiring import credentials
from spawners.gateway.answers import SiteState
from spawners.gateway.link import Link, MasterKind
from spawners.tables import EndReason
from tests.services.test_session import wait_for
from tests.support.federation import Federation, running_federation
from tests.support.gateway_rig import wait_until
from tests.support.missing import skip_or_fail
from tests.support.slurm_accounting import running_accounted_site, why_not
from tests.support.sshd import account_or_skip

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

SITE = "pampa"
ACCOUNTS = ("nbpampa1", "nbpampa2")
SSHD = str(shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin"))


@pytest.fixture(scope="module")
def federation() -> Iterator[Federation]:
    account_or_skip()
    if missing := why_not():
        skip_or_fail(missing)
    with running_accounted_site(SITE, ACCOUNTS) as site, running_federation({SITE: site}, own_accounts=True) as running:
        yield running


def test_two_people_each_by_their_own_account_from_start_to_exact_books(federation: Federation) -> None:
    ana, luc = federation.sign_in("researcher"), federation.sign_in("trainer")
    for person in (ana, luc):
        federation.begin(person, "", site=SITE, environment="minimal")
    jobs = {}
    for person in (ana, luc):
        person.wait_until_ready(seconds=180)
        kernel = person.kernel()
        said = kernel.run("import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name)").strip()
        kernel.close()
        assert said == federation.accounts[person.user_name, SITE]
        session = federation.session_of(person)
        jobs[person] = session.attempt, federation.job_of(SITE, session.attempt)
    health = federation.client.sites()[SITE]
    assert (health.state, health.masters, health.forwards) == (SiteState.OK, 4, 2)

    # One who cuts the own connections cuts nobody else's; they are made anew, with the way through them.
    mine, theirs = (federation.accounts[person.user_name, SITE] for person in (ana, luc))
    others = federation.master_pid(SITE, MasterKind.DATA, theirs)
    os.kill(federation.master_pid(SITE, MasterKind.DATA, mine), signal.SIGKILL)
    federation.kill_gateway()
    federation.start_gateway()
    wait_until(lambda: federation.master_pid(SITE, MasterKind.DATA, mine), 60, told=federation.gateway_log.read_text)
    assert federation.master_pid(SITE, MasterKind.DATA, theirs) == others
    for person in (ana, luc):
        wait_for(lambda person=person: person.session_api("GET", "api/status").status_code == 200, 120)
        kernel = person.kernel()
        assert kernel.run("print(6 * 7)").strip() == "42"
        kernel.close()

    for person, (attempt, job) in jobs.items():
        person.stop()
        line = federation.closed(person, attempt)
        federation.assert_exact(SITE, job, line)
        ended = federation.service.house.sessions.get(attempt)
        assert ended is not None
        assert ended.end_reason is EndReason.STOPPED


def test_a_certificate_opens_its_own_account_and_no_other(federation: Federation) -> None:
    one, other = (federation.link(SITE, account) for account in ACCOUNTS)
    assert b'"ok": true' in asked(federation, one, signed_for=one)
    assert b"Permission denied" in asked(federation, other, signed_for=one)
    assert b"Permission denied" in asked(federation, replace(one, account="root"), signed_for=one)
    assert b"Permission denied" in asked(federation, one, signed_for=replace(one, site="another"))


def asked(federation: Federation, link: Link, *, signed_for: Link) -> bytes:
    """What a ping is answered, or why nobody gets in, with the certificate that is for somebody, perhaps somebody else."""
    certificate = credentials(federation.service.settings, signed_for).renew()
    login = link.settings.login
    options = (
        "BatchMode=yes", "IdentitiesOnly=yes", f"CertificateFile={certificate}", "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={signed_for.known_hosts}",
    )  # fmt: skip
    words = [word for option in options for word in ("-o", option)]
    done = subprocess.run(
        ["ssh", "-F", "none", "-i", str(signed_for.key), *words, "-p", str(login.port), f"{link.user}@{login.host}", "x"],
        input=b'{"v": 1, "id": "try", "verb": "ping"}\n', capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_people_log_in_at_the_usual_port_as_they_always_did(federation: Federation) -> None:
    sshd = federation.sshd[SITE]

    def served(port: int) -> set[str]:
        who = f"user={ACCOUNTS[0]},host=x,addr=127.0.0.1,laddr=127.0.0.1,lport={port}"
        said = subprocess.run(
            [SSHD, "-T", "-f", str(sshd.folder / "sshd_config"), "-C", who], capture_output=True, text=True, check=True
        )
        return set(said.stdout.splitlines())

    ours = {f"forcecommand {sshd.gate}", f"trustedusercakeys {sshd.folder}/ca.pub", "authorizedkeysfile none"}
    assert ours <= served(sshd.port)
    assert not ours & served(22)
    assert "forcecommand none" in served(22)


def test_a_site_where_nobody_has_a_session_is_open_as_long_as_its_sshd_says_who_it_is(federation: Federation) -> None:
    sshd = federation.sshd[SITE]
    federation.kill_gateway()
    federation.start_gateway()
    assert federation.client.sites()[SITE].state is SiteState.OK
    sshd.stop()
    try:
        wait_for(lambda: federation.client.sites()[SITE].state is SiteState.OPEN_BREAKER, 90)
    finally:
        sshd.start()
    wait_for(lambda: federation.client.sites()[SITE].state is SiteState.OK, 90)


def test_the_check_of_such_a_site_needs_an_account_and_passes_as_it(federation: Federation) -> None:
    refused = federation.service.nbfed("site", "check", SITE, check=False)
    assert refused.returncode == 1
    assert "name one with --account" in refused.stderr
    done = federation.service.nbfed(
        "site", "check", SITE, "--account", ACCOUNTS[0], "--environment", "minimal", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_signed_certificate_by_hand_is_for_one_account(federation: Federation) -> None:
    refused = federation.service.nbfed("ca", "sign", SITE, check=False)
    assert "name one with --account" in refused.stderr
    done = federation.service.nbfed("ca", "sign", SITE, "--account", ACCOUNTS[1])
    assert f"principal nbfed-{SITE}:{ACCOUNTS[1]}" in done.stdout
    assert f"{ACCOUNTS[1]}@127.0.0.1" in done.stdout
