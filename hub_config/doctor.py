"""`nbfed doctor`: looks at an installation, and says what is wrong and what to do. It makes and changes nothing.

Each check takes what it looks at as arguments and returns one or more `Check`s; `examine` puts them together. A check
never raises: what it cannot find out is its answer.
"""

import os
import platform
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from sqlalchemy import insert
from sqlalchemy.engine import make_url

from federation import migrations, postgres_server
from federation.audit import AuditTable
from federation.checks import Check, State, report
from federation.clock import Clock
from federation.database import Database, DatabaseUnavailable
from federation.settings import KubernetesSite, LocalSite
from hub_config.banner import check_local_sites
from hub_config.settings import LOOPBACK, Settings, SettingsError
from hub_config.wiring import cluster_of, environments_folder
from spawners.backends.cluster import Cluster, ClusterAway, ClusterRefused
from spawners.backends.pods import ATTEMPT, read_pod
from vetting.desk.app import HEALTH, WELL

__all__ = ["Check", "State", "examine", "report"]

PRODUCT = "notebooks-federation"
SHOWN = ("jupyterhub", "oauthenticator", "batchspawner", "wrapspawner", "jupyterhub-kubespawner", "sqlalchemy")
LITTLE_DISK_BYTES = 2**30
POD = "NBFED_POD"
"""Environment: which process's pod this is, as our chart says."""
SESSIONS_TRIED = 3
REACH_SECONDS = 3.0
CLOCK_WARN = timedelta(seconds=5)
CLOCK_FAIL = timedelta(minutes=1)


def examine(
    load: Callable[[], Settings],
    open_database: Callable[[Settings], Database],
    client: httpx.Client,
    clock: Clock,
) -> Iterator[Check]:
    """All checks, in the order in which their failures explain each other.

    Parameters
    ----------
    load, open_database
        May raise `SettingsError`.
    client
        Asks the hub and the proxy.
    """
    yield from versions(metadata.version, _requirements())
    try:
        settings = load()
    except SettingsError as error:
        yield Check("configuration", State.FAIL, str(error), "Mend it; `nbfed config check` looks at it alone.")
        return
    yield Check("configuration", State.OK, f"{settings.file}, {settings.yaml.federation.mode} mode")
    root = settings.state.root
    yield state_folder(root)
    yield secrets(root / "secrets")
    yield free_disk(root, lambda folder: shutil.disk_usage(folder).free)
    yield from database(settings, open_database, clock())
    yield environments(settings)
    yield from clusters(settings)
    answer = ask(client, settings.base_url + "hub/api")
    yield hub(answer, settings, metadata.version("jupyterhub"))
    yield proxy(client, settings)
    yield worker_token(client, settings)
    yield worker(client, settings)
    yield desk(client, settings)
    yield desk_token(client, settings)
    yield time_of_day(answer, clock())


# --- the program --------------------------------------------------------------------------------------------


def versions(installed: Callable[[str], str], requirements: dict[str, SpecifierSet]) -> Iterator[Check]:
    """Python, the product, and the packages that it extends, against what the product needs."""
    python = platform.python_version()
    yield _version("python", python, requirements.get("python"))
    for name in (PRODUCT, *SHOWN):
        try:
            yield _version(name, installed(name), requirements.get(name))
        except metadata.PackageNotFoundError:
            yield Check(name, State.FAIL, "is not installed", "`make setup` installs what is needed.")


def _version(name: str, found: str, needed: SpecifierSet | None) -> Check:
    if needed is None or needed.contains(found, prereleases=True):
        return Check(name, State.OK, found)
    return Check(name, State.FAIL, f"{found}, and {needed} is needed", "`make setup` installs what is needed.")


def _requirements() -> dict[str, SpecifierSet]:
    """What the installed product says that it needs, `python` included; nothing where it is not installed."""
    try:
        described = metadata.metadata(PRODUCT)
    except metadata.PackageNotFoundError:
        return {}
    needed = [Requirement(text) for text in described.get_all("Requires-Dist") or []]
    found = {each.name: each.specifier for each in needed if each.marker is None or each.marker.evaluate()}
    return {**found, "python": SpecifierSet(described["Requires-Python"] or "")}


# --- the state folder ---------------------------------------------------------------------------------------


def state_folder(root: Path) -> Check:
    """Whether files can be made in it."""
    name = "state folder"
    if not root.exists():
        return Check(name, State.WARN, f"{root} is not there yet", "The first `nbfed up` makes it.")
    try:
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        return Check(
            name,
            State.FAIL,
            f"no file can be made in {root}: {error.strerror}",
            "The account that runs the service must own it; NBFED_HOME names another.",
        )
    return Check(name, State.OK, str(root))


def secrets(folder: Path) -> Check:
    """Whether only their owner can read them."""
    name = "secrets"
    try:
        files = sorted(folder.iterdir())
        open_to_others = [path for path in (folder, *files) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    except FileNotFoundError:
        return Check(name, State.OK, "none were made yet")
    except OSError as error:
        return Check(name, State.FAIL, f"{folder} cannot be read: {error.strerror}", "Its owner must run the service.")
    if open_to_others:
        names = ", ".join(f"{path} (mode {stat.S_IMODE(path.stat().st_mode):o})" for path in open_to_others)
        return Check(
            name,
            State.FAIL,
            f"other accounts may read {names}",
            f"chmod 700 {folder}; chmod 600 {folder}/*. If others use this machine, remove the files that they could "
            "read while the service is stopped; the next start makes new ones.",
        )
    return Check(name, State.OK, f"{len(files)}, for their owner alone")


def free_disk(folder: Path, free_bytes: Callable[[Path], int]) -> Check:
    """How much room there is for books, logs and people's files."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        free = free_bytes(there)
    except OSError as error:
        return Check(
            "free disk", State.FAIL, f"of {there} cannot be told: {error.strerror}", "Look at the file system."
        )
    text = f"{free / 2**30:.1f} GiB at {there}"
    if free < LITTLE_DISK_BYTES:
        return Check("free disk", State.WARN, text, "Make room: without any, sessions and the books stop.")
    return Check("free disk", State.OK, text)


# --- the database -------------------------------------------------------------------------------------------


def database(settings: Settings, open_database: Callable[[Settings], Database], now: datetime) -> Iterator[Check]:
    """Whether it answers, has the tables that are needed, and takes a write, which is rolled back."""
    missing = Check(
        "database", State.FAIL, "there is none yet", "The first `nbfed up` makes it, or `nbfed db upgrade`."
    )
    if _is_in_state_folder(settings) and not settings.state.root.is_dir():
        yield missing
        return
    try:
        opened = open_database(settings)
    except SettingsError as error:
        yield Check("database", State.FAIL, str(error), "Mend the address, or what it names.")
        return
    try:
        if _file_is_missing(opened):
            yield missing
        else:
            yield from _opened(opened, now)
    finally:
        opened.dispose()


def _is_in_state_folder(settings: Settings) -> bool:
    return not os.environ.get("NBFED_DATABASE_URL") and not settings.yaml.database.url_file


def _file_is_missing(opened: Database) -> bool:
    """Looked at first, since SQLite makes a file where there is none."""
    file = make_url(opened.url).database
    return opened.is_sqlite and bool(file) and not Path(str(file)).exists()


def _opened(opened: Database, now: datetime) -> Iterator[Check]:
    try:
        migrations.check(opened)
    except DatabaseUnavailable as error:
        yield Check("database", State.FAIL, f"{opened.place}: {error}", _advice_if_away(opened))
        return
    except migrations.OutdatedSchema as error:
        yield Check("database", State.FAIL, f"{opened.place}: its tables are not those that are needed", str(error))
        return
    yield Check("database", State.OK, f"{opened.place}, its tables are those that are needed")
    if not opened.is_sqlite:
        yield _server(opened)
    yield _takes_a_write(opened, now)


def _advice_if_away(opened: Database) -> str:
    if opened.is_sqlite:
        return "Is the file a database of this service, and its disk sound?"
    return (
        "Does the server run, does it know this database, and do role and password fit? "
        "docs/how-to/use-postgresql.md goes through it."
    )


def _server(opened: Database) -> Check:
    name = "database server"
    try:
        facts = postgres_server.facts(opened)
    except DatabaseUnavailable as error:
        return Check(name, State.FAIL, f"does not tell its settings: {error}", _advice_if_away(opened))
    complaints = postgres_server.complaints(facts)
    if complaints:
        return Check(
            name, State.FAIL, "; ".join(complaints), "docs/how-to/use-postgresql.md says what is needed and why."
        )
    return Check(name, State.OK, f"PostgreSQL {facts.version}, up to {facts.max_connections} connections")


def _takes_a_write(opened: Database, now: datetime) -> Check:
    name = "database write"
    try:
        with opened.write() as connection:
            undone = connection.begin_nested()
            row = {"act": "doctor", "actor": "doctor", "target": "", "reason": "rolled back", "details": {}}
            connection.execute(insert(AuditTable).values(at=now, **row))
            undone.rollback()
        return Check(name, State.OK, "taken, and rolled back")
    except DatabaseUnavailable as error:
        return Check(
            name,
            State.FAIL,
            f"not taken: {error}",
            "While this lasts nothing can start. If it is locked, a process has held it for longer than "
            "database.busy_seconds: " + _where_to_look(opened),
        )


def _where_to_look(opened: Database) -> str:
    return "look for one with `lsof` on the file." if opened.is_sqlite else "pg_stat_activity lists who is connected."


# --- local sites --------------------------------------------------------------------------------------------


def environments(settings: Settings) -> Check:
    """Whether the environments of local sites are installed, and sessions may use them."""
    name = "environments"
    if not any(isinstance(site, LocalSite) for site in settings.yaml.sites.values()):
        return Check(name, State.OK, "not needed here: there is no local site")
    folder = environments_folder()
    locals_ = {key: each.local.prefix for key, each in settings.yaml.environments.items() if each.local}
    missing = [key for key, prefix in locals_.items() if not (folder / prefix / "bin" / "python").exists()]
    if missing:
        return Check(
            name,
            State.FAIL,
            f"not installed below {folder}: {', '.join(missing)}",
            "`make setup` installs those of the demo; NBFED_ENVIRONMENTS names their folder.",
        )
    root = settings.state.root
    if (root / "sessions").is_dir() and (root / "homes").is_dir():
        try:
            check_local_sites(settings)
        except SettingsError as error:
            return Check(name, State.FAIL, "local sessions cannot use them", str(error))
    return Check(name, State.OK, f"{', '.join(locals_)} below {folder}")


# --- Kubernetes sites ---------------------------------------------------------------------------------------


def clusters(settings: Settings) -> Iterator[Check]:
    """Whether each site's API server answers, and lets us see our pods; from the worker's pod, whether sessions are kept
    apart.
    """
    sites = {key: site for key, site in settings.yaml.sites.items() if isinstance(site, KubernetesSite)}
    for key, site in sites.items():
        way = f"the account of sites.{key}.kubeconfig_file" if site.kubeconfig_file else "this pod's service account"
        cluster = cluster_of(settings, site)
        found = _cluster(f"site {key}", way, cluster)
        yield found
        if found.state is State.OK and os.environ.get(POD) == "worker" and not site.kubeconfig_file:
            yield network_policy(f"site {key}", cluster, reaches)
        cluster.close()
        told = site.hub_url or settings.hub_url
        if urlsplit(told).hostname in (LOOPBACK, "::1", "localhost"):
            advice = f"Set listen.hub_ip to an address that they reach, or sites.{key}.hub_url."
            yield Check(f"site {key}", State.FAIL, f"its pods are told that the hub is at {told}: themselves", advice)


def _cluster(name: str, way: str, cluster: Cluster) -> Check:
    try:
        cluster.ask("list_pod", limit=1)
    except ClusterAway as error:
        advice = f"Nothing starts there, and nothing that runs there is stopped. Look at {way}, and at the cluster."
        return Check(name, State.FAIL, f"does not answer: {error}", advice)
    except ClusterRefused as refused:
        advice = f"Give {way} the role of helm-values/site/namespace.yaml; a token may have expired."
        return Check(name, State.FAIL, f"refuses us: {refused}", advice)
    return Check(name, State.OK, f"answers for namespace {cluster.namespace}")


def network_policy(name: str, cluster: Cluster, reach: Callable[[str, int], bool]) -> Check:
    """Whether a session of somebody can be reached from a pod that no policy lets in: the worker's."""
    try:
        pods = cluster.ask("list_pod", label_selector=ATTEMPT, field_selector="status.phase=Running")["items"]
        seen = [one for one in map(read_pod, pods) if one.host is not None and one.port is not None]
    except (ClusterAway, ClusterRefused) as error:
        return Check(name, State.WARN, f"its sessions cannot be listed: {error}", "Try again.")
    if not seen:
        return Check(name, State.OK, "no session runs there, so whether its network policies are enforced is not known")
    if not any(reach(str(one.host), int(one.port or 0)) for one in seen[:SESSIONS_TRIED]):
        return Check(name, State.OK, "its network policies are enforced: no session can be reached from here")
    return Check(
        name,
        State.WARN,
        "its network policies are not enforced: a session can be reached from here",
        "Sessions reach each other, and what else listens in the cluster; only tokens protect them. Ask for a network "
        "plugin that enforces policies.",
    )


def reaches(host: str, port: int) -> bool:
    """Whether a connection is taken there, within seconds."""
    try:
        with socket.create_connection((host, port), timeout=REACH_SECONDS):
            return True
    except OSError:
        return False


# --- the running service ------------------------------------------------------------------------------------


def ask(client: httpx.Client, url: str, **options: Any) -> httpx.Response | str:
    """The answer, or why there is none."""
    try:
        return client.get(url, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__


def hub(answer: httpx.Response | str, settings: Settings, installed: str) -> Check:
    """Whether the hub answers at the address that people type, and is the one that is installed."""
    name, url = "hub", settings.base_url
    if isinstance(answer, str):
        return Check(
            name,
            State.FAIL,
            f"nothing answers at {url}: {answer}",
            f"`nbfed up` starts it. If it runs: {settings.state.root / 'logs'} has its logs, and federation.base_url "
            "must be the address of its proxy.",
        )
    version = _hub_version(answer)
    if version is None:
        return Check(
            name,
            State.FAIL,
            f"what answers at {url} is not a hub: HTTP {answer.status_code}",
            f"Look into {settings.state.root / 'logs'}; or another program has this port, and federation.base_url in "
            f"{settings.file} can name another.",
        )
    if version != installed:
        return Check(
            name, State.WARN, f"{url} runs {version}, and {installed} is installed", "Start the service again."
        )
    return Check(name, State.OK, f"JupyterHub {version} at {url}")


def _hub_version(answer: httpx.Response) -> str | None:
    try:
        content = answer.json()
    except ValueError:
        return None
    found = content.get("version") if isinstance(content, dict) and answer.status_code == httpx.codes.OK else None
    return found if isinstance(found, str) else None


def proxy(client: httpx.Client, settings: Settings) -> Check:
    """Whether the proxy takes this installation's token at its API port."""
    name, url = "proxy API", settings.proxy_api_url
    token = existing_secret(settings, "proxy_token")
    answer = ask(client, f"{url}/api/routes", headers={"Authorization": f"token {token or ''}"})
    if isinstance(answer, str):
        advice = "`nbfed up` starts the proxy, and starts it again when it ends."
        return Check(name, State.FAIL, f"nothing answers at {url}: {answer}", advice)
    if answer.status_code != httpx.codes.OK:
        return Check(
            name,
            State.FAIL,
            f"{url} refuses our token: HTTP {answer.status_code}",
            "Another installation or program has this port: choose another with listen.proxy_api_port in "
            f"{settings.file}. Or the token was changed while the proxy ran: start the service again.",
        )
    return Check(name, State.OK, f"answers at {url}")


def worker_token(client: httpx.Client, settings: Settings) -> Check:
    """Whether the hub lets the worker do its work; without that leases are not renewed."""
    name, url = "worker token", settings.hub_url
    token = existing_secret(settings, "worker_token")
    if token is None:
        return Check(name, State.WARN, "was not made yet", "The first `nbfed up` makes it.")
    answer = ask(
        client,
        f"{url}/hub/api/users",
        params={"state": "active", "limit": 1},
        headers={"Authorization": f"token {token}"},
    )
    if isinstance(answer, str):
        return Check(name, State.WARN, f"the hub does not answer at {url}: {answer}", "Start the hub first.")
    if answer.status_code != httpx.codes.OK:
        return Check(
            name,
            State.FAIL,
            f"the hub at {url} refuses it: HTTP {answer.status_code}",
            "The hub runs with another one: give both the same NBFED_HOME (or NBFED_WORKER_TOKEN), and start the "
            "service again. Until then leases are not renewed.",
        )
    return Check(name, State.OK, "accepted by the hub")


def worker(client: httpx.Client, settings: Settings) -> Check:
    """Whether a worker leads or stands by on this machine, and is well."""
    name, url = "worker", settings.worker_url
    answer = ask(client, f"{url}/health")
    if isinstance(answer, str):
        return Check(
            name,
            State.FAIL,
            f"nothing answers at {url}: {answer}",
            "`nbfed up` starts it. Without a worker leases are not renewed, and what ends by itself is settled late.",
        )
    found = _health(answer)
    if found is None:
        return Check(
            name,
            State.FAIL,
            f"what answers at {url} is not a worker: HTTP {answer.status_code}",
            f"Another program has this port: choose another with listen.worker_port in {settings.file}.",
        )
    text = "leads" if found["role"] == "leader" else "stands by; another worker leads"
    if answer.status_code == httpx.codes.OK:
        return Check(name, State.OK, text)
    late = ", ".join(map(str, found.get("late", []))) or "none"
    return Check(
        name,
        State.FAIL,
        f"{text}, and is not well: database {found.get('database')}; jobs that are late: {late}",
        f"Look into worker.log in {settings.state.root / 'logs'}.",
    )


def _health(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        content = answer.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) and content.get("role") in ("leader", "standby") else None


def desk(client: httpx.Client, settings: Settings) -> Check:
    """Whether the access desk answers where the proxy is told to find it."""
    name, url = "desk", settings.desk_url
    answer = ask(client, f"{url}{HEALTH}")
    if isinstance(answer, str):
        advice = "`nbfed up` starts it. Meanwhile sessions go on, and nobody can ask for more or decide about it."
        return Check(name, State.FAIL, f"nothing answers at {url}: {answer}", advice)
    if answer.status_code != httpx.codes.OK or answer.text != WELL:
        return Check(
            name,
            State.FAIL,
            f"what answers at {url} is not the access desk: HTTP {answer.status_code}",
            f"Another program has this port: choose another with listen.desk_port in {settings.file}.",
        )
    return Check(name, State.OK, f"answers at {url}")


def desk_token(client: httpx.Client, settings: Settings) -> Check:
    """Whether the hub knows the desk; without that nobody can sign in there."""
    name, url = "desk token", settings.hub_url
    token = existing_secret(settings, "desk_token")
    if token is None:
        return Check(name, State.WARN, "was not made yet", "The first `nbfed up` makes it.")
    answer = ask(client, f"{url}/hub/api/user", headers={"Authorization": f"token {token}"})
    if isinstance(answer, str):
        return Check(name, State.WARN, f"the hub does not answer at {url}: {answer}", "Start the hub first.")
    if answer.status_code != httpx.codes.OK:
        return Check(
            name,
            State.FAIL,
            f"the hub at {url} refuses it: HTTP {answer.status_code}",
            "The hub runs with another one: give both the same NBFED_HOME (or NBFED_DESK_TOKEN), and start the service "
            "again. Until then nobody can sign in at the access desk.",
        )
    return Check(name, State.OK, "accepted by the hub")


def existing_secret(settings: Settings, name: str) -> str | None:
    """A secret of the state folder as `StateFolder.secret` gives it, but never made; None where there is none."""
    try:
        content = (settings.state.root / "secrets" / name).read_text().strip()
    except OSError:
        content = ""
    return os.environ.get(f"NBFED_{name.upper()}") or content or None


def time_of_day(answer: httpx.Response | str, now: datetime) -> Check:
    """Whether this machine and the hub have the same time; times of different machines meet in the books."""
    here = now.astimezone()
    text = f"{here.isoformat(timespec='seconds')} ({here.tzname()})"
    there = _date(answer)
    if there is None:
        return Check("clock", State.OK, f"{text}; compared with nothing, since the hub did not tell its own")
    apart = abs(now - there)
    text += f", {apart.total_seconds():.0f} s from the hub's"
    advice = "Let both machines follow NTP: charges are made of the times of several machines."
    if apart > CLOCK_FAIL:
        return Check("clock", State.FAIL, text, advice)
    return Check("clock", State.WARN, text, advice) if apart > CLOCK_WARN else Check("clock", State.OK, text)


def _date(answer: httpx.Response | str) -> datetime | None:
    """What the answer says that the time is."""
    if isinstance(answer, str) or "Date" not in answer.headers:
        return None
    try:
        told = parsedate_to_datetime(answer.headers["Date"])
    except ValueError:
        return None
    return told if told.tzinfo else told.replace(tzinfo=UTC)
