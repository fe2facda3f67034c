"""The whole way on real parts: hub, gateway, sshd, gate and two Slurm sites."""

import time

import pytest

from spawners.tables import EndReason
from tests.services.test_session import wait_for
from tests.support.federation import Federation
from tests.support.person import Person

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

SITES = ("andes", "costa")
_WAIT_SECONDS = 180


def begin(person: Person, site: str, server: str = "", **fields: str) -> None:
    """Start by the form, and wait until it answers."""
    answer = person.start(flavour="small", environment="minimal", site=site, server=server, **fields)
    assert answer.status_code == 200, answer.text[:3000]
    person.wait_until_ready(server, seconds=_WAIT_SECONDS)


def test_a_notebook_on_each_site_and_on_this_machine_at_the_same_time(federation: Federation, ana: Person) -> None:
    begin(ana, "here")
    for site in SITES:
        begin(ana, site, site, walltime_minutes="30")
    kernels = {name: ana.kernel(name) for name in ("", *SITES)}
    for name, kernel in kernels.items():
        account = kernel.run(f"x = {len(name)}\nimport os, pwd; print(pwd.getpwuid(os.getuid()).pw_name)").strip()
        assert account == (federation.accounts[ana.user_name, name] if name else "nobody")
        assert kernel.run("print(x)").strip() == str(len(name))
        kernel.close()
    jobs = {site: (federation.session_of(ana, site), "") for site in SITES}
    for site, (session, _) in jobs.items():
        job = federation.job_of(site, session.attempt)
        assert job == session.backend_ref
        ana.stop(site)
        line = federation.closed(ana, session.attempt)
        assert federation.service.house.sessions.get(session.attempt).end_reason is EndReason.STOPPED
        assert federation.slurm[site].records(job)[-1].state == "CANCELLED"
        federation.assert_exact(site, job, line)


def test_a_queued_session_says_why_it_waits_and_outlives_hub_and_gateway(federation: Federation, ana: Person) -> None:
    site = federation.slurm["andes"]
    site.run("scontrol", "update", "PartitionName=notebooks", "State=DOWN")
    try:
        answer = ana.start(flavour="small", environment="minimal", site="andes")
        assert answer.status_code == 200, answer.text[:3000]
        status = wait_for(lambda: (said := ana.status()).get("detail") and said, _WAIT_SECONDS)
        assert status["detail"] == "Its partition does not start jobs at the moment."
        attempt = federation.session_of(ana).attempt
        job = federation.job_of("andes", attempt)
        federation.service.kill("hub")
        federation.kill_gateway()
        federation.start_gateway()
        federation.service.wait_for_child("hub")
        federation.service.wait_until_up()
        wait_for(lambda: "queue" in ana.status().get("text", ""), _WAIT_SECONDS)
        assert federation.job_of("andes", attempt) == job
    finally:
        site.run("scontrol", "update", "PartitionName=notebooks", "State=UP")
    ana.wait_until_ready(seconds=_WAIT_SECONDS)
    assert federation.session_of(ana).attempt == attempt
    ana.stop()
    federation.assert_exact("andes", job, federation.closed(ana, attempt))


def test_a_running_notebook_answers_while_hub_and_gateway_die(federation: Federation, ana: Person) -> None:
    begin(ana, "andes")
    attempt = federation.session_of(ana).attempt
    job = federation.job_of("andes", attempt)
    kernel = ana.kernel()
    kernel.run("secret = 42")
    federation.service.kill("hub")
    federation.kill_gateway()
    assert kernel.run("print(secret)").strip() == "42"
    federation.start_gateway()
    federation.service.wait_for_child("hub")
    federation.service.wait_until_up()
    wait_for(lambda: ana.status()["state"] == "ready", _WAIT_SECONDS)
    assert kernel.run("print(secret)").strip() == "42"
    kernel.close()
    time.sleep(1)
    ana.stop()
    federation.assert_exact("andes", job, federation.closed(ana, attempt))
