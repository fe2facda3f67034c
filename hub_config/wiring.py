"""Puts the houses together: one place that makes database, ledger, admission, backends and upkeep from the settings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from federation.clock import Clock
from federation.database import Database
from federation.settings import LocalSite, in_language
from federation.state import StateFolder
from hub_config.settings import Settings
from quota import rates
from quota.ledger import Ledger
from spawners.admission import Admission, Policy
from spawners.adoption import OpenAttempts
from spawners.backends.local import LocalSpawner
from spawners.backends.local_process import LocalProcesses
from spawners.context import Context, SiteBackend
from spawners.exchange import EXCHANGE_PATH
from spawners.hub_client import HttpHubServers
from spawners.sessions import Sessions
from spawners.upkeep import Rules, Upkeep

__all__ = ["House", "environments_folder", "house", "upkeep"]


@dataclass(frozen=True, kw_only=True)
class House:
    """Everything that the processes of one installation share; each process makes its own."""

    settings: Settings
    clock: Clock
    database: Database
    ledger: Ledger
    sessions: Sessions
    admission: Admission
    backends: Mapping[str, SiteBackend]

    def context(self) -> Context:
        """What the hub's spawners work with."""
        return Context(
            hub=self.settings.yaml.federation.hub,
            database=self.database,
            ledger=self.ledger,
            admission=self.admission,
            sessions=self.sessions,
            open_attempts=OpenAttempts(self.sessions, self.settings.yaml.federation.hub),
            backends=self.backends,
            ask_url="/hub/ask",
            clock=self.clock,
        )

    def publish_rates(self) -> int:
        """Make the weights of federation.yaml the ones in force, and return their version."""
        with self.database.write() as connection:
            return rates.publish(connection, self.admission.policy.weights_milli(), self.clock())


def house(settings: Settings, *, actor: str, clock: Clock | None = None) -> House:
    """Make it; `actor` is who makes entries in the books; the clock is that of the settings. Nothing is contacted yet."""
    yaml, clock = settings.yaml, clock or settings.clock()
    database = Database(settings.database_url, busy_seconds=yaml.database.busy_seconds)
    ledger = Ledger(database, clock=clock, actor=actor)
    backends = _backends(settings, clock)
    policy = Policy(
        tiers=yaml.tiers,
        flavours=yaml.flavours,
        environments=yaml.environments,
        sites=yaml.sites,
        defaults=yaml.defaults,
        limits=yaml.limits,
    )
    kinds = {yaml.sites[name].kind for name in backends}
    return House(
        settings=settings,
        clock=clock,
        database=database,
        ledger=ledger,
        sessions=Sessions(database, clock=clock),
        admission=Admission(database, ledger, policy, kinds, clock),
        backends=backends,
    )


def upkeep(parts: House) -> Upkeep:
    """The worker's rounds."""
    settings = parts.settings
    yaml = settings.yaml
    idle = yaml.idle.stop_after_minutes
    return Upkeep(
        hub=yaml.federation.hub,
        database=parts.database,
        sessions=parts.sessions,
        ledger=parts.ledger,
        admission=parts.admission,
        backends=parts.backends,
        servers=HttpHubServers(
            f"http://127.0.0.1:{yaml.listen.hub_port}/hub/api",
            settings.state.secret("worker_token"),
            yaml.federation.hub,
        ),
        rules=Rules(
            lease=timedelta(minutes=yaml.limits.lease_minutes),
            idle_stop=timedelta(minutes=idle) if idle is not None else None,
        ),
        clock=parts.clock,
    )


def environments_folder() -> Path:
    """Where the notebook environments of local sites are installed (`NBFED_ENVIRONMENTS`)."""
    return Path(os.environ.get("NBFED_ENVIRONMENTS") or ".environments").absolute()


def _backends(settings: Settings, clock: Clock) -> dict[str, SiteBackend]:
    """One for each site of a kind that this version can run on."""
    return {
        name: _local(settings, name, site, clock)
        for name, site in settings.yaml.sites.items()
        if isinstance(site, LocalSite)
    }


def _local(settings: Settings, name: str, site: LocalSite, clock: Clock) -> SiteBackend:
    state: StateFolder = settings.state
    processes = LocalProcesses(state.sessions, clock=clock, account=site.account if os.geteuid() == 0 else None)
    exchange_url = f"http://127.0.0.1:{settings.yaml.listen.hub_port}/hub{EXCHANGE_PATH}"

    def arguments(environment: str) -> Mapping[str, object]:
        local = settings.yaml.environments[environment].local
        assert local is not None, "placement only offers environments that the site has"
        return {
            "processes": processes,
            "prefix": environments_folder() / local.prefix,
            "homes": state.homes,
            "exchange_url": exchange_url,
            "boot_seconds": site.boot_seconds,
            "site_title": in_language(site.title, name),
        }

    return SiteBackend(asks=processes, child_class=LocalSpawner, child_arguments=arguments)
