"""The hub's configuration: what the architecture asks of JupyterHub is set, and JupyterHub knows every name of it."""

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import apihandlers, handlers
from jupyterhub.app import JupyterHub
from jupyterhub.crypto import CryptKeeper
from jupyterhub.handlers import pages as hub_pages
from jupyterhub.scopes import scope_definitions
from traitlets.config import Config

from federation import migrations
from hub_config.authenticator import FederatedAuthenticator
from hub_config.configure import configure
from hub_config.pages.access_handlers import AccessHandler
from hub_config.pages.handlers import HomeHandler, SpawnFormHandler, StopServerAPIHandler
from hub_config.pages.language import LanguageHandler
from hub_config.pages.terms_handlers import TermsHandler
from hub_config.restoring_proxy import MARK, RestoringProxy
from hub_config.settings import Settings, SettingsError
from hub_config.wiring import house
from spawners.federated import FederatedSpawner
from tests.hub_config.conftest import MakeHouse, MakeSettings

pytestmark = pytest.mark.usefixtures("untouched_jupyterhub")

CLASSES = {
    "JupyterHub": JupyterHub,
    "ConfigurableHTTPProxy": RestoringProxy,
    "Spawner": FederatedSpawner,
    "FederatedAuthenticator": FederatedAuthenticator,
}


@pytest.fixture
def settings(make_house: MakeHouse) -> Settings:
    return make_house().settings


@pytest.fixture
def c(settings: Settings) -> Config:
    configured = Config()
    configure(configured, settings)
    return configured


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "name", "expected"),
    [
        pytest.param("ConfigurableHTTPProxy", "should_start", False, id="the-proxy-is-anothers"),
        pytest.param("JupyterHub", "cleanup_servers", False, id="sessions-live-on"),
        pytest.param("JupyterHub", "cleanup_proxy", False, id="routes-live-on"),
        pytest.param("JupyterHub", "concurrent_spawn_limit", 0, id="the-ledger-admits"),
        pytest.param("JupyterHub", "active_server_limit", 0, id="the-ledger-limits"),
        pytest.param("Spawner", "consecutive_failure_limit", 0, id="failures-end-no-hub"),
        pytest.param("Spawner", "env_keep", [], id="nothing-of-the-hubs-environment"),
        pytest.param("JupyterHub", "init_spawners_timeout", 1, id="one-dead-site-delays-no-restart"),
        pytest.param("FederatedAuthenticator", "refresh_pre_spawn", False, id="the-worker-may-start-again"),
        pytest.param("FederatedAuthenticator", "enable_auth_state", True, id="auth-state-is-kept"),
        pytest.param("FederatedAuthenticator", "allow_all", True, id="whoever-signs-in-may-look"),
        pytest.param("JupyterHub", "allow_named_servers", True, id="several-sessions"),
        pytest.param("JupyterHub", "default_url", "/hub/home", id="home-page"),
        pytest.param("JupyterHub", "spawner_class", FederatedSpawner, id="our-spawner"),
        pytest.param("JupyterHub", "authenticator_class", FederatedAuthenticator, id="our-authenticator"),
        pytest.param("JupyterHub", "proxy_class", RestoringProxy, id="our-proxy"),
    ],
)
def test_a_value_that_the_architecture_asks_for(c: Config, section: str, name: str, expected: object) -> None:
    assert c[section][name] == expected


def test_jupyterhub_knows_every_name_and_takes_every_value(c: Config) -> None:
    assert set(c) == set(CLASSES)
    for section, values in c.items():
        traits = CLASSES[section].class_traits(config=True)
        assert sorted(set(values) - set(traits)) == []
    hub = JupyterHub(config=c)
    assert hub.hub_bind_url == c.JupyterHub.hub_bind_url
    assert hub.spawner_class is FederatedSpawner
    authenticator = FederatedAuthenticator(config=c)
    assert authenticator.manage_groups


def test_services_may_do_just_what_they_need(c: Config, settings: Settings) -> None:
    scopes = ["list:users", "read:servers", "delete:servers", "start:servers", "custom:nbfed:refresh"]
    assert [(role["name"], role["scopes"], role.get("services")) for role in c.JupyterHub.load_roles] == [
        ("user", ["self", "access:services!service=desk"], None),
        ("worker", scopes, ["worker"]),
        ("prometheus", ["read:metrics"], ["prometheus"]),
        ("operator", ["delete:users"], ["operator"]),
    ]
    assert {*scopes, "read:metrics", "delete:users"} <= {*scope_definitions, *c.JupyterHub.custom_scopes}
    assert c.JupyterHub.services == [
        {"name": name, "api_token": settings.state.secret(f"{name}_token")}
        for name in ("worker", "prometheus", "operator")
    ] + [
        {
            "name": "desk", "api_token": settings.state.secret("desk_token"), "oauth_no_confirm": True, "display": False,
            "url": f"http://127.0.0.1:{settings.yaml.listen.desk_port}",
        }
    ]  # fmt: skip


def test_what_a_chart_configured_before_us_stays_where_it_is_not_ours(settings: Settings) -> None:
    """As the zero-to-jupyterhub chart 4.4 does (its files/hub/jupyterhub_config.py runs first)."""
    c = Config()
    c.JupyterHub.services = [{"name": "theirs", "url": "http://theirs"}, {"name": "worker", "api_token": "another"}]
    c.JupyterHub.load_roles.append({"name": "reader", "scopes": ["list:users"], "services": ["theirs"]})
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.KubeSpawner.tolerations = [{"key": "notebooks"}]
    configure(c, settings)
    services = ["theirs", "worker", "prometheus", "operator", "desk"]
    assert [service["name"] for service in c.JupyterHub.services] == services
    assert [role["name"] for role in c.JupyterHub.load_roles] == ["reader", "user", "worker", "prometheus", "operator"]
    assert c.JupyterHub.services[1]["api_token"] == settings.state.secret("worker_token")
    assert c.JupyterHub.tornado_settings["slow_spawn_timeout"] == 10, "a refusal within ten seconds is an answer"
    assert c.JupyterHub.spawner_class is FederatedSpawner
    assert c.KubeSpawner.tolerations == [{"key": "notebooks"}], "what the cluster's nodes ask of pods"


def test_a_hub_in_a_pod_of_its_own_keeps_nothing_on_its_disk(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBFED_HUB_DATABASE_URL", "postgresql+psycopg://hub:secret@db.example.org/hub")
    secrets = ("cookie_secret", "proxy_token", "worker_token", "prometheus_token", "operator_token", "crypt_key",
               "desk_token")  # fmt: skip
    for name in secrets:
        monkeypatch.setenv(f"NBFED_{name.upper()}", name.encode().hex().ljust(64, "0"))
    listen = {
        "hub_ip": "0.0.0.0", "hub_url": "http://hub:8081", "proxy_api_url": "http://proxy-api:8001/",
        "desk_url": "http://nbfed-desk:8083/",
    }  # fmt: skip
    settings = make_house(listen=listen).settings
    c = Config()
    configure(c, settings)
    assert c.JupyterHub.db_url == "postgresql+psycopg://hub:secret@db.example.org/hub"
    assert not settings.state.hub_database.exists()
    assert [file.name for file in settings.state.root.glob("secrets/*")] == ["demo_client_secret"]
    assert (c.JupyterHub.hub_bind_url.rpartition(":")[0], c.JupyterHub.hub_connect_url) == (
        "http://0.0.0.0",
        "http://hub:8081",
    )
    assert c.ConfigurableHTTPProxy.api_url == "http://proxy-api:8001"
    assert c.ConfigurableHTTPProxy.extra_routes == {MARK: "http://hub:8081"}
    (desk,) = [service for service in c.JupyterHub.services if service["name"] == "desk"]
    assert desk["url"] == "http://nbfed-desk:8083", "the proxy finds it there"


def test_nobody_is_an_administrator(c: Config) -> None:
    for section in ("JupyterHub", "FederatedAuthenticator"):
        assert "admin" not in " ".join(c[section])


def test_what_providers_say_is_kept_encrypted(c: Config, settings: Settings) -> None:
    assert os.environ["JUPYTERHUB_CRYPT_KEY"] == settings.state.secret("crypt_key")
    keeper = CryptKeeper()
    assert len(keeper.keys) == 1
    encrypted = keeper._encrypt({"access_token": "very-secret"})
    assert b"very-secret" not in encrypted
    assert keeper._decrypt(encrypted) == {"access_token": "very-secret"}


def test_a_key_of_the_environment_comes_first(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "ab" * 32)
    configure(Config(), settings)
    assert os.environ["JUPYTERHUB_CRYPT_KEY"] == "ab" * 32


def test_addresses_and_secrets_are_those_of_the_installation(c: Config, settings: Settings) -> None:
    listen, state = settings.yaml.listen, settings.state
    hub, proxy = c.JupyterHub, c.ConfigurableHTTPProxy
    assert hub.bind_url == settings.base_url
    assert hub.hub_bind_url == f"http://127.0.0.1:{listen.hub_port}"
    assert hub.db_url == f"sqlite:///{state.hub_database}"
    assert hub.cookie_secret == bytes.fromhex(state.secret("cookie_secret"))
    assert len(hub.cookie_secret) == 32
    assert proxy.api_url == f"http://127.0.0.1:{listen.proxy_api_port}"
    assert proxy.auth_token == state.secret("proxy_token")
    assert proxy.extra_routes == {MARK: hub.hub_bind_url}
    secrets = [
        state.secret(name)
        for name in ("cookie_secret", "proxy_token", "worker_token", "prometheus_token", "operator_token", "crypt_key")
    ]
    assert len(set(secrets)) == 6
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (state.root / "secrets").iterdir())


@pytest.mark.parametrize(
    ("hub_ip", "bind", "reach"),
    [
        ("10.244.0.1", "http://10.244.0.1", "http://10.244.0.1"),
        ("0.0.0.0", "http://0.0.0.0", "http://127.0.0.1"),
        ("::", "http://[::]", "http://[::1]"),
    ],
)
def test_a_hub_that_listens_elsewhere_is_reached_there(settings: Settings, hub_ip: str, bind: str, reach: str) -> None:
    listen = settings.yaml.listen.model_copy(update={"hub_ip": hub_ip})
    elsewhere = replace(settings, yaml=settings.yaml.model_copy(update={"listen": listen}))
    c = Config()
    configure(c, elsewhere)
    assert c.JupyterHub.hub_bind_url == f"{bind}:{listen.hub_port}"
    assert c.JupyterHub.hub_connect_url == elsewhere.hub_url == f"{reach}:{listen.hub_port}"
    assert c.ConfigurableHTTPProxy.extra_routes == {MARK: elsewhere.hub_url}


def test_the_outer_deadline_is_longer_than_any_inner_one(c: Config, settings: Settings) -> None:
    inner = [site.boot_seconds for site in settings.yaml.sites.values() if site.kind == "local"]
    assert c.Spawner.start_timeout >= 24 * 3600 > max(inner)


def test_the_hub_has_no_certificates_of_its_own(c: Config) -> None:
    assert "internal_ssl" not in c.JupyterHub


@pytest.mark.parametrize(
    ("minutes", "seconds"),
    [
        pytest.param(None, 300, id="never-stopped"),
        pytest.param(60, 300, id="an-hour"),
        pytest.param(20, 300, id="exactly-four-reports"),
        pytest.param(10, 150, id="ten-minutes"),
        pytest.param(0.1, 1, id="six-seconds"),
        pytest.param(0.001, 1, id="at-once"),
    ],
)
def test_activity_is_reported_often_enough_for_the_idle_stop(
    make_house: MakeHouse, minutes: float | None, seconds: int
) -> None:
    c = Config()
    configure(c, make_house(idle={"stop_after_minutes": minutes}).settings)
    assert c.Spawner.environment == {"JUPYTERHUB_ACTIVITY_INTERVAL": str(seconds)}
    assert c.JupyterHub.last_activity_interval == seconds


# --- what is changed in JupyterHub itself -----------------------------------------------------------------------


def routes(found: list[tuple[Any, ...]]) -> list[tuple[str, Any]]:
    return [(route, handler) for route, handler, *_rest in found]


def test_the_route_of_batchspawner_is_gone(settings: Settings) -> None:
    apihandlers.default_handlers.append((r"/api/batchspawner", object))
    configure(Config(), settings)
    assert [route for route, *_rest in apihandlers.default_handlers if "batchspawner" in route] == []


def test_our_handlers_take_the_places_of_jupyterhubs(c: Config) -> None:
    found = routes(handlers.default_handlers)
    for route, handler in (
        (r"/home", HomeHandler),
        (r"/ask", AccessHandler),
        (r"/access", AccessHandler),
        (r"/terms", TermsHandler),
        (r"/language", LanguageHandler),
    ):
        assert [h for r, h in found if r == route] == [handler]
    on_hub = {handler for _route, handler in found}
    assert SpawnFormHandler in on_hub
    assert hub_pages.SpawnHandler not in on_hub
    assert hub_pages.HomeHandler not in on_hub
    of_api = [handler for _route, handler in routes(apihandlers.default_handlers)]
    assert apihandlers.users.UserServerAPIHandler not in of_api
    assert of_api.count(StopServerAPIHandler) == 2


def test_nothing_else_of_jupyterhub_is_lost(settings: Settings) -> None:
    before = [{route for route, _handler in routes(each)} for each in (handlers.default_handlers,
              apihandlers.default_handlers)]  # fmt: skip
    configure(Config(), settings)
    after = [{route for route, _handler in routes(each)} for each in (handlers.default_handlers,
             apihandlers.default_handlers)]  # fmt: skip
    assert before[0] <= after[0]
    assert before[1] - after[1] <= {r"/api/batchspawner"}


def test_twice_is_once(settings: Settings) -> None:
    first, second = Config(), Config()
    configure(first, settings)
    after_first = (list(handlers.default_handlers), list(apihandlers.default_handlers))
    configure(second, settings)
    assert routes(handlers.default_handlers) == routes(after_first[0])
    assert routes(apihandlers.default_handlers) == routes(after_first[1])
    prepare = handlers.base.BaseHandler.prepare
    assert prepare.without_language.__qualname__ == "BaseHandler.prepare"
    for section in ("ConfigurableHTTPProxy", "Spawner"):
        assert first[section] == second[section]


# --- refusals -----------------------------------------------------------------------------------------------


def test_tables_of_another_version_are_refused_and_nothing_is_configured(make_settings: MakeSettings) -> None:
    c, settings = Config(), make_settings()
    with pytest.raises(migrations.OutdatedSchema, match="nbfed db upgrade"):
        configure(c, settings)
    assert dict(c) == {}
    assert not (settings.state.root / "jupyterhub.sqlite").exists()


def test_the_weights_of_the_settings_are_in_force(make_house: MakeHouse, tmp_path: Path) -> None:
    flavours = {"small": {"cpu": 1, "memory_gib": 2, "weight": 1.5}}
    house = make_house(flavours=flavours)
    before = house.publish_rates()
    configure(Config(), house.settings)
    assert house.publish_rates() == before


def test_the_hubs_database_is_its_owners_alone(settings: Settings) -> None:
    before = os.umask(0o022)
    try:
        configure(Config(), settings)
    finally:
        os.umask(before)
    assert stat.S_IMODE(settings.state.hub_database.stat().st_mode) == 0o600


# --- places to run ------------------------------------------------------------------------------------------


HPC = {
    "kind": "batch", "title": "HPC", "dialect": "slurm", "flavours": ["small"], "nodes": ["c1"], "ports": "20000-20009",
    "login": {"host": "login.example.org", "host_key_file": "hpc.pub"}, "walltime_hours": 2,
}  # fmt: skip


def test_each_site_of_a_kind_that_this_version_runs_on_is_a_place_in_the_order_of_the_settings(
    make_settings: MakeSettings,
) -> None:
    made = house(make_settings(sites={"hpc": HPC}), actor="test")
    assert list(made.backends) == ["here", "hpc"]
    assert made.admission.policy.renews("here")
    assert not made.admission.policy.renews("hpc")
    made.database.dispose()


def test_a_start_may_take_longer_than_the_longest_queue(make_settings: MakeSettings, tables: Path) -> None:
    settings = make_settings(sites={"hpc": {**HPC, "queue_hours": 240}})
    shutil.copy(tables, settings.state.federation_database)
    configured = Config()
    configure(configured, settings)
    assert configured.Spawner.start_timeout > 241 * 3600
    FederatedSpawner.context.database.dispose()


def test_a_trait_that_batchspawner_does_not_have_stops_the_start(make_settings: MakeSettings) -> None:
    site = {**HPC, "batchspawner": {"req_srun": "srun", "req_prolog": "module purge"}}
    with pytest.raises(SettingsError, match=r"sites\.hpc\.batchspawner: batchspawner has no req_prolog for slurm"):
        house(make_settings(sites={"hpc": site}), actor="test")
