"""`nbfed doctor`: each check tells well from unwell, says what to do, and makes nothing."""

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.specifiers import SpecifierSet
from sqlalchemy import func, select

from federation.audit import AuditTable
from federation.database import Database
from federation.settings import KubernetesSite
from hub_config import doctor
from hub_config.cli import Installation
from hub_config.doctor import Check, State, examine, report
from hub_config.settings import Settings
from spawners.backends.cluster import Cluster
from tests.hub_config.test_cli import Commands
from tests.support.api_server import ApiServer, kubeconfig
from vetting.desk.app import HEALTH, WELL

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DATE = "Mon, 23 Nov 2026 10:00:00 GMT"
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands(tmp_path, monkeypatch, database={"busy_seconds": 0.2})
    yield commands
    commands.close()


@pytest.fixture
def settings(nbfed: Commands) -> Settings:
    return Installation().settings


def client(answer: Answer) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


def service(settings: Settings) -> Answer:
    """Hub and proxy as they answer when all is well."""
    listen, state = settings.yaml.listen, settings.state
    accepted = {
        f"{settings.base_url}hub/api": None,
        f"http://127.0.0.1:{listen.proxy_api_port}/api/routes": state.secret("proxy_token"),
        f"http://127.0.0.1:{listen.hub_port}/hub/api/users": state.secret("worker_token"),
        f"http://127.0.0.1:{listen.worker_port}/health": None,
        f"http://127.0.0.1:{listen.desk_port}{HEALTH}": None,
        f"http://127.0.0.1:{listen.hub_port}/hub/api/user": state.secret("desk_token"),
    }

    def answer(request: httpx.Request) -> httpx.Response:
        token = accepted[str(request.url.copy_with(query=None))]
        if token and request.headers.get("Authorization") != f"token {token}":
            return httpx.Response(403)
        if request.url.path == HEALTH:
            return httpx.Response(200, text=WELL)
        return httpx.Response(
            200, json={"version": metadata.version("jupyterhub"), "role": "leader"}, headers={"Date": DATE}
        )

    return answer


# --- Kubernetes sites ---------------------------------------------------------------------------------------


@pytest.fixture
def cloud(tmp_path: Path, settings: Settings) -> Iterator[tuple[ApiServer, Settings]]:
    """An installation with a Kubernetes site beside its own."""
    server = ApiServer()
    kubeconfig(tmp_path, server.url)
    site = KubernetesSite.model_validate(
        {"kind": "kubernetes", "title": "Cloud", "flavours": ["small"], "namespace": "notebooks",
         "kubeconfig_file": str(tmp_path / "kubeconfig"), "hub_url": "http://hub:8081"}
    )  # fmt: skip
    sites = {**settings.yaml.sites, "cloud": site}
    yield server, replace(settings, yaml=settings.yaml.model_copy(update={"sites": sites}))
    server.close()


def test_a_cluster_that_answers_is_well(cloud: tuple[ApiServer, Settings]) -> None:
    (check,) = doctor.clusters(cloud[1])
    assert check == Check("site cloud", State.OK, "answers for namespace notebooks")


def test_pods_that_would_look_for_the_hub_in_themselves_are_said(cloud: tuple[ApiServer, Settings]) -> None:
    _, settings = cloud
    site = settings.yaml.sites["cloud"].model_copy(update={"hub_url": None})
    yaml = settings.yaml.model_copy(update={"sites": {**settings.yaml.sites, "cloud": site}})
    well, unwell = doctor.clusters(replace(settings, yaml=yaml))
    assert (well.state, unwell.state) == (State.OK, State.FAIL)
    assert "themselves" in unwell.text
    assert "listen.hub_ip" in unwell.advice


@pytest.mark.parametrize(
    ("status", "text", "advice"),
    [
        (403, "refuses us: 403: pods is forbidden", "helm-values/site/namespace.yaml"),
        (401, "refuses us: 401", "a token may have expired"),
        (500, "does not answer: 500", "sites.cloud.kubeconfig_file"),
    ],
)
def test_a_cluster_that_refuses_or_is_away_is_said_with_what_to_look_at(
    cloud: tuple[ApiServer, Settings], status: int, text: str, advice: str
) -> None:
    server, settings = cloud
    server.answer = lambda token: (status, {"message": "pods is forbidden"})
    (check,) = doctor.clusters(settings)
    assert check.state is State.FAIL
    assert check.text.startswith(text)
    assert advice in check.advice


@pytest.mark.parametrize(
    ("listens", "state", "text"),
    [
        pytest.param(True, State.WARN, "not enforced", id="reached"),
        pytest.param(False, State.OK, "are enforced", id="kept-apart"),
        pytest.param(None, State.OK, "not known", id="nothing-runs"),
    ],
)
def test_from_the_workers_pod_a_session_of_somebody_must_not_be_reached(
    cloud: tuple[ApiServer, Settings], tmp_path: Path, listens: bool | None, state: State, text: str
) -> None:
    """As on a real cluster: tests/kubernetes/test_doctor.py."""
    server, _ = cloud
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if not listens:
            listening.close()
        pod = {
            "metadata": {"name": "nb-1", "labels": {"nbfed/attempt": "1"}},
            "spec": {"containers": [{"name": "notebook", "ports": [{"name": "notebook-port", "containerPort": port}]}]},
            "status": {
                "phase": "Running",
                "podIP": "127.0.0.1",
                "containerStatuses": [
                    {"name": "notebook", "state": {"running": {"startedAt": "2026-11-24T10:00:00Z"}}},
                ],
            },
        }
        server.answer = lambda token: (200, {"items": [] if listens is None else [pod]})
        cluster = Cluster("notebooks", kubeconfig=tmp_path / "kubeconfig")
        check = doctor.network_policy("site cloud", cluster, doctor.reaches)
        cluster.close()
    assert (check.state, text in check.text) == (state, True)
    assert bool(check.advice) is (state is State.WARN)


def test_without_kubernetes_sites_nothing_is_asked(settings: Settings) -> None:
    assert list(doctor.clusters(settings)) == []


def open_database(settings: Settings) -> Database:
    return Database(settings.database_url, busy_seconds=settings.yaml.database.busy_seconds)


def states(checks: list[Check]) -> dict[str, State]:
    return {check.name: check.state for check in checks}


# --- the whole ----------------------------------------------------------------------------------------------


def test_where_all_is_well_nothing_is_said_but_ok(nbfed: Commands, settings: Settings) -> None:
    assert nbfed.house.database
    with client(service(settings)) as asking:
        checks = list(examine(lambda: settings, open_database, asking, lambda: NOW))
    assert [check for check in checks if check.state is not State.OK] == []
    assert {"python", "jupyterhub", "jupyterhub-kubespawner", "configuration", "state folder", "secrets", "free disk",
            "database", "database write", "environments", "hub", "proxy API", "worker token", "worker", "desk",
            "desk token", "clock"} < set(states(checks))  # fmt: skip


def test_before_the_first_start_the_command_fails_says_what_to_do_and_makes_nothing(nbfed: Commands) -> None:
    answer = nbfed("doctor")
    assert answer.exit_code == 1
    assert "nothing answers at http://127.0.0.1:" in answer.stdout
    assert "there is none yet" in answer.stdout
    assert "`nbfed up` starts it" in answer.stdout
    assert not nbfed.home.exists()


def test_looking_at_an_installation_makes_no_secrets_and_no_rows(nbfed: Commands) -> None:
    assert nbfed.house.database
    before = sorted(path for path in nbfed.home.rglob("*") if path.suffix not in (".sqlite-wal", ".sqlite-shm"))
    nbfed("doctor")
    after = sorted(path for path in nbfed.home.rglob("*") if path.suffix not in (".sqlite-wal", ".sqlite-shm"))
    assert after == before
    with nbfed.house.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(AuditTable)).scalar_one() == 0


def test_settings_that_cannot_be_used_are_told_with_each_line(nbfed: Commands) -> None:
    nbfed.file.write_text("idel: {}\nfederatoin: {}\nidle: {}\nidle: {}\nidle: {}\n")
    answer = nbfed("doctor")
    assert answer.exit_code == 1
    assert "fail  configuration" in answer.stdout
    assert answer.stdout.count(str(nbfed.file)) == 2
    assert "1 fail" in answer.stdout


def test_the_report_counts_and_puts_advice_below() -> None:
    checks = [Check("clock", State.OK, "fine"), Check("hub", State.FAIL, "two\nlines", "do this")]
    assert report(checks).splitlines() == [
        "ok    clock  fine",
        "fail  hub    two",
        "             lines",
        "             do this",
        "",
        "1 ok, 0 warn, 1 fail",
    ]


def test_every_check_that_is_not_well_says_what_to_do(nbfed: Commands, settings: Settings) -> None:
    with client(nobody) as asking:
        checks = list(examine(lambda: settings, open_database, asking, lambda: NOW))
    assert [check.name for check in checks if (check.state is State.OK) != (check.advice == "")] == []


# --- versions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "needed", "state"),
    [
        pytest.param("6.1.1", SpecifierSet(">=6.1,<7"), State.OK, id="inside"),
        pytest.param("6.1.0", SpecifierSet(">=6.1,<7"), State.OK, id="lowest"),
        pytest.param("6.0.9", SpecifierSet(">=6.1,<7"), State.FAIL, id="too-old"),
        pytest.param("7.0.0", SpecifierSet(">=6.1,<7"), State.FAIL, id="too-new"),
        pytest.param("0.0.1", None, State.OK, id="nothing-asked"),
    ],
)
def test_versions_are_compared_with_what_the_product_needs(
    found: str, needed: SpecifierSet | None, state: State
) -> None:
    requirements = {"jupyterhub": needed} if needed else {}
    assert states(list(doctor.versions(lambda _: found, requirements)))["jupyterhub"] is state


def test_a_package_that_is_missing_is_a_failure() -> None:
    def installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    checks = list(doctor.versions(installed, {"python": SpecifierSet(">=4")}))
    assert set(states(checks).values()) == {State.FAIL}
    assert "and >=4 is needed" in checks[0].text


# --- the state folder ---------------------------------------------------------------------------------------


def test_a_state_folder_that_is_not_there_yet_is_a_warning(tmp_path: Path) -> None:
    assert doctor.state_folder(tmp_path / "run").state is State.WARN
    assert doctor.state_folder(tmp_path).state is State.OK


def test_a_state_folder_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    check = doctor.state_folder(tmp_path / "run")
    assert (check.state, "NBFED_HOME" in check.advice) == (State.FAIL, True)


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "state"),
    [
        (0o700, 0o600, State.OK),
        (0o700, 0o400, State.OK),
        (0o700, 0o640, State.FAIL),
        (0o700, 0o604, State.FAIL),
        (0o755, 0o600, State.FAIL),
    ],
)
def test_secrets_are_for_their_owner_alone(tmp_path: Path, folder_mode: int, file_mode: int, state: State) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "worker_token").write_text("hush")
    (folder / "worker_token").chmod(file_mode)
    folder.chmod(folder_mode)
    check = doctor.secrets(folder)
    assert check.state is state
    assert "hush" not in check.text
    assert ("chmod 600" in check.advice) == (state is State.FAIL)


def test_no_secrets_yet_is_well_and_a_file_in_their_place_is_not(tmp_path: Path) -> None:
    assert doctor.secrets(tmp_path / "secrets").state is State.OK
    (tmp_path / "secrets").touch()
    assert doctor.secrets(tmp_path / "secrets").state is State.FAIL


@pytest.mark.parametrize(("free", "state"), [(2**30 - 1, State.WARN), (2**30, State.OK), (0, State.WARN)])
def test_less_than_a_gibibyte_of_disk_is_a_warning(tmp_path: Path, free: int, state: State) -> None:
    asked: list[Path] = []

    def free_bytes(folder: Path) -> int:
        asked.append(folder)
        return free

    assert doctor.free_disk(tmp_path / "not" / "there", free_bytes).state is state
    assert asked == [tmp_path]


# --- the database -------------------------------------------------------------------------------------------


def check_database(settings: Settings) -> list[Check]:
    return list(doctor.database(settings, open_database, NOW))


def test_a_database_that_is_not_there_is_a_failure_and_not_made(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    assert states(check_database(settings)) == {"database": State.FAIL}
    monkeypatch.setenv("NBFED_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    assert states(check_database(settings)) == {"database": State.FAIL}
    assert list(tmp_path.rglob("*.sqlite*")) == []


def test_an_outdated_database_is_a_failure(nbfed: Commands, settings: Settings) -> None:
    assert nbfed.house.database
    with sqlite3.connect(nbfed.database_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    (check,) = check_database(settings)
    assert check.state is State.FAIL
    assert "nbfed db upgrade" in check.advice


def test_a_locked_database_can_be_read_and_not_written(nbfed: Commands, settings: Settings) -> None:
    assert nbfed.house.database
    other = sqlite3.connect(nbfed.database_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        checks = check_database(settings)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert states(checks) == {"database": State.OK, "database write": State.FAIL}
    assert "locked" in checks[1].text


def test_a_damaged_database_is_a_failure(nbfed: Commands, settings: Settings) -> None:
    nbfed.home.mkdir()
    nbfed.database_file.write_bytes(b"not a database, but as long as the header of one" * 100)
    assert states(check_database(settings)) == {"database": State.FAIL}


# --- local sites --------------------------------------------------------------------------------------------


def test_environments_that_are_not_installed_are_all_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBFED_ENVIRONMENTS", str(tmp_path))
    check = doctor.environments(settings)
    assert check.state is State.FAIL
    assert check.text.endswith("minimal, python")
    for name in ("python", "minimal"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").symlink_to("/usr/bin/python3")
    assert doctor.environments(settings).state is State.OK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands sessions to another account")
def test_an_account_that_cannot_reach_the_state_folder_is_a_failure(settings: Settings, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert settings.state.sessions.is_dir()
    assert settings.state.homes.is_dir()
    check = doctor.environments(settings)
    assert check.state is State.FAIL
    assert "cannot enter" in check.advice


# --- the running service ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "state", "text"),
    [
        pytest.param("refused", State.FAIL, "nothing answers at http", id="nobody"),
        pytest.param(httpx.Response(200, json={"version": "6.1.1"}), State.OK, "JupyterHub 6.1.1", id="well"),
        pytest.param(httpx.Response(200, json={"version": "6.1.0"}), State.WARN, "6.1.1 is installed", id="other"),
        pytest.param(httpx.Response(200, text="<html>"), State.FAIL, "is not a hub", id="a-page"),
        pytest.param(httpx.Response(200, json=[1]), State.FAIL, "is not a hub", id="another-api"),
        pytest.param(httpx.Response(200, json={"version": 6}), State.FAIL, "is not a hub", id="another-version"),
        pytest.param(httpx.Response(503, json={"version": "6.1.1"}), State.FAIL, "HTTP 503", id="an-error"),
    ],
)
def test_the_hub_must_answer_at_the_address_that_people_type(
    settings: Settings, answer: httpx.Response | str, state: State, text: str
) -> None:
    check = doctor.hub(answer, settings, "6.1.1")
    assert check.state is state
    assert text in check.text


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999/", "http://127.0.0.1:1/", "http://nosuch.invalid/"])
def test_what_cannot_be_asked_is_an_answer(address: str) -> None:
    with httpx.Client(timeout=5, trust_env=False) as asking:
        assert isinstance(doctor.ask(asking, address), str)


@pytest.mark.parametrize(("answer", "state"), [(200, State.OK), (403, State.FAIL), (404, State.FAIL), (0, State.FAIL)])
def test_the_proxy_must_take_our_token(settings: Settings, answer: int, state: State) -> None:
    with client(lambda request: httpx.Response(answer) if answer else nobody(request)) as asking:
        assert doctor.proxy(asking, settings).state is state


@pytest.mark.parametrize(("answer", "state"), [(200, State.OK), (403, State.FAIL), (500, State.FAIL), (0, State.WARN)])
def test_the_hub_must_take_the_workers_token(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answer: int, state: State
) -> None:
    monkeypatch.setenv("NBFED_WORKER_TOKEN", "hush")
    with client(lambda request: httpx.Response(answer) if answer else nobody(request)) as asking:
        check = doctor.worker_token(asking, settings)
    assert check.state is state
    assert "hush" not in check.text


def test_a_token_that_was_not_made_yet_is_a_warning_and_not_made(settings: Settings) -> None:
    with client(nobody) as asking:
        assert doctor.worker_token(asking, settings).state is State.WARN
        assert doctor.desk_token(asking, settings).state is State.WARN
    assert not settings.state.root.exists()


LEADS: dict[str, Any] = {"role": "leader", "database": "reachable", "late": [], "jobs": {}}


@pytest.mark.parametrize(
    ("answer", "state", "text"),
    [
        pytest.param(httpx.Response(200, json=LEADS), State.OK, "leads", id="leader"),
        pytest.param(httpx.Response(200, json=LEADS | {"role": "standby"}), State.OK, "stands by", id="standby"),
        pytest.param(
            httpx.Response(503, json=LEADS | {"late": ["rounds"]}), State.FAIL, "jobs that are late: rounds", id="late"
        ),
        pytest.param(
            httpx.Response(503, json=LEADS | {"database": "away: refused"}), State.FAIL, "away: refused", id="database"
        ),
        pytest.param(httpx.Response(200, text="<html>"), State.FAIL, "is not a worker", id="a-page"),
        pytest.param(httpx.Response(200, json=[1]), State.FAIL, "is not a worker", id="another-api"),
        pytest.param(None, State.FAIL, "nothing answers", id="nobody"),
    ],
)
def test_the_worker_must_be_well(settings: Settings, answer: httpx.Response | None, state: State, text: str) -> None:
    with client(lambda request: answer or nobody(request)) as asking:
        check = doctor.worker(asking, settings)
    assert check.state is state
    assert text in check.text


@pytest.mark.parametrize(
    ("answer", "state", "text"),
    [
        pytest.param(httpx.Response(200, text=WELL), State.OK, "answers at http://nbfed-desk:8083", id="well"),
        pytest.param(httpx.Response(404), State.FAIL, "is not the access desk: HTTP 404", id="another-program"),
        pytest.param(httpx.Response(200, text="<html>"), State.FAIL, "is not the access desk", id="a-page"),
        pytest.param(None, State.FAIL, "nothing answers at http://nbfed-desk:8083", id="nobody"),
    ],
)
def test_the_desk_must_answer_where_the_proxy_is_told_to_find_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: httpx.Response | None,
    state: State,
    text: str,
) -> None:
    with contextlib.closing(Commands(tmp_path, monkeypatch, listen={"desk_url": "http://nbfed-desk:8083/"})):
        settings = Installation().settings
    with client(lambda request: answer or nobody(request)) as asking:
        check = doctor.desk(asking, settings)
    assert check.state is state
    assert text in check.text


@pytest.mark.parametrize(("answer", "state"), [(200, State.OK), (403, State.FAIL), (500, State.FAIL), (0, State.WARN)])
def test_the_hub_must_know_the_desk(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answer: int, state: State
) -> None:
    monkeypatch.setenv("NBFED_DESK_TOKEN", "hush")
    with client(lambda request: httpx.Response(answer) if answer else nobody(request)) as asking:
        check = doctor.desk_token(asking, settings)
    assert check.state is state
    assert "hush" not in check.text


@pytest.mark.parametrize(
    ("seconds", "state"),
    [(0, State.OK), (5, State.OK), (-5, State.OK), (6, State.WARN), (-60, State.WARN), (61, State.FAIL)],
)
def test_the_clock_is_compared_with_the_hubs(seconds: int, state: State) -> None:
    check = doctor.time_of_day(httpx.Response(200, headers={"Date": DATE}), NOW + timedelta(seconds=seconds))
    assert check.state is state
    assert f"{abs(seconds)} s from the hub's" in check.text


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}, {"Date": ""}, None])
def test_a_hub_that_tells_no_time_is_compared_with_nothing(headers: Mapping[str, str] | None) -> None:
    check = doctor.time_of_day("refused" if headers is None else httpx.Response(200, headers=headers), NOW)
    assert check.state is State.OK
    assert "compared with nothing" in check.text


def test_a_date_without_a_zone_is_in_utc() -> None:
    answer = httpx.Response(200, headers={"Date": "Mon, 23 Nov 2026 10:00:00 -0000"})
    assert "0 s from the hub's" in doctor.time_of_day(answer, NOW).text
