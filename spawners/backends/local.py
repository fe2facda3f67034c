"""Sessions as processes of this machine: the child spawner. For demonstrations and tests.

Local sessions are not isolated from each other: as root they share one unprivileged account, else the account that runs
the hub. Production mode refuses local sites.
"""

import asyncio
import os
import shutil
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Instance, Integer, Unicode

from federation.errors import Failure
from spawners.backends.base import Life, Observation
from spawners.backends.child import Child
from spawners.backends.local_process import LocalProcesses
from spawners.backends.probing import answers
from spawners.errors import ENDED_BEFORE_ANSWER, NO_ANSWER_IN_TIME, PLACE_BROKEN
from spawners.stages import Stage
from spawners.tables import SessionState

__all__ = ["LocalSpawner"]

_LOG_CHARACTERS = 400
_LOOK_SECONDS = 0.1


class LocalSpawner(Child, SimpleLocalProcessSpawner):  # type: ignore[misc]  # jupyterhub has no types
    """Starts one session through the launcher, and waits until it answers."""

    processes = Instance(LocalProcesses)
    prefix = Instance(Path)
    homes = Instance(Path)
    exchange_url = Unicode()
    boot_seconds = Integer(120)
    site_title = Unicode()

    @property
    def home(self) -> Path:
        """The person's folder; hub user names are safe in paths (`federation.persons.user_name`)."""
        folder: Path = self.homes / self.user.name
        return folder

    async def start(self) -> str:
        """Submit the attempt unless it was, wait until the server answers, and return its URL.

        Raises
        ------
        Failure
            If it cannot be started, ends before it answers, or does not answer in time.
        """
        attempt = self.session.attempt
        if self.session.state is SessionState.INTENT:
            self.stage = Stage.SUBMITTING
            await self.in_thread(self._submit)
        self.stage = Stage.STARTING
        deadline = asyncio.get_running_loop().time() + self.boot_seconds
        address: tuple[str, int] | None = None
        while asyncio.get_running_loop().time() < deadline:
            seen = await asyncio.to_thread(self.processes.observe, attempt)
            if seen.life is Life.ENDED:
                raise await self._ended_early(seen)
            if address is None:
                address = await asyncio.to_thread(self._find, seen)
            if address is not None and await asyncio.to_thread(answers, address, self.server.base_url):
                await asyncio.to_thread(self.sessions.answered, attempt)
                return f"http://{address[0]}:{address[1]}"
            await asyncio.sleep(_LOOK_SECONDS)
        raise Failure(NO_ANSWER_IN_TIME, {"seconds": self.boot_seconds})

    async def stop(self, now: bool = False) -> None:
        """Sessions are ended by attempt, by FederatedSpawner."""

    async def poll(self) -> int | None:
        """Sessions are asked about by attempt, by FederatedSpawner."""
        return None

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """What a login shell would have given; nothing of the hub's own environment."""
        return {**env, **self._base_environment()}

    def _submit(self) -> None:
        python = self.prefix / "bin" / "python"
        if not python.exists():
            raise self._broken(f"the environment {self.session.environment} is not installed at {self.prefix}")
        self._make_home()
        try:
            pid = self.processes.start(
                self.session.attempt,
                secret=self.secret,
                argv_prefix=[str(python)],
                exchange_url=self.exchange_url,
                env=self._base_environment(),
                home=self.home,
                args=self.get_args(),
            )
        except OSError as error:
            raise self._broken(str(error.strerror or error)) from error
        self.sessions.submitted(self.session.attempt, f"pid {pid}")

    def _find(self, seen: Observation) -> tuple[str, int] | None:
        address = self.processes.address(self.session.attempt, self.session.secret_hash)
        if address is not None:
            self.stage = Stage.CONNECTING
            if seen.started_at is not None:
                self.ledger.started(self.session.attempt, started_at=seen.started_at)
            self.sessions.located(self.session.attempt, host=address[0], port=address[1], started_at=seen.started_at)
        return address

    async def _ended_early(self, seen: Observation) -> Failure:
        log = await asyncio.to_thread(self.processes.log_tail, self.session.attempt, _LOG_CHARACTERS)
        return Failure(ENDED_BEFORE_ANSWER, {"exit_code": seen.exit_code, "log": log.strip() or "-"})

    def _broken(self, why: str) -> Failure:
        self.log.error("Cannot start attempt %s: %s", self.session.attempt, why)
        return Failure(PLACE_BROKEN, {"site": self.site_title})

    def _make_home(self) -> None:
        self.home.mkdir(mode=0o700, exist_ok=True)
        if account := self.processes.account:
            shutil.chown(self.home, user=account)

    def _base_environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "USER": self.user.name,
            "LOGNAME": self.user.name,
            "SHELL": "/bin/bash",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "PATH": f"{self.prefix / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(self.prefix),
        }
