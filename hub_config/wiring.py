"""Puts the houses together: one place that makes database, ledger, admission, backends and upkeep from the settings."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from sqlalchemy import text

import spawners.letters  # noqa: F401 - both register what mails say
import vetting.letters  # noqa: F401
from federation import terms
from federation.clock import Clock
from federation.database import Database
from federation.errors import Failure
from federation.leader import leadership
from federation.letters import Frame
from federation.mail import MailSender, Server
from federation.settings import BatchSite, KubernetesSite, LocalSite, Site, in_language
from federation.state import StateFolder
from federation.worker import Job, Worker
from hub_config.settings import FederationYaml, Settings, SettingsError
from quota import rates
from quota.amounts import from_unit_hours
from quota.ledger import Ledger
from spawners.admission import Admission, Policy
from spawners.adoption import OpenAttempts
from spawners.announcer import Announcer
from spawners.backends.batch import BatchJobs
from spawners.backends.batch_child import child_class
from spawners.backends.cluster import Cluster
from spawners.backends.kubernetes import KubernetesSpawner
from spawners.backends.kubernetes_arguments import pod_arguments
from spawners.backends.kubernetes_pods import Pods
from spawners.backends.local import LocalSpawner
from spawners.backends.local_process import LocalProcesses
from spawners.context import Context, SiteBackend
from spawners.exchange import EXCHANGE_PATH
from spawners.gateway.client import GatewayClient
from spawners.home_rounds import HomeRounds
from spawners.homes import Homes
from spawners.hub_client import HttpHubServers, HubUsers
from spawners.leases import reserved_minutes
from spawners.memberships import PacedMemberships
from spawners.metrics import WorkerMetrics
from spawners.options import resources_in
from spawners.outlook import StopRules
from spawners.outlooks import Outlooks
from spawners.reconciler import Reconciler
from spawners.sessions import Session, Sessions
from spawners.stopping import Stopper
from spawners.upkeep import Rules, Upkeep
from vetting.guards import DeskRules
from vetting.organisation import organisation_of
from vetting.request_rounds import RequestRounds
from vetting.requests import Requests

__all__ = [
    "House",
    "cluster_of",
    "environments_folder",
    "house",
    "hub_users",
    "mail_frame",
    "mail_sender",
    "request_rounds",
    "stopper",
    "upkeep",
    "worker",
]

_HANDOVER_SECONDS = 180.0
"""A site may take as long as several requests to its gateway do."""


@dataclass(frozen=True, kw_only=True)
class House:
    """Everything that the processes of one installation share; each process makes its own."""

    settings: Settings
    clock: Clock
    database: Database
    ledger: Ledger
    sessions: Sessions
    admission: Admission
    outlooks: Outlooks
    requests: Requests
    backends: Mapping[str, SiteBackend]

    def probe(self) -> None:
        """Ask the database for nothing.

        Raises
        ------
        DatabaseUnavailable
            If it does not answer.
        """
        with self.database.read() as connection:
            connection.execute(text("SELECT 1"))

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

    def publish_terms(self) -> None:
        """Make the terms of federation.yaml the ones in force, with the words of their files.

        Raises
        ------
        hub_config.settings.SettingsError
            If a file cannot be read.
        """
        named = self.settings.yaml.federation.terms
        if named is None:
            return
        words = {language: self.settings.read_terms(language) for language in named.files}
        with self.database.write() as connection:
            terms.publish(connection, named.version, words, self.clock())


def house(settings: Settings, *, actor: str, clock: Clock | None = None) -> House:
    """Make it; `actor` is who makes entries in the books; the clock is that of the settings. Nothing is contacted yet."""
    yaml, clock = settings.yaml, clock or settings.clock()
    database = Database(settings.database_url, busy_seconds=yaml.database.busy_seconds)
    ledger = Ledger(database, clock=clock, actor=actor)
    sessions = Sessions(database, clock=clock)
    policy = Policy(
        tiers=yaml.tiers,
        flavours=yaml.flavours,
        environments=yaml.environments,
        sites=yaml.sites,
        defaults=yaml.defaults,
        limits=yaml.limits,
        pools=yaml.pools,
        terms=yaml.federation.terms,
        snapshot=timedelta(hours=yaml.identity.snapshot_hours),
    )
    kinds = {site.kind for site in yaml.sites.values()}
    admission = Admission(database, ledger, policy, kinds, clock, lambda: _closed(backends))
    backends = _backends(settings, clock, sessions, admission, database)
    return House(
        settings=settings,
        clock=clock,
        database=database,
        ledger=ledger,
        sessions=sessions,
        admission=admission,
        outlooks=Outlooks(database, admission, _stop_rules(settings)),
        requests=Requests(database, _desk_rules(yaml), clock=clock, terms_grace_days=_grace_days(yaml)),
        backends=backends,
    )


def worker(parts: House) -> tuple[Worker, CollectorRegistry]:
    """The worker of this installation, and where its metrics are."""
    yaml = parts.settings.yaml
    lock = leadership(parts.database.url, yaml.federation.hub)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = WorkerMetrics(registry, tuple(parts.backends))
    rounds = upkeep(parts, metrics=metrics, guard=lock.require)
    slower = Reconciler(
        hub=yaml.federation.hub,
        database=parts.database,
        sessions=parts.sessions,
        ledger=parts.ledger,
        backends=parts.backends,
        clock=parts.clock,
        metrics=metrics,
        guard=lock.require,
    )
    announcer = Announcer(
        hub=yaml.federation.hub,
        database=parts.database,
        sessions=parts.sessions,
        outlooks=parts.outlooks,
        clock=parts.clock,
        guard=lock.require,
    )
    requests = request_rounds(parts, guard=lock.require)
    jobs = [
        Job("stop now", timedelta(seconds=2), stopper(parts, metrics=metrics, guard=lock.require).run_once, apart=True),
        Job("rounds", timedelta(seconds=yaml.worker.interval_seconds), rounds.run_once),
        Job("reconcile", timedelta(minutes=1), slower.run_once),
        Job("announce", timedelta(minutes=1), announcer.run_once),
        Job("apply", timedelta(seconds=15), requests.apply_all),
        Job("watch", timedelta(minutes=5), requests.watch_all),
        Job("homes", timedelta(hours=1), home_rounds(parts, guard=lock.require).run_once),
        Job("digest", timedelta(minutes=15), requests.tell_reviewers),
    ]
    if yaml.mail is not None:
        jobs.append(Job("mail", timedelta(seconds=15), mail_sender(parts, guard=lock.require).run_once))
    return Worker(jobs, lock, probe=parts.probe, registry=registry), registry


def stopper(parts: House, *, metrics: WorkerMetrics | None = None, guard: Callable[[], None] = lambda: None) -> Stopper:
    """What ends at once what runs of people who were stopped."""
    return Stopper(
        hub=parts.settings.yaml.federation.hub,
        database=parts.database,
        sessions=parts.sessions,
        ledger=parts.ledger,
        backends=parts.backends,
        servers=_hub_servers(parts.settings),
        clock=parts.clock,
        metrics=metrics,
        guard=guard,
    )


def request_rounds(parts: House, *, guard: Callable[[], None] = lambda: None) -> RequestRounds:
    """What the worker does about requests."""
    return RequestRounds(
        database=parts.database,
        requests=parts.requests,
        tiers=parts.settings.yaml.tiers,
        roles=parts.settings.yaml.identity.roles,
        clock=parts.clock,
        guard=guard,
    )


def home_rounds(parts: House, *, guard: Callable[[], None] = lambda: None) -> HomeRounds:
    """What the worker does about people's homes."""
    return HomeRounds(
        database=parts.database,
        homes=Homes(parts.database, clock=parts.clock),
        admission=parts.admission,
        clock=parts.clock,
        guard=guard,
    )


def mail_sender(parts: House, *, guard: Callable[[], None] = lambda: None) -> MailSender:
    """Who sends the outbox, where federation.yaml says how mail leaves."""
    mail = parts.settings.yaml.mail
    assert mail is not None, "made only where there is a mail section"
    password = parts.settings.read_secret(mail.password_file, "mail.password_file") if mail.password_file else ""
    return MailSender(
        database=parts.database,
        server=Server(url=mail.smtp, sender=mail.sender, starttls=mail.starttls, user=mail.user, password=password),
        frame=mail_frame(parts.settings),
        default_language=parts.settings.yaml.federation.languages[0],
        clock=parts.clock,
        guard=guard,
    )


def mail_frame(settings: Settings) -> Frame:
    """What stands around every mail."""
    federation = settings.yaml.federation
    return Frame(federation=federation.name, base_url=settings.base_url, contact=federation.contact)


def upkeep(parts: House, *, metrics: WorkerMetrics | None = None, guard: Callable[[], None] = lambda: None) -> Upkeep:
    """The worker's rounds."""
    settings = parts.settings
    yaml = settings.yaml
    rules, hub = _stop_rules(settings), _hub_servers(settings)
    return Upkeep(
        hub=yaml.federation.hub,
        database=parts.database,
        sessions=parts.sessions,
        ledger=parts.ledger,
        admission=parts.admission,
        backends=parts.backends,
        servers=hub,
        memberships=PacedMemberships(hub, every=rules.lease / 4, clock=parts.clock),
        rules=Rules(
            lease=rules.lease,
            idle_stop=rules.idle_stop,
            silent_patience=timedelta(minutes=yaml.worker.silent_minutes),
        ),
        clock=parts.clock,
        metrics=metrics,
        guard=guard,
    )


def _hub_servers(settings: Settings) -> HttpHubServers:
    hub = settings.yaml.federation.hub
    return HttpHubServers(f"{settings.hub_url}/hub/api", settings.state.secret("worker_token"), hub)


def _desk_rules(yaml: FederationYaml) -> DeskRules:
    """What is asked of requests."""
    desk = yaml.desk
    return DeskRules(
        ceiling_milli_unit_seconds=from_unit_hours(desk.reviewer_ceiling_hours),
        target_answer=timedelta(days=desk.target_answer_days),
        membership_grace=timedelta(days=desk.membership_grace_days),
        tiers=[name for name, tier in yaml.tiers.items() if tier.vetting == "review"],
        sites=list(yaml.sites),
    )


def _grace_days(yaml: FederationYaml) -> int | None:
    return yaml.federation.terms.grace_days if yaml.federation.terms else None


def hub_users(settings: Settings) -> HubUsers:
    """The hub's own records of people, for the command that removes them."""
    return HubUsers(f"{settings.hub_url}/hub/api", settings.state.secret("operator_token"))


def _stop_rules(settings: Settings) -> StopRules:
    """What the worker stops sessions by, and what is announced of it."""
    idle, limits = settings.yaml.idle, settings.yaml.limits
    return StopRules(
        lease=timedelta(minutes=limits.lease_minutes),
        idle_stop=timedelta(minutes=idle.stop_after_minutes) if idle.stop_after_minutes is not None else None,
        idle_notice=timedelta(minutes=idle.notice_minutes),
    )


def environments_folder() -> Path:
    """Where the notebook environments of local sites are installed (`NBFED_ENVIRONMENTS`)."""
    return Path(os.environ.get("NBFED_ENVIRONMENTS") or ".environments").absolute()


def _backends(
    settings: Settings, clock: Clock, sessions: Sessions, admission: Admission, database: Database
) -> dict[str, SiteBackend]:
    """One for each site."""
    gateway = GatewayClient(settings.gateway_door)

    def made(name: str, site: Site) -> SiteBackend:
        match site:
            case LocalSite():
                return _local(settings, name, site, clock)
            case KubernetesSite():
                return _kubernetes(settings, admission, Homes(database, clock=clock), name, site)
            case BatchSite():
                return _batch(settings, name, site, BatchJobs(name, gateway, sessions, clock), database)

    return {name: made(name, site) for name, site in settings.yaml.sites.items()}


def _closed(backends: Mapping[str, SiteBackend]) -> dict[str, Failure]:
    """The places that take nothing just now, and why."""
    found = {name: backend.closed() for name, backend in backends.items()}
    return {name: failure for name, failure in found.items() if failure is not None}


def _local(settings: Settings, name: str, site: LocalSite, clock: Clock) -> SiteBackend:
    state: StateFolder = settings.state
    processes = LocalProcesses(state.sessions, clock=clock, account=site.account if os.geteuid() == 0 else None)
    exchange_url = f"{settings.hub_url}/hub{EXCHANGE_PATH}"

    def arguments(session: Session) -> Mapping[str, object]:
        local = settings.yaml.environments[session.environment].local
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


def cluster_of(settings: Settings, site: KubernetesSite) -> Cluster:
    """The API server of a site. Nothing is contacted yet."""
    kubeconfig = settings.file.parent / site.kubeconfig_file if site.kubeconfig_file else None
    return Cluster(site.namespace, kubeconfig=kubeconfig, context=site.context)


def _kubernetes(settings: Settings, admission: Admission, homes: Homes, name: str, site: KubernetesSite) -> SiteBackend:
    pods = Pods(cluster_of(settings, site), settings.yaml.federation.hub)

    def organisation(session: Session) -> str:
        return organisation_of(admission.person(session.server.user).facts, settings.yaml.tiers)

    def home_gib(session: Session) -> int:
        return admission.home_gib(admission.person(session.server.user), name)

    def arguments(session: Session) -> Mapping[str, object]:
        yaml = settings.yaml
        return pod_arguments(
            session,
            pods=pods,
            site=site,
            flavour=yaml.flavours[session.flavour],
            environment=yaml.environments[session.environment],
            organisation=partial(organisation, session),
            homes=homes,
            home_gib=partial(home_gib, session),
        )

    return SiteBackend(asks=pods, child_class=KubernetesSpawner, child_arguments=arguments)


def _batch(settings: Settings, name: str, site: BatchSite, jobs: BatchJobs, database: Database) -> SiteBackend:
    child = child_class(site.dialect)
    unknown = sorted(set(site.batchspawner) - set(child.class_trait_names()))
    if unknown:
        raise SettingsError(
            f"{settings.file}: sites.{name}.batchspawner: batchspawner has no {', '.join(unknown)} for {site.dialect}"
        )

    def minutes(attempt: str) -> int:
        with database.read() as connection:
            return reserved_minutes(connection, attempt)

    def arguments(session: Session) -> Mapping[str, object]:
        environment = settings.yaml.environments.get(session.environment)
        return {
            "jobs": jobs,
            "site": site,
            "site_title": in_language(site.title, name),
            "software": environment.batch if environment else None,
            "flavour": settings.yaml.flavours[session.flavour],
            "resources": resources_in(session.options),
            "walltime_minutes": minutes,
            "exchange_path": f"/hub{EXCHANGE_PATH}",
            "clock": jobs.clock,
            **site.batchspawner,
        }

    return SiteBackend(
        asks=jobs,
        child_class=child,
        child_arguments=arguments,
        handover_seconds=_HANDOVER_SECONDS,
        closed=lambda: jobs.closed(in_language(site.title, name)),
        ends_with_service=False,  # at an end of the service the gateway is away already
    )
