"""A login node's sshd on loopback, with a host key of its own, for one robot account."""

import contextlib
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from hub_config.demo.hpc.slurm import until

__all__ = ["LoginNode"]

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
_HEAD = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
PidFile {folder}/sshd.pid
UsePAM no
StrictModes no
LogLevel VERBOSE
AllowUsers {user}
"""


@dataclass(kw_only=True)
class LoginNode:
    """Its sshd.

    Parameters
    ----------
    folder
        Its files; other accounts can enter it.
    user
        The robot account.
    """

    folder: Path
    user: str
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def allowed(self) -> str:
        """Who gets in at all, for AllowUsers."""
        return self.user

    @property
    def host_key_file(self) -> Path:
        return self.folder / "host.pub"

    def new_host_key(self) -> None:
        """Make one, in the place of an earlier one."""
        for file in (self.folder / "host", self.host_key_file):
            file.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "host"], check=True)

    def listen(self, lines: str) -> None:
        """Start sshd with these lines of sshd_config(5); it ends when we do.

        Raises
        ------
        hub_config.demo.hpc.slurm.SiteBroken
            If it does not listen.
        """
        head = _HEAD.format(port=self.port, folder=self.folder, user=self.allowed)
        (self.folder / "sshd_config").write_text(head + lines)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = str(shutil.which("sshd", path=_PATH))  # it wants its whole path
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", sshd, "-D", "-e", "-f", self.folder / "sshd_config"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._listens, what=lambda: f"sshd listens\n{self.log()}")

    def stop(self) -> None:
        """End it and all its connections, also those that were stopped."""
        if self.process is None:
            return
        for connection in self.connections():
            with contextlib.suppress(psutil.Error):
                connection.kill()
        self.process.kill()
        self.process.wait()
        self.process = None

    def connections(self) -> list[psutil.Process]:
        """The processes of its connections, and below them."""
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def log(self) -> str:
        return (self.folder / "sshd.log").read_text()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
