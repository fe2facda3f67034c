"""The files of values: known to the chart, complete, and each explained.

The chart itself is not here: it lies in a registry of charts. What is known of it are its key facts (`charts.py`, and
docs/reference/helm-values.md).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hub_config.cli import main
from tests.helm_values.charts import CLOSED, COMBINATIONS, FOLDER, ROOT, leaves, merged, unpack

FILES = sorted(path.name for path in (ROOT / FOLDER).glob("*.yaml"))
PAGE = ROOT / "docs" / "reference" / "helm-values.md"
SECRETS = ("check_in", "mail_password")
URL = "postgresql+psycopg://nbfed:not-a-real-password@db.example.org/nbfed"

each_file = pytest.mark.parametrize("file", FILES)
each = pytest.mark.parametrize("files", COMBINATIONS.values(), ids=COMBINATIONS)


def within(values: dict[str, Any], path: str) -> Any:
    for key in path.split(".") if path else []:
        values = values.get(key, {})
    return values


def test_each_file_is_of_an_installation() -> None:
    assert {file for files in COMBINATIONS.values() for file in files} == set(FILES)


@each_file
@pytest.mark.parametrize("path", CLOSED, ids=lambda path: path or "root")
def test_the_chart_knows_every_key(file: str, path: str) -> None:
    values = within(yaml.safe_load((ROOT / FOLDER / file).read_text()), path)
    assert set(values) <= CLOSED[path]


@each
def test_every_file_has_its_content_in_the_form_that_keeps_the_order_of_keys(files: tuple[str, ...]) -> None:
    """`data` would be written with its keys sorted, and the order of tiers says which one is the higher."""
    for file in merged(*files)["hub"]["extraFiles"].values():
        assert set(file) == {"mountPath", "stringData"}


@pytest.fixture
def installed(tmp_path: Path, files: tuple[str, ...]) -> Path:
    """The folder that stands for /, with the secrets that the files ask for."""
    unpack(merged(*files), tmp_path)
    folder = tmp_path / "etc" / "nbfed" / "secrets"
    folder.mkdir()
    for name in (*SECRETS, "database_url", "hub_database_url"):
        (folder / name).write_text(URL if name.endswith("_url") else "a-secret")
    return tmp_path


@each
def test_federation_yaml_has_no_complaints(
    installed: Path, files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NBFED_DATABASE_URL", raising=False)
    monkeypatch.setenv("NBFED_HOME", str(installed / "run"))
    answer = CliRunner().invoke(main, ["config", "check", str(installed / "etc" / "nbfed" / "federation.yaml")])
    assert answer.exit_code == 0, answer.output
    assert "no complaints" in answer.output


@each
def test_the_comment_at_the_top_names_every_secret(files: tuple[str, ...]) -> None:
    values, text = merged(*files), "".join((ROOT / FOLDER / file).read_text() for file in files)
    named = set(re.findall(r"secrets/(\w+)", values["hub"]["extraFiles"]["federation"]["stringData"]))
    created = set(re.findall(r"--from-file=(\w+)", text))
    assert named <= created


@each
def test_processes_find_each_other(files: tuple[str, ...]) -> None:
    settings = yaml.safe_load(merged(*files)["hub"]["extraFiles"]["federation"]["stringData"])
    listen = settings["listen"]
    assert (listen["hub_ip"], listen["hub_url"], listen["proxy_api_url"]) == (
        "0.0.0.0",
        "http://hub.federation:8081",
        "http://proxy-api:8001",
    )


CHART_DID = """
import json, os, sys
from traitlets.config import Config
c = Config()
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.services = [{"name": name, "api_token": name} for name in json.loads(sys.argv[1])]
for name, section in json.loads(sys.argv[3]).items():
    c[name].update(section)
exec(sys.argv[2])
print(json.dumps({
    "spawner": c.JupyterHub.spawner_class.__name__,
    "authenticator": c.JupyterHub.authenticator_class.__name__,
    "database": c.JupyterHub.db_url,
    "api": c.ConfigurableHTTPProxy.api_url,
    "connect": c.JupyterHub.hub_connect_url,
    "services": {each["name"]: each["api_token"] for each in c.JupyterHub.services},
    "timeout": c.JupyterHub.tornado_settings["slow_spawn_timeout"],
    "key": os.environ["JUPYTERHUB_CRYPT_KEY"],
}))
"""
"""What the chart's own configuration leaves (chart 4.4, files/hub/jupyterhub_config.py), `hub.config`, then ours."""


@each
def test_the_hub_is_ours_after_the_charts_own_configuration_and_makes_no_secret_of_its_own(
    installed: Path, files: tuple[str, ...], tables: Path
) -> None:
    hub = merged(*files)["hub"]
    given = {name: f"{number:064x}" for number, name in enumerate(hub["extraEnv"]) if name.startswith("NBFED_")}
    assert all("secretKeyRef" in hub["extraEnv"][name]["valueFrom"] for name in given)
    is_demo = "mode: demo" in hub["extraFiles"]["federation"]["stringData"]
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **given,
        "NBFED_HOME": str(installed / "srv"),
        "NBFED_CONFIG": str(installed / "etc" / "nbfed" / "federation.yaml"),
        "NBFED_DATABASE_URL": f"sqlite:///{installed}/federation.sqlite",
    }
    (installed / "srv").mkdir()
    shutil.copy(tables, installed / "federation.sqlite")
    done = subprocess.run(
        [sys.executable, "-c", CHART_DID, json.dumps(list(hub["services"])), hub["extraConfig"]["nbfed"],
         json.dumps(hub["config"])],
        env=environment, capture_output=True, text=True, check=False, timeout=300, cwd=installed,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["spawner"], found["authenticator"]) == ("FederatedSpawner", "FederatedAuthenticator")
    assert found["timeout"] == 10
    assert (found["api"], found["connect"]) == ("http://proxy-api:8001", "http://hub.federation:8081")
    assert found["database"] == (f"sqlite:///{installed}/srv/jupyterhub.sqlite" if is_demo else URL)
    assert found["key"] == given["NBFED_CRYPT_KEY"]
    assert set(found["services"]) == set(hub["services"])
    for name in ("worker", "prometheus", "operator", "desk"):
        assert found["services"][name] == given[f"NBFED_{name.upper()}_TOKEN"]
    made = [path.name for path in (installed / "srv" / "secrets").glob("*")]
    assert made == (["demo_client_secret"] if is_demo else [])


@each
def test_every_token_of_a_service_is_given_to_the_hub(files: tuple[str, ...]) -> None:
    hub = merged(*files)["hub"]
    keys = {each["valueFrom"]["secretKeyRef"]["key"] for each in hub["extraEnv"].values() if isinstance(each, dict)}
    assert {f"hub.services.{name}.apiToken" for name in hub["services"]} <= keys


# --- the table ----------------------------------------------------------------------------------------------


def rows() -> dict[str, str]:
    """Name and reason of each value that the page tells of."""
    found: dict[str, str] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            names, reason = line.strip("| ").split(" | ", 1)
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", names), reason)
    return found


def is_told(leaf: str, names: set[str]) -> bool:
    parts = leaf.split(".")
    return any(".".join(parts[:count]) in names for count in range(1, len(parts) + 1))


@each_file
def test_each_value_has_its_reason(file: str) -> None:
    values = yaml.safe_load((ROOT / FOLDER / file).read_text())
    assert [leaf for leaf in leaves(values) if not is_told(leaf, set(rows()))] == []


def test_no_reason_is_left_of_a_value_that_there_is_not() -> None:
    chart = yaml.safe_load((ROOT / FOLDER / "chart" / "values.yaml").read_text())
    there = [leaf for file in FILES for leaf in leaves(yaml.safe_load((ROOT / FOLDER / file).read_text()))]
    there += leaves(chart)
    for name, reason in rows().items():
        assert any(leaf == name or leaf.startswith(f"{name}.") for leaf in there), name
        assert len(reason) > 20, name


def test_our_own_charts_values_have_their_reasons() -> None:
    values = yaml.safe_load((ROOT / FOLDER / "chart" / "values.yaml").read_text())
    assert [leaf for leaf in leaves(values) if not is_told(leaf, set(rows()))] == []
