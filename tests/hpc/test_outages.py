"""What sites go through: a controller that is down, a link that is half-open, a full disk, a clock that is wrong. What runs
goes on and answers again, who starts something is told, and the books are exact.
"""

import contextlib
import platform
import pwd
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from spawners.gateway.answers import SiteState
from spawners.site_files import PROGRAM
from spawners.tables import EndReason
from tests.services.test_session import wait_for
from tests.support.federation import Federation
from tests.support.missing import skip_or_fail
from tests.support.person import Person
from tests.support.slurm import HOMES

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

FAKETIME = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketime.so.1")
_SECONDS = 180


def answers(person: Person, server: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{person.user_url}{server}/api", timeout=3, trust_env=False).is_success
    return False


def wait_until_in_order(federation: Federation, site: str) -> None:
    wait_for(
        lambda: (health := federation.client.sites()[site]).state is SiteState.OK and not health.last_error, _SECONDS
    )


def begun(federation: Federation, person: Person, site: str, *names: str) -> dict[str, tuple[str, str]]:
    """Running sessions; attempt and job of each."""
    federation.begin(person, *names, site=site)
    federation.wait_until_ready(person, *names)
    found = {name: federation.session_of(person, name) for name in names}
    return {name: (one.attempt, federation.job_of(site, one.attempt)) for name, one in found.items()}


def assert_ends(federation: Federation, person: Person, site: str, attempt: str, job: str, reason: EndReason) -> None:
    federation.assert_exact(site, job, federation.closed(person, attempt))
    session = federation.service.house.sessions.get(attempt)
    assert session is not None
    assert session.end_reason is reason


def test_while_the_controller_is_down_nothing_is_lost_and_what_was_asked_for_is_done_when_it_is_back(
    federation: Federation, ana: Person
) -> None:
    site = federation.slurm["andes"]
    sessions = begun(federation, ana, "andes", "goes-on", "stopped", "dies")
    site.stop_controller()
    try:
        wait_for(lambda: federation.client.sites()["andes"].state is SiteState.OPEN_BREAKER, _SECONDS)
        (refused,) = federation.ask_for(ana, "late", site="andes")
        assert "HPC Andes" in refused.json()["message"]
        assert refused.status_code == 503
        federation.stop(ana, "stopped")
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if sessions["dies"][0] in " ".join(process.cmdline()):
                    process.kill()
        assert answers(ana, "goes-on")
        assert federation.open_names(ana) == set(sessions)
    finally:
        site.start_controller()
    assert_ends(federation, ana, "andes", *sessions["stopped"], EndReason.STOPPED)
    assert_ends(federation, ana, "andes", *sessions["dies"], EndReason.EXITED)
    assert answers(ana, "goes-on")
    federation.stop(ana, "goes-on")
    assert_ends(federation, ana, "andes", *sessions["goes-on"], EndReason.STOPPED)


def test_notebooks_answer_again_over_another_link_when_theirs_is_half_open_and_when_it_is_mended(
    federation: Federation, ana: Person
) -> None:
    sshd = federation.sshd["andes"]
    (session,) = begun(federation, ana, "andes", "runs").values()
    frozen = sshd.freeze()
    assert not answers(ana, "runs")
    for connection in frozen:
        connection.resume()
    wait_for(lambda: answers(ana, "runs"), _SECONDS)

    wait_until_in_order(federation, "andes")
    frozen = sshd.freeze()
    assert not answers(ana, "runs")
    wait_for(lambda: answers(ana, "runs"), _SECONDS)
    sshd.notice(frozen)
    wait_until_in_order(federation, "andes")
    assert federation.session_of(ana, "runs").attempt == session[0]
    federation.stop(ana, "runs")
    assert_ends(federation, ana, "andes", *session, EndReason.STOPPED)


@pytest.fixture
def small_disk(federation: Federation, ana: Person) -> Iterator[Path]:
    """Where her sessions have their files at `andes` there is little room."""
    account = federation.accounts[ana.user_name, "andes"]
    person, folder = pwd.getpwnam(account), HOMES / account / ".nbfed"
    folder.mkdir(exist_ok=True)
    options = f"size=400k,mode=700,uid={person.pw_uid},gid={person.pw_gid}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False).returncode != 0:
        skip_or_fail("no file system can be mounted here")
    try:
        yield folder
        federation.end_sessions_of(ana)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full_starts_nothing_and_charges_nothing_and_what_runs_goes_on(
    federation: Federation, ana: Person, small_disk: Path
) -> None:
    (session,) = begun(federation, ana, "andes", "runs").values()
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'filling'}", "bs=1k"], check=False, capture_output=True)
    (refused,) = federation.ask_for(ana, "late", site="andes")
    assert refused.status_code == 502, refused.text
    assert "HPC Andes did not take the session" in refused.json()["message"]
    assert "(stage)" in refused.json()["message"]
    wait_for(lambda: federation.open_names(ana) == {"runs"}, _SECONDS)
    assert answers(ana, "runs")
    (small_disk / "filling").unlink()
    federation.begin(ana, "late", site="andes")
    federation.wait_until_ready(ana, "late")
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'filling'}", "bs=1k"], check=False, capture_output=True)
    federation.stop(ana, "runs")
    assert_ends(federation, ana, "andes", *session, EndReason.STOPPED)


@pytest.fixture(params=["+10m", "-10m"])
def wrong_clock(request: pytest.FixtureRequest, federation: Federation) -> Iterator[None]:
    """The clock of the gate at `andes` alone is wrong."""
    assert FAKETIME.exists()
    program = federation.gates["andes"].folder / PROGRAM
    real, text = program.with_suffix(".right"), program.read_text()
    program.rename(real)
    words = [f"LD_PRELOAD={FAKETIME}", f"FAKETIME={request.param}", *text.partition("\n")[0].removeprefix("#!").split()]
    program.write_text(f'#!/bin/sh\nexec env {shlex.join(words)} {real} "$@"\n')
    program.chmod(0o755)
    try:
        yield
    finally:
        real.replace(program)


@pytest.mark.usefixtures("wrong_clock")
def test_a_gate_whose_clock_is_wrong_ends_nothing_early_and_charges_what_the_scheduler_recorded(
    federation: Federation, ana: Person
) -> None:
    federation.begin(ana, "runs", site="andes", walltime_minutes=15)
    federation.wait_until_ready(ana, "runs")
    session = federation.session_of(ana, "runs")
    job = federation.job_of("andes", session.attempt)
    said = federation.service.nbfed("site", "check", "andes", check=False).stdout
    assert re.search(r"^fail +clock .* (59[0-9]|600) seconds (ahead of|behind) ours", said, re.MULTILINE), said
    assert federation.session_of(ana, "runs").end_reason is None
    assert answers(ana, "runs")
    federation.stop(ana, "runs")
    assert_ends(federation, ana, "andes", session.attempt, job, EndReason.STOPPED)
