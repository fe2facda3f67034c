"""Sessions as batch jobs on a whole installation: the wait, the end, a hub that dies, and the books.

Behind the gateway's contract stands a batch system of this machine, which runs the jobs' scripts as real processes.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from bs4 import BeautifulSoup

from federation.persons import find_by_user_name
from spawners.announcer import Announcer
from spawners.sessions import Server, Session
from spawners.tables import EndReason, SessionState
from tests.services.test_session import lines_of, wait_for
from tests.support.batch_system import BatchSystem, serving
from tests.support.mail import running_mailbox
from tests.support.person import Person
from tests.support.service import Service, free_ports, running_service
from tests.support.sites import certify
from vetting import mappings
from vetting.mappings import Event

pytestmark = pytest.mark.service

HPC = {
    "kind": "batch", "title": "HPC Andes", "dialect": "slurm", "flavours": ["small"], "nodes": ["127.0.0.1"],
    "login": {"host": "login.example.org", "host_key_file": "hpc.pub"}, "ports": "20000-29999", "walltime_hours": 2,
    "partition": "notebooks", "partitions": ["fat"], "boot_seconds": 90,
}  # fmt: skip


@pytest.fixture(scope="module")
def hpc() -> Iterator[tuple[Service, BatchSystem]]:
    """An installation with a batch site beside this machine, and what stands behind its gateway."""
    minimal = {
        "title": "Python", "local": {"prefix": "minimal"},
        "batch": {"path": f"{os.environ['NBFED_ENVIRONMENTS']}/minimal"},
    }  # fmt: skip
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="nbfed-home-") as home,
        running_service(
            start=False,
            sites={"hpc": HPC, "hpc2": HPC | {"title": "HPC Pampa"}},
            environments={"minimal": minimal},
            gateway={"with_up": False},
            mail={"smtp": f"smtp://127.0.0.1:{free_ports(1)[0]}", "sender": "notebooks@example.org"},
        ) as service,
        serving(socket=service.state.gateway_socket, home=Path(home)) as system,
    ):
        Path(home).chmod(0o711)
        system.hub_url = f"http://127.0.0.1:{service.settings.yaml.listen.hub_port}"
        service.start()
        certify(service.house, "hpc", "hpc2")
        yield service, system


@pytest.fixture
def ana(hpc: tuple[Service, BatchSystem]) -> Iterator[Person]:
    """Somebody whom the site accepted; nothing of hers is left afterwards."""
    service, system = hpc
    person = Person(service.base_url).sign_in("researcher")
    accept(service, person.user_name)
    system.held, system.site_state = False, "ok"
    for scripted in (system.faults, system.before, system.after):
        scripted.clear()
    yield person
    for scripted in (system.faults, system.before, system.after):
        scripted.clear()
    if open_attempt(service, person) is not None:
        person.api("DELETE", f"users/{person.user_name}/server")
        wait_for(lambda: open_attempt(service, person) is None, 60)


def accept(service: Service, user_name: str) -> None:
    with service.house.database.write() as connection:
        person = find_by_user_name(connection, user_name)
        assert person is not None
        now = datetime.now(UTC)
        for site in ("hpc", "hpc2"):
            found = mappings.ask(connection, person_id=person.id, site=site, account="ana", by="test", now=now)
            if found.state == "asked":
                mappings.change(connection, person_id=person.id, site=site, event=Event.ACCEPT, by="test", now=now)


def open_attempt(service: Service, person: Person) -> Session | None:
    return service.house.sessions.open_of(Server("hub", person.user_name, ""))


def attempt_of(service: Service, person: Person) -> str:
    return wait_for(lambda: open_attempt(service, person)).attempt


def start(person: Person, **fields: str) -> None:
    answer = person.start(flavour="small", environment="minimal", site="hpc", **fields)
    assert answer.status_code == 200, answer.text[:3000]


def settled(service: Service, person: Person, attempt: str):
    """The line of an attempt in the books, once it is closed."""

    def closed():
        lines = [line for line in lines_of(service, person.user_name) if line.hold == attempt]
        return next((line for line in lines if line.state in ("settled", "released")), None)

    return wait_for(closed, 60)


def whole_seconds_of(job) -> int:
    return sum(-int(-(run["ended_at"] - run["started_at"]) // 1) for run in job.runs)


def test_a_session_waits_runs_and_costs_what_the_scheduler_says(hpc: tuple[Service, BatchSystem], ana: Person) -> None:
    service, system = hpc
    system.held = True
    start(ana, walltime_minutes="30", partition="fat")
    attempt = attempt_of(service, ana)
    status = wait_for(lambda: (s := ana.status()) and "detail" in s and s["detail"] and s)
    assert status["state"] == "starting"
    assert "queue" in status["text"]
    assert system.jobs[attempt].resources == {
        "cpus": 1, "memory_mib": 2048, "gpus": 0, "minutes": 30, "partition": "fat"
    }  # fmt: skip
    assert system.jobs[attempt].account == "ana"
    held = next(line for line in lines_of(service, ana.user_name) if line.hold == attempt)
    assert (held.state, held.started_at) == ("held", None)

    system.release()
    ana.wait_until_ready()
    kernel = ana.kernel()
    assert kernel.run("print(6 * 7)").strip() == "42"
    kernel.close()
    home = ana.home()
    assert "HPC Andes" in home.text
    assert "It may run until" in home.text

    ana.stop()
    line = settled(service, ana, attempt)
    job = system.jobs[attempt]
    assert job.state == "ended"
    assert line.source == "scheduler"
    assert line.cost == whole_seconds_of(job) * 1000
    assert system.forwards.get(attempt) is None
    assert service.house.sessions.get(attempt).end_reason is EndReason.STOPPED
    assert service.nbfed("ledger", "verify").returncode == 0


def test_who_wants_it_gets_a_mail_when_the_session_runs(hpc: tuple[Service, BatchSystem], ana: Person) -> None:
    service, system = hpc
    system.held = True
    start(ana)
    attempt = attempt_of(service, ana)
    wait_for(lambda: "queue" in ana.status().get("text", ""))
    waits = ana.client.get(f"{service.base_url}hub/spawn-pending/{ana.user_name}")
    for button, wanted in (("Tell me by mail when it runs", True), ("Do not tell me", False), ("Tell me by", True)):
        page = BeautifulSoup(waits.text, "html.parser")
        form = page.select_one("#tell-form")
        assert form is not None, (waits.url, page.get_text())
        assert button in form.get_text()
        waits = ana.submit(page, "#tell-form")
        assert service.house.sessions.get(attempt).tell_when_ready is wanted
    system.release()
    ana.wait_until_ready()
    house = service.house
    Announcer(
        hub="hub", database=house.database, sessions=house.sessions, outlooks=house.outlooks, clock=house.clock
    ).run_once()
    with running_mailbox(port=int(service.settings.yaml.mail.smtp.rpartition(":")[2])) as mailbox:
        wait_for(lambda: "Your session runs" in [str(message["Subject"]) for message in mailbox.messages], 60)
    ana.stop()


def test_a_job_that_waits_is_cancelled_when_its_person_is_stopped(
    hpc: tuple[Service, BatchSystem], ana: Person
) -> None:
    service, system = hpc
    system.held = True
    start(ana)
    attempt = attempt_of(service, ana)
    wait_for(lambda: service.house.sessions.get(attempt).state is SessionState.SUBMITTED)
    service.nbfed("person", "stop", ana.user_name, "--reason", "It floods the queue.")
    line = settled(service, ana, attempt)
    assert (system.jobs[attempt].state, line.state) == ("ended", "released")
    assert service.house.sessions.get(attempt).end_reason is EndReason.SUSPENDED
    wait_for(lambda: "It floods the queue." in ana.client.get(ana.user_url + "lab").text)
    service.nbfed("person", "restore", ana.user_name, "--reason", "talked to her")
    wait_for(lambda: ana.home().select_one(".nb-session") is None)


def test_neither_script_nor_environment_of_a_job_has_a_secret(hpc: tuple[Service, BatchSystem], ana: Person) -> None:
    service, system = hpc
    start(ana)
    ana.wait_until_ready()
    attempt = attempt_of(service, ana)
    job = system.jobs[attempt]
    assert job.secret not in job.script
    assert "JUPYTERHUB_API_TOKEN" not in job.script
    assert not any(line.startswith("#SBATCH") for line in job.script.splitlines())
    initial = Path(f"/proc/{job.process.pid}/environ").read_bytes().decode()
    assert "TOKEN" not in initial
    assert job.secret not in initial
    folder = system.home / ".nbfed" / "sessions" / attempt
    assert not (folder / "secret").exists()


def test_a_hub_that_dies_takes_a_queued_session_up_again_and_it_waits_on(
    hpc: tuple[Service, BatchSystem], ana: Person
) -> None:
    service, system = hpc
    system.held = True
    start(ana)
    attempt = attempt_of(service, ana)
    wait_for(lambda: service.house.sessions.get(attempt).state is SessionState.SUBMITTED)
    service.kill("hub")
    service.wait_for_child("hub")
    service.wait_until_up()
    wait_for(lambda: "queue" in ana.status().get("text", ""), 60)
    assert attempt_of(service, ana) == attempt
    assert len([job for job in system.jobs.values() if job.state == "pending"]) == 1
    system.release()
    ana.wait_until_ready()
    assert attempt_of(service, ana) == attempt
    ana.stop()
    line = settled(service, ana, attempt)
    assert line.cost == whole_seconds_of(system.jobs[attempt]) * 1000


@pytest.mark.parametrize(
    ("when", "verb"),
    [
        pytest.param("before", "submit", id="after-the-intent"),
        pytest.param("after", "submit", id="after-the-submission-before-its-answer"),
        pytest.param("before", "forward", id="before-the-forward"),
        pytest.param("after", "forward", id="after-the-forward"),
    ],
)
def test_a_hub_that_is_killed_at_any_step_of_a_start_leaves_one_job_and_exact_books(
    hpc: tuple[Service, BatchSystem], ana: Person, when: str, verb: str
) -> None:
    service, system = hpc
    jobs_before, killed = set(system.jobs), threading.Event()

    def kill() -> None:
        service.kill("hub")
        killed.set()

    getattr(system, when)[verb] = kill
    with contextlib.suppress(httpx.HTTPError):
        ana.start(flavour="small", environment="minimal", site="hpc")
    assert killed.wait(60)
    service.wait_for_child("hub")
    service.wait_until_up()
    if (when, verb) == ("before", "submit"):
        # Nothing was handed over, although the gateway may do it still: the person need not wait until that is known.
        start(ana)
    wait_for(lambda: ana.status()["state"] == "ready", 90)
    attempt = attempt_of(service, ana)
    ana.stop()
    line = settled(service, ana, attempt)
    assert line.cost == whole_seconds_of(system.jobs[attempt]) * 1000
    wait_for(lambda: not [job for job in system.jobs.values() if job.state != "ended"], 120)
    new = [job for name, job in system.jobs.items() if name not in jobs_before]
    ran = {job.attempt for job in new if job.started_at is not None}
    assert attempt in ran
    assert len(ran) <= (2 if (when, verb) == ("before", "submit") else 1)
    assert service.nbfed("ledger", "verify").returncode == 0


def test_a_hub_that_is_killed_while_it_settles_charges_once(hpc: tuple[Service, BatchSystem], ana: Person) -> None:
    service, system = hpc
    start(ana)
    ana.wait_until_ready()
    attempt = attempt_of(service, ana)
    system.before["history"] = lambda: service.kill("hub")
    with contextlib.suppress(httpx.HTTPError):
        ana.stop()
    service.wait_for_child("hub")
    service.wait_until_up()
    line = settled(service, ana, attempt)
    assert line.cost == whole_seconds_of(system.jobs[attempt]) * 1000
    assert service.nbfed("ledger", "verify").returncode == 0


def test_a_hub_that_dies_adopts_a_running_session_which_answers_throughout(
    hpc: tuple[Service, BatchSystem], ana: Person
) -> None:
    service, system = hpc
    start(ana)
    ana.wait_until_ready()
    attempt = attempt_of(service, ana)
    kernel = ana.kernel()
    kernel.run("secret = 42")
    service.kill("hub")
    assert kernel.run("print(secret)").strip() == "42"
    service.wait_for_child("hub")
    service.wait_until_up()
    wait_for(lambda: ana.status()["state"] == "ready", 60)
    assert kernel.run("print(secret)").strip() == "42"
    kernel.close()
    assert (attempt_of(service, ana), system.jobs[attempt].state) == (attempt, "running")
    ana.stop()
    assert settled(service, ana, attempt).cost == whole_seconds_of(system.jobs[attempt]) * 1000


def test_a_job_that_ends_while_hub_and_worker_are_away_is_charged_by_the_scheduler_s_times(
    hpc: tuple[Service, BatchSystem], ana: Person
) -> None:
    service, system = hpc
    start(ana)
    ana.wait_until_ready()
    attempt = attempt_of(service, ana)
    away = [service.child("hub"), service.child("worker")]
    for process in away:
        process.suspend()
    try:
        job = system.finish(attempt, scheduler_state="TIMEOUT")
        time.sleep(2)
    finally:
        for process in away:
            process.kill()
    service.wait_for_child("hub")
    service.wait_until_up()
    line = settled(service, ana, attempt)
    assert line.cost == whole_seconds_of(job) * 1000
    assert service.house.sessions.get(attempt).end_reason is EndReason.WALLTIME
    assert service.nbfed("ledger", "verify").returncode == 0


def test_a_submission_whose_answer_was_lost_is_found_again(hpc: tuple[Service, BatchSystem], ana: Person) -> None:
    service, system = hpc
    before = len(system.jobs)
    system.faults["submit"] = ["lost", "silent"]
    start(ana)
    ana.wait_until_ready()
    assert len(system.jobs) == before + 1
    assert system.asked.count("submit") >= 3


def test_cancel_takes_a_waiting_job_out_of_the_queue_and_costs_nothing(
    hpc: tuple[Service, BatchSystem], ana: Person
) -> None:
    service, system = hpc
    system.held = True
    start(ana)
    attempt = attempt_of(service, ana)
    wait_for(lambda: "queue" in ana.status().get("text", ""))
    ana.stop()
    line = settled(service, ana, attempt)
    assert (line.state, line.cost or 0) == ("released", 0)
    assert (system.jobs[attempt].state, system.jobs[attempt].scheduler_state) == ("ended", "CANCELLED")


def test_a_place_that_does_not_take_it_is_left_for_the_next_one_and_the_person_reads_why(
    hpc: tuple[Service, BatchSystem], ana: Person
) -> None:
    service, system = hpc
    system.faults["submit"] = ["limit"]
    answer = ana.start(flavour="small", environment="minimal", site="auto", walltime_minutes="15")
    assert answer.status_code == 200, answer.text[:3000]
    ana.wait_until_ready()
    session = open_attempt(service, ana)
    assert session.site == "hpc2"
    assert {place["site"]: place["code"] for place in session.why_there}["hpc"] == "site-refused"
    assert "HPC Andes did not take the session. It says: said the gate" in ana.home().text
    lines = lines_of(service, ana.user_name)
    assert sorted((line.site, line.state) for line in lines[:2]) == [("hpc", "released"), ("hpc2", "running")]


def test_a_named_place_that_does_not_take_it_is_a_refusal_with_the_site_s_words(
    hpc: tuple[Service, BatchSystem], ana: Person
) -> None:
    service, system = hpc
    system.faults["submit"] = ["limit"]
    answer = ana.start(flavour="small", environment="minimal", site="hpc")
    wait_for(lambda: ana.status()["state"] != "starting", 30)
    page = ana.client.get(f"{ana.base_url}hub/spawn-pending/{ana.user_name}")
    assert "said the gate" in answer.text + page.text
    assert open_attempt(service, ana) is None
    assert lines_of(service, ana.user_name)[0].state == "released"


def test_a_place_whose_breaker_is_open_is_not_even_tried(hpc: tuple[Service, BatchSystem], ana: Person) -> None:
    service, system = hpc
    system.site_state = "open-breaker"
    before = len(system.jobs)
    ana.start(flavour="small", environment="minimal", site="auto", walltime_minutes="15")
    ana.wait_until_ready()
    session = open_attempt(service, ana)
    assert (session.site, len(system.jobs)) == ("hpc2", before + 1)
    assert {place["site"]: place["code"] for place in session.why_there}["hpc"] == "site-away"


def test_a_session_whose_walltime_is_over_says_so(hpc: tuple[Service, BatchSystem], ana: Person) -> None:
    service, system = hpc
    start(ana)
    ana.wait_until_ready()
    attempt = attempt_of(service, ana)
    time.sleep(1)
    system.finish(attempt, scheduler_state="TIMEOUT")
    settled(service, ana, attempt)
    assert service.house.sessions.get(attempt).end_reason is EndReason.WALLTIME
    assert "walltime" in ana.home().text
