"""A JupyterHub without anything of ours, and its proxy, for comparison: a configuration file, and a client that may do
everything with servers.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from hub_config.children import NODE
from hub_config.proxy_install import PROXY_SCRIPT
from tests.support.service import free_ports

__all__ = ["BareHub", "running_bare_hub", "until"]

LOOK_SECONDS = 0.05
MOST_SECONDS = 180


@dataclass
class BareHub:
    """`api` asks the hub, `public` asks it through the proxy; both without a path."""

    process: psutil.Process
    api: httpx.Client
    public: httpx.Client
    log: Path

    def is_ready(self, user: str, server: str = "") -> bool:
        """Whether a server of somebody can be used."""
        servers = self.api.get(f"/hub/api/users/{user}").raise_for_status().json()["servers"]
        return bool(servers.get(server, {}).get("ready"))


@contextlib.contextmanager
def running_bare_hub(config: Path, environment: Mapping[str, str], hub_ip: str = "127.0.0.1") -> Iterator[BareHub]:
    """Proxy and hub, for as long as the block lasts. The file finds what it has to know in NBFED_BENCH_*."""
    public, api, hub = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="nbfed-bench-") as folder, contextlib.ExitStack() as stack:
        whole = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "CONFIGPROXY_AUTH_TOKEN": "of-the-proxy",
            "NBFED_BENCH_PUBLIC_URL": f"http://127.0.0.1:{public}",
            "NBFED_BENCH_HUB_URL": f"http://{hub_ip}:{hub}",
            "NBFED_BENCH_PROXY_URL": f"http://127.0.0.1:{api}",
            "NBFED_BENCH_PROXY_TOKEN": "of-the-proxy",
            "NBFED_BENCH_TOKEN": "of-the-bench",
            "NBFED_BENCH_DATABASE": f"{folder}/hub.sqlite",
            **environment,
        }
        proxy = [str(NODE), str(PROXY_SCRIPT), "--ip", "127.0.0.1", "--port", str(public), "--api-ip", "127.0.0.1",
                 "--api-port", str(api), "--log-level", "warn"]  # fmt: skip
        stack.enter_context(_running(proxy, whole, folder))
        process = stack.enter_context(
            _running([sys.executable, "-m", "jupyterhub", "-f", str(config)], whole, folder)
        )  # fmt: skip
        api_client, public_client = (
            stack.enter_context(
                httpx.Client(
                    base_url=url, headers={"Authorization": "token of-the-bench"}, trust_env=False, timeout=120
                )
            )
            for url in (f"http://{hub_ip}:{hub}", f"http://127.0.0.1:{public}")
        )
        made = BareHub(psutil.Process(process.pid), api_client, public_client, Path(folder) / "log")
        until(lambda: _answers(made.api), told=made.log.read_text)
        yield made


def until(holds: Callable[[], object], *, seconds: float = MOST_SECONDS, told: Callable[[], str] = str) -> None:
    """Wait until something is so."""
    since = time.monotonic()
    while not holds():
        if time.monotonic() - since > seconds:
            raise RuntimeError(f"not within {seconds:g} s\n{told()[-4000:]}")
        time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], folder: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (Path(folder) / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/hub/api/").is_success
    except httpx.TransportError:
        return False
