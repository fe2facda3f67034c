"""What tests of the hub's parts share: settings of their own, a house on real tables, JupyterHub as it was before."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from jupyterhub import apihandlers, handlers
from jupyterhub.handlers.base import BaseHandler

from federation.database import Database
from federation.state import StateFolder
from hub_config.authenticator import FederatedAuthenticator
from hub_config.pages.access_handlers import AccessHandler, MyDataHandler
from hub_config.pages.handlers import Page, SpawnFormHandler
from hub_config.pages.language import LanguageHandler
from hub_config.pages.session_api import SessionAPIHandler
from hub_config.pages.terms_handlers import TermsHandler
from hub_config.settings import Settings, load
from hub_config.wiring import House, house
from spawners.federated import FederatedSpawner
from tests.support.service import demo_yaml

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)

SET_ONCE_FOR_ALL = (
    (FederatedSpawner, "context"),
    (FederatedAuthenticator, "house"),
    (FederatedAuthenticator, "providers"),
    (FederatedAuthenticator, "public_url"),
    (Page, "views"),
    (SpawnFormHandler, "terms"),
    (TermsHandler, "terms"),
    (AccessHandler, "access"),
    (MyDataHandler, "house"),
    (SessionAPIHandler, "views"),
    (LanguageHandler, "offered"),
    (BaseHandler, "prepare"),
)
MakeSettings = Callable[..., Settings]
MakeHouse = Callable[..., House]


@pytest.fixture
def make_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSettings:
    """The demo's settings in a folder of their own; keyword arguments replace keys of the sections."""
    monkeypatch.delenv("NBFED_DATABASE_URL", raising=False)

    def make(**changes: Any) -> Settings:
        file = tmp_path / "federation.yaml"
        file.write_text(yaml.safe_dump(demo_yaml(**changes), sort_keys=False))
        return load(file, StateFolder(tmp_path / "run"))

    return make


@pytest.fixture
def make_house(make_settings: MakeSettings, tables: Path) -> Iterator[MakeHouse]:
    """A house on real tables, at the moment `NOW`."""
    databases: list[Database] = []

    def make(**changes: Any) -> House:
        settings = make_settings(**changes)
        shutil.copy(tables, settings.state.federation_database)
        made = house(settings, actor="test", clock=lambda: NOW)
        databases.append(made.database)
        made.publish_rates()
        made.publish_terms()
        return made

    yield make
    for database in databases:
        database.dispose()


@pytest.fixture
def untouched_jupyterhub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Configuring a hub changes lists and classes of JupyterHub, and the environment; all are put back."""
    for owner, name in SET_ONCE_FOR_ALL:
        if name in vars(owner):
            monkeypatch.setattr(owner, name, vars(owner)[name])
    missing = [(owner, name) for owner, name in SET_ONCE_FOR_ALL if name not in vars(owner)]
    lists = [(routes, list(routes)) for routes in (apihandlers.default_handlers, handlers.default_handlers)]
    environment = dict(os.environ)
    os.environ.pop("JUPYTERHUB_CRYPT_KEY", None)
    yield
    for routes, before in lists:
        routes[:] = before
    for owner, name in missing:
        if name in vars(owner):
            delattr(owner, name)
    os.environ.clear()
    os.environ.update(environment)
