"""The launcher's promise, kept by real processes against a real HTTP server; the single-user server is a stand-in."""

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

LAUNCHER = Path(__file__).parents[2] / "spawners" / "launcher.py"
SECRET = "5ec7e7" * 8
USAGE = 2
ATTEMPT = "0192-aa"

DAEMON = """
# A process that did all it can to be on its own; with an argument it also does not want to end.
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        subprocess.Popen([sys.executable, "-c", "import signal, time; {}; time.sleep(60)", "daemon"])
    os._exit(0)
os.wait()
"""


class Launched:
    """One launcher and its folder."""

    def __init__(self, sandbox: Any, hub: Any, *, options: list[str], **environment: str) -> None:
        self.folder: Path = sandbox.root / ATTEMPT
        self.command = [sys.executable, str(LAUNCHER), str(self.folder), hub.exchange_url, *options]
        self.environment = sandbox.environment | environment
        self.log = self.folder / "log"
        if not self.folder.exists():
            self.folder.mkdir()
            (self.folder / "secret").write_text(SECRET)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log)

    def file(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / name).read_text())
        return content

    def code(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)


Launch = Callable[..., Launched]


@pytest.fixture
def launch(sandbox: Any, hub: Any) -> Iterator[Launch]:
    """Starts launchers."""
    started: list[Launched] = []

    def launch(*options: str, **environment: str) -> Launched:
        started.append(Launched(sandbox, hub, options=list(options), **environment))
        return started[-1]

    yield launch
    for launched in started:
        launched.process.kill()
        launched.process.wait()


def test_a_session_starts_with_the_environment_of_the_hub_and_leaves_its_times(
    sandbox: Any, hub: Any, launch: Launch
) -> None:
    hub.env["STUB"] = "time.sleep(0.3); sys.exit(7)"
    before = time.time()
    launched = launch("--", "--debug", "--", "x")
    create_time = psutil.Process(launched.process.pid).create_time()
    assert launched.code() == 7
    after = time.time()

    started, ended, session = (launched.file(f"{name}.json") for name in ("started", "ended", "session"))
    assert started["attempt"] == ATTEMPT
    assert started["pid"] == launched.process.pid
    assert started["create_time"] == pytest.approx(create_time, abs=0.05)
    assert before < started["started_at"] < started["started_at"] + 0.3 < ended["ended_at"] < after
    assert ended["exit_code"] == 7
    assert ended["ended_at"] == started["started_at"] + ended["ran_seconds"]
    assert sandbox.seen["argv"] == ["jupyterhub-singleuser", "--debug", "--", "x"]
    assert sandbox.seen["env"]["JUPYTERHUB_API_TOKEN"] == "the-token"
    assert sandbox.seen["env"]["JUPYTERHUB_SERVICE_URL"] == f"http://127.0.0.1:{session['port']}/user/x/"
    assert sandbox.seen["port"] == sandbox.seen["served"] == session["port"]
    key = hashlib.sha256(SECRET.encode()).hexdigest().encode()
    assert session["node"] == "127.0.0.1"
    assert session["proof"] == hmac.new(key, f"127.0.0.1:{session['port']}".encode(), hashlib.sha256).hexdigest()
    assert {path.stat().st_mode & 0o777 for path in launched.folder.glob("*.json")} == {0o600}
    assert sorted(path.name for path in launched.folder.iterdir()) == [
        "ended.json",
        "log",
        "session.json",
        "started.json",
    ]


def test_a_session_of_five_seconds_is_one_of_five_seconds(hub: Any, launch: Launch) -> None:
    hub.env["STUB"] = "time.sleep(5)"
    launched = launch()
    assert launched.code() == 0
    length = launched.file("ended.json")["ended_at"] - launched.file("started.json")["started_at"]
    assert 5 <= length < 10  # a busy machine takes its time to start it


def test_the_length_is_taken_from_a_clock_that_nobody_can_set(sandbox: Any, hub: Any, launch: Launch) -> None:
    """The launcher's own file, with a time of day that goes back an hour after the start."""
    stepping = sandbox.folder("stepping") / "sitecustomize.py"
    stepping.write_text(
        "import itertools, time\nreal, calls = time.time, itertools.count()\n"
        "time.time = lambda: real() - 3600 * (next(calls) > 0)\n"
    )
    hub.env["STUB"] = "time.sleep(1)"
    before = time.time()
    launched = launch(PYTHONPATH=f"{stepping.parent}:{sandbox.root / 'stub'}")
    assert launched.code() == 0
    started, ended = launched.file("started.json"), launched.file("ended.json")
    assert before < started["started_at"] < time.time()
    assert 1 < ended["ran_seconds"] < time.time() - before
    assert ended["ended_at"] == started["started_at"] + ended["ran_seconds"]


# --- the exchange -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "steps"),
    [
        pytest.param([404], ["exchange", "exchange", "confirm"], id="the hub does not know us yet"),
        pytest.param([503, 500], ["exchange", "exchange", "exchange", "confirm"], id="the hub is down"),
        pytest.param(["lost"], ["exchange", "exchange", "confirm"], id="the answer is lost"),
        pytest.param(["nonsense"], ["exchange", "exchange", "confirm"], id="the answer makes no sense"),
        pytest.param([302], ["exchange", "exchange", "confirm"], id="redirects are not followed"),
        pytest.param([200, "lost"], ["exchange", "confirm", "confirm"], id="the confirmation is lost"),
        pytest.param([200, 404], ["exchange", "confirm", "confirm"], id="the hub forgot us between the steps"),
        pytest.param([200, 409], ["exchange", "confirm", "exchange", "confirm"], id="the answer was overtaken"),
    ],
)
def test_the_exchange_is_tried_again(
    sandbox: Any, hub: Any, launch: Launch, answers: list[int | str], steps: list[str]
) -> None:
    hub.answers[:] = answers
    hub.env["STUB"] = "pass"
    launched = launch()
    assert launched.code() == 0
    assert hub.steps == steps
    assert len({message["nonce"] for message in hub.requests}) == 1
    assert all(message["attempt"] == ATTEMPT and message["secret"] == SECRET for message in hub.requests)
    assert not [path for path in hub.paths if "elsewhere" in path]
    log = launched.log.read_text()
    assert "trying again" in log
    assert SECRET not in log
    assert "the-token" not in log


def test_an_overtaken_environment_is_not_used(sandbox: Any, hub: Any, launch: Launch) -> None:
    hub.answers[:] = [200, 409]
    hub.env |= {"STUB": "pass", "TURN": "first"}

    def overtake(message: dict[str, str]) -> None:
        if message["step"] == "confirm":
            hub.env["TURN"] = "second"

    hub.on_request = overtake
    assert launch().code() == 0
    assert sandbox.seen["env"]["TURN"] == "second"


def test_the_secret_is_deleted_only_after_the_confirmation(hub: Any, launch: Launch, sandbox: Any) -> None:
    secret = sandbox.root / ATTEMPT / "secret"
    there: list[bool] = []
    hub.on_request = lambda message: there.append(secret.exists())
    hub.answers[:] = [404, 200, 503]
    launched = launch()
    assert sandbox.seen["pid"] != launched.process.pid
    assert there == [True] * 4
    assert not secret.exists()


def test_a_proxy_in_the_environment_is_not_used(hub: Any, launch: Launch) -> None:
    hub.env["STUB"] = "pass"
    assert launch(http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9").code() == 0
    assert hub.steps == ["exchange", "confirm"]


def test_patience_ends(hub: Any, launch: Launch) -> None:
    hub.answers[:] = [404] * 9
    launched = launch("--patience", "0.5")
    assert launched.code() == 4
    assert launched.file("ended.json")["exit_code"] == 4
    assert (launched.folder / "secret").exists()
    assert not (launched.folder / "session.json").exists()


def test_a_server_that_cannot_use_the_socket_is_refused(sandbox: Any, launch: Launch) -> None:
    (sandbox.root / "stub/jupyter_server/serverapp.py").write_text("class ServerApp: pass")
    launched = launch()
    assert launched.code() == 5
    assert "jupyter_server 2" in launched.log.read_text()


def test_what_a_configuration_says_about_compression_is_kept(sandbox: Any, hub: Any, launch: Launch) -> None:
    with (sandbox.root / "stub/jupyter_server/serverapp.py").open("a") as file:
        file.write("    def init_webapp(self): self.used = dict(self.tornado_settings)\n")
    report = sandbox.root / "home" / "used"
    hub.env["STUB"] = (
        "app.tornado_settings = {'headers': 1}; app.init_webapp(); one = app.used;"
        "app.tornado_settings = {'compress_response': False}; app.init_webapp();"
        f"open({str(report)!r}, 'w').write(json.dumps([one, app.used]))"
    )
    assert launch().code() == 0
    assert json.loads(report.read_text()) == [{"headers": 1, "compress_response": True}, {"compress_response": False}]


# --- the port -----------------------------------------------------------------------------------------------------


def test_the_port_cannot_be_stolen_and_is_not_inherited(sandbox: Any, hub: Any, launch: Launch) -> None:
    def steal(port: int) -> None:
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                thief.bind(("127.0.0.1", port))

    hub.answers[:] = [404, 404]
    launched = launch()
    sandbox.wait(lambda: hub.requests)
    (child,) = psutil.Process(launched.process.pid).children()
    (during,) = [c.laddr.port for c in child.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    steal(during)
    assert sandbox.seen["served"] == during
    assert sandbox.seen["inheritable"] is False
    steal(during)


# --- once only ----------------------------------------------------------------------------------------------------


def test_a_session_listens_within_its_site_s_ports_and_is_found_by_the_name_of_its_node(
    sandbox: Any, hub: Any, launch: Launch
) -> None:
    taken, free = free_pair()
    with taken:
        first = taken.getsockname()[1]
        launched = launch("--ports", f"{first}-{free}", "--node", "c001")
        assert sandbox.seen["port"] == free
    session = launched.file("session.json")
    assert (session["node"], session["port"]) == ("c001", free)
    key = hashlib.sha256(SECRET.encode()).hexdigest().encode()
    assert session["proof"] == hmac.new(key, f"c001:{free}".encode(), hashlib.sha256).hexdigest()


def test_where_no_port_of_the_range_is_free_nothing_is_exchanged(hub: Any, launch: Launch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        launched = launch("--ports", f"{port}-{port}")
        assert launched.code() == USAGE
    assert hub.requests == []
    assert launched.file("ended.json")["exit_code"] == USAGE
    assert (launched.folder / "secret").exists()


@pytest.mark.parametrize("ports", ["5", "9-5", "0-5", "1-65536", "a-b", ""])
def test_what_is_no_range_of_ports_is_refused(launch: Launch, ports: str) -> None:
    launched = launch("--ports", ports)
    assert launched.code() == USAGE
    assert not (launched.folder / "started.json").exists()


def free_pair() -> tuple[socket.socket, int]:
    """A port that is taken by a socket that listens, and the next one, which is free."""
    while True:
        taken, probe = socket.socket(), socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        try:
            probe.bind(("127.0.0.1", taken.getsockname()[1] + 1))
        except (OSError, OverflowError):
            taken.close()
        else:
            return taken, taken.getsockname()[1] + 1
        finally:
            probe.close()


def test_an_attempt_is_started_once(sandbox: Any, hub: Any, launch: Launch) -> None:
    crowd = [launch() for _ in range(5)]
    sandbox.wait(lambda: sum(one.process.poll() == 3 for one in crowd) == 4)
    (winner,) = [one for one in crowd if one.process.poll() is None]
    assert sandbox.seen["argv"]
    assert winner.file("started.json")["pid"] == winner.process.pid
    winner.process.terminate()
    winner.code()
    ended = winner.file("ended.json")
    assert launch().code() == 3
    assert winner.file("ended.json") == ended
    assert hub.steps == ["exchange", "confirm"]


def test_a_cancelled_attempt_does_not_start(sandbox: Any, hub: Any, launch: Launch) -> None:
    folder = sandbox.folder(ATTEMPT)
    (folder / "cancelled").touch()
    launched = launch()
    assert launched.code() == 6
    assert launched.file("ended.json")["exit_code"] == 6
    assert not hub.requests


def test_without_a_folder_nothing_starts(sandbox: Any, hub: Any) -> None:
    command = [sys.executable, str(LAUNCHER), str(sandbox.root / "missing"), hub.exchange_url]
    assert subprocess.run(command, env=sandbox.environment, capture_output=True, check=False).returncode == 2


# --- the end ------------------------------------------------------------------------------------------------------


def test_a_request_to_end_ends_everything(sandbox: Any, hub: Any, launch: Launch) -> None:
    hub.env["STUB"] = (
        DAEMON.format("0") + DAEMON.format("signal.signal(signal.SIGTERM, signal.SIG_IGN)") + "signal.pause()"
    )
    launched = launch()
    sandbox.wait(lambda: len(sandbox.processes()) == 4)  # The launcher, the server and two daemons.
    time.sleep(0.3)  # The stubborn one gets time to become stubborn.
    launched.process.terminate()
    assert launched.code() == 128 + signal.SIGTERM
    assert not sandbox.processes()
    assert launched.file("ended.json")["exit_code"] == -signal.SIGTERM
    assert launched.file("ended.json")["ended_at"] == pytest.approx(time.time(), abs=0.5)


def test_a_request_to_end_during_the_exchange_ends_at_once(sandbox: Any, hub: Any, launch: Launch) -> None:
    hub.answers[:] = [404] * 99
    launched = launch()
    sandbox.wait(lambda: hub.requests)
    launched.process.send_signal(signal.SIGINT)
    assert launched.code(1) == 128 + signal.SIGTERM
    assert (launched.folder / "secret").exists()


def test_a_killed_server_is_on_record_within_a_second(sandbox: Any, hub: Any, launch: Launch) -> None:
    hub.env["STUB"] = DAEMON.format("0") + "signal.pause()"
    launched = launch()
    sandbox.wait(lambda: len(sandbox.processes()) == 3)
    killed = time.time()
    os.kill(sandbox.seen["pid"], signal.SIGKILL)
    assert launched.code() == 128 + signal.SIGKILL
    assert launched.file("ended.json")["exit_code"] == -signal.SIGKILL
    assert killed < launched.file("ended.json")["ended_at"] < killed + 1
    assert not sandbox.processes()


def test_a_killed_launcher_takes_the_server_with_it(sandbox: Any, launch: Launch) -> None:
    launched = launch()
    assert psutil.pid_exists(sandbox.seen["pid"])
    launched.process.kill()
    sandbox.wait(lambda: not sandbox.processes(), 2)
    assert not (launched.folder / "ended.json").exists()
