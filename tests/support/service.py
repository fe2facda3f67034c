"""The whole service, for real: `nbfed up` in a process of its own, with its own state folder and free ports."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from federation.clock import CLOCK_FILE, FileClock, set_clock_file
from federation.state import StateFolder
from federation.trust import VARIABLES
from hub_config.ports import free_ports
from hub_config.settings import DEMO_FILE, Settings, load
from hub_config.wiring import House, house
from tests.support.certificates import trusted

__all__ = ["RUNNING", "Service", "demo_yaml", "free_ports", "running_service"]

RUNNING: list["Service"] = []
"""What this process has started and not ended, for the report of a test that failed."""

_START_SECONDS = 180


def demo_yaml(**changes: Any) -> dict[str, Any]:
    """The demo's federation.yaml with free ports; `changes` replace keys of its sections, or take away those with None."""
    content: dict[str, Any] = yaml.safe_load(DEMO_FILE.read_text())
    public, api, hub, worker, desk, sign_in = free_ports(6)
    content["federation"]["base_url"] = f"http://127.0.0.1:{public}"
    content["listen"] = {
        "proxy_api_port": api, "hub_port": hub, "worker_port": worker, "desk_port": desk, "sign_in_port": sign_in,
    }  # fmt: skip
    content["worker"] = {"interval_seconds": 1}
    files = content["federation"]["terms"]["files"]
    files.update({language: str(DEMO_FILE.parent / file) for language, file in files.items()})
    for section, values in changes.items():
        together = content.get(section, {}) | values
        content[section] = {key: value for key, value in together.items() if value is not None}
    return content


class Service:
    """One running installation."""

    def __init__(self, root: Path, content: dict[str, Any]) -> None:
        self.root = root
        self.file = root / "federation.yaml"
        self.file.write_text(yaml.safe_dump(content, sort_keys=False))
        self.state = StateFolder(root / "run")
        self.settings: Settings = load(self.file, self.state)
        self.base_url = self.settings.base_url
        self.log = root / "up.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._house: House | None = None

    @property
    def house(self) -> House:
        """Ledger, sessions and so on of this installation, for looking at the books."""
        if self._house is None:
            self._house = house(self.settings, actor="test", clock=FileClock(self.clock_file))
        return self._house

    @property
    def clock_file(self) -> Path:
        """What all its processes read the time from."""
        return self.state.root / "clock"

    def set_clock(self, offset: timedelta) -> None:
        """Set the clock of all its processes so far from the machine's. The machine's own runs on."""
        set_clock_file(self.clock_file, offset)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """What its processes see."""
        passed_on = ("PATH", "HOME", "LANG", "NBFED_ENVIRONMENTS", *VARIABLES)
        kept = {k: v for k, v in os.environ.items() if k in passed_on}
        if self.settings.yaml.federation.mode == "demo":
            kept[CLOCK_FILE] = self.clock_file.name
        return {**kept, "NBFED_HOME": str(self.state.root), "NBFED_CONFIG": str(self.file)}

    def start(self, command: str = "up") -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hub_config.cli", command],
                env=self.environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=self.root,
            )  # fmt: skip
        self.wait_until_up(first=True)

    def wait_until_up(self, seconds: float = _START_SECONDS, *, first: bool = False) -> None:
        """Wait until the hub answers through the proxy; at the first start a hub that ends again and again is enough."""
        deadline, verify = time.monotonic() + seconds, trusted()
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"nbfed up ended:\n{self.log.read_text()}")
            if first and "does not stay up" in self.log.read_text():
                raise AssertionError(f"a process does not stay up:\n{self.all_logs()}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(self.base_url + "hub/api", timeout=2, trust_env=False, verify=verify).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"the hub did not answer in {seconds} s:\n{self.all_logs()}")

    def stop(self) -> None:
        """Ctrl-C; nothing of it may be left."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
        self._process = None

    def nbfed(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run an `nbfed` command on this installation."""
        return subprocess.run(
            [sys.executable, "-m", "hub_config.cli", *arguments],
            env=self.environment(), capture_output=True, text=True, timeout=180, check=check, cwd=self.root,
        )  # fmt: skip

    def wait_for_child(self, name: str, seconds: float = 90) -> psutil.Process:
        """Wait until the supervisor has started it again."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError):
                return self.child(name)
            time.sleep(0.1)
        raise AssertionError(f"{name} was not started again in {seconds} s:\n{self.all_logs()}")

    def child(self, name: str) -> psutil.Process:
        """The process that the supervisor keeps under this name."""
        # Names of files, or whole words: folders may have these names, too.
        mark = {"hub": "jupyterhub_config.py", "worker": "worker", "desk": "desk", "proxy": "configurable-http-proxy",
                "sign-in": "demo-sign-in"}[name]  # fmt: skip
        for process in psutil.Process(self.pid).children():
            with contextlib.suppress(psutil.Error):
                if any(mark == Path(word).name for word in process.cmdline()):
                    return process
        raise AssertionError(f"no {name} is running")

    def kill(self, name: str) -> None:
        """kill -9 of one child."""
        process = self.child(name)
        process.kill()
        process.wait(10)

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to this installation, sessions included."""
        marks = (str(self.state.root),)
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = [*process.cmdline(), process.environ().get("HOME", ""), process.environ().get("NBFED_HOME", "")]
                if process.pid != os.getpid() and any(mark in word for mark in marks for word in words):
                    found.append(process)
        return found

    def processes_of_sessions(self, user_name: str) -> list[list[str]]:
        """Command lines of what runs for a person on this installation."""
        home = str(self.state.homes / user_name)
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("HOME", "") == home:
                    found.append(process.cmdline())
        return found

    def terminate(self, pid: int) -> None:
        """SIGTERM to one process."""
        os.kill(pid, signal.SIGTERM)

    def all_logs(self) -> str:
        """Every log, for a test that failed."""
        parts = [self.log.read_text() if self.log.exists() else ""]
        parts += [
            f"--- {p.name}\n{p.read_text(errors='replace')[-2500:]}" for p in sorted(self.state.logs.glob("*.log"))
        ]
        return "\n".join(parts)


@contextlib.contextmanager
def running_service(*, start: bool = True, **changes: Any) -> Iterator[Service]:
    """A service for one test or module; ended and removed afterwards, whatever happened.

    The folder is not pytest's: root's sessions run under an account that cannot enter those.
    """
    root = Path(tempfile.mkdtemp(prefix="nbfed-test-", dir="/tmp"))
    root.chmod(0o711)
    service = Service(root, demo_yaml(**changes))
    RUNNING.append(service)
    try:
        if start:
            service.start()
        yield service
    finally:
        RUNNING.remove(service)
        try:
            service.stop()
        finally:
            for process in service.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if service._house is not None:
                service._house.database.dispose()
            shutil.rmtree(root, ignore_errors=True)
