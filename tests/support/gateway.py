"""A gateway's files and two sites for it on loopback, each with an sshd of its own and a stand-in for the gate."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from federation.clock import system_clock
from federation.settings import BatchSite
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.credentials import Credentials
from spawners.gateway.link import Link
from tests.support.sshd import NODES, SshSite, robot_account, running_sshd

__all__ = ["Rig", "StandIn", "batch_site", "running_rig", "short_folder", "wait_until"]

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


def batch_site(sshd: SshSite, **changes: Any) -> BatchSite:
    """What federation.yaml says of it."""
    return BatchSite.model_validate(
        {
            "kind": "batch",
            "title": sshd.name.title(),
            "flavours": ["small"],
            "dialect": "slurm",
            "login": {
                "host": "127.0.0.1",
                "port": sshd.port,
                "host_key_file": str(sshd.host_key_file),
                "user": sshd.user,
                "gate": sshd.gate,
                "reverse_port": sshd.reverse_port,
            },
            "nodes": list(NODES),
            "ports": "1024-65535",
            "walltime_hours": 12,
        }
        | changes
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


def wait_until(is_so: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"it did not come to be within {seconds} s"
        time.sleep(0.05)
