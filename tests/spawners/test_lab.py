"""What is installed into notebook environments: one small wheel, prebuilt, that knows nothing of this project."""

import ast
import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from spawners.lab import wheel

LAB = Path(wheel.__file__).parent
MODULE = LAB / "nbfed_lab" / "__init__.py"
MOST_BYTES = 6000
ENVIRONMENT = Path(os.environ["NBFED_ENVIRONMENTS"]) / "minimal"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.build(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def files(built: Path) -> dict[str, bytes]:
    """What is in it, by the path below the wheel's own folders."""
    with zipfile.ZipFile(built) as archive:
        return {re.sub(r"^nbfed_lab-[^/]*\.", "", name): archive.read(name) for name in archive.namelist()}


# --- the wheel --------------------------------------------------------------------------------------------------------


def test_the_same_files_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    assert wheel.build(tmp_path).read_bytes() == built.read_bytes()


@pytest.mark.parametrize("name", ["__init__.py", "extension.js"])
def test_other_files_give_another_version(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = shutil.copytree(LAB / "nbfed_lab", tmp_path / "nbfed_lab")
    with (source / name).open("a") as file:
        file.write("\n")
    monkeypatch.setattr(wheel, "_SOURCE", source)
    assert wheel.build(tmp_path).name != built.name


def test_its_record_lists_every_file_with_its_hash(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        record = next(name for name in archive.namelist() if name.endswith("RECORD"))
        rows = {path: (digest, size) for path, digest, size in csv.reader(io.StringIO(archive.read(record).decode()))}
        assert sorted(rows) == sorted(archive.namelist())
        for name, (digest, size) in rows.items():
            content = archive.read(name)
            found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert name == record or (digest, size) == (f"sha256={found}", str(len(content)))


def test_the_script_is_named_by_its_content_so_that_it_may_be_kept_for_ever(files: dict[str, bytes]) -> None:
    package = json.loads(files["data/data/share/jupyter/labextensions/nbfed-lab/package.json"])
    load = package["jupyterlab"]["_build"]["load"]
    content = files[f"data/data/share/jupyter/labextensions/nbfed-lab/{load}"]
    assert load == f"static/remoteEntry.{hashlib.sha256(content).hexdigest()[:16]}.js"


def test_the_script_is_small(files: dict[str, bytes]) -> None:
    (script,) = (content for name, content in files.items() if name.endswith(".js"))
    assert len(script) < MOST_BYTES


def test_the_server_loads_its_part(files: dict[str, bytes]) -> None:
    config = json.loads(files["data/data/etc/jupyter/jupyter_server_config.d/nbfed_lab.json"])
    assert config == {"ServerApp": {"jpserver_extensions": {"nbfed_lab": True}}}


def test_it_is_for_any_python_from_3_8_on_and_needs_nothing_else(files: dict[str, bytes]) -> None:
    metadata = files["dist-info/METADATA"].decode()
    assert "Requires-Python: >=3.8" in metadata
    assert "Requires-Dist" not in metadata
    tree = ast.parse(MODULE.read_text(), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert imported - set(sys.stdlib_module_names) == {"jupyter_server", "tornado"}


def test_an_installer_takes_it_and_takes_it_away_again(built: Path, tmp_path: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    environment = tmp_path / "environment"
    for arguments in (
        ("venv", "--quiet", "--python", sys.executable, environment),
        ("pip", "install", "--quiet", "--offline", "--no-deps", "--python", environment, built),
    ):
        subprocess.run([uv, *arguments], check=True)
    extension = environment / "share" / "jupyter" / "labextensions" / "nbfed-lab"
    assert (extension / "package.json").is_file()
    subprocess.run([uv, "pip", "uninstall", "--quiet", "--python", environment, "nbfed-lab"], check=True)
    assert [path for path in extension.rglob("*") if path.is_file()] == []


# --- where it is installed --------------------------------------------------------------------------------------------


def run_in_environment(code: str, **environ: str) -> str:
    """Run code with the Python of a notebook environment, outside of any session."""
    done = subprocess.run(
        [ENVIRONMENT / "bin" / "python", "-c", code], env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", **environ},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_jupyterlab_counts_it_as_enabled_and_compatible() -> None:
    done = subprocess.run(
        [ENVIRONMENT / "bin" / "jupyter", "labextension", "list"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    line = next(line for line in (done.stdout + done.stderr).splitlines() if "nbfed-lab" in line)
    assert "enabled" in line
    assert "OK" in line


def test_without_a_hub_around_it_it_does_nothing() -> None:
    code = """
from types import SimpleNamespace
import nbfed_lab
from jupyter_server.base.handlers import APIHandler
before = APIHandler.update_api_activity
nbfed_lab._load_jupyter_server_extension(SimpleNamespace(log=SimpleNamespace(info=print)))
assert APIHandler.update_api_activity is before
"""
    assert "no hub around this server" in run_in_environment(code)


HUB = """
import asyncio, json, socket
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
import nbfed_lab

class Answer(RequestHandler):
    def get(self):
        seen.append((self.request.uri, self.request.headers.get("Authorization"), self.request.headers.get("Cookie")))
        code = int(self.get_argument("server"))
        self.set_status(code)
        if code == 302:
            self.set_header("Location", "http://127.0.0.1:1/elsewhere")
        self.finish({"code": code})

seen = []
async def main():
    server = HTTPServer(Application([(r"/hub/api/nbfed/session", Answer)]))
    server.listen(0, "127.0.0.1")
    port = next(iter(server._sockets.values())).getsockname()[1]
    for code in ("200", "302", "403", "404", "500"):
        hub = nbfed_lab.Hub({"JUPYTERHUB_API_URL": f"http://127.0.0.1:{port}/hub/api", "JUPYTERHUB_API_TOKEN": "t0ken",
                             "JUPYTERHUB_USER": "ana", "JUPYTERHUB_SERVER_NAME": code})
        print(*await hub.session({}))
    server.stop()
    await server.close_all_connections()
    print(*await hub.session({}))
    assert seen[0] == ("/hub/api/nbfed/session?server=200", "token t0ken", None), seen
asyncio.run(main())
"""


def test_what_the_hub_answers_is_passed_on_and_a_hub_that_is_away_is_said_quietly() -> None:
    assert run_in_environment(HUB).splitlines() == [
        "200 b'{\"code\": 200}'",
        "302 b'{\"code\": 302}'",
        "403 b'{\"code\": 403}'",
        "404 b'{\"code\": 404}'",
        "503 b''",
        "503 b''",
    ]


@pytest.mark.parametrize(
    ("notice", "known", "used", "expected"),
    [
        pytest.param("idle", "2026-03-02T09:00:00+00:00", "2026-03-02T09:00:01+00:00", True, id="used-since"),
        pytest.param("idle", "2026-03-02T09:00:00+00:00", "2026-03-02T09:00:00+00:00", False, id="known-already"),
        pytest.param("idle", None, "2026-03-02T09:00:00+00:00", True, id="nothing-known"),
        pytest.param("quota", "2026-03-02T09:00:00+00:00", "2026-03-02T09:00:01+00:00", False, id="another-reason"),
        pytest.param(None, "2026-03-02T09:00:00+00:00", "2026-03-02T09:00:01+00:00", False, id="no-notice"),
    ],
)  # fmt: skip
def test_an_idle_notice_that_the_session_refutes_is_answered_with_its_use(
    notice: str | None, known: str | None, used: str, expected: bool
) -> None:
    body = json.dumps({"notice": {"reason": notice} if notice else None, "last_activity": known})
    code = f"""
from datetime import datetime
import nbfed_lab
print(nbfed_lab._is_news({body.encode()!r}, datetime.fromisoformat({used!r})))
"""
    assert run_in_environment(code).strip() == str(expected)


def test_only_what_changes_something_counts_as_use() -> None:
    code = """
from types import SimpleNamespace
import nbfed_lab

class Handler:
    counted = 0
    def __init__(self, method):
        self.request = SimpleNamespace(method=method)
    def update_api_activity(self):
        Handler.counted += 1

class Layout(Handler):
    __module__ = "jupyterlab_server.workspaces_handler"

nbfed_lab.count_only_use(Handler)
for kind, method in ((Handler, "GET"), (Handler, "HEAD"), (Handler, "OPTIONS"), (Layout, "PUT")):
    kind(method).update_api_activity()
assert Handler.counted == 0
for method in ("POST", "PUT", "PATCH", "DELETE"):
    Handler(method).update_api_activity()
print(Handler.counted)
"""
    assert run_in_environment(code).strip() == "4"


@pytest.mark.parametrize(("states", "counts"), [((), False), (("idle", "starting"), False), (("idle", "busy"), True)])
def test_a_busy_kernel_is_use(states: tuple[str, ...], counts: bool) -> None:
    code = f"""
from types import SimpleNamespace as S
import nbfed_lab
states = {states!r}
kernels = S(list_kernel_ids=lambda: range(len(states)), get_kernel=lambda i: S(execution_state=states[i]))
times = {{}}
nbfed_lab.note_busy_kernels(S(kernel_manager=kernels, web_app=S(settings={{"last_activity_times": times}})))
print("nbfed_lab" in times)
"""
    assert run_in_environment(code).strip() == str(counts)
