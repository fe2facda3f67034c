"""A gate that is installed as a site's administrator would do it; its folder is the site's own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from federation.settings import BatchSite, Flavour
from spawners.site_files import PROGRAM, site_files

__all__ = ["InstalledGate"]


class InstalledGate:
    """The gate of one site in a folder that belongs to root, and the line that lets the robot start it as root.

    Parameters
    ----------
    folder
        Is made here.
    accounts
        Whom the gate acts for.
    sudoers
        The name of the file in /etc/sudoers.d.
    authorities
        The public keys of the federation's certificate authority.
    policy
        Replaces keys of policy.json.
    """

    def __init__(
        self,
        name: str,
        site: BatchSite,
        flavours: Mapping[str, Flavour],
        folder: Path,
        accounts: Sequence[str],
        *,
        sudoers: str,
        authorities: Sequence[str] = (),
        **policy: Any,
    ) -> None:
        self.folder = folder
        self.program = folder / PROGRAM
        self.log = folder / "gate.log"
        folder.mkdir(mode=0o755)
        self.files = site_files(name, site, flavours, folder=str(folder), authorities=authorities)
        for file_name, file in self.files.items():
            if file_name != "sudoers":
                self.write(file_name, file.text, file.mode)
        self.write("accounts", "".join(f"{account}\n" for account in accounts))
        self.change_policy(log=str(self.log), **policy)
        self._sudoers = Path("/etc/sudoers.d") / sudoers
        self._sudoers.touch(mode=0o440)
        self._sudoers.write_text(self.files["sudoers"].text)

    def remove(self) -> None:
        """Nobody can start it any more."""
        self._sudoers.unlink(missing_ok=True)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Put a file of the site's into its folder."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)

    def change_policy(self, **changes: Any) -> None:
        """Replace keys of policy.json."""
        path = self.folder / "policy.json"
        self.write("policy.json", json.dumps({**json.loads(path.read_text()), **changes}))
