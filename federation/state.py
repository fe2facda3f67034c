"""The state folder: everything that this installation keeps on disk, under one root (`NBFED_HOME`, default `./run`).

secrets/        made at the first start, readable by the owner alone
logs/           one file for each process
homes/          people's files on a local site
sessions/       one folder for each attempt on a local site
federation.sqlite, jupyterhub.sqlite
"""

import os
import secrets
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
    def federation_database(self) -> Path:
        return self._folder("", 0o711) / "federation.sqlite"

    @property
    def hub_database(self) -> Path:
        return self._folder("", 0o711) / "jupyterhub.sqlite"

    @property
    def lock(self) -> Path:
        return self._folder("", 0o711) / "nbfed-up.lock"

    def secret(self, name: str, *, hexadecimal_bytes: int = 32) -> str:
        """The secret of this name: from `NBFED_<NAME>` if that is set, else from the folder, made if it is not there."""
        from_environment = os.environ.get(f"NBFED_{name.upper()}")
        if from_environment:
            return from_environment
        path = self._folder("secrets", 0o700) / name
        try:
            # O_EXCL: of two processes that start together one makes the secret and both read it.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(hexadecimal_bytes))
        return path.read_text().strip()

    def _folder(self, name: str, mode: int) -> Path:
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder = self.root / name
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
        if folder.stat().st_mode & 0o777 != mode and folder.stat().st_uid == os.geteuid():
            folder.chmod(mode)
        return folder
