"""A gateway's files and two sites for it on loopback, each with an sshd of its own and a stand-in for the gate."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from federation.clock import system_clock
from spawners.gateway.answers import GatewayAway
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.client import GatewayClient
from spawners.gateway.credentials import Credentials
from spawners.gateway.door import Door
from spawners.gateway.link import Link, MasterKind
from tests.support.service import demo_yaml, free_ports
from tests.support.sshd import SshSite, batch_site, free_range, robot_account, running_sshd

__all__ = [
    "Rig",
    "RunningGateway",
    "StandIn",
    "batch_site",
    "pid_of_master",
    "running_gateway",
    "running_rig",
    "short_folder",
    "wait_until",
]

ROOT = Path(__file__).parents[2]
GATE = Path(__file__).parent / "stand_in_gate.py"


class StandIn:
    """The stand-in gate of one site; its files say how it answers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)  # the robot's account writes here
        self.folder = folder
        self.command = folder / "gate"
        shutil.copy(GATE, self.command)
        self.command.chmod(0o755)

    def behave(self, how: str) -> None:
        (self.folder / "behaviour").write_text(how)

    def jobs(self, *rows: dict[str, Any]) -> None:
        made = self.folder / "jobs.json.test"
        made.write_text(json.dumps(rows))
        made.chmod(0o666)
        made.replace(self.folder / "jobs.json")

    def requests(self) -> list[dict[str, Any]]:
        file = self.folder / "requests"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def environment(self) -> dict[str, str]:
        """What ssh gave it with the last request."""
        found: dict[str, str] = json.loads((self.folder / "environment").read_text())
        return found

    def forget(self) -> None:
        """As it was at the start."""
        for name in ("behaviour", "jobs.json", "requests", "environment"):
            (self.folder / name).unlink(missing_ok=True)


class Rig:
    """The files of one gateway and its sites.

    Parameters
    ----------
    folder
        The gateway's part of a state folder.
    sshd, gates
        Of each site by name.
    """

    def __init__(
        self, folder: Path, authority: CertificateAuthority, sshd: dict[str, SshSite], gates: dict[str, StandIn]
    ) -> None:
        self.folder, self.authority, self.sshd, self.gates = folder, authority, sshd, gates

    def link(self, name: str, **changes: Any) -> Link:
        return Link(hub="hub", site=name, settings=batch_site(self.sshd[name], **changes), folder=self.folder)

    def credentials(self, link: Link, *, host_key_file: Path | None = None) -> Credentials:
        return Credentials(
            link,
            self.authority,
            minutes=5,
            host_key_file=host_key_file or self.sshd[link.site].host_key_file,
            clock=system_clock,
        )


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short path, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="nbgw-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_rig(*names: str) -> Iterator[Rig]:
    """Sites of these names, and a certificate authority that they trust."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        gates_folder = stack.enter_context(short_folder())
        gates_folder.chmod(0o755)
        os.chmod(folder, 0o700)
        authority = CertificateAuthority(folder)
        authority.init()
        user = stack.enter_context(robot_account())
        gates = {name: StandIn(gates_folder / name) for name in names}
        sshd = {
            name: stack.enter_context(running_sshd(name, user, str(gates[name].command), authority.public_keys()))
            for name in names
        }
        yield Rig(folder, authority, sshd, gates)


def wait_until(is_so: Callable[[], object], seconds: float = 60.0, *, told: Callable[[], str] = str) -> None:
    """Wait for something that comes by itself; `told` says more if it does not."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"it did not come to be within {seconds} s\n{told()}"
        time.sleep(0.05)


def pid_of_master(link: Link, kind: MasterKind) -> int:
    """The process of a master, as ssh says; 0 without one."""
    done = subprocess.run(link.control_words(kind, "-O", "check"), capture_output=True, text=True, check=False)
    return int(done.stderr.partition("pid=")[2].partition(")")[0] or 0)


class RunningGateway:
    """`nbfed gateway` in a process of its own, with its own state folder and books.

    Parameters
    ----------
    host
        Where it is asked, as a gateway that has a machine of its own is; without it, at its socket.
    """

    def __init__(self, rig: Rig, home: Path, tables: Path, host: str | None = None) -> None:
        self.rig, self.home = rig, home
        self.hub_port, self.ports = free_ports(1)[0], free_range(20)
        content = demo_yaml(listen={"hub_port": self.hub_port})
        for name, sshd in rig.sshd.items():
            content["sites"][name] = batch_site(sshd).model_dump(mode="json", exclude_none=True)
        content["gateway"] = {"forward_ports": f"{self.ports[0]}-{self.ports[-1]}"}
        self.socket = home / "gateway" / "api.sock"
        self.door = Door(self.socket)
        if host is not None:
            self.door = Door(self.socket, f"http://{host}:{free_ports(1)[0]}", "a-token-of-tests")
            content["gateway"]["url"] = self.door.url
        (home / "federation.yaml").write_text(yaml.safe_dump(content))
        shutil.copy(tables, home / "federation.sqlite")
        self.nbfed("ca", "init")
        own = (home / "gateway" / "ca.pub").read_text().strip()
        for sshd in rig.sshd.values():
            sshd.trust(*rig.authority.public_keys(), own)
        self.client = GatewayClient(self.door)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hub_config.cli", "gateway"],
                env=self._environment(), stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip
        wait_until(self._answers)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def nbfed(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hub_config.cli", *words],
            env=self._environment(), capture_output=True, text=True, timeout=180, check=False, cwd=ROOT,
        )  # fmt: skip

    def master_pid(self, site: str, kind: MasterKind) -> int:
        """The process of a master, as ssh says."""
        settings = batch_site(self.rig.sshd[site])
        return pid_of_master(Link(hub="hub", site=site, settings=settings, folder=self.home / "gateway"), kind)

    def close(self) -> None:
        """End it and its masters, whatever happened."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for site in self.rig.sshd:
            for kind in MasterKind:
                if pid := self.master_pid(site, kind):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        token = {"NBFED_GATEWAY_TOKEN": self.door.token} if self.door.token else {}
        return kept | token | {"NBFED_HOME": str(self.home), "NBFED_CONFIG": str(self.home / "federation.yaml")}

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            self.client.sites()
        except GatewayAway:
            return False
        return True


@contextmanager
def running_gateway(rig: Rig, tables: Path, host: str | None = None) -> Iterator[RunningGateway]:
    """A gateway for the sites of the rig."""
    with short_folder() as home:
        gateway = RunningGateway(rig, home, tables, host)
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.close()
