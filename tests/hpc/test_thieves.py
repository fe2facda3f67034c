"""Who steals what: the secret of a session, shown by somebody else, and what another account of the site can see.

Attacks on the gate alone are in `tests/spawners/gate/test_attacks.py`, on sshd in `tests/spawners/gateway/`.
"""

import os
import pwd
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.services.test_session import wait_for
from tests.support.federation import Federation
from tests.support.person import Person
from tests.support.slurm import HOMES, SlurmSite

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

SITE = "sierra"
_SECONDS = 180


@contextmanager
def not_starting(site: SlurmSite) -> Iterator[None]:
    """Jobs wait, so that their secrets lie there."""
    site.run("scontrol", "update", "PartitionName=notebooks", "State=DOWN")
    try:
        yield
    finally:
        site.run("scontrol", "update", "PartitionName=notebooks", "State=UP")


def waiting(federation: Federation, person: Person, server: str) -> tuple[str, str]:
    """A session that waits in the queue: its attempt and its secret."""
    federation.begin(person, server, site=SITE, environment="minimal")
    session = wait_for(lambda: (one := federation.session_of(person, server)).backend_ref and one, _SECONDS)
    account = federation.accounts[person.user_name, SITE]
    return session.attempt, (HOMES / account / ".nbfed" / "sessions" / session.attempt / "secret").read_text()


def shown(federation: Federation, attempt: str, secret: str, nonce: str, step: str = "exchange") -> httpx.Response:
    """The hub's answer, by the way that jobs have to it."""
    body = {"attempt": attempt, "secret": secret, "nonce": nonce, "step": step}
    return httpx.post(f"{federation.client.hub_url(SITE)}/hub/nbfed/exchange", json=body, timeout=60, trust_env=False)


def refused_alike(answers: list[httpx.Response]) -> bool:
    """Nothing can be learnt from a refusal."""
    return {(each.status_code, each.text) for each in answers} == {(404, answers[0].text)}


def test_a_secret_is_of_one_attempt_and_of_one_launcher_and_is_worthless_once_it_answered(
    federation: Federation, ana: Person
) -> None:
    with not_starting(federation.slurm[SITE]):
        stolen, secret = waiting(federation, ana, "stolen")
        kept, other = waiting(federation, ana, "kept")
        foreign = [
            shown(federation, stolen, other, "n"), shown(federation, kept, secret, "n"), shown(federation, "x", "x", "n"),
            shown(federation, stolen, other, "n", "confirm"), shown(federation, stolen, secret, "n", "x"),
        ]  # fmt: skip
        assert refused_alike(foreign)
        with ThreadPoolExecutor(8) as thieves:  # at the same moment
            answers = list(thieves.map(lambda n: shown(federation, stolen, secret, f"nonce-{n}"), range(24)))
        given = [answer for answer in answers if answer.status_code == 200]
        assert len(given) == 1
        assert "JUPYTERHUB_API_TOKEN" in given[0].json()["env"]
        assert refused_alike([answer for answer in answers if answer.status_code != 200])
        federation.stop(ana, "stolen")
    federation.wait_until_ready(ana, "kept")
    assert refused_alike([shown(federation, kept, other, nonce) for nonce in ("n", "nonce-1")])
    assert refused_alike([shown(federation, stolen, secret, f"nonce-{n}") for n in range(24)])


def test_another_account_of_the_site_sees_no_secret_and_no_token(federation: Federation, ana: Person) -> None:
    site = federation.slurm[SITE]
    with not_starting(site):
        attempt, secret = waiting(federation, ana, "mine")
        before = seen_by(federation, site, attempt)
    ana.wait_until_ready("mine", seconds=_SECONDS)
    kernel = ana.kernel("mine")
    token = kernel.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    kernel.close()
    after = seen_by(federation, site, attempt)
    for seen in (before, after):
        assert attempt in seen  # the job is there to be seen
        assert secret not in seen
        assert token not in seen


def seen_by(federation: Federation, site: SlurmSite, attempt: str) -> str:
    """What somebody else with an account sees of a job, its processes and its files."""
    person = pwd.getpwnam(site.accounts[-1])
    job = federation.job_of(SITE, attempt)
    look = f"""
        sacct --allusers --long --parsable; sacct --jobs={job} --format=jobname%80,comment%80,submitline%200 --parsable
        scontrol show job -dd {job}; scontrol write batch_script {job} -; squeue --format=%all; sstat {job}
        ps axeww -o pid,user,args; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'
        find {HOMES} -type f -path '*{attempt}*' -exec cat {{}} +; cat {site.folder}/*.log {site.folder}/spool-*/*/*
    """
    done = subprocess.run(
        ["sh", "-c", look], user=person.pw_uid, group=person.pw_gid, extra_groups=[], cwd="/", check=False,
        env={"PATH": os.environ["PATH"], **site.environment}, capture_output=True,
    )  # fmt: skip
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
