"""The real gate as the gateway reaches it: certificate, sshd with the lines of `nbfed site init`, sudo, Slurm."""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from federation.clock import system_clock
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.calls import AT_ONCE, Calls, request_id
from spawners.gateway.credentials import Credentials
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.masters import Master
from spawners.gateway.processes import run
from spawners.gateway.protocol import (
    LARGEST_ANSWER_BYTES,
    Cancel,
    Cancelled,
    ErrorCode,
    Jobs,
    JobState,
    Ping,
    Pong,
    Queue,
    Resources,
    Submit,
    Submitted,
)
from spawners.site_files import PROGRAM, ROBOT
from tests.spawners.gate.test_fuzz import strange
from tests.support.gate import Gate, new_attempt
from tests.support.gateway_rig import short_folder
from tests.support.sshd import SshSite, account_or_skip, batch_site, running_sshd

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(400)]

COUNT = 200
MOST_BYTES = 16 * 2**20


@asynccontextmanager
async def linked(gate: Gate) -> AsyncIterator[tuple[Link, Master, SshSite]]:
    """The site's sshd, and the command master of a gateway to it."""
    account_or_skip()
    with short_folder() as folder:
        authority = CertificateAuthority(folder)
        authority.init()
        forced = f"/usr/bin/sudo -n {gate.folder / PROGRAM}"
        with running_sshd(gate.site.name, ROBOT, forced, authority.public_keys()) as sshd:
            link = Link(hub="hub", site=gate.site.name, settings=batch_site(sshd), folder=folder)
            own = Credentials(link, authority, minutes=5, host_key_file=sshd.host_key_file, clock=system_clock)
            master = Master(link, MasterKind.COMMAND, own)
            try:
                yield link, master, sshd
            finally:
                await master.end()


async def test_a_job_by_way_of_ssh_and_sudo(gate: Gate) -> None:
    async with linked(gate) as (link, master, _sshd):
        await a_job(Calls(master, link.command_words(MasterKind.COMMAND)), gate.site.accounts[0])


async def test_two_hundred_strange_requests_have_an_answer_each_and_run_what_was_understood_alone(gate: Gate) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, accounts = random.Random(seed), gate.site.accounts[:2]
    lines = [strange(chance, accounts) for _ in range(COUNT)]
    gate.change_policy(partitions=["notebooks"], limits={"jobs_per_account": 100})
    before = taken_jobs(gate)
    logged = len(gate.log.read_text().splitlines())
    async with linked(gate) as (link, master, sshd):
        await master.ensure()
        assert sshd.process is not None
        ours = [psutil.Process(pid) for pid in (master.pid or 0, sshd.process.pid)]
        ours += sshd.connections()
        sizes = {process: process.memory_info().rss for process in ours}
        places = asyncio.Semaphore(AT_ONCE)

        async def answer_to(line: bytes) -> dict[str, Any]:
            async with places:
                words = link.command_words(MasterKind.COMMAND)
                done = await run(words, stdin=line, seconds=120, most_bytes=LARGEST_ANSWER_BYTES)
            (text,) = done.out.splitlines()
            found: dict[str, Any] = json.loads(text)
            return found

        answers = await asyncio.gather(*(answer_to(line) for line in lines))
        for process, size in sizes.items():
            assert process.memory_info().rss - size < MOST_BYTES, process
    codes = [answer["error"] for answer in answers if not answer["ok"]]
    assert set(codes) <= {each.value for each in ErrorCode} - {"internal"}
    assert "bad-request" in codes
    submitted = {answer["job"] for answer in answers if answer.get("existed") is False}
    assert taken_jobs(gate) - before == submitted
    assert len(gate.log.read_text().splitlines()) - logged == COUNT
    gate.site.run("scancel", *submitted)


def taken_jobs(gate: Gate) -> set[str]:
    """The jobs that Slurm knows, without those of which it keeps only that it did not take them."""
    rows = gate.site.run("squeue", "--noheader", "--states=all", "--format=%i|%r").splitlines()
    return {row.partition("|")[0] for row in rows if not row.endswith("|BadConstraints")}


async def a_job(calls: Calls, account: str) -> None:
    assert (await calls.ask(Ping(id=request_id()), Pong)).dialect == "slurm"
    attempt = new_attempt()
    submit = Submit(
        id=request_id(), attempt=attempt, account=account, secret=secrets.token_urlsafe(32),
        script="#!/bin/sh\nsleep 60\n", resources=Resources(cpus=1, memory_mib=100, minutes=5),
    )  # fmt: skip
    done = await calls.ask(submit, Submitted)
    assert (await calls.ask(submit, Submitted)).existed
    (row,) = [row for row in (await calls.ask(Queue(id=request_id()), Jobs)).jobs if row.attempt == attempt]
    assert (row.job, row.account) == (done.job, account)
    assert row.state in (JobState.PENDING, JobState.RUNNING)
    cancel = Cancel(id=request_id(), job=done.job, attempt=attempt, account=account)
    assert (await calls.ask(cancel, Cancelled)).cancelled
