"""How one site is reached, and with which words ssh is called. Pure; nothing is run or read here.

What every call has: no configuration but ours, no key but ours, no agent, no question asked, no host key that was not
pinned before. A call through a master never makes a connection of its own (`ProxyCommand=/bin/false`): without that,
ssh silently signs in anew when the master is gone or has no room for another session.

All options are those of ssh_config(5), and what was measured with OpenSSH 9.2.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from federation.settings import BatchSite
from spawners.gateway.ca import Grant

__all__ = ["ACCOUNTS", "Link", "MasterKind", "gate_command", "principal"]

ACCOUNTS = "accounts"
"""The folder in a site's that has those of its accounts."""
_ALIVE_SECONDS, _ALIVE_TIMES = 5, 3
_CONNECT_SECONDS = 10
_WORD = "nbfed-gate"
"""What is asked to be run. The site runs the gate, whatever is asked; one that does not finds no such program."""

_OPTIONS = {
    "BatchMode": "yes",
    "PreferredAuthentications": "publickey",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "none",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "CanonicalizeHostname": "no",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "UpdateHostKeys": "no",
    "CheckHostIP": "no",
    "ConnectTimeout": str(_CONNECT_SECONDS),
    "ServerAliveInterval": str(_ALIVE_SECONDS),
    "ServerAliveCountMax": str(_ALIVE_TIMES),
    "RequestTTY": "no",
}


def principal(site: str, account: str | None = None) -> str:
    """What a site's list of principals has for the robot, or for one account where each has a certificate of its own. It
    names the site: no site's certificate opens another one.
    """
    return f"nbfed-{site}" if account is None else f"nbfed-{site}:{account}"


def gate_command(settings: BatchSite, folder: str) -> str:
    """How the gate that lies in this folder of the site is started: by the robot as root, by an account as itself."""
    sudo = "" if settings.by_account else "/usr/bin/sudo -n "
    return settings.login.gate or f"{sudo}{folder}/site-gate"


class MasterKind(StrEnum):
    """A site has two connections, so that notebooks' traffic does not keep commands waiting."""

    COMMAND = "command"
    DATA = "data"


@dataclass(frozen=True, kw_only=True)
class Link:
    """One site's login node, and our files about it.

    Parameters
    ----------
    hub
        This hub's name in the books; sites see it in the certificate's identity.
    site
        The site's name in federation.yaml.
    settings
        What stands there.
    folder
        The gateway's part of the state folder.
    account
        The account that is signed in to; without it, the site's robot.
    """

    hub: str
    site: str
    settings: BatchSite
    folder: Path
    account: str | None = None

    @property
    def user(self) -> str:
        """Who signs in."""
        return self.account or self.settings.login.user

    @property
    def own_folder(self) -> Path:
        """Keys, certificate, host keys and the log of these connections."""
        robot = self.folder / "sites" / self.site
        return robot if self.account is None else robot / ACCOUNTS / self.account

    @property
    def key(self) -> Path:
        return self.own_folder / "id"

    @property
    def known_hosts(self) -> Path:
        return self.own_folder / "known_hosts"

    def control(self, kind: MasterKind) -> Path:
        """The master's socket. Its name is short: with what ssh appends, a path may have 107 bytes at most."""
        called = f"{self.site}/{kind}" if self.account is None else f"{self.site}/{self.account}/{kind}"
        digest = hashlib.sha256(called.encode()).hexdigest()
        return self.folder / "c" / digest[: 8 if self.account is None else 16]

    def log(self, kind: MasterKind) -> Path:
        """What the master says to people."""
        return self.own_folder / f"{kind}.log"

    @property
    def principal(self) -> str:
        return principal(self.site, self.account)

    @property
    def gate_command(self) -> str:
        return gate_command(self.settings, f"/etc/nbfed/{self.site}")

    def grant(self, *, minutes: int, serial: int) -> Grant:
        """What the gateway's certificate for this site allows."""
        return Grant(
            identity=f"nbfed/{self.hub}/{self.site}" + (f"/{self.account}" if self.account else ""),
            principal=self.principal,
            command=self.gate_command,
            minutes=minutes,
            serial=serial,
        )

    def known_host_lines(self, host_keys: str) -> str:
        """The site's host keys, as in its `host_key_file`, for this host and port alone (sshd(8), known hosts)."""
        login = self.settings.login
        pattern = login.host if login.port == 22 else f"[{login.host}]:{login.port}"
        lines = (line.strip() for line in host_keys.splitlines())
        return "".join(f"{_pinned(pattern, line)}\n" for line in lines if line and not line.startswith("#"))

    # --- words for ssh ------------------------------------------------------------------------------------------

    def start_words(self, kind: MasterKind) -> list[str]:
        """Open a master, which goes on by itself in a session of its own when ssh returns.

        `ControlMaster=auto`: with `yes` a socket that a dead master left would make ssh end well and leave an orphan.
        """
        login = self.settings.login
        own = {
            "ControlMaster": "auto",
            "ControlPath": str(self.control(kind)),
            "ControlPersist": "no",
            "IdentityFile": str(self.key),
            "CertificateFile": f"{self.key}-cert.pub",
            "UserKnownHostsFile": str(self.known_hosts),
            "User": self.user,
            "Port": str(login.port),
        }
        return ["ssh", "-F", "none", *_as_words(_OPTIONS | own), "-N", "-f", "-T", "--", login.host]

    def control_words(self, kind: MasterKind, *order: str) -> list[str]:
        """Tell a master something: `-O check`, `-O exit`, `-O forward -L ...`."""
        return [*self._through(kind), *order, "--", self.settings.login.host]

    def command_words(self, kind: MasterKind, word: str = _WORD) -> list[str]:
        """Run the gate, whatever `word` asks for; its request goes to the standard input."""
        return [*self._through(kind), "-T", "--", self.settings.login.host, word]

    def reach_words(self, kind: MasterKind, node: str, port: int) -> list[str]:
        """Reach a port at the site, and say in the debug output that it was reached."""
        return [*self._through(kind), "-v", "-T", "-W", f"{node}:{port}", "--", self.settings.login.host]

    def _through(self, kind: MasterKind) -> list[str]:
        own = {
            "ControlMaster": "no",
            "ControlPath": str(self.control(kind)),
            "ProxyCommand": "/bin/false",
            "User": self.user,
        }
        return ["ssh", "-F", "none", *_as_words(_OPTIONS | own)]


def _as_words(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _pinned(pattern: str, line: str) -> str:
    marker, _, rest = line.partition(" ")
    return f"{marker} {pattern} {rest}" if marker == "@cert-authority" else f"{pattern} {line}"
