"""`nbfed up` with real processes: small scripts as children, and the supervisor in a process of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from federation.state import StateFolder
from hub_config import ports
from hub_config.children import Child, children
from hub_config.running import Running
from hub_config.settings import DEMO_FILE, Settings, parse

HARNESS = """
import json, signal, sys, time
from pathlib import Path
from supervisor import events
from federation.state import StateFolder
from hub_config.settings import Settings, parse
from hub_config.supervisor import Child, up

file, home, wanted, stop_seconds = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), float(sys.argv[4])

def stopped():
    print("on_stopped begins", flush=True)
    time.sleep(stop_seconds)
    print("on_stopped ends", flush=True)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that were begun with nohup ignore it, and so would this
watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
before = [signal.getsignal(number) for number in watched]
code = up(
    Settings(file=file, yaml=parse(file.read_text(), str(file)), state=StateFolder(home)),
    on_stopped=stopped,
    banner=lambda: "the banner",
    children_of=lambda settings: [Child(**child) for child in wanted],
)
assert [signal.getsignal(number) for number in watched] == before
assert not events.callbacks
sys.exit(code)
"""

STEADY = """
import os, signal, sys, time
name, journal = sys.argv[1], open(sys.argv[2], "a", buffering=1)
def end(*_):
    journal.write(f"{name} ends\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, lambda *_: journal.write(f"{name} heard Ctrl-C\\n"))
journal.write(f"{name} starts {os.getpid()}\\n")
while True:
    time.sleep(60)
"""

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[2], "a").write(f"{sys.argv[1]} starts {os.getpid()}\\n")
time.sleep(60)
"""

HAS_A_CHILD = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[4], "grandchild", sys.argv[2]])
"""

FAILS_UNTIL_ALLOWED = """
import pathlib, sys, time
if not pathlib.Path(sys.argv[2] + ".allowed").exists():
    print("\\n".join(f"line {n}" for n in range(1, 8)), flush=True)
    sys.exit("the setting is wrong")
time.sleep(60)
"""

SERVES_HUB_API = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/hub/api" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[3])), Handler).serve_forever()
"""

T = TypeVar("T")


def wait_for(what: Callable[[], T], seconds: float = 30) -> T:
    """The first true result; fails with the last one when the time is over."""
    limit = time.monotonic() + seconds
    while not (result := what()):
        assert time.monotonic() < limit, f"not within {seconds} s; last: {result!r}"
        time.sleep(0.02)
    return result


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Up:
    """One run of `up` in a process group of its own, as a terminal gives it."""

    def __init__(self, settings: Settings, wanted: list[Child], stop_seconds: float = 0) -> None:
        command = [sys.executable, "-c", HARNESS, str(settings.file), str(settings.state.root)]
        command += [json.dumps([asdict(child) for child in wanted]), str(stop_seconds)]
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def says(self, words: str, seconds: float = 30) -> None:
        try:
            wait_for(lambda: words in self.text, seconds)
        except AssertionError:
            raise AssertionError(f"{words!r} was not said within {seconds} s, but:\n{self.text}") from None

    def ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def ends(self, seconds: float = 30) -> int:
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


class House:
    """Settings with free ports, and children that write into one journal."""

    def __init__(self, folder: Path) -> None:
        text = DEMO_FILE.read_text()
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
        public, api, hub, worker, sign_in, desk = self.ports = [s.getsockname()[1] for s in sockets]
        for s in sockets:
            s.close()
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{public}")
        text += (
            f"\nlisten: {{proxy_api_port: {api}, hub_port: {hub}, worker_port: {worker}, sign_in_port: {sign_in}, "
            f"desk_port: {desk}}}\n"
        )
        file = folder / "federation.yaml"
        file.write_text(text)
        self.settings = Settings(file=file, yaml=parse(text, str(file)), state=StateFolder(folder / "run"))
        self._journal = folder / "journal"
        self._runs: list[Up] = []

    @property
    def journal(self) -> list[str]:
        return self._journal.read_text().splitlines() if self._journal.exists() else []

    def child(self, name: str, script: str = STEADY, priority: int = 100, has: str = "", **more: int) -> Child:
        script = HAS_A_CHILD + script if has else script
        argv = [sys.executable, "-c", script, name, str(self._journal), str(self.settings.public_port), has]
        timing = {"stop_seconds": 5, "settle_seconds": 1} | more
        return Child(name, argv, {"PATH": os.environ["PATH"]}, priority, **timing)

    def up(self, *wanted: Child, stop_seconds: float = 0) -> Up:
        self._runs.append(Up(self.settings, list(wanted), stop_seconds))
        return self._runs[-1]

    def starts(self, name: str) -> list[int]:
        """The process ids of all starts of a child so far."""
        return [int(line.split()[2]) for line in self.journal if line.startswith(f"{name} starts")]

    def started(self, name: str, times: int = 1) -> int:
        """The process id of a child's latest start, when there are so many."""
        return wait_for(lambda: self.starts(name) if len(self.starts(name)) >= times else [])[-1]

    def allow(self) -> None:
        self._journal.with_name("journal.allowed").touch()

    def close(self) -> None:
        for run in self._runs:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()
        Running(self.settings.state.root / "nbfed-up.processes").end_all(0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def log_of(house: House, name: str) -> Path:
    return house.settings.state.logs / f"{name}.log"


# --- keeping alive ---------------------------------------------------------------------------------------------


def test_a_child_that_is_killed_is_started_again_and_said_in_one_line(house: House) -> None:
    run = house.up(house.child("hub", settle_seconds=0), house.child("worker"))
    first = house.started("hub")
    time.sleep(0.5)  # until it has settled
    os.kill(first, signal.SIGKILL)
    run.says(f"hub ended (killed by signal 9); starting it again. Log: {log_of(house, 'hub')}")
    assert house.started("hub", times=2) != first
    assert len(house.starts("worker")) == 1
    assert [bool(re.match(r"\d\d:\d\d:\d\d hub ended", line)) for line in run.lines].count(True) == 1


def test_a_child_that_fails_on_and_on_is_told_with_its_last_lines_and_tried_further(house: House) -> None:
    run = house.up(house.child("hub", FAILS_UNTIL_ALLOWED))
    run.says("the setting is wrong")
    said = run.text
    assert said.count("hub ended (exit code 1); starting it again.") == 2
    assert "hub does not stay up: it ended 3 times in a row (exit code 1). Trying again in 3 s" in said
    tail = ["line 4", "line 5", "line 6", "line 7", "the setting is wrong"]
    assert said.endswith(f"The last lines of {log_of(house, 'hub')}:\n    " + "\n    ".join(tail))
    house.allow()
    run.says("hub runs again.")


def test_a_program_that_is_not_there_is_told(house: House) -> None:
    run = house.up(Child("worker", ["/nowhere/worker"], {}, 100, 5))
    run.says("worker ended (can't find command '/nowhere/worker'); starting it again.")
    run.ctrl_c()
    assert run.ends() == 0


def test_the_banner_comes_once_when_the_hub_answers_through_the_public_port(house: House) -> None:
    run = house.up(house.child("hub", SERVES_HUB_API))
    run.says("the banner")
    assert re.search(r"\d\d:\d\d:\d\d Ready after \d+\.\d s\.\nthe banner", run.text)
    run.ctrl_c()
    assert run.ends() == 0
    assert run.text.count("the banner") == 1


# --- ending ----------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_everything_in_reverse_order_then_calls_on_stopped(house: House) -> None:
    run = house.up(
        house.child("proxy", priority=100),
        house.child("hub", has=STUBBORN, priority=200),
        house.child("worker", STUBBORN, priority=300, stop_seconds=1),
    )
    names = ("proxy", "hub", "worker", "grandchild")
    pids = [house.started(name) for name in names]
    run.ctrl_c()
    assert run.ends() == 0
    assert [line for line in house.journal if "starts" not in line] == ["hub ends", "proxy ends"]
    assert not [pid for pid in pids if is_alive(pid)]
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in run.lines]
    root = house.settings.state.root
    assert lines == [
        f"Starting proxy, hub, worker. Logs: {root}/logs",
        "Stopping…",
        "on_stopped begins",
        "on_stopped ends",
        f"Stopped. Everything is kept in {root}.",
    ]
    assert "SIGKILL" in log_of(house, "supervisor").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_other_end_signals_do_the_same(house: House, number: signal.Signals) -> None:
    run = house.up(house.child("hub"))
    pid = house.started("hub")
    run.process.send_signal(number)
    assert run.ends() == 0
    assert "on_stopped ends" in run.text
    assert not is_alive(pid)


def test_a_second_ctrl_c_breaks_nothing_at_any_time_of_the_stop(house: House) -> None:
    run = house.up(house.child("hub", STUBBORN, stop_seconds=3), stop_seconds=3)
    pid = house.started("hub")
    run.ctrl_c()
    run.says("Stopping…")
    run.ctrl_c()
    run.says("Still stopping; one moment.")
    run.says("on_stopped begins")
    run.ctrl_c()
    assert run.ends() == 0
    assert not is_alive(pid)
    assert run.text.index("Still stopping") < run.text.index("on_stopped begins")
    assert "Still stopping" in run.text[run.text.index("on_stopped begins") : run.text.index("on_stopped ends")]
    assert run.lines[-1].endswith(f"Stopped. Everything is kept in {house.settings.state.root}.")


def test_a_child_that_waits_for_its_next_attempt_does_not_delay_the_end(house: House) -> None:
    run = house.up(house.child("hub", FAILS_UNTIL_ALLOWED))
    run.says("starting it again")
    run.ctrl_c()
    assert run.ends(seconds=5) == 0


# --- beginning -------------------------------------------------------------------------------------------------


def test_what_a_killed_supervisor_left_is_ended_by_the_next(house: House) -> None:
    killed = house.up(house.child("hub"), house.child("worker", has=STEADY))
    left = [house.started(name) for name in ("hub", "worker", "grandchild")]
    killed.process.kill()
    killed.ends()
    # The leader of the second group is gone already; its group is found all the same.
    os.kill(left[1], signal.SIGKILL)
    wait_for(lambda: not is_alive(left[1]))
    assert is_alive(left[0])
    assert is_alive(left[2])
    run = house.up(house.child("hub"))
    run.says(f"Ending what an earlier run left behind: hub (process {left[0]}), worker (process {left[1]}).")
    assert house.started("hub", times=2) != left[0]
    assert not [pid for pid in left if is_alive(pid)]


def test_a_process_that_only_has_a_recorded_id_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as stranger:
        record = {"name": "hub", "pid": stranger.pid, "created": psutil.Process(stranger.pid).create_time() - 60}
        (tmp_path / "hub.json").write_text(json.dumps(record))
        (tmp_path / "worker.json").write_text('{"name": "wor')
        said: list[str] = []
        Running(tmp_path).end_all(1, said.append)
        assert stranger.poll() is None
        assert said == []
        assert list(tmp_path.iterdir()) == []
        stranger.kill()


def test_a_second_run_with_the_same_state_folder_is_refused(house: House) -> None:
    first = house.up(house.child("hub"))
    pid = house.started("hub")
    second = house.up(house.child("hub"))
    assert second.ends() == 1
    (said,) = second.lines
    assert said == (
        f"Another `nbfed up` (process {first.process.pid}) runs with the state folder {house.settings.state.root}. "
        f"Stop it with Ctrl-C in its terminal or with `kill {first.process.pid}`, "
        "or choose another folder with NBFED_HOME."
    )
    assert is_alive(pid)


def test_nothing_is_started_while_a_port_is_busy(house: House) -> None:
    with socket.create_server(("127.0.0.1", house.settings.public_port)):
        run = house.up(house.child("hub"))
        assert run.ends() == 1
    program = f"{psutil.Process().name()}, process {os.getpid()}"
    (said,) = run.lines
    assert said == (
        f"Port {house.settings.public_port} is in use by another program ({program}). "
        f"Choose another with federation.base_url in {house.settings.file}, or stop that program."
    )
    assert house.journal == []


@pytest.mark.parametrize(
    ("index", "setting"),
    [
        (0, "federation.base_url"),
        (1, "listen.proxy_api_port"),
        (2, "listen.hub_port"),
        (3, "listen.worker_port"),
        (4, "listen.sign_in_port"),
        (5, "listen.desk_port"),
    ],
)
def test_a_busy_port_is_told_with_its_setting(house: House, index: int, setting: str) -> None:
    assert ports.complaints(house.settings) == []
    with socket.create_server(("127.0.0.1", house.ports[index])):
        (complaint,) = ports.complaints(house.settings)
    assert complaint.startswith(f"Port {house.ports[index]} is in use by another program")
    assert f"Choose another with {setting} in {house.settings.file}" in complaint


def changed(settings: Settings, old: str, new: str) -> Settings:
    text = settings.file.read_text()
    assert old in text
    return Settings(settings.file, parse(text.replace(old, new), "changed"), settings.state)


def test_one_port_for_two_purposes_is_told(house: House) -> None:
    twice = changed(house.settings, f"hub_port: {house.ports[2]}", f"hub_port: {house.ports[1]}")
    (said,) = ports.complaints(twice)
    assert said == (
        f"Port {house.ports[1]} is named by listen.proxy_api_port and listen.hub_port in {house.settings.file}. "
        "Each needs its own."
    )


# --- what runs -------------------------------------------------------------------------------------------------


def test_the_gateway_is_a_child_where_there_are_batch_sites(house: House) -> None:
    site = (
        "{kind: batch, title: Andes, dialect: slurm, flavours: [small], nodes: [c1], ports: 20000-29999, "
        "walltime_hours: 1, login: {host: login.example.org, host_key_file: andes.pub}}"
    )
    settings = changed(house.settings, "\nsites:\n", f"\nsites:\n  andes: {site}\n")
    (gateway,) = [child for child in children(settings) if child.name == "gateway"]
    assert gateway.argv == [sys.executable, "-m", "hub_config.cli", "gateway"]
    assert gateway.environment["NBFED_HOME"] == str(house.settings.state.root)
    by_itself = changed(settings, "\nsites:\n", "\ngateway: {with_up: false}\nsites:\n")
    assert "gateway" not in [child.name for child in children(by_itself)]


def test_the_children_of_the_demo(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBFED_ENVIRONMENTS", "/somewhere")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of another hub")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/authorities.pem")
    proxy, sign_in, desk, hub, worker = found = children(house.settings)
    assert [c.name for c in found] == ["proxy", "sign-in", "desk", "hub", "worker"]
    assert desk.argv == [sys.executable, "-m", "hub_config.cli", "desk"]
    assert sign_in.argv == [sys.executable, "-m", "hub_config.cli", "demo-sign-in"]
    assert hub.argv[:3] == [sys.executable, "-m", "jupyterhub"]
    assert worker.argv == [sys.executable, "-m", "hub_config.cli", "worker"]
    state = house.settings.state
    inherited = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
    ours = {k: v for k, v in os.environ.items() if k in inherited or k.startswith("NBFED_")}
    common = {"NBFED_CONFIG": str(house.settings.file), "NBFED_HOME": str(state.root), "PYTHONUNBUFFERED": "1"}
    assert hub.environment == ours | common
    assert hub.environment["NBFED_ENVIRONMENTS"] == "/somewhere"
    assert hub.environment["SSL_CERT_FILE"] == "/etc/authorities.pem"
    for_all = {k: v for k, v in ours.items() if not k.startswith("NBFED_")}
    assert proxy.environment == for_all | {"CONFIGPROXY_AUTH_TOKEN": state.secret("proxy_token")}


def test_no_child_names_a_secret_in_its_arguments_or_its_description(house: House) -> None:
    secret = house.settings.state.secret("proxy_token")
    for child in children(house.settings):
        assert secret not in " ".join(child.argv)
        assert secret not in repr(child)


def test_the_demo_sign_in_runs_only_if_people_sign_in_with_it(house: House) -> None:
    provider = "{id: ours, issuer: https://idp.example.org, client_id: us, owns_namespaces: []}"
    settings = changed(house.settings, "identity:\n", f"identity:\n  providers: [{provider}]\n")
    assert [child.name for child in children(settings)] == ["proxy", "desk", "hub", "worker"]
    assert "listen.sign_in_port" not in [port.setting for port in ports.ports(settings)]


@pytest.mark.parametrize(
    ("host", "listens_on"),
    [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")],
)
def test_the_proxy_listens_on_the_host_of_the_public_address(house: House, host: str, listens_on: str) -> None:
    settings = changed(house.settings, "http://127.0.0.1:", f"http://{host}:")
    argv = children(settings)[0].argv
    assert argv[argv.index("--ip") + 1] == listens_on


def test_the_real_proxy_runs_with_nothing_but_its_environment_and_keeps_its_token(house: House) -> None:
    proxy = children(house.settings)[0]
    secret = house.settings.state.secret("proxy_token")
    run = house.up(proxy)
    address = f"http://127.0.0.1:{house.settings.yaml.listen.proxy_api_port}/api/routes"

    def status(**headers: str) -> int:
        try:
            return httpx.get(address, headers=headers, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    assert wait_for(status) == 403
    assert status(Authorization=f"token {secret}") == 200
    (process,) = psutil.Process(run.process.pid).children()
    assert secret not in " ".join(process.cmdline())
    assert process.environ() == dict(proxy.environment)
    assert process.cwd() == str(house.settings.state.root)
    written = [file for file in house.settings.state.root.rglob("*") if file.is_file() and secret in file.read_text()]
    assert written == [house.settings.state.root / "secrets" / "proxy_token"]
    run.ctrl_c()
    assert run.ends() == 0
    assert status() == 0
