"""The state folder: everything that this installation keeps on disk, under one root (`NBFED_HOME`, default `./run`).

secrets/        made at the first start, readable by the owner alone
logs/           one file for each process
homes/          people's files on a local site
sessions/       one folder for each attempt on a local site
gateway/        the certificate authority, keys and connections of the batch sites
federation.sqlite, jupyterhub.sqlite
"""

import contextlib
import errno
import os
import secrets
import tempfile
from pathlib import Path

__all__ = ["StateFolder"]


class StateFolder:
    """Paths below the root. Folders are made when first asked for.

    Parameters
    ----------
    root
        The root; made with mode 711 so that the account of local sessions can reach its own folders and list nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @classmethod
    def from_environment(cls) -> "StateFolder":
        """The folder that `NBFED_HOME` names, or `./run`."""
        return cls(Path(os.environ.get("NBFED_HOME") or "run"))

    @property
    def logs(self) -> Path:
        return self._folder("logs", 0o700)

    @property
    def homes(self) -> Path:
        return self._folder("homes", 0o711)

    @property
    def sessions(self) -> Path:
        return self._folder("sessions", 0o711)

    @property
    def gateway(self) -> Path:
        return self._folder("gateway", 0o700)

    @property
    def gateway_socket(self) -> Path:
        """Where the gateway listens."""
        return self.gateway / "api.sock"

    @property
    def federation_database(self) -> Path:
        return self._folder("", 0o711) / "federation.sqlite"

    @property
    def hub_database(self) -> Path:
        return self._folder("", 0o711) / "jupyterhub.sqlite"

    @property
    def lock(self) -> Path:
        return self._folder("", 0o711) / "nbfed-up.lock"

    def secret(self, name: str, *, hexadecimal_bytes: int = 32) -> str:
        """The secret of this name: from `NBFED_<NAME>` if that is set, else from the folder, made if it is not there.

        Raises
        ------
        OSError
            If it cannot be read or made, or its file is empty.
        """
        from_environment = os.environ.get(f"NBFED_{name.upper()}")
        if from_environment:
            return from_environment
        path = self._folder("secrets", 0o700) / name
        if not path.exists():
            _make_once(path, secrets.token_hex(hexadecimal_bytes))
        secret = path.read_text().strip()
        if not secret:
            raise OSError(errno.EINVAL, f"the secret {path} is empty; remove the file, and a new one is made")
        return secret

    def _folder(self, name: str, mode: int) -> Path:
        folder = self.root / name
        if name:
            self._folder("", 0o711)
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o777 != mode and folder.stat().st_uid == os.geteuid():
            folder.chmod(mode)
        return folder


def _make_once(path: Path, content: str) -> None:
    """Of two processes that start together one makes the file, and whoever sees it sees all of it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-") as file:  # its mode is 600
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
