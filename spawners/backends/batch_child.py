"""Sessions as batch jobs: the child spawner of a batch site, on batchspawner's class of its scheduler.

Of that class we use the templates and traits that a site's admins know: `batch_script` and `req_*`. Its plumbing is
replaced: no shell command is built, nothing is asked of the scheduler for one session, the accounts of the hub's machine
do not matter, and neither options nor a token reach a script. What a job gets is numbers and names that were checked.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from batchspawner import GridengineSpawner, PBSSpawner, SlurmSpawner
from batchspawner.batchspawner import format_template
from jupyterhub.utils import url_path_join
from traitlets import Any as AnyTrait
from traitlets import Instance, Unicode, default

from federation.errors import Failure
from federation.settings import BatchEnvironment, BatchSite, Flavour
from spawners.backends import batch_script
from spawners.backends.base import Life, Observation
from spawners.backends.batch import BatchJobs
from spawners.backends.batch_refusals import refusal_of
from spawners.backends.batch_script import LAUNCHER, Start
from spawners.backends.child import Child, NotSubmitted, Wait
from spawners.backends.probing import answers
from spawners.errors import (
    ENDED_BEFORE_ANSWER,
    NO_ANSWER_IN_TIME,
    PLACE_BROKEN,
    QUEUE_TOO_LONG,
    SITE_AWAY,
    SITE_SILENT,
)
from spawners.gateway.answers import GatewayAway, GatewayError
from spawners.gateway.protocol import ErrorCode
from spawners.gateway.protocol import Resources as Wanted
from spawners.stages import Stage
from spawners.tables import SessionState
from vetting.resources import JobShape, Resources, shape

__all__ = ["BatchChild", "child_class", "wanted_of"]

_LOG_CHARACTERS = 400
_SUBMIT_TRIES = 4
"""Of what the site certainly does not have."""
_SUBMIT_PAUSE_SECONDS = 2.0
_DOUBT_SECONDS = 90.0
"""How long a site is asked again that may have it: a gateway that died is there again sooner. The last try included, it is
less than the worker leaves the hub for handing a session over (`handover_seconds`).
"""
_QUICK_LOOK_SECONDS, _QUICK_LOOKS = 0.3, 60
_QUEUED_LOOK_SECONDS = 1.0
_SLOWEST_LOOK_SECONDS = 5.0
_SLOWER = 1.2
_SILENT_SECONDS = 10.0
_HUB_OUTAGE_SECONDS = 3600
"""How long a job whose hub is away goes on asking for its environment."""
_MIB = 1024


class BatchChild(Child):
    """Submits one session, and waits until it answers. Put in front of a class of batchspawner."""

    jobs = Instance(BatchJobs)
    site = Instance(BatchSite)
    site_title = Unicode()
    software = Instance(BatchEnvironment, allow_none=True)
    flavour = Instance(Flavour)
    resources = Instance(Resources)
    walltime_minutes = AnyTrait()
    """Callable: the minutes that the books have set aside for an attempt."""
    exchange_path = Unicode()
    clock = AnyTrait()
    """Callable: the hub's time."""

    may_exchange = False
    _url = ""
    _unknown_since: float | None = None

    # JupyterHub's and batchspawner's part, as far as we use it.
    user: Any
    log: Any
    batch_script: str
    req_prologue: str
    hub_connect_url: str | None
    get_args: Callable[[], list[str]]
    get_req_subvars: Callable[[], dict[str, Any]]

    @default("batch_script")
    def _default_batch_script(self) -> str:
        return batch_script.TEMPLATE

    @default("req_username")
    def _default_username(self) -> str:
        return self.session.account or ""

    @default("req_homedir")
    def _default_homedir(self) -> str:
        return "$HOME"  # batchspawner would look it up on the hub's machine

    @default("req_keepvars")
    def _default_keepvars(self) -> str:
        return ""  # the environment comes by the exchange

    @default("req_srun")
    def _default_srun(self) -> str:
        return ""

    async def start(self) -> str:
        """Submit the attempt unless it was, wait in the queue and for the server, and return its URL.

        Raises
        ------
        NotSubmitted
            If the site did not take it.
        Failure
            If it waits too long, ends before it answers, does not answer in time, or may be there or not.
        """
        if self.session.state is SessionState.INTENT:
            self.stage = Stage.SUBMITTING
            await self._submit()
        else:
            await self._find_the_way_back()
        return await self._until_it_answers()

    async def stop(self, now: bool = False) -> None:
        """Sessions are ended by attempt, by FederatedSpawner."""

    async def poll(self) -> int | None:
        """Sessions are asked about by attempt, by FederatedSpawner."""
        return None

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Nothing of the hub's machine: the account's login at the site gives the rest."""
        return env

    # --- handing it over ------------------------------------------------------------------------------------

    async def _submit(self) -> None:
        try:
            await asyncio.to_thread(self._learn_hub_url)
        except GatewayError as error:
            raise NotSubmitted(Failure(SITE_AWAY, {"site": self.site_title})) from error
        minutes = await asyncio.to_thread(self.walltime_minutes, self.session.attempt)
        wanted = wanted_of(shape(self.resources, self.flavour, self.site), minutes)
        script = self.script(wanted)
        now = asyncio.get_running_loop().time
        tries, doubt_until = 0, None
        while doubt_until is None or now() < doubt_until:
            tries += 1
            try:
                await self._hand_over(script, wanted)
            except GatewayError as error:
                self.log.warning("Attempt %s was not handed to %s: %s", self.session.attempt, self.jobs.site, error)
                if doubt_until is None and isinstance(error, GatewayAway) and error.sent:
                    doubt_until = now() + _DOUBT_SECONDS
                busy = error.code == ErrorCode.BUSY  # with an earlier request of ours
                if doubt_until is None and not (busy and tries < _SUBMIT_TRIES):
                    raise NotSubmitted(refusal_of(error, self.site_title)) from error
            else:
                return
            await asyncio.sleep(_SUBMIT_PAUSE_SECONDS)
        raise Failure(SITE_SILENT, {"site": self.site_title})

    async def _hand_over(self, script: str, wanted: Wanted) -> None:
        await self.in_thread(
            lambda: self.jobs.submit(self.session, secret=self.secret, script=script, resources=wanted)
        )

    def script(self, wanted: Wanted) -> str:
        """The job's script. Blocks: it reads the launcher.

        Raises
        ------
        NotSubmitted
            If the site's settings make none.
        """
        start = Start(
            attempt=self.session.attempt,
            exchange_url=url_path_join(self.hub_connect_url, self.exchange_path),
            patience_seconds=self.site.boot_seconds + _HUB_OUTAGE_SECONDS,
            arguments=self.get_args(),
        )
        try:
            return self.script_of(start, wanted)
        except batch_script.BadScript as error:
            self.log.error("Cannot make a script for attempt %s: %s", self.session.attempt, error)
            raise NotSubmitted(Failure(PLACE_BROKEN, {"site": self.site_title})) from error

    def script_of(self, start: Start, wanted: Wanted, program: Path = LAUNCHER) -> str:
        """The script that starts the launcher, or another program in its place. Blocks: it reads them.

        Raises
        ------
        BadScript
            If the site's settings make none.
        """
        software = self.software or BatchEnvironment()
        prologue = [batch_script.preparation(software), self.req_prologue]
        values = {
            **self.get_req_subvars(),
            **_by_batchspawner_s_names(wanted),
            "prologue": "\n".join(filter(None, prologue)),
            "cmd": batch_script.command(start, self.site, software, program),
        }
        return batch_script.complete(format_template(self.batch_script, **values), start.attempt, program)

    async def _find_the_way_back(self) -> None:
        """After a restart of the hub: the job may ask for its environment at any moment, and needs the way to us."""
        while not self.may_exchange:
            try:
                await asyncio.to_thread(self._learn_hub_url)
            except GatewayError:
                self.wait = Wait(silent=True)
                await asyncio.sleep(_SUBMIT_PAUSE_SECONDS)

    def _learn_hub_url(self) -> None:
        self.hub_connect_url = self.jobs.gateway.hub_url(self.jobs.site)
        self.may_exchange = True

    # --- the wait -------------------------------------------------------------------------------------------

    async def _until_it_answers(self) -> str:
        submitted_at = self.session.submitted_at or self.clock()
        pace, boots_until = _Pace(), None
        while True:
            seen = await asyncio.to_thread(self.jobs.observe, self.session.attempt)
            if seen.life is Life.ENDED:
                raise await self._ended_early(seen)
            if seen.life is Life.RUNNING:
                if boots_until is None:
                    pace, boots_until = _Pace(), asyncio.get_running_loop().time() + self.site.boot_seconds
                    await self._note_start(seen)
                if await asyncio.to_thread(self._answers, seen):
                    return self._url
                if asyncio.get_running_loop().time() > boots_until:
                    raise Failure(NO_ANSWER_IN_TIME, {"seconds": self.site.boot_seconds})
            else:
                boots_until = None  # it waits (again), or nobody can be asked, which is not its fault
                if seen.life is Life.PENDING:
                    pace.slow_down()
                self._note_wait(seen)
                if self.clock() - submitted_at > timedelta(hours=self.site.queue_hours) and seen.life is Life.PENDING:
                    raise Failure(QUEUE_TOO_LONG, {"hours": self.site.queue_hours, "site": self.site_title})
            await asyncio.sleep(pace.next_seconds())

    def _note_wait(self, seen: Observation) -> None:
        """It waits; or nobody knows, which is said only after a while: a job that was just handed over is not seen yet."""
        now = asyncio.get_running_loop().time()
        if seen.life is Life.PENDING:
            self.stage, self._unknown_since = Stage.QUEUED, None
            self.wait = Wait(reason=seen.reason, expected_start_at=seen.expected_start_at)
            return
        self._unknown_since = self._unknown_since or now
        if now - self._unknown_since >= _SILENT_SECONDS:
            self.wait = Wait(silent=True)

    async def _note_start(self, seen: Observation) -> None:
        """In the books, too: from now on the lease ends with the walltime."""
        self.stage, self.wait, self._unknown_since = Stage.STARTING, None, None
        if seen.started_at is not None:
            started_at = seen.started_at
            await self.in_thread(
                lambda: self.ledger.started(self.session.attempt, started_at=started_at, backend_ref=seen.reference)
            )

    def _answers(self, seen: Observation) -> bool:
        """Whether the session says where it listens, can be reached, and answers; if so, `_url` is where."""
        attempt = self.session.attempt
        try:
            address = self.jobs.address(attempt, self.session.secret_hash)
        except GatewayError as error:
            self.log.warning("No way to attempt %s yet: %s", attempt, error)
            return False
        if address is None:
            return False
        if self.stage is not Stage.CONNECTING:
            self.stage = Stage.CONNECTING
            self.sessions.located(attempt, host=address[0], port=address[1], started_at=seen.started_at)
        if not answers(address, self.server.base_url):
            return False
        self.sessions.answered(attempt)
        self._url = f"http://{address[0]}:{address[1]}"
        return True

    async def _ended_early(self, seen: Observation) -> Failure:
        log = await asyncio.to_thread(self.jobs.log_tail, self.session.attempt, _LOG_CHARACTERS)
        code = "-" if seen.exit_code is None else seen.exit_code
        return Failure(ENDED_BEFORE_ANSWER, {"exit_code": code, "log": log.strip() or "-"})


class _Pace:
    """How often to look: a job that has just been handed over, or just runs, is looked at more often; one in the queue is
    not, as many may wait there, and the site itself is asked about them only at intervals.
    """

    def __init__(self) -> None:
        self._looks = 0
        self._seconds = _QUICK_LOOK_SECONDS

    def slow_down(self) -> None:
        """It was seen in the queue; again is once."""
        if self._looks < _QUICK_LOOKS:
            self._looks, self._seconds = _QUICK_LOOKS, _QUEUED_LOOK_SECONDS

    def next_seconds(self) -> float:
        """How long to wait before the next look."""
        self._looks += 1
        if self._looks > _QUICK_LOOKS:
            self._seconds = min(self._seconds * _SLOWER, _SLOWEST_LOOK_SECONDS)
        return self._seconds


def child_class(dialect: str) -> type[BatchChild]:
    """The child spawner for a scheduler: `slurm`, `pbs` or `gridengine`."""
    return _CLASSES[dialect]


class SlurmChild(BatchChild, SlurmSpawner):  # type: ignore[misc]  # batchspawner has no types
    """With the traits of batchspawner's SlurmSpawner."""


class PBSChild(BatchChild, PBSSpawner):  # type: ignore[misc]  # batchspawner has no types
    """With the traits of batchspawner's PBSSpawner."""


class GridengineChild(BatchChild, GridengineSpawner):  # type: ignore[misc]  # batchspawner has no types
    """With the traits of batchspawner's GridengineSpawner."""


_CLASSES: dict[str, type[BatchChild]] = {"slurm": SlurmChild, "pbs": PBSChild, "gridengine": GridengineChild}


def wanted_of(job: JobShape, minutes: int) -> Wanted:
    """What the gateway is asked for."""
    return Wanted(
        cpus=job.cores,
        memory_mib=job.memory_gib * _MIB,
        gpus=job.gpus,
        minutes=minutes,
        partition=job.partition,
        account=job.account,
        reservation=job.reservation,
    )


def _by_batchspawner_s_names(wanted: Wanted) -> dict[str, str]:
    """What a site's own template may look at."""
    return {
        "nprocs": str(wanted.cpus),
        "memory": f"{wanted.memory_mib}M",
        "ngpus": str(wanted.gpus),
        "runtime": f"{wanted.minutes // 60}:{wanted.minutes % 60:02}:00",
        "partition": wanted.partition or "",
        "queue": wanted.partition or "",
        "account": wanted.account or "",
        "reservation": wanted.reservation or "",
    }
