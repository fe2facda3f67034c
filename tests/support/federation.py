"""A whole federation on real parts: hub, worker, proxy and gateway, and two Slurm sites behind sshd with their gates."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from federation.persons import find_by_user_name
from hub_config.demo.hpc.site import site_settings
from spawners.gateway.answers import GatewayError, SiteState
from spawners.gateway.client import GatewayClient
from spawners.site_files import ROBOT
from tests.support.gate import Gate
from tests.support.person import Person
from tests.support.service import Service, running_service
from tests.support.sites import certify
from tests.support.slurm import SlurmSite
from tests.support.sshd import NODES, SshSite, free_port, running_sshd
from tests.support.stub_environment import make_stub_environment
from vetting import mappings
from vetting.mappings import Event

__all__ = ["Federation", "running_federation"]

_READY_SECONDS = 60
_END_SECONDS = 120
_DEFAULT = {"amount_hours": 100, "period": "month", "sessions": 60, "flavours": ["small", "medium"]}


@dataclass
class Federation:
    """All of it. `gates`, `sshd` and `slurm` are by the name of the site."""

    service: Service
    slurm: Mapping[str, SlurmSite]
    gates: dict[str, Gate] = field(default_factory=dict)
    sshd: dict[str, SshSite] = field(default_factory=dict)
    gateway: "subprocess.Popen[bytes] | None" = None
    accounts: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def client(self) -> GatewayClient:
        return GatewayClient(self.service.settings.gateway_door)

    @property
    def gateway_log(self) -> Path:
        return self.service.root / "gateway.log"

    def start_gateway(self) -> None:
        """Start it, and wait until both sites are in order."""
        with self.gateway_log.open("ab") as log:
            self.gateway = subprocess.Popen(
                [sys.executable, "-m", "hub_config.cli", "gateway"], env=self.service.environment(),
                cwd=self.service.root, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _READY_SECONDS
        while not self._in_order():
            assert self.gateway.poll() is None, self.gateway_log.read_text()
            assert time.monotonic() < deadline, self.gateway_log.read_text()
            time.sleep(0.1)

    def kill_gateway(self) -> None:
        """kill -9."""
        assert self.gateway is not None
        self.gateway.kill()
        self.gateway.wait()

    def _in_order(self) -> bool:
        with contextlib.suppress(GatewayError):
            return all(health.state is SiteState.OK for health in self.client.sites().values())
        return False

    def map(self, person: Person, site: str) -> str:
        """Have a site accept a person for the first of its accounts that is free; the account."""
        user = person.user_name
        if (user, site) in self.accounts:
            return self.accounts[user, site]
        taken = {account for (_user, at), account in self.accounts.items() if at == site}
        account = next(name for name in self.slurm[site].accounts if name not in taken)
        with self.service.house.database.write() as connection:
            found = find_by_user_name(connection, user)
            assert found is not None
            parts: dict[str, Any] = {"person_id": found.id, "site": site, "by": "test", "now": datetime.now(UTC)}
            mappings.ask(connection, account=account, **parts)
            mappings.change(connection, event=Event.ACCEPT, **parts)
        self.accounts[user, site] = account
        return account

    def end_sessions_of(self, person: Person) -> None:
        """Stop what a person has, and wait until it is in the books."""
        sessions, user = self.service.house.sessions, person.user_name
        found = [one for one in sessions.open_on("hub") if one.server.user == user]
        for session in found:
            name = session.server.name
            person.api("DELETE", f"users/{user}/servers/{name}" if name else f"users/{user}/server")
        deadline = time.monotonic() + _END_SECONDS
        while any(one.server.user == user for one in sessions.open_on("hub")):
            assert time.monotonic() < deadline, f"not all of {found} ended\n{self.service.all_logs()}"
            time.sleep(0.2)

    def job_of(self, site: str, attempt: str) -> str:
        """The scheduler's id of the one job of an attempt."""
        [job] = self.slurm[site].job_ids(f"nbfed-{attempt}")
        return job

    def recorded(self, site: str, job: str) -> dict[str, str]:
        """What Slurm's own file of completed jobs says of a job."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self.slurm[site].completed_jobs.read_text().splitlines():
                said = dict(part.split("=", 1) for part in line.split() if "=" in part)
                if said.get("JobId") == job:
                    return said
            time.sleep(0.2)
        raise AssertionError(f"{site} has not completed job {job}")

    def seconds_of(self, site: str, job: str) -> int:
        """End minus start of a job, as Slurm recorded them: whole seconds."""
        said = self.recorded(site, job)
        start, end = (datetime.fromisoformat(said[name]) for name in ("StartTime", "EndTime"))
        return int((end - start).total_seconds())

    def close(self) -> None:
        """End the gateway and its connections."""
        if self.gateway is not None and self.gateway.poll() is None:
            self.gateway.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.gateway.wait(15)


def _site(slurm: SlurmSite, sshd: SshSite, node: str, flavours: Sequence[str]) -> dict[str, Any]:
    """Its part of federation.yaml."""
    own = site_settings(sshd, gate=sshd.gate, reverse_port=sshd.reverse_port, node=node, flavours=list(flavours))
    return {"title": f"HPC {slurm.name.title()}", **own}


@contextlib.contextmanager
def running_federation(
    slurm: Mapping[str, SlurmSite], *, batch_flavours: Sequence[str] = ("small",), **more: Mapping[str, Any]
) -> Iterator[Federation]:
    """A federation of these sites, which offer these flavours, and this machine. `more` adds to sections of
    federation.yaml, or replaces keys there.
    """
    minimal = {
        "title": "Python", "local": {"prefix": "minimal"},
        "batch": {"path": f"{os.environ['NBFED_ENVIRONMENTS']}/minimal"},
    }  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="nbfed-gates-", dir="/var/tmp"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stub = {"title": "Stub", "batch": {"path": str(make_stub_environment(folder / "stub"))}}
        gates, sshd = {}, {}
        for name, site in slurm.items():
            gates[name] = Gate(site, folder / name, partitions=["notebooks", "short"])
            stack.callback(gates[name].remove)
            command = f"/usr/bin/sudo -n {folder / name / 'site-gate'}"
            sshd[name] = stack.enter_context(running_sshd(name, ROBOT, command, []))
        sites = {name: _site(slurm[name], sshd[name], NODES[n], batch_flavours) for n, name in enumerate(slurm)}
        first = free_port()
        gateway = {"with_up": False, "forward_ports": f"{first}-{first + 50}"}
        sections: dict[str, dict[str, Any]] = {
            "sites": sites, "environments": {"minimal": minimal, "stub": stub}, "defaults": {"T1": _DEFAULT},
            "gateway": gateway,
        }  # fmt: skip
        for section, content in more.items():
            sections[section] = sections.get(section, {}) | dict(content)
        service = stack.enter_context(running_service(start=False, **sections))
        service.nbfed("ca", "init")
        for one in sshd.values():
            one.trust((service.state.root / "gateway" / "ca.pub").read_text().strip())
        made = Federation(service, slurm, gates, sshd)
        stack.callback(made.close)
        service.start()
        certify(service.house, *slurm)
        made.start_gateway()
        yield made
