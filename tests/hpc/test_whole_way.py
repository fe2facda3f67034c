"""The whole way on real parts: hub, gateway, sshd, gate and two Slurm sites. Each end has exact books: the charge is what
Slurm itself recorded, to the second.
"""

import time

import pytest

from quota.statement import Line
from spawners.sessions import Server, Session
from spawners.tables import EndReason
from tests.services.test_session import lines_of, wait_for
from tests.support.federation import Federation
from tests.support.person import Person

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

_WAIT_SECONDS = 180


def begin(person: Person, site: str, server: str = "", **fields: str) -> None:
    """Start by the form, and wait until it answers."""
    answer = person.start(flavour="small", environment="minimal", site=site, server=server, **fields)
    assert answer.status_code == 200, answer.text[:3000]
    person.wait_until_ready(server, seconds=_WAIT_SECONDS)


def session_of(federation: Federation, person: Person, server: str = "") -> Session:
    session = federation.service.house.sessions.open_of(Server("hub", person.user_name, server))
    assert session is not None
    return session


def closed(federation: Federation, person: Person, attempt: str) -> Line:
    """The line of an attempt in the books, once it is closed."""

    def look() -> Line | None:
        lines = [line for line in lines_of(federation.service, person.user_name) if line.hold == attempt]
        return next((line for line in lines if line.state in ("settled", "released")), None)

    line: Line = wait_for(look, _WAIT_SECONDS)
    return line


def exact(federation: Federation, site: str, job: str, line: Line) -> None:
    """The charge is what Slurm recorded, and the books add up."""
    assert (line.source, line.cost) == ("scheduler", federation.seconds_of(site, job) * 1000)
    done = federation.service.nbfed("ledger", "verify", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_notebook_on_each_site_and_on_this_machine_at_the_same_time(federation: Federation, ana: Person) -> None:
    begin(ana, "here")
    for site in federation.slurm:
        begin(ana, site, site, walltime_minutes="30")
    kernels = {name: ana.kernel(name) for name in ("", *federation.slurm)}
    for name, kernel in kernels.items():
        account = kernel.run(f"x = {len(name)}\nimport os, pwd; print(pwd.getpwuid(os.getuid()).pw_name)").strip()
        assert account == (federation.accounts[ana.user_name, name] if name else "nobody")
        assert kernel.run("print(x)").strip() == str(len(name))
        kernel.close()
    jobs = {site: (session_of(federation, ana, site), "") for site in federation.slurm}
    for site, (session, _) in jobs.items():
        job = federation.job_of(site, session.attempt)
        assert job == session.backend_ref
        ana.stop(site)
        line = closed(federation, ana, session.attempt)
        assert federation.service.house.sessions.get(session.attempt).end_reason is EndReason.STOPPED
        assert federation.recorded(site, job)["JobState"] == "CANCELLED"
        exact(federation, site, job, line)


def test_an_administrator_s_scancel_ends_a_session_with_exact_books(federation: Federation, ana: Person) -> None:
    begin(ana, "andes")
    session = session_of(federation, ana)
    job = federation.job_of("andes", session.attempt)
    federation.slurm["andes"].run("scancel", job)
    line = closed(federation, ana, session.attempt)
    exact(federation, "andes", job, line)
    assert federation.service.house.sessions.get(session.attempt).end_reason is EndReason.EXITED


def test_the_end_of_the_walltime_is_told_as_such(federation: Federation, ana: Person) -> None:
    begin(ana, "costa", walltime_minutes="15")
    session = session_of(federation, ana)
    job = federation.job_of("costa", session.attempt)
    federation.slurm["costa"].run("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    line = closed(federation, ana, session.attempt)
    assert federation.recorded("costa", job)["JobState"] == "TIMEOUT"
    exact(federation, "costa", job, line)
    assert federation.service.house.sessions.get(session.attempt).end_reason is EndReason.WALLTIME


def test_a_queued_session_says_why_it_waits_and_outlives_hub_and_gateway(federation: Federation, ana: Person) -> None:
    site = federation.slurm["andes"]
    site.run("scontrol", "update", "PartitionName=notebooks", "State=DOWN")
    try:
        answer = ana.start(flavour="small", environment="minimal", site="andes")
        assert answer.status_code == 200, answer.text[:3000]
        status = wait_for(lambda: (said := ana.status()).get("detail") and said, _WAIT_SECONDS)
        assert status["detail"] == "Its partition does not start jobs at the moment."
        attempt = session_of(federation, ana).attempt
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
    assert session_of(federation, ana).attempt == attempt
    ana.stop()
    exact(federation, "andes", job, closed(federation, ana, attempt))


def test_a_running_notebook_answers_while_hub_and_gateway_die(federation: Federation, ana: Person) -> None:
    begin(ana, "andes")
    attempt = session_of(federation, ana).attempt
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
    exact(federation, "andes", job, closed(federation, ana, attempt))
