"""federation.yaml as one model: read, checked, and every complaint given with file, line and the nearest known key."""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from federation.i18n import LANGUAGES
from federation.settings import (
    DatabaseSection,
    Environment,
    FederationSection,
    Flavour,
    ListenSection,
    MailSection,
    Name,
    Section,
    Site,
)
from federation.state import StateFolder
from quota.settings import DefaultGrant, LimitsSection
from spawners.settings import IdleSection, WorkerSection
from vetting.settings import DeskSection, IdentitySection, Tier

__all__ = ["DEMO_FILE", "FederationYaml", "Settings", "SettingsError", "load", "parse"]

DEMO_FILE = Path(__file__).parent / "demo" / "federation.yaml"
"""What `nbfed up` runs with when no federation.yaml is named."""


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
    limits: LimitsSection = Field(default_factory=LimitsSection)
    idle: IdleSection = Field(default_factory=IdleSection)
    worker: WorkerSection = Field(default_factory=WorkerSection)
    desk: DeskSection = Field(default_factory=DeskSection)
    mail: MailSection | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> "FederationYaml":
        complaints = [
            f"{where}: there is no {kind} {name!r}{_nearest(name, known)}"
            for where, kind, names, known in self._references()
            for name in names
            if name not in known
        ]
        if complaints:
            raise ValueError("; ".join(complaints))
        return self

    @model_validator(mode="after")
    def _times_fit(self) -> "FederationYaml":
        limits = self.limits
        if limits.shortest_lease_minutes > limits.lease_minutes:
            raise ValueError("limits.shortest_lease_minutes is longer than limits.lease_minutes: nothing could start")
        if self.worker.interval_seconds * 4 > limits.lease_minutes * 60:
            raise ValueError(
                "worker.interval_seconds is more than a quarter of limits.lease_minutes: leases would be renewed too late"
            )
        return self

    @model_validator(mode="after")
    def _tiers_build_on_lower_ones(self) -> "FederationYaml":
        names = list(self.tiers)
        for name, tier in self.tiers.items():
            if tier.needs in names and names.index(tier.needs) >= names.index(name):
                raise ValueError(
                    f"tiers.{name}.needs: {tier.needs} stands below it; tiers are listed from the lowest up"
                )
        return self

    @model_validator(mode="after")
    def _production_is_strict(self) -> "FederationYaml":
        if self.federation.mode == "demo":
            if not self.identity.providers and not _is_loopback(self.federation.base_url):
                raise ValueError(
                    "the demo sign-in lets anyone in as anyone, so federation.base_url must be a loopback address; "
                    "add identity.providers to serve other machines"
                )
            return self
        complaints = []
        if not self.federation.base_url.startswith("https://"):
            complaints.append("federation.base_url must be https")
        if not self.identity.providers:
            complaints.append("identity.providers is empty, and the demo sign-in is refused")
        complaints += [f"sites.{name} is a local site" for name, site in self.sites.items() if site.kind == "local"]
        if complaints:
            raise ValueError("production mode refuses this: " + "; ".join(complaints))
        return self

    def _references(self) -> list[tuple[str, str, list[str], list[str]]]:
        tiers, flavours, sites = list(self.tiers), list(self.flavours), list(self.sites)
        return [
            ("federation.languages", "language", self.federation.languages, list(LANGUAGES)),
            ("defaults", "tier", list(self.defaults), tiers),
            ("limits.per_site", "site", list(self.limits.per_site), sites),
            ("identity.roles.site_operator", "site", list(self.identity.roles.site_operator), sites),
            *((f"tiers.{n}.needs", "tier", [t.needs], tiers) for n, t in self.tiers.items() if t.needs),
            *((f"flavours.{n}.tier", "tier", [f.tier], tiers) for n, f in self.flavours.items()),
            *((f"sites.{n}.flavours", "flavour", s.flavours, flavours) for n, s in self.sites.items()),
            *((f"defaults.{n}.flavours", "flavour", d.flavours, flavours) for n, d in self.defaults.items()),
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
    def database_url(self) -> str:
        """Where the books are: `NBFED_DATABASE_URL`, else the file that is named, else SQLite in the state folder."""
        from_environment = os.environ.get("NBFED_DATABASE_URL")
        if from_environment:
            return from_environment
        if self.yaml.database.url_file:
            return self.read_secret(self.yaml.database.url_file, "database.url_file")
        return f"sqlite:///{self.state.federation_database}"

    def read_secret(self, file: str, key: str) -> str:
        """The content of a secret's file; relative names start at the folder of federation.yaml.

        Raises
        ------
        SettingsError
            If the file is missing, unreadable or empty.
        """
        path = self.file.parent / file
        try:
            content = path.read_text().strip()
        except OSError as error:
            raise SettingsError(
                f"{self.file}: {key}: the secret's file {path} cannot be read: {error.strerror}"
            ) from error
        if not content:
            raise SettingsError(f"{self.file}: {key}: the secret's file {path} is empty")
        return content


def load(file: Path | None = None, state: StateFolder | None = None) -> Settings:
    """Read the file that is named, else `NBFED_CONFIG`, else the demo's.

    Raises
    ------
    SettingsError
        If it cannot be read or used.
    """
    path = file or Path(os.environ.get("NBFED_CONFIG") or DEMO_FILE)
    try:
        text = path.read_text()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    return Settings(file=path.absolute(), yaml=parse(text, str(path)), state=state or StateFolder.from_environment())


def parse(text: str, name: str) -> FederationYaml:
    """Check the text of a federation.yaml; `name` is used in complaints.

    Raises
    ------
    SettingsError
        With one line for each complaint.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{name}:{line}: this is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{name}:1: this is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{name}:1: a federation.yaml is a mapping of sections; this is {_kind(content)}")
    doubled = [
        f"{name}:{line}: {key}: this key stands here twice; only one of them would count"
        for key, line in _doubled_keys(root)
    ]
    if doubled:
        raise SettingsError("\n".join(doubled))
    try:
        return FederationYaml.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(name, root, e) for e in error.errors())) from error


def _complaint(name: str, root: yaml.Node | None, error: Any) -> str:
    path, line = _place(root, error["loc"])
    where = ".".join(str(part) for part in path)
    prefix = f"{name}:{line}: {where}: " if where else f"{name}:{line}: "
    if error["type"] == "extra_forbidden":
        return prefix + "unknown key" + _nearest(str(path[-1]), _known_keys(path[:-1]))
    if error["type"] == "value_error":
        return prefix + str(error["ctx"]["error"])
    got = "" if error["type"] in ("missing", "too_short") else f" (it is {error['input']!r})"
    message: str = error["msg"]
    return f"{prefix}{message[0].lower()}{message[1:]}{got}"


def _place(root: yaml.Node | None, location: tuple[int | str, ...]) -> tuple[list[int | str], int]:
    """The part of a pydantic location that stands in the file, and the line of its deepest part."""
    path: list[int | str] = []
    node, line = root, 1
    for depth, part in enumerate(location):
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found:
            path.append(part)
            line, node = found[0].start_mark.line + 1, found[1]
        elif depth == len(location) - 1 and isinstance(node, yaml.MappingNode) and isinstance(part, str):
            path.append(part)  # a key that is missing; what is not found before that is a tag of a union
    return path, line


def _doubled_keys(node: yaml.Node | None) -> list[tuple[str, int]]:
    found = []
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                found.append((key.value, key.start_mark.line + 1))
            seen.add(key.value)
            found += _doubled_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            found += _doubled_keys(item)
    return found


def _known_keys(path: list[int | str]) -> list[str]:
    """The keys that the model knows at a place."""
    models: list[Any] = [FederationYaml]
    for part in path:
        following: list[Any] = []
        for model in models:
            if isinstance(model, type) and issubclass(model, BaseModel):
                if part in model.model_fields:
                    following += _models_in(model.model_fields[str(part)].annotation)
            elif get_origin(model) in (dict, list):
                following += _models_in(get_args(model)[-1])
        models = following
    return sorted({key for m in models if isinstance(m, type) and issubclass(m, BaseModel) for key in m.model_fields})


def _models_in(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _models_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return [annotation]


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _kind(content: object) -> str:
    return "empty" if content is None else f"a {type(content).__name__}"


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in ("127.0.0.1", "localhost", "::1")
