"""federation.yaml as one model: read, checked, and every complaint given with file, line and the nearest known key."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, model_validator

from federation.clock import CLOCK_FILE, Clock, FileClock, system_clock
from federation.i18n import LANGUAGES
from federation.settings import (
    BatchSite,
    DatabaseSection,
    Environment,
    FederationSection,
    Flavour,
    KubernetesSite,
    ListenSection,
    MailSection,
    Name,
    Section,
    Site,
)
from federation.state import StateFolder
from hub_config.complaints import Location, Misfit, about_doubled_keys, about_values, nearest
from quota.settings import DefaultGrant, LimitsSection, Pool
from spawners.gateway.door import Door
from spawners.settings import GatewaySection, IdleSection, WorkerSection
from vetting.settings import DeskSection, IdentitySection, Tier, entitlements_of_nobody, terms_of_nobody

__all__ = ["DEMO_FILE", "LOOPBACK", "FederationYaml", "Settings", "SettingsError", "load", "parse"]

LOOPBACK = "127.0.0.1"

DEMO_FILE = Path(__file__).parent / "demo" / "federation.yaml"
"""What `nbfed up` runs with when no federation.yaml is named."""


_SSH_PORT = 22
_ANY_BESIDE_OTHERS = (
    "any would let this provider hand out what belongs to the others, the operator's role among it; "
    "production mode needs its namespaces"
)


class SettingsError(Exception):
    """federation.yaml cannot be used; each line of the message names file, line, key and what is wrong."""


class FederationYaml(Section):
    """Everything that a federation's operator writes."""

    federation: FederationSection = Field(default_factory=FederationSection)
    listen: ListenSection = Field(default_factory=ListenSection)
    database: DatabaseSection = Field(default_factory=DatabaseSection)
    identity: IdentitySection = Field(default_factory=IdentitySection)
    tiers: dict[str, Tier] = Field(description="by name; of those whose rule holds, the last one counts")
    flavours: dict[Name, Flavour] = Field(min_length=1)
    environments: dict[Name, Environment] = Field(min_length=1)
    sites: dict[Name, Site] = Field(min_length=1)
    defaults: dict[str, DefaultGrant] = Field(default_factory=dict, description="default quota by tier")
    pools: dict[Name, Pool] = Field(default_factory=dict, description="quota that a community shares")
    limits: LimitsSection = Field(default_factory=LimitsSection)
    idle: IdleSection = Field(default_factory=IdleSection)
    worker: WorkerSection = Field(default_factory=WorkerSection)
    gateway: GatewaySection = Field(default_factory=GatewaySection)
    desk: DeskSection = Field(default_factory=DeskSection)
    mail: MailSection | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> "FederationYaml":
        complaints = [
            (location, f"there is no {kind} {name!r}{nearest(name, known)}")
            for above, kind, names, known in self._references()
            for location, name in _located(above, names)
            if name not in known
        ]
        if complaints:
            raise Misfit(complaints)
        return self

    @model_validator(mode="after")
    def _times_fit(self) -> "FederationYaml":
        limits, complaints = self.limits, list[tuple[Location, str]]()
        if limits.shortest_lease_minutes > limits.lease_minutes:
            wrong = f"{limits.shortest_lease_minutes} is longer than limits.lease_minutes, so nothing could start"
            complaints.append((("limits", "shortest_lease_minutes"), wrong))
        if self.worker.interval_seconds * 4 > limits.lease_minutes * 60:
            wrong = (
                f"{self.worker.interval_seconds:g} is more than a quarter of limits.lease_minutes, "
                "so leases would be renewed too late"
            )
            complaints.append((("worker", "interval_seconds"), wrong))
        if complaints:
            raise Misfit(complaints)
        return self

    @model_validator(mode="after")
    def _tiers_build_on_lower_ones(self) -> "FederationYaml":
        lower = set[str]()
        complaints = list[tuple[Location, str]]()
        for name, tier in self.tiers.items():
            if tier.needs is not None and tier.needs not in lower:
                wrong = f"{tier.needs} does not stand above {name}; tiers are listed from the lowest to the highest"
                complaints.append((("tiers", name, "needs"), wrong))
            lower.add(name)
        if complaints:
            raise Misfit(complaints)
        return self

    @model_validator(mode="after")
    def _rules_can_hold(self) -> "FederationYaml":
        complaints = list[tuple[Location, str]](terms_of_nobody(self.tiers) if self.federation.terms is None else ())
        if complaints:
            raise Misfit(complaints)
        return self

    @model_validator(mode="after")
    def _providers_are_told_apart(self) -> "FederationYaml":
        ids = [provider.id for provider in self.identity.providers]
        complaints: list[tuple[Location, str]] = [
            (("identity", "providers", index, "id"), f"another provider is called {name}, too")
            for index, name in enumerate(ids)
            if name in ids[:index]
        ]
        if complaints:
            raise Misfit(complaints)
        return self

    @model_validator(mode="after")
    def _own_accounts_have_their_own_way(self) -> "FederationYaml":
        complaints = list[tuple[Location, str]]()
        for name, site in self.sites.items():
            if not isinstance(site, BatchSite) or not site.by_account:
                continue
            if site.notebook_to_hub != "direct":
                wrong = (
                    "access: user-certificate needs `direct`: a way back through one person's connection would be "
                    "theirs to close for everybody"
                )
                complaints.append((("sites", name, "notebook_to_hub"), wrong))
            if site.login.port == _SSH_PORT:
                wrong = (
                    "access: user-certificate needs a port that sshd has for it alone: at 22 nobody could log in "
                    "there as usual any more"
                )
                complaints.append((("sites", name, "login", "port"), wrong))
        if complaints:
            raise Misfit(complaints)
        return self

    @model_validator(mode="after")
    def _production_is_strict(self) -> "FederationYaml":
        base_url, providers = self.federation.base_url, self.identity.providers
        complaints = list[tuple[Location, str]]()
        if self.federation.mode == "demo":
            if not providers and not _is_loopback(base_url):
                wrong = (
                    "the demo sign-in lets anyone in as anyone, so this must be a loopback address; "
                    "add identity.providers to serve other machines"
                )
                complaints.append((("federation", "base_url"), wrong))
        else:
            if not base_url.startswith("https://"):
                complaints.append((("federation", "base_url"), "production mode needs https"))
            if not providers:
                complaints.append((("identity", "providers"), "production mode refuses the demo sign-in; name one"))
            complaints += [
                (("identity", "providers", index, "issuer"), "production mode needs https")
                for index, provider in enumerate(providers)
                if provider.issuer and not provider.issuer.startswith("https://")
            ]
            complaints += [
                (("sites", name, "kind"), "production mode refuses local sites")
                for name, site in self.sites.items()
                if site.kind == "local"
            ]
            complaints += [
                (("identity", "providers", index, "owns_namespaces"), _ANY_BESIDE_OTHERS)
                for index, provider in enumerate(providers)
                if provider.speaks_for == "any" and len(providers) > 1
            ]
            complaints += entitlements_of_nobody(self.identity, self.tiers)
        if complaints:
            raise Misfit(complaints)
        return self

    def _references(self) -> list[tuple[Location, str, str | Collection[str], list[str]]]:
        """Names that stand for something: where, for what, the names, and those that there are."""
        languages, tiers, flavours, sites = list(LANGUAGES), list(self.tiers), list(self.flavours), list(self.sites)
        terms = self.federation.terms.files if self.federation.terms else {}
        return [
            (("federation", "languages"), "language", self.federation.languages, languages),
            (("federation", "terms", "files"), "language", terms, languages),
            (("defaults",), "tier", self.defaults, tiers),
            (("limits", "per_site"), "site", self.limits.per_site, sites),
            (("limits", "per_flavour"), "flavour", self.limits.per_flavour, flavours),
            (("identity", "roles", "site_operator"), "site", self.identity.roles.site_operator, sites),
            *((("tiers", n, "needs"), "tier", t.needs, tiers) for n, t in self.tiers.items() if t.needs is not None),
            *((("flavours", n, "tier"), "tier", f.tier, tiers) for n, f in self.flavours.items()),
            *(
                (("sites", n, "homes", "per_tier"), "tier", s.homes.per_tier, tiers)
                for n, s in self.sites.items()
                if isinstance(s, KubernetesSite) and s.homes
            ),
            *((("sites", n, "flavours"), "flavour", s.flavours, flavours) for n, s in self.sites.items()),
            *((("pools", n, "flavours"), "flavour", p.flavours, flavours) for n, p in self.pools.items()),
            *((("defaults", n, "flavours"), "flavour", d.flavours, flavours) for n, d in self.defaults.items()),
        ]


@dataclass(frozen=True)
class Settings:
    """federation.yaml, where it came from, and the state folder that goes with it."""

    file: Path
    yaml: FederationYaml
    state: StateFolder

    @property
    def is_demo_sign_in(self) -> bool:
        """Whether people sign in by choosing a persona."""
        return not self.yaml.identity.providers

    @property
    def base_url(self) -> str:
        """The public address, with a slash at its end."""
        return self.yaml.federation.base_url.rstrip("/") + "/"

    @property
    def public_port(self) -> int:
        """The port that the proxy listens on."""
        address = urlsplit(self.base_url)
        standard = 443 if address.scheme == "https" else 80
        return self.yaml.listen.public_port or address.port or standard

    @property
    def hub_url(self) -> str:
        """Where other processes reach the hub, without a slash at its end."""
        if self.yaml.listen.hub_url:
            return self.yaml.listen.hub_url.rstrip("/")
        address = ip_address(self.yaml.listen.hub_ip)
        if address.is_unspecified:
            address = ip_address("::1" if address.version == 6 else "127.0.0.1")
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"http://{host}:{self.yaml.listen.hub_port}"

    @property
    def proxy_api_url(self) -> str:
        """Where the hub reaches the proxy's API, without a slash at its end."""
        listen = self.yaml.listen
        return (listen.proxy_api_url or f"http://{LOOPBACK}:{listen.proxy_api_port}").rstrip("/")

    @property
    def worker_url(self) -> str:
        """Where the worker's pages are, without a slash at its end."""
        listen = self.yaml.listen
        return (listen.worker_url or f"http://{LOOPBACK}:{listen.worker_port}").rstrip("/")

    @property
    def desk_url(self) -> str:
        """Where proxy and hub reach the access desk, without a slash at its end."""
        listen = self.yaml.listen
        return (listen.desk_url or f"http://{LOOPBACK}:{listen.desk_port}").rstrip("/")

    @property
    def gateway_door(self) -> Door:
        """Where hub, worker and commands ask the gateway; a token is made at the first start that needs one."""
        url = self.yaml.gateway.url
        return Door(self.state.gateway_socket, url, self.state.secret("gateway_token") if url else None)

    @property
    def hub_database_url(self) -> str:
        """JupyterHub's own database: `NBFED_HUB_DATABASE_URL`, else the file that is named, else SQLite in the state
        folder.
        """
        from_environment = os.environ.get("NBFED_HUB_DATABASE_URL")
        if from_environment:
            return from_environment
        if self.yaml.database.hub_url_file:
            return self.read_secret(self.yaml.database.hub_url_file, "database.hub_url_file")
        return f"sqlite:///{self.state.hub_database}"

    @property
    def database_url(self) -> str:
        """Where the books are: `NBFED_DATABASE_URL`, else the file that is named, else SQLite in the state folder."""
        from_environment = os.environ.get("NBFED_DATABASE_URL")
        if from_environment:
            return from_environment
        if self.yaml.database.url_file:
            return self.read_secret(self.yaml.database.url_file, "database.url_file")
        return f"sqlite:///{self.state.federation_database}"

    @property
    def clock_file(self) -> Path | None:
        """The clock file that `NBFED_CLOCK_FILE` names; relative names start at the state folder."""
        name = os.environ.get(CLOCK_FILE)
        return self.state.root / name if name else None

    def clock(self) -> Clock:
        """The time of this installation: the machine's, or, for demonstrations and tests, that of the clock file.

        Raises
        ------
        SettingsError
            If there is a clock file in production mode, or it cannot be used.
        """
        file = self.clock_file
        if file is None:
            return system_clock
        if self.yaml.federation.mode == "production":
            raise SettingsError(
                f"{CLOCK_FILE} is set, and production mode refuses it: charges and grants follow the machine's clock. "
                "Unset it and start again."
            )
        try:
            return FileClock(file)
        except (OSError, ValueError) as error:
            raise SettingsError(f"The clock file that {CLOCK_FILE} names cannot be used: {error}") from error

    def read_secret(self, file: str, key: str) -> str:
        """The content of a secret's file; relative names start at the folder of federation.yaml.

        Raises
        ------
        SettingsError
            If the file is missing, unreadable, empty or not UTF-8 text.
        """
        return self._read(file, key, "secret's file")

    def read_terms(self, language: str) -> str:
        """The words of the terms in one of the languages that they name.

        Raises
        ------
        SettingsError
            If the file is missing, unreadable, empty or not UTF-8 text.
        """
        terms = self.yaml.federation.terms
        assert terms is not None, "asked only where there are terms"
        return self._read(terms.files[language], f"federation.terms.files.{language}", "file")

    def _read(self, file: str, key: str, what: str) -> str:
        path = self.file.parent / file
        try:
            content = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.file}: {key}: the {what} {path} cannot be read: {_why(error)}") from error
        if not content:
            raise SettingsError(f"{self.file}: {key}: the {what} {path} is empty")
        return content


def load(file: Path | None = None, state: StateFolder | None = None) -> Settings:
    """Read the file that is named, else `NBFED_CONFIG`, else the demo's.

    Raises
    ------
    SettingsError
        If it, or the clock file, cannot be read or used.
    """
    path = file or Path(os.environ.get("NBFED_CONFIG") or DEMO_FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {_why(error)}") from error
    settings = Settings(
        file=path.absolute(), yaml=parse(text, str(path)), state=state or StateFolder.from_environment()
    )
    settings.clock()  # said now, by every command, and not when time is first asked for
    return settings


def parse(text: str, name: str) -> FederationYaml:
    """Check the text of a federation.yaml; `name` is used in complaints.

    Raises
    ------
    SettingsError
        With one line for each complaint.
    """
    root, content = _read(text, name)
    if not isinstance(content, dict):
        raise SettingsError(f"{name}:1: a federation.yaml is a mapping of sections; this is {_kind(content)}")
    if doubled := about_doubled_keys(name, root):
        raise SettingsError("\n".join(doubled))
    try:
        return FederationYaml.model_validate(content)
    except ValidationError as error:
        complaints = about_values(name, root, FederationYaml, error.errors())
        raise SettingsError("\n".join(complaints)) from error


def _read(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """The text as YAML nodes, which know their lines, and as values."""
    try:
        return yaml.compose(text, Loader=_Loader), yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        wrong = ", ".join(part for part in (error.context, error.problem) if part)
        raise SettingsError(f"{name}:{line}: this is not YAML: {wrong}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SettingsError(f"{name}:{line}: this is not YAML: {str(error).splitlines()[0]}") from error


class _Loader(yaml.SafeLoader):
    """Says the line also of numbers and dates that look like such and are none: 2026-02-30."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


def _located(location: Location, names: str | Collection[str]) -> Iterator[tuple[Location, str]]:
    """One name, the keys of a mapping, or the items of a list, each with its place."""
    if isinstance(names, str):
        yield location, names
    elif isinstance(names, Mapping):
        yield from (((*location, name), name) for name in names)
    else:
        yield from (((*location, index), name) for index, name in enumerate(names))


def _kind(content: object) -> str:
    return "empty" if content is None else f"a {type(content).__name__}"


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in ("127.0.0.1", "localhost", "::1")


def _why(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"this is not UTF-8 text: byte {error.start}. Save it as UTF-8."
    return error.strerror or str(error)
