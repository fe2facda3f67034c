"""`nbfed site check` on real parts: what it says of a site that is well, and of one where something is not."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.federation import Federation
from vetting.sites import site_record

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

SITE_STEPS = ["sign-in", "other certificates", "gate", "clock", "policy", "refusals", "way to the hub"]
JOB_STEPS = ["submit", "start", "port file", "forward", "hub", "software", "cancel", "history"]


def check(federation: Federation, *words: str) -> tuple[int, dict[str, str], str]:
    """The exit code, the state of each step, and all that was said."""
    done = federation.service.nbfed("site", "check", "andes", *words, check=False)
    rows = re.findall(r"^(ok|fail) +(\S.*?)  ", done.stdout, re.MULTILINE)
    return done.returncode, {name: state for state, name in rows}, done.stdout + done.stderr


@contextmanager
def changed(federation: Federation, name: str, text: str) -> Iterator[None]:
    """A file of the site's gate has other content for a while."""
    file = federation.gates["andes"].folder / name
    before = file.read_text() if file.exists() else None
    federation.gates["andes"].write(name, text, file.stat().st_mode & 0o777 if before is not None else 0o644)
    try:
        yield
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)


def test_a_site_that_is_well_passes_with_a_job_and_nothing_is_left_of_it(federation: Federation) -> None:
    site, account = federation.slurm["andes"], federation.slurm["andes"].accounts[2]
    code, states, said = check(federation, "--account", account)
    assert code == 0, said
    assert states == dict.fromkeys(
        [*SITE_STEPS, *(f"{each}: {step}" for each in ("minimal", "stub") for step in JOB_STEPS)], "ok"
    ), said
    job = re.search(r"job (\d+) of", said)
    assert job is not None
    assert site.job_state(job[1]) in ("CANCELLED", "COMPLETED", "")
    house = federation.service.house
    with house.database.read() as connection:
        record = site_record(connection, "andes", house.settings.yaml.sites["andes"])
    assert record.checked_at is not None
    assert "andes passed, and is certified." in said


def test_without_an_account_nothing_is_recorded(federation: Federation) -> None:
    code, states, said = check(federation)
    assert (code, states) == (0, dict.fromkeys(SITE_STEPS, "ok")), said
    assert "Nothing is recorded, because no job was started: name an account." in said


@pytest.mark.parametrize(
    ("file", "text", "step", "advice"),
    [
        pytest.param("drained", "cooling\n", "policy", "remove the file `drained`", id="drained"),
        pytest.param("policy.json", {"limits": {"minutes": 10}}, "policy", "Offer less in federation.yaml", id="less"),
        pytest.param("policy.json", {"partitions": ["short"]}, "policy", "partitions: not notebooks", id="partition"),
        pytest.param("site-gate", "\n# changed\n", "gate", "`nbfed site gate andes` prints", id="another-gate"),
    ],
)
def test_what_is_not_well_is_named_with_what_to_mend(
    federation: Federation, file: str, text: Any, step: str, advice: str
) -> None:
    path = federation.gates["andes"].folder / file
    content = text
    if isinstance(text, dict):
        content = json.dumps({**json.loads(path.read_text()), **text})
    elif file == "site-gate":
        content = path.read_text() + text
    with changed(federation, file, content):
        code, states, said = check(federation)
    assert code == 1
    assert states[step] == "fail", said
    assert advice in said
    assert list(states) == (SITE_STEPS[: SITE_STEPS.index("gate") + 1] if step == "gate" else SITE_STEPS)


def test_an_account_that_the_site_does_not_let_in_is_named(federation: Federation) -> None:
    account = federation.slurm["andes"].accounts[2]
    with changed(federation, "blocked", f"{account}\n"):
        code, states, said = check(federation, "--account", account)
    assert (code, states["minimal: submit"]) == (1, "fail"), said
    assert "takes this account out of its file `blocked`" in said
    assert "minimal: cancel" not in states


def test_a_job_that_ends_before_it_answers_is_told_with_its_output(federation: Federation) -> None:
    site = federation.slurm["andes"]
    site.run("scontrol", "update", "PartitionName=notebooks", "State=DOWN")

    over = threading.Event()

    def cancel_what_waits() -> None:  # a job per environment, one after the other
        while not over.wait(0.5):
            site.run("scancel", "--state=PENDING", f"--user={site.accounts[2]}")

    administrator = threading.Thread(target=cancel_what_waits)
    administrator.start()
    try:
        code, states, said = check(federation, "--account", site.accounts[2])
    finally:
        over.set()
        administrator.join()
        site.run("scontrol", "update", "PartitionName=notebooks", "State=UP")
    assert code == 1
    assert (states["minimal: start"], states["minimal: cancel"]) == ("fail", "ok"), said
    assert "The job ended (CANCELLED" in said
    assert "minimal: forward" not in states
