"""One batch site of the demonstration: cluster, gate and login node, and what federation.yaml says of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from federation.settings import BatchSite, Flavour
from hub_config.demo.hpc.installed_gate import InstalledGate
from hub_config.demo.hpc.login_node import LoginNode
from hub_config.demo.hpc.slurm import Cluster, make_accounts
from hub_config.ports import LOOPBACK, free_ports
from spawners.gateway.sshd_lines import sshd_lines
from spawners.site_files import PROGRAM, ROBOT

__all__ = ["DemoSite", "site_settings"]

_COUNTRIES = {"andes": "CL", "costa": "PT"}
_FILES = {
    "en": "Your files stay in the home of your account there, and are there again next time.",
    "es": "Sus archivos quedan en la carpeta de su cuenta allí, y estarán la próxima vez.",
    "pt": "Seus arquivos ficam na pasta da sua conta lá, e estarão lá da próxima vez.",
}


def site_settings(
    login: LoginNode, *, gate: str, reverse_port: int, node: str, flavours: Sequence[str]
) -> dict[str, Any]:
    """What every site of this kind has in federation.yaml.

    Parameters
    ----------
    node
        An address of loopback: the names of the scheduler's nodes are no hosts of this machine.
    """
    return {
        "kind": "batch", "dialect": "slurm", "flavours": list(flavours), "nodes": [node], "ports": "20000-29999",
        "walltime_hours": 2, "partition": "notebooks", "partitions": ["short"], "boot_seconds": 120,
        "login": {
            "host": LOOPBACK, "port": login.port, "host_key_file": str(login.host_key_file), "user": login.user,
            "gate": gate, "reverse_port": reverse_port,
        },
        "batchspawner": {"req_prologue": f"export SLURMD_NODENAME={node}"},
    }  # fmt: skip


class DemoSite:
    """One site.

    Parameters
    ----------
    folder
        For all of it; is made here.
    node
        An address of loopback, another one for each site.
    """

    def __init__(self, name: str, folder: Path, accounts: tuple[str, ...], node: str, flavours: Sequence[str]) -> None:
        controller, slurmd, sshd, reverse = free_ports(4)
        self.name, self.folder = name, folder
        make_accounts((*accounts, ROBOT))
        self.cluster = Cluster(name, folder / "slurm", accounts, ports=(controller, slurmd))
        login_folder = folder / "login"
        login_folder.mkdir(mode=0o755)
        self.login = LoginNode(folder=login_folder, user=ROBOT, port=sshd)
        self.login.new_host_key()
        self._gate_folder = folder / "gate"
        gate = f"/usr/bin/sudo -n {self._gate_folder / PROGRAM}"
        own = site_settings(self.login, gate=gate, reverse_port=reverse, node=node, flavours=flavours)
        self.settings: dict[str, Any] = {
            "title": f"HPC {name.title()}", "country": _COUNTRIES.get(name), "files": _FILES, **own,
        }  # fmt: skip
        self._gate: InstalledGate | None = None

    def start(self, flavours: Mapping[str, Flavour], authorities: Sequence[str]) -> None:
        """Start cluster and sshd; the gate trusts these keys.

        Raises
        ------
        hub_config.demo.hpc.slurm.SiteBroken
            If something does not come up.
        """
        site = BatchSite.model_validate(self.settings)
        self.cluster.start()
        self._gate = InstalledGate(
            self.name, site, flavours, self._gate_folder, self.cluster.accounts,
            sudoers=f"{self.folder.parent.name}-{self.name}", authorities=authorities, history="completion",
            environment=dict(self.cluster.environment),
        )  # fmt: skip
        self.login.listen(sshd_lines(site, str(self._gate_folder)))

    def stop(self) -> None:
        """End it, and all jobs."""
        self.login.stop()
        if self._gate is not None:
            self._gate.remove()
        self.cluster.stop()
