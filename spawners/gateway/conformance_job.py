"""The steps of `nbfed site check` that need a job: it goes the way of a session, in one of the site's environments.

The job is submitted, waited for, found by its session file, reached through the data connection, asked what it saw, and
cancelled; whatever fails, what was submitted is cancelled. Then the site is asked when it ran, as for the books.
"""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from federation.checks import Check
from federation.ids import new_check_id
from federation.nodes import expanded
from federation.settings import port_range
from spawners.backends.batch_script import BadScript
from spawners.backends.session_files import proof_holds
from spawners.gateway.calls import request_id
from spawners.gateway.conformance import Connection, Step, Unmet, walked
from spawners.gateway.link import MasterKind
from spawners.gateway.processes import TooMuch, TooSlow, run
from spawners.gateway.protocol import (
    Cancel,
    Cancelled,
    History,
    HistoryRow,
    JobName,
    Jobs,
    JobState,
    PastJobs,
    Queue,
    Resources,
    Row,
    Session,
    Source,
    Submit,
    Submitted,
)

__all__ = ["ProbeJob", "job_looked_at"]

_PAUSE_SECONDS = 2.0
_END_SECONDS = 90.0
_READ_SECONDS = 20.0
_TAIL_CHARACTERS = 600


@dataclass(kw_only=True)
class ProbeJob:
    """One job.

    Parameters
    ----------
    environment
        The name of the environment whose software it runs.
    account
        The account at the site.
    script
        Makes the script for an attempt.
    resources
        What it asks for.
    wait_seconds
        How long it may take until it says where it listens.
    hub_version
        Of the hub, to compare with what the job sees and has.
    """

    environment: str
    account: str
    script: Callable[[str], str]
    resources: Resources
    wait_seconds: float
    hub_version: str
    say: Callable[[str], None]
    attempt: str = field(default_factory=new_check_id)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    job: str = ""
    session: Session | None = None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> JobName:
        return JobName(job=self.job, attempt=self.attempt, account=self.account)


async def job_looked_at(probe: ProbeJob, connection: Connection) -> AsyncIterator[Check]:
    """The steps, each named after the environment."""

    def step(name: str, walk: Callable[[ProbeJob, Connection], Awaitable[str]], **more: bool) -> Step[ProbeJob]:
        return Step(f"{probe.environment}: {name}", walk, **more)

    steps = (
        step("submit", _submitted, is_needed=True),
        step("start", _started, is_needed=True),
        step("port file", _says_where, is_needed=True),
        step("forward", _is_reached, is_needed=True),
        step("hub", _reaches_the_hub),
        step("software", _has_the_software),
    )
    after = (step("cancel", _cancelled, is_needed=True), step("history", _is_in_the_history))
    found: list[Check] = []
    try:
        async for check in walked(steps, probe, connection):
            yield check
    finally:
        if probe.job:
            found = [check async for check in walked(after, probe, connection)]
    for check in found:
        yield check


async def _submitted(probe: ProbeJob, connection: Connection) -> str:
    try:
        script = await asyncio.to_thread(probe.script, probe.attempt)
    except BadScript as error:
        raise Unmet(
            f"The settings make no script: {error}", "See `batchspawner` of the site, and the environment."
        ) from error
    request = Submit(
        id=request_id(), attempt=probe.attempt, account=probe.account, secret=probe.secret, script=script,
        resources=probe.resources,
    )  # fmt: skip
    probe.job = (await connection.ask(request, Submitted)).job
    again = await connection.ask(request.model_copy(update={"id": request_id()}), Submitted)
    if (again.job, again.existed) != (probe.job, True):
        raise Unmet(
            f"The same attempt was submitted twice: jobs {probe.job} and {again.job}.",
            "The scheduler does not show its jobs by name, or the homes have no locks (`flock`).",
        )
    return f"job {probe.job} of {probe.account}; asked for again, it is the same job"


async def _started(probe: ProbeJob, connection: Connection) -> str:
    began, said = time.monotonic(), ""
    while True:
        row = await _row(probe, connection)
        if row is None or row.state is JobState.ENDED:
            raise Unmet(await _how_it_ended(probe, connection), _ADVICE_ABOUT_THE_SCRIPT)
        if row.session is not None:
            probe.session = row.session
            return f"it runs on {row.node or 'a node'} after {time.monotonic() - began:.0f} seconds"
        waits = f"{row.state}{f' ({row.reason})' if row.reason else ''}"
        if waits != said:
            said = waits
            probe.say(f"job {probe.job}: {waits}")
        if time.monotonic() - began > probe.wait_seconds:
            raise Unmet(
                f"After {probe.wait_seconds / 60:.0f} minutes the job is {waits}, and did not say where it listens.",
                _ADVICE_ABOUT_THE_SCRIPT if row.state is JobState.RUNNING else "Wait longer: --wait MINUTES.",
            )
        await asyncio.sleep(_PAUSE_SECONDS)


_ADVICE_ABOUT_THE_SCRIPT = (
    "Does the environment's module or path lead to a Python of 3.8 or newer on the nodes, and is the home there? "
    "If batchspawner.batch_script is set, look at it."
)


async def _says_where(probe: ProbeJob, connection: Connection) -> str:
    said, site = _session(probe), connection.site
    if not proof_holds(hashlib.sha256(probe.secret.encode()).hexdigest(), said.node, said.port, said.proof):
        raise Unmet("The session file was not written by this job.", "Who else can write into this account's home?")
    name = connection.link.site
    if said.node not in expanded(site.nodes):
        raise Unmet(f"The job's node {said.node} is none of sites.{name}.nodes.", "Add it there, and to PermitOpen.")
    if said.port not in port_range(site.ports):
        raise Unmet(f"The job listens at {said.port}, outside of sites.{name}.ports.", f"Set sites.{name}.ports right.")
    return f"{said.node}:{said.port}, with a proof"


async def _is_reached(probe: ProbeJob, connection: Connection) -> str:
    said = _session(probe)
    advice = (
        f"PermitOpen in sshd.conf has to have {said.node}, the login node has to reach port {said.port} of it, and what "
        f"listens there has to listen at that name: else set sites.{connection.link.site}.listen to any."
    )
    reach = await connection.data.reach(said.node, said.port, seconds=_READ_SECONDS)
    if not reach.reached:
        raise Unmet(f"No way to {said.node}:{said.port}: {reach.detail}", advice)
    words = connection.link.reach_words(MasterKind.DATA, said.node, said.port)
    try:
        done = await run(words, stdin=b"GET / HTTP/1.0\r\n\r\n", seconds=_READ_SECONDS)
        probe.told = json.loads(done.out.partition(b"\r\n\r\n")[2])
        if probe.told["attempt"] != probe.attempt:
            raise Unmet("Something else than the job answered.", "What else listens on that node?")
    except (TooSlow, TooMuch, ValueError, KeyError, TypeError) as error:
        raise Unmet(f"The job did not answer through the forward: {type(error).__name__}", advice) from error
    return "the job answered through the data connection"


async def _reaches_the_hub(probe: ProbeJob, connection: Connection) -> str:
    found = probe.told.get("hub", {})
    if "version" not in found:
        login = connection.site.login
        raise Unmet(
            f"The job does not reach the hub: {str(found.get('error', found))[:300]}",
            f"For notebook_to_hub: reverse, PermitListen in sshd.conf has to have {login.cluster_address or login.host}:"
            f"{login.reverse_port}, and nodes have to reach that address. For direct, nodes have to reach base_url.",
        )
    if found["version"] != probe.hub_version:
        raise Unmet(
            f"The job reaches a hub of version {str(found['version'])[:40]}, and this one has {probe.hub_version}.",
            "Something else listens at the port of the login node that leads to the hub.",
        )
    return f"the job reaches the hub, version {probe.hub_version}"


async def _has_the_software(probe: ProbeJob, _connection: Connection) -> str:
    versions = probe.told.get("versions", {})
    missing = [name for name, version in versions.items() if version is None and name != "jupyterlab"]
    how = "docs/how-to/equip-an-environment.md says what an environment needs."
    if missing or not versions:
        raise Unmet(f"The environment has no {' and no '.join(missing) or 'Python packages'}.", how)
    if str(versions["jupyterhub"]).split(".")[0] != probe.hub_version.split(".")[0]:
        raise Unmet(f"The environment has jupyterhub {versions['jupyterhub']}, and the hub {probe.hub_version}.", how)
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)


async def _cancelled(probe: ProbeJob, connection: Connection) -> str:
    began = time.monotonic()
    request = Cancel(id=request_id(), **probe.name.model_dump())
    await connection.ask(request, Cancelled)
    while True:
        row = await _row(probe, connection)
        if row is None or row.state is JobState.ENDED:
            return f"the job ended within {time.monotonic() - began:.0f} seconds"
        if time.monotonic() - began > _END_SECONDS:
            raise Unmet(
                f"Job {probe.job} does not end: it is {row.scheduler_state}.",
                "Can the account cancel its own jobs with the scheduler's command?",
            )
        await asyncio.sleep(_PAUSE_SECONDS)


async def _is_in_the_history(probe: ProbeJob, connection: Connection) -> str:
    """Accounting may be a little behind."""
    began = time.monotonic()
    while True:
        row = await _past(probe, connection)
        if row is not None and row.state is JobState.ENDED and not row.estimated and row.source is not Source.NONE:
            return f"when it ran is known from: {row.source}"
        if time.monotonic() - began > _END_SECONDS:
            source = row.source if row is not None else Source.NONE
            raise Unmet(
                f"When the job ran is not known for certain (from: {source}).",
                "Set `history` in policy.json to what the site has: accounting, completion or launcher.",
            )
        await asyncio.sleep(_PAUSE_SECONDS)


async def _row(probe: ProbeJob, connection: Connection) -> Row | None:
    answer = await connection.ask(Queue(id=request_id()), Jobs)
    return next((row for row in answer.jobs if (row.attempt, row.job) == (probe.attempt, probe.job)), None)


async def _past(probe: ProbeJob, connection: Connection) -> HistoryRow | None:
    answer = await connection.ask(History(id=request_id(), jobs=[probe.name]), PastJobs)
    return next(iter(answer.jobs), None)


async def _how_it_ended(probe: ProbeJob, connection: Connection) -> str:
    row = await _past(probe, connection)
    if row is None:
        return "The job is gone, and did not say where it listens."
    tail = row.log_tail.strip()[-_TAIL_CHARACTERS:]
    return f"The job ended ({row.scheduler_state}, exit code {row.exit_code}). Its output ends with:\n{tail or '(nothing)'}"


def _session(probe: ProbeJob) -> Session:
    assert probe.session is not None, "asked only after the job said where it listens"
    return probe.session
