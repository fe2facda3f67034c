"""The certificate authority of the federation: it lets the gateway, and nobody else, sign in at the batch sites.

What it promises:

- A certificate opens one account at one site, for minutes, for one command and for port forwarding. No shell, no
  terminal, no agent, no X11, whatever the site's sshd would allow. (The site's own ForceCommand says the same again.)
- The private key is in the state folder, readable by its owner alone, and is never written anew over an old one.
- Rotation has two steps, so that no site is ever without: first both keys are given to the sites, then the new one
  signs.

Certificates are those of OpenSSH (PROTOCOL.certkeys); `ssh-keygen` makes them.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from spawners.gateway.locks import locked

__all__ = ["AuthorityError", "CertificateAuthority", "Grant", "new_key"]

_KEYGEN = "ssh-keygen"
_SECONDS = 30
_EARLIER_MINUTES = 1
"""A certificate is valid from a minute ago: the site's clock may be behind."""


class AuthorityError(Exception):
    """The certificate authority cannot do it; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What one certificate allows.

    Parameters
    ----------
    identity
        What the site's log shows at each sign-in.
    principal
        The name that the site's list of principals has for the account.
    command
        The only one that can be run.
    minutes
        How long one may sign in with it. A connection that is open then goes on.
    serial
        Another number for each certificate, for logs and revocation lists.
    """

    identity: str
    principal: str
    command: str
    minutes: int
    serial: int

    def arguments(self) -> list[str]:
        """As `ssh-keygen` takes them. `clear` removes what a certificate has by default: terminal, agent, X11."""
        return [
            *("-I", self.identity, "-n", self.principal, "-z", str(self.serial)),
            *("-V", f"-{_EARLIER_MINUTES}m:+{self.minutes}m"),
            *("-O", "clear", "-O", "permit-port-forwarding", "-O", f"force-command={self.command}"),
        ]


class CertificateAuthority:
    """The keys in one folder: `ca`, and while the sites learn a new one, `ca-next`.

    Parameters
    ----------
    folder
        Theirs; nobody else may enter it.
    """

    def __init__(self, folder: Path) -> None:
        self._key = folder / "ca"
        self._next = folder / "ca-next"
        self._lock = folder / "ca.lock"

    @property
    def exists(self) -> bool:
        return self._key.exists()

    def init(self) -> None:
        """Make the key.

        Raises
        ------
        AuthorityError
            If there is one: every site trusts it, and a new one would lock us out everywhere.
        """
        with locked(self._lock):
            if self.exists:
                raise AuthorityError(
                    f"There is a certificate authority already: {self._key}. Nothing was changed. "
                    "`nbfed ca rotate` replaces it without an interruption."
                )
            new_key(self._key, "notebooks federation CA")

    def public_keys(self) -> list[str]:
        """What the sites have to trust, in the lines of sshd's TrustedUserCAKeys: ours, and the next one if there is."""
        self._require()
        return [_public(key).read_text().strip() for key in (self._key, self._next) if key.exists()]

    def sign(self, public_key: Path, grant: Grant) -> Path:
        """Make the certificate of a key, in the place of an earlier one, and return its file."""
        self._require()
        certificate = public_key.with_name(f"{public_key.stem}-cert.pub")
        # Elsewhere first: who reads it at this moment reads the old one or the new one.
        with tempfile.TemporaryDirectory(dir=public_key.parent) as folder:
            copy = Path(folder) / public_key.name
            shutil.copy(public_key, copy)
            _keygen("-s", str(self._key), *grant.arguments(), str(copy))
            copy.with_name(certificate.name).replace(certificate)
        return certificate

    def prepare_rotation(self) -> None:
        """Make the next key, to be given to the sites; ours still signs. Done before, it does nothing."""
        self._require()
        with locked(self._lock):
            if not self._next.exists():
                new_key(self._next, "notebooks federation CA")

    def complete_rotation(self) -> None:
        """From now on the next key signs, and the old one is gone.

        Raises
        ------
        AuthorityError
            If no rotation was prepared.
        """
        with locked(self._lock):
            if not self._next.exists():
                raise AuthorityError(
                    "No rotation was prepared, so nothing was changed. `nbfed ca rotate` makes the next key; "
                    "complete the rotation when every site has it."
                )
            # The private key is moved last: until then the next one is still there, and this can be done again.
            _public(self._key).write_text(_public(self._next).read_text())
            self._next.replace(self._key)
            _public(self._next).unlink()

    def _require(self) -> None:
        if not self.exists:
            raise AuthorityError(f"There is no certificate authority in {self._key.parent}. `nbfed ca init` makes one.")


def new_key(file: Path, comment: str) -> None:
    """Make an Ed25519 key without a passphrase: whole or not at all, and never over another one."""
    if file.exists():
        raise FileExistsError(file)
    made = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        _keygen("-t", "ed25519", "-N", "", "-C", comment, "-f", str(made))
        _public(made).replace(_public(file))
        os.link(made, file)
    finally:
        made.unlink(missing_ok=True)
        _public(made).unlink(missing_ok=True)


def _public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def _keygen(*arguments: str) -> None:
    try:
        done = subprocess.run(
            [_KEYGEN, "-q", *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise AuthorityError(f"{_KEYGEN} cannot be run: {error.strerror}. Install OpenSSH's client.") from error
    except subprocess.TimeoutExpired as error:
        raise AuthorityError(f"{_KEYGEN} did not end within {_SECONDS} seconds.") from error
    if done.returncode:
        raise AuthorityError(f"{_KEYGEN} failed: {done.stderr.strip() or done.returncode}")
