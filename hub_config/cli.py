"""`nbfed`: the commands of all houses.

Exit codes: 0 done, 1 it cannot be done (the message says why), 2 the command line is wrong.
"""

import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import click
import httpx
from fastapi import FastAPI
from sqlalchemy.exc import ArgumentError

from federation import migrations
from federation.audit_commands import audit
from federation.clock import Clock, system_clock
from federation.commands import db, plain
from federation.database import Database, DatabaseUnavailable
from federation.errors import Failure
from federation.letters import Frame
from federation.mail_commands import mail
from federation.persons import Person
from federation.settings import BatchSite, Environment, Flavour, KubernetesSite, Site
from federation.trust import trusted
from federation.worker_pages import application, serving
from hub_config import gateway_wiring
from hub_config.person_commands import person
from hub_config.settings import FederationYaml, Settings, SettingsError, load
from hub_config.sign_in.commands import identity
from hub_config.wiring import House, cluster_of, environments_folder, house, hub_users, mail_frame, upkeep
from hub_config.wiring import worker as worker_of
from quota.bench.commands import bench
from quota.commands import grant, ledger, rates, statement
from quota.ledger import Ledger
from quota.settings import Pool
from spawners.admission import Admission
from spawners.backends.cluster import Cluster
from spawners.commands import lab_wheel, sessions
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.ca_commands import ca
from spawners.gateway.commands import gateway
from spawners.gateway.conformance import SiteCheck
from spawners.gateway.conformance_job import ProbeJob
from spawners.gateway.credentials import Credentials
from spawners.gateway.door import Door
from spawners.gateway.link import Link
from spawners.home_commands import home
from spawners.homes import Homes
from spawners.quota_commands import quota
from spawners.sessions import Sessions
from spawners.site_commands import site
from spawners.tables import EndReason
from vetting.commands import mapping
from vetting.eligibility import Eligibility
from vetting.request_commands import request
from vetting.requests import Requests
from vetting.settings import Tier

__all__ = ["Installation", "main"]

_DOCTOR_SECONDS = 5.0


class _Commands(click.Group):
    """Turns what people can mend into one message and exit code 1, for all commands below."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, migrations.OutdatedSchema) as error:
            raise click.ClickException(str(error)) from error
        except Failure as failure:
            raise click.ClickException(str(failure)) from failure
        except DatabaseUnavailable as error:
            raise click.ClickException(
                f"The federation database cannot be used: {error}. This is an outage; nothing was found out or done. "
                "Try again in a minute; if it stays so, `nbfed doctor` looks closer."
            ) from error


class Installation:
    """What the commands of the houses work with (their `Shop`): each part is made when a command first asks for it."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock

    @cached_property
    def settings(self) -> Settings:
        return load()

    @cached_property
    def clock(self) -> Clock:
        return self._clock or self.settings.clock()

    @property
    def database(self) -> Database:
        return self._checked_house.database

    @property
    def database_as_found(self) -> Database:
        return self._house.database

    @property
    def ledger(self) -> Ledger:
        return self._checked_house.ledger

    @property
    def admission(self) -> Admission:
        return self._checked_house.admission

    @property
    def hub(self) -> str:
        return self.settings.yaml.federation.hub

    @property
    def pools(self) -> Mapping[str, Pool]:
        return self.settings.yaml.pools

    @property
    def weights_milli(self) -> Mapping[str, int]:
        return self._house.admission.policy.weights_milli()

    @property
    def sessions(self) -> Sessions:
        return self._checked_house.sessions

    @property
    def authority(self) -> CertificateAuthority:
        return gateway_wiring.authority(self.settings)

    @property
    def links(self) -> Mapping[str, Link]:
        return gateway_wiring.links(self.settings)

    @property
    def logins(self) -> Sequence[Link]:
        return gateway_wiring.logins(self.settings)

    @property
    def gateway_folder(self) -> Path:
        return self.settings.state.gateway

    @property
    def gateway_door(self) -> Door:
        return self.settings.gateway_door

    @property
    def gateway_application(self) -> Callable[[], FastAPI]:
        return partial(gateway_wiring.gateway, self.settings, self.database)

    def credentials(self, link: Link, *, minutes: int | None = None) -> Credentials:
        return gateway_wiring.credentials(self.settings, link, minutes=minutes)

    @property
    def house(self) -> House:
        return self._checked_house

    @property
    def site_names(self) -> Collection[str]:
        return list(self.settings.yaml.sites)

    @property
    def sites(self) -> Mapping[str, Site]:
        return self.settings.yaml.sites

    def site_check(self, name: str, folder: Path, account: str | None) -> SiteCheck:
        from hub_config import check_wiring

        return check_wiring.site_check(self.settings, name, folder, account)

    def probe_jobs(
        self, name: str, account: str, *, environments: Sequence[str], wait_seconds: float, say: Callable[[str], None]
    ) -> list[ProbeJob]:
        from hub_config import check_wiring

        return check_wiring.probe_jobs(
            self.settings, name, account, environments=environments, wait_seconds=wait_seconds, say=say
        )

    @property
    def homes(self) -> Homes:
        return Homes(self.database, clock=self.clock)

    @property
    def environments(self) -> Mapping[str, Environment]:
        return self.settings.yaml.environments

    def cluster(self, site: KubernetesSite, kubeconfig: Path | None) -> Cluster:
        if kubeconfig is not None:
            return Cluster(site.namespace, kubeconfig=kubeconfig)
        return cluster_of(self.settings, site)

    @property
    def tiers(self) -> Mapping[str, Tier]:
        return self.settings.yaml.tiers

    @property
    def requests(self) -> Requests:
        return self._checked_house.requests

    @property
    def mail_frame(self) -> Frame:
        return mail_frame(self.settings)

    @property
    def grant_months(self) -> int:
        return self.settings.yaml.desk.grant_months

    def eligibility(self, person: Person) -> Eligibility:
        return self._checked_house.admission.eligibility(person)

    def forget_at_hub(self, user_name: str) -> None:
        hub_users(self.settings).forget(user_name)

    @property
    def batch_sites(self) -> Mapping[str, BatchSite]:
        sites = self.settings.yaml.sites
        return {name: site for name, site in sites.items() if isinstance(site, BatchSite)}

    @property
    def flavours(self) -> Mapping[str, Flavour]:
        return self.settings.yaml.flavours

    def close(self) -> None:
        """Close what was opened."""
        if "_house" in vars(self):
            self._house.database.dispose()

    @cached_property
    def _house(self) -> House:
        return _house(self.settings, "nbfed", self.clock)

    @cached_property
    def _checked_house(self) -> House:
        migrations.check(self._house.database)
        return self._house


def _house(settings: Settings, actor: str, clock: Clock | None = None) -> House:
    with _readable_places(settings):
        return house(settings, actor=actor, clock=clock)


@contextmanager
def _readable_places(settings: Settings) -> Iterator[None]:
    """Say what is wrong with the state folder or the database's address, which is not shown: it may hold a password."""
    try:
        yield
    except (ArgumentError, ImportError, ValueError) as error:
        why = "it is not an SQLAlchemy URL that this program can use"
        why += f": {error}" if isinstance(error, ImportError) else ", such as postgresql+psycopg://name@host/database"
        raise SettingsError(
            f"The address of the federation database cannot be used; {why}. It comes from NBFED_DATABASE_URL, else "
            f"from the file that database.url_file names in {settings.file}."
        ) from error
    except OSError as error:
        raise SettingsError(
            f"The state folder {settings.state.root} cannot be used: {error.strerror or error}. "
            "The account that runs this must own it; NBFED_HOME names another."
        ) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(ctx: click.Context) -> None:
    """The notebooks federation: run it, check it, give quota, read the books."""
    if ctx.obj is None:
        ctx.obj = Installation()
        ctx.call_on_close(ctx.obj.close)


for _command in (
    audit, bench, ca, db, gateway, grant, home, ledger, mail, quota, rates, statement, sessions, site, identity, mapping,
    person, request, lab_wheel,
):  # fmt: skip
    main.add_command(_command)


@main.command()
@click.option("--config", type=click.Path(path_type=Path), help="federation.yaml; else NBFED_CONFIG, else the demo's")
def up(config: Path | None) -> None:
    """Run the whole service in this terminal until Ctrl-C."""
    from hub_config.banner import banner, check_local_sites
    from hub_config.supervisor import up as supervise

    settings = load(config)
    # Children start in another folder: a relative name would mean another one there.
    os.environ["NBFED_ENVIRONMENTS"] = str(environments_folder())
    with _readable_places(settings):
        check_local_sites(settings)
    parts = _house(settings, "nbfed up")
    migrations.upgrade(parts.database)
    parts.publish_rates()
    parts.publish_terms()

    def on_stopped() -> None:
        going_on = Counter(session.site for session in upkeep(parts).end_all(EndReason.SERVICE))
        for where, count in sorted(going_on.items()):
            with suppress(OSError):  # of a terminal that was closed
                click.echo(
                    f"{count} {'session' if count == 1 else 'sessions'} at {where} were not ended: their jobs are the "
                    "scheduler's, and the next start finds them, or when they ended."
                )

    sys.exit(supervise(settings, on_stopped=on_stopped, banner=lambda: banner(settings)))


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="for health and metrics; else listen.worker_port")
def worker(port: int | None) -> None:
    """Renew leases, settle ended sessions, stop idle ones. `nbfed up` runs it.

    There may be several: one leads, the others stand by and take over within 30 seconds when it dies.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for chatty in ("httpx", "apscheduler"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings = load()
    parts = _house(settings, "worker")
    migrations.check(parts.database)
    shell, registry = worker_of(parts)
    port = port or settings.yaml.listen.worker_port
    try:
        pages = serving(application(shell.health, registry), settings.yaml.listen.worker_ip, port)
    except OSError as error:
        raise click.ClickException(
            f"Port {port} cannot be opened: {error.strerror}. Choose another with listen.worker_port in "
            f"{settings.file}, or, for a second worker on this machine, with --port."
        ) from error
    with pages:
        shell.run()


@main.command()
def desk() -> None:
    """The access desk's pages, at /services/desk/ of the hub. `nbfed up` runs it.

    It keeps nothing: when it is started again, people go on where they were.
    """
    from hub_config.desk_wiring import serve_desk

    settings = load()
    parts = _house(settings, "desk")
    migrations.check(parts.database)
    serve_desk(parts)


@main.command("demo-sign-in")
def demo_sign_in() -> None:
    """The demo sign-in. `nbfed up` runs it."""
    from hub_config.demo.sign_in import serve

    serve(load())


@main.command("demo-hpc")
def demo_hpc() -> None:
    """The demonstration with two HPC sites on this machine, in this terminal until Ctrl-C. Debian, as root.

    Each is a Slurm cluster of one node behind sshd on loopback. `make run HPC=1` runs it.
    """
    from hub_config.demo.hpc.run import demo_hpc as run

    os.environ["NBFED_ENVIRONMENTS"] = str(environments_folder())
    sys.exit(run(load(), click.echo))


@main.group()
def config() -> None:
    """federation.yaml: check it, describe it to editors."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.pass_context
def check(ctx: click.Context, file: Path | None) -> None:
    """Check FILE, else what NBFED_CONFIG names, else the demo's, and the files that it names. Changes nothing."""
    try:
        settings = load(file)
        complaints = [*_complaints_about_secrets(settings), *_complaints_about_files(settings)]
        place = "" if complaints else _database_place(settings)
    except SettingsError as error:
        complaints = str(error).splitlines()
    if complaints:
        click.echo("\n".join(map(plain, complaints)), err=True)
        ctx.exit(1)
    click.echo(f"{file or settings.file}: no complaints")
    click.echo(_summary(settings, place))


@config.command()
def schema() -> None:
    """Print the JSON Schema of federation.yaml, for editors and other programs."""
    described = FederationYaml.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "federation.yaml"}
    click.echo(json.dumps({**head, **{k: v for k, v in described.items() if k not in head}}, indent=2))


def _complaints_about_secrets(settings: Settings) -> Iterator[str]:
    """What is wrong with the secrets that federation.yaml names: a line for each, not only for the first."""
    yaml = settings.yaml
    named = {"database.url_file": yaml.database.url_file, "database.hub_url_file": yaml.database.hub_url_file}
    named |= {
        f"identity.providers.{each.id}.client_secret_file": each.client_secret_file for each in yaml.identity.providers
    }
    named["identity.auth_state_key_file"] = yaml.identity.auth_state_key_file
    named["mail.password_file"] = yaml.mail.password_file if yaml.mail else None
    for key, file in named.items():
        try:
            if file is not None:
                settings.read_secret(file, key)
        except SettingsError as error:
            yield str(error)


def _complaints_about_files(settings: Settings) -> Iterator[str]:
    """What is wrong with the other files that federation.yaml names."""
    yaml = settings.yaml
    terms = yaml.federation.terms.files if yaml.federation.terms else {}
    named = {f"federation.terms.files.{language}": file for language, file in terms.items()}
    batch = {name: site for name, site in yaml.sites.items() if isinstance(site, BatchSite)}
    named |= {f"sites.{name}.login.host_key_file": site.login.host_key_file for name, site in batch.items()}
    for key, file in named.items():
        path = settings.file.parent / file
        if not path.is_file():
            yield f"{settings.file}: {key}: there is no file {path}"


def _database_place(settings: Settings) -> str:
    """Where the books are, without passwords. Nothing is contacted or made."""
    if not os.environ.get("NBFED_DATABASE_URL") and not settings.yaml.database.url_file:
        return "SQLite in the state folder"
    return _open_database(settings).place


def _summary(settings: Settings, database_place: str) -> str:
    yaml = settings.yaml
    sites = (f"{name} ({site.kind}: {', '.join(site.flavours)})" for name, site in yaml.sites.items())
    providers = ", ".join(provider.id for provider in yaml.identity.providers)
    defaults = (f"{name} {each.amount_hours} unit-hours each {each.period}" for name, each in yaml.defaults.items())
    facts = {
        "federation": f"{yaml.federation.name}, {yaml.federation.mode} mode, {settings.base_url}",
        "sign-in": providers or "demonstration personas",
        "tiers": ", ".join(yaml.tiers),
        "defaults": "; ".join(defaults) or "none",
        "sites": "; ".join(sites),
        "environments": ", ".join(yaml.environments),
        "database": f"{database_place} (not contacted)",
    }
    return "\n".join(f"  {name + ':':<14}{text}" for name, text in facts.items())


@main.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Look at this installation, and say what is wrong and what to do about it. Changes nothing."""
    from hub_config.doctor import State, examine, report

    with httpx.Client(timeout=_DOCTOR_SECONDS, trust_env=False, verify=trusted()) as client:
        checks = list(examine(load, _open_database, client, system_clock))
    click.echo(report(checks))
    if any(found.state is State.FAIL for found in checks):
        ctx.exit(1)


def _open_database(settings: Settings) -> Database:
    with _readable_places(settings):
        return Database(settings.database_url, busy_seconds=settings.yaml.database.busy_seconds)


if __name__ == "__main__":
    main()
