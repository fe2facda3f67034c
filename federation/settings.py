"""The sections of federation.yaml that describe the federation itself: name, database, sites, flavours, environments."""

from decimal import Decimal
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from federation.i18n import LANGUAGES, current_language
from federation.nodes import expanded

__all__ = [
    "BatchSite",
    "DatabaseSection",
    "Environment",
    "FederationSection",
    "Flavour",
    "KubernetesSite",
    "ListenSection",
    "LocalSite",
    "Localised",
    "MailSection",
    "Name",
    "PortRange",
    "Section",
    "Site",
    "Terms",
    "Url",
    "in_language",
    "port_range",
]


class Section(BaseModel):
    """Base of all settings: unknown keys are refused, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def _known_languages(texts: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(texts) - set(LANGUAGES))
    if unknown:
        raise ValueError(f"unknown language {', '.join(unknown)}; known are {', '.join(LANGUAGES)}")
    if not texts:
        raise ValueError("at least one language is needed")
    return texts


def _address(url: str) -> str:
    """Refuses a host or port that is none; urlsplit looks at them only when it is asked."""
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"{url} names no host, or a port that nothing can listen on")
    return url


def _ip(address: str) -> str:
    return str(ip_address(address))


Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#\s]+/?$"), AfterValidator(_address)]
"""Scheme, host and port of a server."""


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
"""A name that is safe in addresses, labels and file names: `[a-z0-9-]`, at most 40 characters."""

Localised = str | Annotated[dict[str, str], AfterValidator(_known_languages)]
"""One text for all readers, or one per language."""

Weight = Annotated[Decimal, Field(gt=0, le=1_000_000, decimal_places=3)]
_LARGEST_PORT = 65_535
Port = Annotated[int, Field(ge=1, le=_LARGEST_PORT)]
# The bounds are far above what anybody has, so that amounts that are computed of these fit into the books.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Hours = Annotated[int, Field(ge=1, le=8784)]


def in_language(text: Localised, fallback: str = "") -> str:
    """The text in the reader's language, or in the first language that it has, or what stands in for it."""
    if isinstance(text, str):
        return text or fallback
    return text.get(current_language()) or next(filter(None, text.values()), fallback)


class Terms(Section):
    """The acceptable use policy that is in force."""

    version: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    files: dict[str, str] = Field(
        min_length=1, description="Markdown file for each language; HTML in it is shown as text"
    )
    grace_days: Annotated[int, Field(ge=0, le=3660)] = Field(
        30, description="how long an earlier acceptance counts after a change"
    )


class FederationSection(Section):
    """Who runs this service, and in which mode."""

    name: str = "Notebooks federation"
    mode: Literal["demo", "production"] = Field(
        "demo", description="production refuses demo sign-in, plain http and local sites"
    )
    base_url: Url = Field("http://127.0.0.1:8000", description="what people type; the proxy listens on its port")
    hub: Name = Field("hub", description="this hub's name in the books, where several share one database")
    languages: list[str] = Field(["en", "es", "pt"], min_length=1, description="first = default")
    contact: str = Field("", description="where people ask for help: an e-mail address or a page")
    terms: Terms | None = None


class ListenSection(Section):
    """Where the processes listen; all but the proxy only on loopback, if nothing else is said. The addresses (`_url`) are
    for processes that have machines or pods of their own.
    """

    public_ip: str | None = Field(None, description="where the proxy listens, if not on the host of base_url")
    public_port: Port | None = Field(
        None, description="the proxy's port, if not that of base_url: behind something that ends TLS, for instance"
    )
    proxy_api_port: Port = 8001
    proxy_api_url: Url | None = Field(None, description="where the hub reaches the proxy's API; null: on this machine")
    hub_ip: Annotated[str, AfterValidator(_ip)] = Field(
        "127.0.0.1", description="where the hub listens; pods of Kubernetes sites must reach it. 0.0.0.0: everywhere"
    )
    hub_port: Port = 8081
    hub_url: Url | None = Field(
        None, description="where proxy, worker and sessions reach the hub; null: where it listens, on this machine"
    )
    worker_ip: Annotated[str, AfterValidator(_ip)] = Field("127.0.0.1", description="where the worker's pages are")
    worker_port: Port = Field(8082, description="the worker's health and metrics")
    worker_url: Url | None = Field(None, description="where `nbfed doctor` finds these pages; null: on this machine")
    desk_ip: Annotated[str, AfterValidator(_ip)] = Field("127.0.0.1", description="where the access desk listens")
    desk_port: Port = Field(8083, description="the access desk")
    desk_url: Url | None = Field(None, description="where proxy and hub reach the desk; null: on this machine")
    sign_in_port: Port = Field(9400, description="the demo sign-in")


class DatabaseSection(Section):
    """Where the books are, and the hub's own records. Without it: SQLite in the state folder. `NBFED_DATABASE_URL` comes
    first.
    """

    url_file: str | None = Field(None, description="file that holds an SQLAlchemy URL")
    hub_url_file: str | None = Field(
        None,
        description="the same for JupyterHub's own database, which is another one; `NBFED_HUB_DATABASE_URL` comes first",
    )
    busy_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        5.0, description="how long a write waits for another one before it counts as an outage"
    )


class Flavour(Section):
    """A size of session."""

    title: Localised = ""
    cpu: Count
    memory_gib: Count
    gpu: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    weight: Weight = Field(description="billing units for one hour of running; at most three decimals")
    tier: str = Field("T1", description="the lowest tier that may use it")
    walltime_hours: Hours | None = None


class KubernetesEnvironment(Section):
    image: str


class BatchEnvironment(Section):
    module: str | None = None
    path: str | None = None


class LocalEnvironment(Section):
    prefix: str = Field(description="folder of a virtual environment; relative to NBFED_ENVIRONMENTS")


class Environment(Section):
    """A set of software to choose on the start form."""

    title: Localised
    description: Localised = ""
    languages: list[str] = Field(default_factory=list, description="programming languages")
    kubernetes: KubernetesEnvironment | None = None
    batch: BatchEnvironment | None = None
    local: LocalEnvironment | None = None


class _AnySite(Section):
    title: Localised
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="ISO 3166-1 alpha-2"
    )
    flavours: list[str] = Field(min_length=1)
    files: Localised = Field("", description="one sentence on the start form: where people's files live")


class LocalSite(_AnySite):
    """Sessions as processes of this machine: for demonstrations and tests; they are not isolated from each other."""

    kind: Literal["local"]
    account: str = Field("nobody", description="the account that sessions run under when the hub runs as root")
    boot_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        120, description="how long a session may take until it answers"
    )


class Homes(Section):
    """The volume that each person gets at a site; made at the first session there, and kept. None is removed by itself."""

    size_gib: Count
    per_tier: dict[str, Count] = Field(
        default_factory=dict,
        description="size in GiB for people of a tier; of several that they have, the last of `tiers` counts. A volume "
        "grows at the next session, where its storage class allows that, and never shrinks",
    )
    kept_days: Annotated[int, Field(ge=1, le=3660)] = Field(
        90, description="how long a home is kept once its person may not use the site any more, or did not for long"
    )
    unused_days: Annotated[int, Field(ge=1, le=3660)] = Field(
        365, description="after how long without a session a home counts as not used any more"
    )
    storage_class: str | None = Field(None, description="null: the cluster's default")
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        "ReadWriteOnce", description="ReadWriteMany where people may have sessions on several nodes at a time"
    )


class KubernetesSite(_AnySite):
    """A namespace of a Kubernetes cluster."""

    kind: Literal["kubernetes"]
    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    kubeconfig_file: str | None = Field(
        None, description="how hub and worker reach the cluster; null: the service account of their own pods"
    )
    context: str | None = Field(None, description="of the kubeconfig; null: its current one")
    hub_url: Url | None = Field(None, description="where pods reach the hub; null: listen.hub_url")
    homes: Homes | None = Field(None, description="null: a session's files go with it")
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels of the nodes that sessions run on")
    gpu_resource: str = Field("nvidia.com/gpu", description="what the cluster calls a GPU")
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    image_pull_secrets: list[str] = Field(default_factory=list, description="names of secrets in the namespace")
    boot_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        600, description="how long a session may take until it answers, with a free node and its image to be had"
    )


# These words reach the command line of ssh: none may begin with a hyphen.
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$")]
AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")]
Command = Annotated[str, StringConstraints(pattern=r"^/[ -~]{1,500}$")]


class Login(Section):
    """The login node, as the gateway reaches it."""

    host: HostName
    port: Port = 22
    host_key_file: str = Field(
        description="its public host keys, one a line; `@cert-authority` before a key makes it the site's host CA"
    )
    user: AccountName = Field("nbfed", description="the robot account that the gateway signs in as, for access: robot")
    gate: Command | None = Field(
        None,
        description="what the gateway's certificate lets that account run, the same as the site's ForceCommand; "
        "without it `/usr/bin/sudo -n /etc/nbfed/SITE/site-gate`, or that without sudo for access: user-certificate",
    )
    cluster_address: HostName | None = Field(
        None, description="the login node's address as its nodes reach it, for notebook_to_hub: reverse; else host"
    )
    reverse_port: Port = Field(18081, description="the port at that address through which its jobs reach the hub")


def _nodes(names: list[str]) -> list[str]:
    expanded(names)
    return names


SchedulerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
"""A name that a site gave to something of its scheduler."""

_OURS = ("req_memory", "req_nprocs", "req_ngpus", "req_runtime", "req_partition", "req_queue", "req_account",
         "req_reservation", "req_gres", "req_username", "req_homedir", "req_keepvars", "req_options")  # fmt: skip


def port_range(text: str) -> range:
    """The ports of `20000-29999`, both ends included.

    Raises
    ------
    ValueError
        If it is no range of ports.
    """
    first, _, last = text.partition("-")
    ports = range(int(first), int(last) + 1)
    if not ports or ports[0] < 1 or ports[-1] > _LARGEST_PORT:
        raise ValueError(f"{text} is no range of ports from 1 to {_LARGEST_PORT}")
    return ports


def _ports(text: str) -> str:
    port_range(text)
    return text


PortRange = Annotated[str, StringConstraints(pattern=r"^\d{1,5}-\d{1,5}$"), AfterValidator(_ports)]


def _of_the_script(traits: dict[str, str]) -> dict[str, str]:
    for name in traits:
        if name in _OURS:
            raise ValueError(f"{name} is filled in from what is asked for, or is the site's gate's matter")
        if name != "batch_script" and not name.startswith("req_"):
            raise ValueError(f"{name} is no trait that a script is made of: batch_script, or one that begins with req_")
    return traits


class BatchSite(_AnySite):
    """A batch system behind OpenSSH."""

    kind: Literal["batch"]
    dialect: Literal["slurm", "pbs", "gridengine"]
    login: Login
    access: Literal["robot", "user-certificate"] = Field(
        "robot",
        description="who the gateway signs in as: one account that may start the gate by sudo, or each person's own, at "
        "a port that sshd has for it alone",
    )
    notebook_to_hub: Literal["reverse", "direct"] = "reverse"
    nodes: Annotated[list[str], AfterValidator(_nodes)] = Field(
        min_length=1, description="all nodes that sessions may run on, as the scheduler names them: `c[001-064]`"
    )
    ports: PortRange = Field(description="first and last port that sessions may listen at on the nodes")
    partition: SchedulerName | None = Field(None, description="where jobs go when nobody asks for another one")
    partitions: list[SchedulerName] = Field(default_factory=list, description="partitions to choose beside it")
    charge_accounts: list[SchedulerName] = Field(
        default_factory=list, description="accounts of the scheduler that people may let it charge"
    )
    reservations: list[SchedulerName] = Field(default_factory=list, description="reservations that people may use")
    walltime_hours: Hours = Field(description="the longest that a session may run")
    queue_hours: Hours = Field(24, description="how long a session may wait in the queue before it is given up")
    boot_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        600, description="how long a session whose job runs may take until it answers"
    )
    listen: Literal["node", "any"] = Field(
        "node", description="the address that sessions listen at: their node's name, or all, if names lead to loopback"
    )
    batchspawner: Annotated[dict[str, str], AfterValidator(_of_the_script)] = Field(
        default_factory=dict,
        description="batchspawner's traits that make the job's script: batch_script, req_prologue, req_epilogue, "
        "req_srun; not what is asked of the scheduler",
    )
    mfa: bool = False

    @property
    def by_account(self) -> bool:
        """Whether each account signs in for itself."""
        return self.access == "user-certificate"


Site = Annotated[LocalSite | KubernetesSite | BatchSite, Field(discriminator="kind")]


class MailSection(Section):
    """How mail leaves. Without it none is sent: what would be waits in the outbox, for two weeks."""

    smtp: Annotated[str, StringConstraints(pattern=r"^smtps?://[^/?#\s@]+/?$"), AfterValidator(_address)] = Field(
        description="the server: `smtp://HOST:PORT`, or `smtps://HOST:PORT` for TLS from the first byte"
    )
    sender: Annotated[str, StringConstraints(pattern=r"^[^\s@<>]+@[^\s@<>]+$", max_length=254)] = Field(
        description="the address that mail comes from"
    )
    starttls: bool = Field(False, description="ask the server for TLS, and send nothing without it")
    user: str = Field("", description="to sign in with, if the server asks for it")
    password_file: str | None = Field(None, description="file that holds the password of the user")
