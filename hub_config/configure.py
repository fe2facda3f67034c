"""The hub's configuration as a function of federation.yaml."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import batchspawner  # noqa: F401 - importing it registers a route, which is taken out below
from jupyterhub import apihandlers
from traitlets.config.loader import LazyConfigValue

from federation import migrations
from federation.settings import BatchSite
from hub_config.authenticator import configure_sign_in
from hub_config.desk_sign_in import DESK_SCOPE, SERVICE
from hub_config.pages import configure_pages
from hub_config.restoring_proxy import MARK, RestoringProxy
from hub_config.settings import Settings
from hub_config.sign_in.refresh import REFRESH_SCOPE
from hub_config.wiring import house
from spawners.federated import FederatedSpawner

__all__ = ["configure"]

_HOUR_SECONDS = 3600
_LONGEST_START_SECONDS = 24 * _HOUR_SECONDS
_MOST_ACTIVITY_SECONDS = 300


def configure(c: Any, settings: Settings) -> None:
    """Fill in JupyterHub's configuration.

    Raises
    ------
    federation.migrations.OutdatedSchema
        If the books' tables are not those that this program needs.
    hub_config.settings.SettingsError
        If the settings cannot be used.
    """
    parts = house(settings, actor="hub")
    migrations.check(parts.database)
    parts.publish_rates()
    parts.publish_terms()
    FederatedSpawner.context = parts.context()
    _configure_processes(c, settings)
    _configure_sessions(c, settings)
    _configure_services(c, settings)
    configure_sign_in(c, settings, parts)
    configure_pages(c, parts)
    remove_batchspawner_route()


def remove_batchspawner_route() -> None:
    """Importing batchspawner adds /hub/api/batchspawner, which lets who holds a server's token set any attribute of
    its spawner (batchspawner 1.3.0, api.py). Our launcher makes it needless.
    """
    apihandlers.default_handlers[:] = [
        handler for handler in apihandlers.default_handlers if handler[0] != r"/api/batchspawner"
    ]


def _configure_processes(c: Any, settings: Settings) -> None:
    state = settings.state
    hub = c.JupyterHub
    hub.bind_url = settings.base_url
    hub.hub_bind_url = _hub_bind_url(settings)
    hub.hub_connect_url = settings.hub_url
    hub.db_url = settings.hub_database_url
    if hub.db_url == f"sqlite:///{state.hub_database}":
        _prepare(state.hub_database)
    hub.cookie_secret = bytes.fromhex(state.secret("cookie_secret"))
    # The hub starts none of the others and ends none of the sessions: all live on when it dies.
    hub.proxy_class = RestoringProxy
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.extra_routes = {MARK: settings.hub_url}
    c.ConfigurableHTTPProxy.api_url = settings.proxy_api_url
    c.ConfigurableHTTPProxy.auth_token = state.secret("proxy_token")
    hub.cleanup_servers = False
    hub.cleanup_proxy = False
    hub.init_spawners_timeout = 1


def _prepare(database: Path) -> None:
    # Tokens and people's sign-in state are in it: the owner's alone, whatever the umask says.
    database.touch(mode=0o600)
    with closing(sqlite3.connect(database)) as connection:
        # Kept in the file: one write to disk for each of the hub's many commits instead of three.
        connection.execute("PRAGMA journal_mode=WAL")


def _hub_bind_url(settings: Settings) -> str:
    listen = settings.yaml.listen
    host = f"[{listen.hub_ip}]" if ":" in listen.hub_ip else listen.hub_ip
    return f"http://{host}:{listen.hub_port}"


def _configure_sessions(c: Any, settings: Settings) -> None:
    hub, spawner = c.JupyterHub, c.Spawner
    hub.spawner_class = FederatedSpawner
    hub.allow_named_servers = True
    # The ledger admits; the hub's own limit counts queued starts, too.
    hub.concurrent_spawn_limit = 0
    hub.active_server_limit = 0
    spawner.consecutive_failure_limit = 0
    # The outer deadline only has to be longer than any inner one (queue wait, boot).
    spawner.start_timeout = _longest_start_seconds(settings)
    spawner.http_timeout = 60
    spawner.poll_interval = 10
    # Without this the hub's own PATH would reach the session.
    spawner.env_keep = []
    spawner.default_url = "/lab"
    spawner.environment = {"JUPYTERHUB_ACTIVITY_INTERVAL": str(_activity_seconds(settings))}
    hub.last_activity_interval = _activity_seconds(settings)


def _configure_services(c: Any, settings: Settings) -> None:
    """Who may use the hub's API beside people: the worker, Prometheus, which may read metrics and nothing else, the
    command that removes people, and whom somebody configured before us, as a chart's values do. The access desk signs
    people in by the hub, and may do nothing there: its token is the secret of its OAuth client. It is started by others.
    """
    ours: list[dict[str, Any]] = [
        *(
            {"name": name, "api_token": settings.state.secret(f"{name}_token")}
            for name in ("worker", "prometheus", "operator")
        ),
        {
            "name": SERVICE,
            "api_token": settings.state.secret("desk_token"),
            "url": settings.desk_url,
            "oauth_no_confirm": True,
            "display": False,
        },
    ]
    c.JupyterHub.services = [*_others(c, "services", ours), *ours]
    c.JupyterHub.custom_scopes = {REFRESH_SCOPE: {"description": "Ask providers again what they say of people"}}
    roles = [
        {
            "name": "user",
            "description": "what is one's own, and the access desk",
            "scopes": ["self", DESK_SCOPE],
        },
        {
            "name": "worker",
            "description": "renews leases, stops idle sessions, starts interrupted ones again",
            "scopes": ["list:users", "read:servers", "delete:servers", "start:servers", REFRESH_SCOPE],
            "services": ["worker"],
        },
        {
            "name": "prometheus",
            "description": "reads metrics",
            "scopes": ["read:metrics"],
            "services": ["prometheus"],
        },
        {
            "name": "operator",
            "description": "removes the hub's record of a person whose personal data is removed (nbfed person remove)",
            "scopes": ["delete:users"],
            "services": ["operator"],
        },
    ]
    c.JupyterHub.load_roles = [*_others(c, "load_roles", roles), *roles]


def _others(c: Any, name: str, ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was there already, without those that have the names of ours."""
    taken = {each["name"] for each in ours}
    found = c.JupyterHub.get(name, [])
    if isinstance(found, LazyConfigValue):  # appended to what is not there yet
        found = found.get_value([])
    return [each for each in found if each["name"] not in taken]


def _longest_start_seconds(settings: Settings) -> int:
    """Above every deadline of a start: a queue may be longer than a day, and an outage of the site does not count."""
    queues = (site.queue_hours for site in settings.yaml.sites.values() if isinstance(site, BatchSite))
    return _LONGEST_START_SECONDS + 2 * _HOUR_SECONDS * max(queues, default=0)


def _activity_seconds(settings: Settings) -> int:
    """How often activity is reported: often enough for the idle stop that is set."""
    idle = settings.yaml.idle.stop_after_minutes
    return _MOST_ACTIVITY_SECONDS if idle is None else max(1, min(_MOST_ACTIVITY_SECONDS, int(idle * 60 / 4)))
