"""A hub that exchanges secrets, a stand-in for the single-user server, and a place that every account can reach."""

import contextlib
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

SINGLEUSER = '''
import json, os, signal, subprocess, sys, time
from jupyter_server.serverapp import ServerApp

def main():
    """Note what there is to see, then do what the test asks for."""
    app = ServerApp()
    app._find_http_port()
    app._bind_http_server_tcp()
    umask = os.umask(0); os.umask(umask)
    seen = dict(argv=sys.argv, env=dict(os.environ), cwd=os.getcwd(), uid=os.getuid(), gid=os.getgid(), umask=umask,
                groups=os.getgroups(), port=app.port, served=app.served.getsockname()[1], pid=os.getpid(),
                inheritable=app.served.get_inheritable())
    path = os.path.join(os.environ["HOME"], "seen.json")
    with open(path + ".new", "w") as file:
        json.dump(seen, file)
    os.rename(path + ".new", path)
    exec(os.environ.get("STUB", "signal.pause()"))
'''

SERVERAPP = """
class ServerApp:
    @property
    def http_server(self):
        return self

    def add_sockets(self, sockets):
        self.served, = sockets

    def _find_http_port(self):
        raise AssertionError("not patched")

    _bind_http_server_tcp = _find_http_port
"""


@dataclass
class Hub:
    """A hub for one test. Unless told otherwise it does what the protocol says.

    Parameters
    ----------
    url
        Where it listens.
    answers
        What the next exchange requests get, instead of the right answer: a status, `lost` or `nonsense`.
    env
        What the exchange hands out.
    requests
        The bodies of the exchange requests so far.
    on_request
        Called with each of them before it is answered.
    paths
        The method and path of every request so far.
    """

    url: str = ""
    answers: list[int | str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    on_request: Callable[[dict[str, str]], None] = lambda message: None
    paths: list[str] = field(default_factory=list)

    @property
    def exchange_url(self) -> str:
        return f"{self.url}/hub/nbfed/exchange"

    @property
    def steps(self) -> list[str]:
        return [message["step"] for message in self.requests]


class HubHandler(BaseHTTPRequestHandler):
    """Exchange, and as much of JupyterHub's API as the single-user server asks for."""

    hub: Hub

    def do_GET(self) -> None:
        self.hub.paths.append(f"GET {self.path}")
        if self.path.rstrip("/").endswith("/hub/api"):
            self._answer(200, {"version": "6.1.1"})
        elif self.path.endswith("/user") and self.headers["Authorization"] == "token person":
            scopes = ["access:servers!user=x"]
            self._answer(200, {"name": "x", "kind": "user", "admin": False, "groups": [], "scopes": scopes})
        else:
            self._answer(403, {})

    def do_POST(self) -> None:
        self.hub.paths.append(f"POST {self.path}")
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/exchange"):
            self._answer(200, {})
            return
        self.hub.requests.append(message)
        self.hub.on_request(message)
        right = 200 if message["step"] == "exchange" else 204
        answer = self.hub.answers.pop(0) if self.hub.answers else right
        if answer == "lost":
            self.close_connection = True
        elif answer == "nonsense":
            self._answer(200, ["this is not an environment"])
        else:
            self._answer(int(answer), {"env": self.hub.env} if answer == 200 else None)

    def _answer(self, status: int, body: object) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Location", f"{self.hub.url}/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """A launcher that was killed does not wait for its answer."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub at a port of its own."""
    hub = Hub(env={"JUPYTERHUB_SERVICE_PREFIX": "/user/x/", "JUPYTERHUB_API_TOKEN": "the-token"})
    server = Server(("127.0.0.1", 0), type("Handler", (HubHandler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Sandbox:
    """A folder that every account can enter, and the processes that a test started with its environment.

    Parameters
    ----------
    root
        The folder.
    mark
        In the environment of the processes, so that those that escape are found.
    """

    root: Path
    mark: str

    @property
    def environment(self) -> dict[str, str]:
        """For a launcher with the stand-in for the single-user server."""
        home = self.folder("home")
        return {"PYTHONPATH": str(self.root / "stub"), "HOME": str(home), "PATH": "/usr/bin:/bin", "MARK": self.mark}

    def folder(self, name: str, mode: int = 0o711) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        return folder

    @property
    def seen(self) -> dict[str, Any]:
        """What the stand-in saw, once it runs."""
        return self.json(self.root / "home" / "seen.json")

    def json(self, path: Path) -> dict[str, Any]:
        """The content of a file that will be there soon."""
        self.wait(path.exists)
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def wait(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.01)

    def processes(self) -> list[psutil.Process]:
        """All processes of this test that live."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
                if f"MARK={self.mark}".encode() in environment and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with the stand-in; whatever the test started is ended after it."""
    # Not tmp_path: that is closed to the account of the sessions.
    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="nbfed-test-"))
    sandbox = Sandbox(root, secrets.token_hex(8))
    sandbox.folder("")
    for module, code in (("jupyterhub/singleuser", SINGLEUSER), ("jupyter_server/serverapp", SERVERAPP)):
        package = sandbox.folder(f"stub/{module.split('/')[0]}", 0o755)
        (package / "__init__.py").touch()
        (package / f"{module.split('/')[1]}.py").write_text(code)
    if os.geteuid() == 0:
        shutil.chown(sandbox.folder("home"), "nobody")
    yield sandbox
    for process in sandbox.processes():
        with contextlib.suppress(psutil.Error):
            process.kill()
    sandbox.wait(lambda: not sandbox.processes())
    shutil.rmtree(root)
