"""A whole federation on real parts: hub, worker, proxy and gateway, and Slurm sites behind sshd with their gates."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from federation.persons import find_by_user_name
from federation.settings import BatchSite
from hub_config.demo.hpc.site import site_settings
from quota.statement import Line
from spawners.gateway.answers import GatewayError, SiteState
from spawners.gateway.client import GatewayClient
from spawners.gateway.link import Link, MasterKind
from spawners.sessions import Server, Session
from spawners.site_files import ROBOT
from tests.services.test_session import lines_of, wait_for
from tests.support.gate import Gate
from tests.support.gateway_rig import pid_of_master, wait_until
from tests.support.person import Person
from tests.support.service import Service, running_service
from tests.support.sites import certify
from tests.support.slurm import SlurmSite
from tests.support.sshd import NODES, SshSite, free_port, running_sshd
from tests.support.stub_environment import make_stub_environment
from vetting import mappings
from vetting.mappings import Event

__all__ = ["Federation", "running_federation"]

_READY_SECONDS = 180
_MANY_READY_SECONDS = 300
_END_SECONDS = 180
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

    @property
    def gateway_folder(self) -> Path:
        return self.service.state.root / "gateway"

    def sign_in(self, persona: str) -> Person:
        """Somebody whom all sites accepted."""
        person = Person(self.service.base_url).sign_in(persona)
        for site in self.slurm:
            self.map(person, site)
        return person

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

    def link(self, site: str, account: str | None = None) -> Link:
        """As the gateway has it."""
        settings = self.service.settings.yaml.sites[site]
        assert isinstance(settings, BatchSite)
        return Link(hub="hub", site=site, settings=settings, folder=self.gateway_folder, account=account)

    def master_pid(self, site: str, kind: MasterKind, account: str | None = None) -> int:
        """The process of a master; 0 without one."""
        return pid_of_master(self.link(site, account), kind)

    def kill(self, victim: str, site: str) -> None:
        """kill -9 of hub, gateway, or a master of a site."""
        if victim == "hub":
            self.service.kill("hub")
        elif victim == "gateway":
            self.kill_gateway()
        elif pid := self.master_pid(site, MasterKind(victim)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def bring_back(self, victim: str) -> None:
        """After `kill`: wait until it is there again; the gateway nobody else starts. Masters the gateway sees to."""
        if victim == "hub":
            self.service.wait_for_child("hub")
            self.service.wait_until_up()
        elif victim == "gateway":
            self.start_gateway()

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
        self.stop(person, *(session.server.name for session in found))
        deadline = time.monotonic() + _END_SECONDS
        while any(one.server.user == user for one in sessions.open_on("hub")):
            assert time.monotonic() < deadline, f"not all of {found} ended\n{self.service.all_logs()}"
            time.sleep(0.2)

    def job_of(self, site: str, attempt: str) -> str:
        """The scheduler's id of the one job of an attempt."""
        [job] = self.slurm[site].job_ids(f"nbfed-{attempt}")
        return job

    def ask_for(self, person: Person, *servers: str, site: str, **options: Any) -> list[httpx.Response]:
        """As `begin`, whatever is answered."""
        wanted = {"flavour": "small", "environment": "stub", "site": site, "walltime_minutes": 60, **options}
        return _at_once(person, "POST", servers, json=wanted)

    def begin(self, person: Person, *servers: str, site: str, **options: Any) -> None:
        """Start servers that cost next to nothing, all at once; they have an hour."""
        answers = self.ask_for(person, *servers, site=site, **options)
        assert {answer.status_code for answer in answers} <= {201, 202}, [answer.text for answer in answers]

    def stop(self, person: Person, *servers: str) -> None:
        """Stop servers, all at once, as the buttons on the pages do."""
        _at_once(person, "DELETE", servers)

    def wait_until_ready(self, person: Person, *servers: str) -> None:
        """Wait until the hub says that all of them can be used."""
        wait_until(
            lambda: self.ready(person) >= set(servers), _MANY_READY_SECONDS,
            told=lambda: f"only {self.ready(person)}\n{self.service.all_logs()}\n{self.gateway_log.read_text()[-3000:]}",
        )  # fmt: skip

    @staticmethod
    def ready(person: Person) -> set[str]:
        """The servers that the hub says can be used."""
        servers: dict[str, Any] = person.api("GET", f"users/{person.user_name}").json()["servers"]
        return {name for name, server in servers.items() if server["ready"]}

    def open_names(self, person: Person) -> set[str]:
        """The servers that have an open session."""
        found = self.service.house.sessions.open_on("hub")
        return {one.server.name for one in found if one.server.user == person.user_name}

    def session_of(self, person: Person, server: str = "") -> Session:
        """The open session of a server."""
        session = self.service.house.sessions.open_of(Server("hub", person.user_name, server))
        assert session is not None
        return session

    def closed(self, person: Person, attempt: str) -> Line:
        """The line of an attempt in the books, once it is closed."""

        def look() -> Line | None:
            lines = [line for line in lines_of(self.service, person.user_name) if line.hold == attempt]
            return next((line for line in lines if line.state in ("settled", "released")), None)

        line: Line = wait_for(look, _END_SECONDS)
        return line

    def assert_exact(self, site: str, job: str, line: Line) -> None:
        """The charge is what Slurm recorded, to the second, and the books add up."""
        records = self.slurm[site].records(job)
        source = "scheduler" if any(record.ran for record in records) else "never ran"
        assert (line.source, line.cost) == (source, sum(record.seconds for record in records) * 1000), records
        self.assert_verified()

    def assert_verified(self) -> None:
        done = self.service.nbfed("ledger", "verify", check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def close(self) -> None:
        """End the gateway and its connections."""
        if self.gateway is not None and self.gateway.poll() is None:
            self.gateway.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.gateway.wait(15)


def _at_once(person: Person, method: str, servers: Sequence[str], **options: Any) -> list[httpx.Response]:
    """Ask the hub the same of each server; each answer may take seconds."""
    user = person.user_name
    paths = [f"users/{user}/servers/{name}" if name else f"users/{user}/server" for name in servers]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda path: person.api(method, path, **options), paths))


def _site(slurm: SlurmSite, sshd: SshSite, node: str, flavours: Sequence[str]) -> dict[str, Any]:
    """Its part of federation.yaml."""
    own = site_settings(sshd, gate=sshd.gate, reverse_port=sshd.reverse_port, node=node, flavours=list(flavours))
    access = {"access": "user-certificate", "notebook_to_hub": "direct"} if sshd.accounts else {}
    return {"title": f"HPC {slurm.name.title()}", **own, **access}


@contextlib.contextmanager
def running_federation(
    slurm: Mapping[str, SlurmSite],
    *,
    batch_flavours: Sequence[str] = ("small",),
    own_accounts: bool = False,
    prepare: Callable[[Service], object] = lambda _service: None,
    **more: Mapping[str, Any],
) -> Iterator[Federation]:
    """A federation of these sites, which offer these flavours, and this machine. `more` adds to sections of
    federation.yaml, or replaces keys there. With `own_accounts` there is no robot: each account signs in for itself.
    `prepare` is called before anything is started.
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
            if own_accounts:
                gates[name].change_policy(log="syslog")  # each account would have to be able to write to a file
            command = f"{'' if own_accounts else '/usr/bin/sudo -n '}{folder / name / 'site-gate'}"
            accounts = site.accounts if own_accounts else ()
            sshd[name] = stack.enter_context(running_sshd(name, ROBOT, command, [], accounts=accounts))
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
        prepare(service)
        service.nbfed("ca", "init")
        for one in sshd.values():
            one.trust((service.state.root / "gateway" / "ca.pub").read_text().strip())
        made = Federation(service, slurm, gates, sshd)
        stack.callback(made.close)
        service.start()
        certify(service.house, *slurm)
        made.start_gateway()
        yield made
