"""The real gate as the gateway reaches it: certificate, sshd with the lines of `nbfed site init`, sudo, Slurm."""

import secrets

import pytest

from federation.clock import system_clock
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.calls import Calls, request_id
from spawners.gateway.credentials import Credentials
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.masters import Master
from spawners.gateway.protocol import Cancel, Cancelled, Jobs, JobState, Ping, Pong, Queue, Resources, Submit, Submitted
from spawners.site_files import PROGRAM, ROBOT
from tests.support.gate import Gate, new_attempt
from tests.support.gateway_rig import short_folder
from tests.support.sshd import account_or_skip, batch_site, running_sshd

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(200)]


async def test_a_job_by_way_of_ssh_and_sudo(gate: Gate) -> None:
    account_or_skip()
    with short_folder() as folder:
        authority = CertificateAuthority(folder)
        authority.init()
        forced = f"/usr/bin/sudo -n {gate.folder / PROGRAM}"
        with running_sshd(gate.site.name, ROBOT, forced, authority.public_keys()) as sshd:
            link = Link(hub="hub", site=gate.site.name, settings=batch_site(sshd), folder=folder)
            own = Credentials(link, authority, minutes=5, host_key_file=sshd.host_key_file, clock=system_clock)
            master = Master(link, MasterKind.COMMAND, own)
            calls = Calls(master, link.command_words(MasterKind.COMMAND))
            try:
                await a_job(calls, gate.site.accounts[0])
            finally:
                await master.end()


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
