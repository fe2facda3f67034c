"""A real sshd on loopback that is set up as a site would: a robot account, certificates, a gate as the forced command.

As root the robot is an account that is made for the run; otherwise it is the account that runs the tests.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from federation.settings import BatchSite
from hub_config.demo.hpc.login_node import LoginNode
from spawners.gateway.link import principal
from spawners.gateway.sshd_lines import sshd_lines
from tests.support.missing import skip_or_fail

__all__ = [
    "NODES",
    "SshSite",
    "account_or_skip",
    "batch_site",
    "free_port",
    "free_range",
    "robot_account",
    "running_sshd",
]

NODES = ("127.0.0.2", "127.0.0.3", "127.0.0.5")
"""The nodes of a site on loopback. What else listens there is another matter: PermitOpen names nodes."""

_LAX = """
AuthenticationMethods publickey
AuthorizedKeysFile none
TrustedUserCAKeys {folder}/ca.pub
AuthorizedPrincipalsFile {folder}/principals
PermitTTY yes
X11Forwarding yes
AllowAgentForwarding yes
AllowStreamLocalForwarding yes
AllowTcpForwarding yes
"""
"""A site whose administrator left all restrictions out: only the certificate is left to restrict anything."""


def free_port() -> int:
    """A port that is free now, below those that the kernel hands out by itself."""
    return free_range(1)[0]


def free_range(count: int) -> range:
    """So many of them in a row."""
    while True:
        first = secrets.randbelow(12_000 - count) + 20_000
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return range(first, first + count)


@dataclass(kw_only=True)
class SshSite(LoginNode):
    """One site's sshd.

    Parameters
    ----------
    name
        The site's name in federation.yaml.
    gate
        The command that it forces.
    strict
        As `nbfed site init` has it; else nothing is restricted.
    accounts
        That sign in for themselves (`access: user-certificate`), instead of the robot.
    """

    name: str
    gate: str
    strict: bool = True
    accounts: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    reverse_port: int = field(default_factory=free_port)

    @property
    def allowed(self) -> str:
        return " ".join(self.accounts) or self.user

    def trust(self, *authorities: str) -> None:
        """Accept certificates of these CAs, for the principals of this site."""
        (self.folder / "ca.pub").write_text("".join(f"{line}\n" for line in authorities))

    def start(self) -> None:
        """Write the configuration and listen."""
        principals = self.folder / "principals"
        if self.accounts:
            principals.mkdir(exist_ok=True)
            for account in self.accounts:
                (principals / account).write_text(f"{principal(self.name, account)}\n")
        else:
            principals.write_text(f"{principal(self.name)}\n")
        own = sshd_lines(batch_site(self), str(self.folder)) if self.strict else _LAX.format(folder=self.folder)
        self.listen(own)

    def freeze(self) -> list[psutil.Process]:
        """Make the connections that there are half-open: the site's kernel still answers, sshd does not. They stay so
        until `notice`.
        """
        frozen = self.connections()
        for connection in frozen:
            with contextlib.suppress(psutil.Error):
                connection.send_signal(signal.SIGSTOP)
        return frozen

    @staticmethod
    def notice(frozen: list[psutil.Process]) -> None:
        """The site's sshd notices at last that nobody is at the other end."""
        for connection in frozen:
            with contextlib.suppress(psutil.Error):
                connection.kill()


def batch_site(sshd: SshSite, **changes: Any) -> BatchSite:
    """What federation.yaml says of it."""
    own: dict[str, Any] = {"access": "user-certificate", "notebook_to_hub": "direct"} if sshd.accounts else {}
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
        | own
        | changes
    )


@contextlib.contextmanager
def running_sshd(
    name: str, user: str, gate: str, authorities: list[str], *, strict: bool = True, accounts: tuple[str, ...] = ()
) -> Iterator[SshSite]:
    """An sshd that trusts these CAs."""
    # Not in pytest's folder: the robot's account could not reach it, and control sockets need short names.
    folder = Path(tempfile.mkdtemp(prefix="nbssh-", dir="/tmp"))
    folder.chmod(0o755)
    site = SshSite(folder=folder, name=name, user=user, gate=gate, strict=strict, accounts=accounts)
    try:
        site.new_host_key()
        site.trust(*authorities)
        site.start()
        yield site
    finally:
        site.stop()
        shutil.rmtree(folder, ignore_errors=True)


def account_or_skip() -> None:
    """Skip where there is no sshd; never on the machine whose word counts."""
    if shutil.which("sshd", path=_PATH) is None:
        skip_or_fail("sshd is missing: install openssh-server")


@contextlib.contextmanager
def robot_account() -> Iterator[str]:
    """An account of its own with a shell and without a password, as a site makes one; or the one that we are."""
    if os.geteuid() != 0:
        yield getpass.getuser()
        return
    name = f"nbfed-{secrets.token_hex(4)}"
    # A "!" in shadow would lock sign-in by key, too, where UsePAM is no; "*" does not.
    subprocess.run(["useradd", "--system", "--home-dir", "/tmp", "--shell", "/bin/sh", "-p", "*", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
