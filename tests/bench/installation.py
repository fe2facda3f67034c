"""Proxy and hub of one state folder, without supervisor and worker, so that the hub can be started with what measures.

`kind` is `ours` (the product's configuration) or `bare` (JupyterHub alone); both have stub sessions and the same proxy.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from federation import migrations
from federation.state import StateFolder
from hub_config.children import children
from hub_config.settings import Settings, load
from hub_config.wiring import House, house
from tests.support.service import demo_yaml, free_ports

__all__ = ["Installation", "content", "new_folder"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_PAGE = 200
_START_SECONDS = 120


def content() -> dict[str, Any]:
    """The demo's federation.yaml with a site for stubs, and quota for any number of sessions."""
    flavours = ["small", "medium"]
    stubs = {"kind": "local", "title": "Stubs", "flavours": flavours}
    default = {"amount_hours": 1_000_000, "period": "month", "sessions": None, "flavours": flavours}
    return demo_yaml(sites={"stubs": stubs}, defaults={"T1": default}, idle={"stop_after_minutes": None})


@contextlib.contextmanager
def new_folder() -> Iterator[Path]:
    """A folder that the account of local sessions may enter; removed afterwards."""
    root = Path(tempfile.mkdtemp(prefix="nbfed-bench-", dir="/tmp"))
    root.chmod(0o711)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


class Installation:
    """See the module."""

    def __init__(self, root: Path, kind: str = "ours", state: Path | None = None) -> None:
        self.root, self.kind = root, kind
        root.mkdir(mode=0o711, exist_ok=True)
        if state is not None:
            shutil.copytree(state, root / "run")
        file = root / "federation.yaml"
        file.write_text(yaml.safe_dump(content(), sort_keys=False))
        self.settings: Settings = load(file, StateFolder(root / "run"))
        self.times = root / "times.jsonl"
        self.stub_port = free_ports(1)[0]
        self.house: House = house(self.settings, actor="bench")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        token = self.settings.state.secret("bench_token")
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{self.settings.yaml.listen.hub_port}/hub/api",
            headers={"Authorization": f"token {token}"}, timeout=120, trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )  # fmt: skip

    def __enter__(self) -> "Installation":
        try:
            migrations.upgrade(self.house.database)
            self.house.publish_rates()
            self._start("stub", [sys.executable, str(HERE / "stub_server.py"), str(self.stub_port)], dict(os.environ))
            proxy = next(child for child in children(self.settings) if child.name == "proxy")
            self._start("proxy", proxy.argv, dict(proxy.environment))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end_real_sessions()
        finally:
            for name in ("hub", "proxy", "stub"):
                self._end(name)
            self.api.close()
            self.house.database.dispose()

    def start_hub(self) -> tuple[float, float]:
        """Start the hub; (when it was started, how long until its API answered)."""
        hub = next(child for child in children(self.settings) if child.name == "hub")
        begun = time.monotonic()
        argv = [
            sys.executable,
            "-m",
            "jupyterhub",
            "-f",
            str(HERE / f"{'our' if self.kind == 'ours' else 'bare'}_hub_config.py"),
        ]
        self._start("hub", argv, {**hub.environment, **self._measuring(), "PYTHONPATH": str(ROOT)})
        while True:
            with contextlib.suppress(httpx.TransportError):
                if self.api.get("/").status_code == 200:
                    return begun, time.monotonic() - begun
            if self._running["hub"].poll() is not None or time.monotonic() - begun > _START_SECONDS:
                raise RuntimeError(f"the hub did not start:\n{self.log('hub')[-4000:]}")
            time.sleep(0.02)

    def kill_hub(self) -> None:
        """As kill -9 does."""
        process = self._running.pop("hub")
        process.kill()
        process.wait()

    def hub_cpu_seconds(self) -> float:
        """What the hub's process has computed since it was started."""
        times = psutil.Process(self._running["hub"].pid).cpu_times()
        return float(times.user + times.system)

    def make_users(self, names: list[str]) -> None:
        """Let the hub know these users."""
        self.api.post("/users", json={"usernames": names}).raise_for_status()

    def start_server(self, user: str, server: str = "", **options: str) -> float:
        """Start a server by REST and wait until the hub has answered; seconds."""
        begun = time.monotonic()
        path = f"/users/{user}/servers/{server}" if server else f"/users/{user}/server"
        answer = self.api.post(path, json=options if self.kind == "ours" else None)
        if answer.status_code not in (201, 202):
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")
        return time.monotonic() - begun

    def ready_servers(self) -> int:
        """How many servers the hub calls ready."""
        ready = offset = 0
        while True:
            page = self.api.get(f"/users?state=active&offset={offset}&limit={_PAGE}").raise_for_status().json()
            ready += sum(server["ready"] for user in page for server in user["servers"].values())
            if len(page) < _PAGE:
                return ready
            offset += _PAGE

    def is_ready(self, user: str) -> bool:
        """Whether the user's default server is ready; cheap for the hub."""
        server = self.api.get(f"/users/{user}").raise_for_status().json()["servers"].get("")
        return bool(server and server["ready"])

    def end_real_sessions(self) -> None:
        """End the sessions that are processes of this machine."""
        for session in self.house.sessions.open_on("hub"):
            if session.site == "here":
                self.house.backends["here"].asks.end(session.attempt, patience_seconds=10)

    def log(self, name: str) -> str:
        """What a process wrote."""
        return (self.root / f"{name}.log").read_text(errors="replace")

    def _measuring(self) -> dict[str, str]:
        listen, state = self.settings.yaml.listen, self.settings.state
        values = {
            "STUB_PORT": str(self.stub_port),
            "TIMES": str(self.times),
            "TOKEN": state.secret("bench_token"),
            "PUBLIC_URL": self.settings.base_url,
            "HUB_URL": f"http://127.0.0.1:{listen.hub_port}",
            "PROXY_URL": f"http://127.0.0.1:{listen.proxy_api_port}",
            "PROXY_TOKEN": state.secret("proxy_token"),
            "DATABASE": str(state.hub_database),
        }
        return {f"NBFED_BENCH_{name}": value for name, value in values.items()}

    def _start(self, name: str, argv: list[str], environment: dict[str, str]) -> None:
        with (self.root / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                argv, env=environment, cwd=self.root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _end(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except (subprocess.TimeoutExpired, psutil.Error):
            process.kill()
            process.wait()
