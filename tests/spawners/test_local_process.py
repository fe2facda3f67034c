"""Local sessions: what is seen of them, how they end, and that their own account cannot fool the hub."""

import contextlib
import dataclasses
import gzip
import hashlib
import http.client
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.sync.client import connect

from spawners.backends import session_files
from spawners.backends.base import Backend, Life, Observation
from spawners.backends.local_process import LocalProcesses
from tests.support.missing import skip_or_fail

SECRET = "5ec7e7" * 8
SECRET_HASH = hashlib.sha256(SECRET.encode()).hexdigest()
ATTEMPT = "0192-aa"
ROOT = os.geteuid() == 0
LAUNCHER = Path(__file__).parents[2] / "spawners" / "launcher.py"
PYTHON = os.path.realpath(sys.executable)
"""Outside of any virtual environment, which other accounts might not reach."""
NOW = 1_800_000_000.0


class Clock:
    """The hub's clock: the machine's, with an offset. What `passes` is time that the whole machine sees pass."""

    offset = timedelta()
    passed = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.passed + self.offset

    def uptime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.passed.total_seconds()

    def passes(self, seconds: float) -> None:
        self.passed = timedelta(seconds=seconds)


class Place:
    """The backend under test, and how a test starts a session on it."""

    def __init__(self, sandbox: Any, hub: Any) -> None:
        self.sandbox, self.hub = sandbox, hub
        self.sessions: Path = sandbox.folder("sessions")
        self.folder = self.sessions / ATTEMPT
        self.clock = Clock()
        self.backend = self.again()

    def again(self) -> LocalProcesses:
        """The backend as it is after a restart of the hub."""
        account = "nobody" if ROOT else None
        return LocalProcesses(self.sessions, clock=self.clock, account=account, uptime=self.clock.uptime)

    def start(self, stub: str = "signal.pause()", **options: Any) -> int:
        self.hub.env["STUB"] = stub
        given = {
            "secret": SECRET,
            "argv_prefix": [PYTHON],
            "exchange_url": self.hub.exchange_url,
            "env": self.sandbox.environment,
            "home": self.sandbox.root / "home",
            "args": ["--debug"],
        }
        return self.backend.start(ATTEMPT, **(given | options))

    def run(self, stub: str = "signal.pause()") -> int:
        """Start one and wait until the stand-in runs."""
        pid = self.start(stub)
        assert self.sandbox.seen
        return pid

    def observe(self) -> Observation:
        return self.backend.observe(ATTEMPT)

    def wait_for(self, life: Life) -> Observation:
        self.sandbox.wait(lambda: self.observe().life is life)
        return self.observe()

    def write(self, name: str, content: object) -> None:
        """As the session's account would."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    def file(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / name).read_text())
        return content

    def crash_before_launch(self) -> None:
        """As if the hub had died after the intent was on record, and before anything was launched."""
        intent = {"submitted_at": time.time(), "launched": None, "start": None, "cancelled": False, "ended_at": None}
        (self.sessions / ".records").mkdir()
        (self.sessions / ".records" / ATTEMPT).write_text(json.dumps(intent))
        self.folder.mkdir()


def started_json(pid: int) -> dict[str, Any]:
    """What a launcher with this number writes."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"attempt": ATTEMPT, "pid": pid, "boot_id": boot_id, "start_ticks": ticks, "started_at": time.time()}


@pytest.fixture
def place(sandbox: Any, hub: Any) -> Iterator[Place]:
    """A local site, as account nobody when we are root."""
    place = Place(sandbox, hub)
    yield place
    for process in sandbox.processes():
        process.kill()
    sandbox.wait(lambda: not sandbox.processes())
    place.observe()  # Buries the dead.


def test_it_is_a_backend(place: Place) -> None:
    backend: Backend = place.backend
    assert backend


# --- the life of a session ----------------------------------------------------------------------------------------


def test_a_session_runs_and_ends_by_itself(place: Place) -> None:
    before = place.clock()
    place.start("print('good', chr(27) + '[31mbye' + chr(7)); time.sleep(0.5); sys.exit(7)")
    assert place.observe().life in {Life.PENDING, Life.RUNNING}
    running = place.wait_for(Life.RUNNING)
    place.sandbox.wait(lambda: place.backend.address(ATTEMPT, SECRET_HASH))
    running = place.observe()
    assert running.life is Life.RUNNING
    assert place.backend.address(ATTEMPT, SECRET_HASH) == (running.host, running.port) == ("127.0.0.1", running.port)
    ended = place.wait_for(Life.ENDED)
    assert running.started_at is not None
    assert ended.started_at == running.started_at > before
    assert ended.ended_at is not None
    assert running.started_at + timedelta(seconds=0.5) < ended.ended_at <= place.clock()
    assert (ended.exit_code, ended.estimated) == (7, False)
    assert place.backend.log_tail(ATTEMPT, 100) == "good bye\n"
    assert place.backend.log_tail(ATTEMPT, 4) == "bye\n"
    assert place.again().observe(ATTEMPT) == ended
    place.backend.forget(ATTEMPT)
    assert place.observe() == Observation(life=Life.ENDED)
    assert sorted(path.name.partition("-")[0] for path in place.sessions.iterdir()) == [".launcher", ".records"]


def test_the_session_survives_a_restart_of_the_hub(place: Place) -> None:
    pid = place.run()
    hub = place.again()
    assert hub.observe(ATTEMPT) == place.observe()
    assert hub.start(
        ATTEMPT, secret="x", argv_prefix=["/bin/false"], exchange_url="", env={}, home=Path("/"), args=[]
    ) == pid  # fmt: skip
    assert hub.end(ATTEMPT, patience_seconds=5).exit_code == -signal.SIGTERM
    assert not place.sandbox.processes()


def test_a_second_start_starts_nothing(place: Place) -> None:
    pid = place.start()
    assert place.start() == pid
    assert place.sandbox.seen
    assert place.start() == pid
    assert place.hub.steps == ["exchange", "confirm"]
    assert len(place.sandbox.processes()) == 2
    place.backend.end(ATTEMPT, patience_seconds=5)
    assert place.start() == pid
    assert place.observe().life is Life.ENDED


def test_a_start_that_fails_leaves_nothing(place: Place) -> None:
    with pytest.raises(FileNotFoundError):
        place.start(argv_prefix=["/nowhere/python"])
    assert place.observe() == Observation(life=Life.ENDED)
    assert not place.folder.exists()
    assert place.run()


def test_a_launcher_that_never_says_anything_has_ended(place: Place) -> None:
    place.start(argv_prefix=["/bin/false"])
    assert place.wait_for(Life.ENDED) == Observation(life=Life.ENDED, exit_code=1)
    assert place.again().observe(ATTEMPT) == Observation(life=Life.ENDED)


def test_a_submission_has_ten_seconds_to_show_itself(place: Place) -> None:
    place.crash_before_launch()
    assert place.observe() == Observation(life=Life.PENDING)
    place.clock.passes(9)
    assert place.observe() == Observation(life=Life.PENDING)
    place.clock.passes(11)
    assert place.observe() == Observation(life=Life.ENDED)


def test_a_slow_launcher_is_pending_for_as_long_as_it_lives(place: Place) -> None:
    place.start(argv_prefix=["/bin/sh", "-c", "sleep 60"])
    place.clock.passes(60)
    assert place.observe() == place.again().observe(ATTEMPT) == Observation(life=Life.PENDING)


def test_an_intent_without_a_process_is_started(place: Place) -> None:
    place.crash_before_launch()
    assert place.run()
    assert place.observe().life is Life.RUNNING


def test_what_cannot_be_asked_is_unknown(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_files(*arguments: object, **options: object) -> int:
        raise OSError(24, "Too many open files")

    place.run()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_more_files)
        assert place.observe() == Observation(life=Life.UNKNOWN)
    assert LocalProcesses(place.sessions / "unmounted").observe(ATTEMPT) == Observation(life=Life.UNKNOWN)
    assert place.observe().life is Life.RUNNING


# --- the end ------------------------------------------------------------------------------------------------------


def test_ending_is_polite_first_and_twice_is_a_no_op(place: Place) -> None:
    place.run("signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); signal.pause()")
    ended = place.backend.end(ATTEMPT, patience_seconds=5)
    assert (ended.life, ended.exit_code, ended.estimated) == (Life.ENDED, 9, False)
    assert place.backend.end(ATTEMPT, patience_seconds=5) == ended


@pytest.mark.parametrize(
    "frozen", [pytest.param(False, id="it does not listen"), pytest.param(True, id="it is stopped")]
)
def test_ending_is_by_force_when_patience_is_over(place: Place, frozen: bool) -> None:
    daemon = "(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True),)"
    pid = place.run(f"{daemon}; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    place.sandbox.wait(lambda: len(place.sandbox.processes()) == 3)
    if frozen:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.2)
    ended = place.backend.end(ATTEMPT, patience_seconds=0.2)
    assert (ended.life, ended.exit_code, ended.estimated) == (Life.ENDED, -signal.SIGKILL, False)
    assert ended.ended_at is not None
    assert abs((place.clock() - ended.ended_at).total_seconds()) < 0.5
    assert not place.sandbox.processes()
    assert place.again().observe(ATTEMPT) == ended


def test_a_killed_launcher_ended_when_it_was_last_seen(place: Place) -> None:
    pid = place.run()
    place.observe()
    place.clock.passes(30)
    last = place.clock()
    assert place.observe().life is Life.RUNNING
    os.kill(pid, signal.SIGKILL)
    place.sandbox.wait(lambda: not place.sandbox.processes(), 2)
    place.clock.passes(90)
    ended = place.observe()
    assert (ended.life, ended.estimated, ended.exit_code) == (Life.ENDED, True, -signal.SIGKILL)
    assert ended.ended_at is not None
    assert abs((ended.ended_at - last).total_seconds()) < 0.1
    assert place.again().observe(ATTEMPT) == dataclasses.replace(ended, exit_code=None)


def test_a_killed_launcher_that_nobody_saw_ended_when_it_started(place: Place) -> None:
    os.kill(place.run(), signal.SIGKILL)
    place.sandbox.wait(lambda: not place.sandbox.processes())
    ended = place.observe()
    assert (ended.life, ended.estimated) == (Life.ENDED, True)
    assert ended.ended_at == ended.started_at


def test_a_cancelled_submission_never_starts(place: Place) -> None:
    place.crash_before_launch()
    assert place.backend.end(ATTEMPT, patience_seconds=5) == Observation(life=Life.ENDED)
    with pytest.raises(OSError, match="cancelled"):
        place.start()
    # The launcher of a hub that died may still come.
    command = [PYTHON, str(LAUNCHER), str(place.folder), place.hub.exchange_url]
    assert subprocess.run(command, env=place.sandbox.environment, check=False).returncode == 6
    assert place.observe() == Observation(life=Life.ENDED)
    assert not place.hub.requests


def test_a_launcher_that_hangs_before_it_started_is_killed(place: Place) -> None:
    place.start(argv_prefix=["/bin/sh", "-c", "sleep 60; true"])
    place.sandbox.wait(lambda: len(place.sandbox.processes()) == 2)
    assert place.backend.end(ATTEMPT, patience_seconds=5) == Observation(life=Life.ENDED)
    assert not place.sandbox.processes()


def test_only_an_ended_attempt_is_forgotten(place: Place) -> None:
    place.run()
    with pytest.raises(ValueError, match="not ended"):
        place.backend.forget(ATTEMPT)
    assert place.observe().life is Life.RUNNING


# --- clocks -------------------------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)


def ran(seen: Observation) -> float:
    """How long a session ran, in seconds."""
    assert seen.started_at is not None
    assert seen.ended_at is not None
    return (seen.ended_at - seen.started_at).total_seconds()


@pytest.mark.parametrize("offset", [-HOUR, HOUR], ids=["an hour behind", "an hour ahead"])
def test_a_hub_whose_clock_is_not_the_machines_sees_the_times_of_its_own_clock(place: Place, offset: timedelta) -> None:
    place.clock.offset = offset
    before = place.clock()
    place.start("time.sleep(0.5)")
    running = place.wait_for(Life.RUNNING)
    ended = place.wait_for(Life.ENDED)
    assert ended.started_at is not None
    assert before <= ended.started_at == running.started_at < place.clock()
    assert (ended.exit_code, ended.estimated) == (0, False)
    assert ran(ended) == pytest.approx(place.file("ended.json")["ran_seconds"], abs=1e-5)


@pytest.mark.parametrize("step", [-HOUR, HOUR, -400 * 24 * HOUR], ids=["an hour back", "an hour ahead", "a year back"])
@pytest.mark.parametrize("how", ["by itself", "asked", "by force", "launcher killed"])
def test_the_hubs_clock_is_set_while_a_session_runs_and_its_length_stays_right(
    place: Place, step: timedelta, how: str
) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if how == "by force" else ""
    begun = time.monotonic()
    pid = place.run(f"{ignore}time.sleep({1.5 if how == 'by itself' else 60})")
    first = place.observe()
    place.clock.offset = step
    time.sleep(1.05)  # at most once a second a sight is noted
    assert place.again().observe(ATTEMPT) == place.observe() == dataclasses.replace(first, life=Life.RUNNING)
    seen = time.monotonic()
    if how == "launcher killed":
        os.kill(pid, signal.SIGKILL)
    elif how != "by itself":
        place.backend.end(ATTEMPT, patience_seconds=0.1 if how == "by force" else 5)
    ended = place.wait_for(Life.ENDED)
    assert ended.started_at == first.started_at
    assert ended.estimated is (how == "launcher killed")
    shortest = 1.0 if how == "launcher killed" else seen - begun - 0.5
    assert shortest < ran(ended) <= time.monotonic() - begun + 0.01
    if how in ("by itself", "asked"):
        assert ran(ended) == pytest.approx(place.file("ended.json")["ran_seconds"], abs=1e-5)


def test_the_answer_says_the_time_of_the_sessions_own_clock(place: Place) -> None:
    place.run()
    place.clock.offset = -HOUR
    at = place.observe().at
    assert at is not None
    assert abs((at - (place.clock() + HOUR)).total_seconds()) < 1


def test_a_session_of_before_the_last_boot_is_measured_by_what_it_wrote(place: Place) -> None:
    place.start("time.sleep(0.3)")
    ended = place.wait_for(Life.ENDED)
    record = place.sessions / ".records" / ATTEMPT
    content = json.loads(record.read_text())
    for part in (content, content["launched"], content["start"] or {}):
        part["boot_id"] = "0" * 36
    record.write_text(json.dumps(content))
    if content["start"] is None:
        place.write("started.json", place.file("started.json") | {"boot_id": "0" * 36})
    assert place.again().observe(ATTEMPT) == dataclasses.replace(ended, exit_code=0)


@pytest.mark.parametrize("said", [None, "soon", -1, True, [], 1e300], ids=repr)
def test_an_uptime_or_a_length_that_cannot_be_read_is_as_if_it_were_not_there(said: object) -> None:
    start = session_files.start_in(START | {"started_uptime": said}, ATTEMPT)
    end = session_files.end_in({"ended_at": 5, "exit_code": 0, "ran_seconds": said})
    assert start is not None
    assert end is not None
    assert (start.started_uptime, end.ran_seconds) == (None, None)


@pytest.mark.parametrize("lie", [0, 9e9], ids=["before the submission", "in the future"])
def test_an_uptime_that_cannot_be_is_not_believed(place: Place, lie: float) -> None:
    submitted = place.clock()
    pid = place.start(argv_prefix=["/bin/sh", "-c", "sleep 60"])
    place.write("started.json", started_json(pid) | {"started_uptime": lie})
    started_at = place.observe().started_at
    assert started_at is not None
    assert abs((started_at - submitted).total_seconds()) < 1


@pytest.mark.parametrize("lie", [0, 9e9], ids=["shorter than it was seen", "in the future"])
def test_a_length_that_cannot_be_is_not_believed(place: Place, lie: float) -> None:
    place.run()
    place.clock.passes(50)
    place.observe()
    place.backend.end(ATTEMPT, patience_seconds=5)
    place.write("ended.json", {"ended_at": place.clock().timestamp(), "exit_code": 0, "ran_seconds": lie})
    ended = place.observe()
    assert ended.estimated
    assert 45 < ran(ended) < 60


# --- what is left when everything that was written is gone --------------------------------------------------------


def wipe(place: Place) -> None:
    """Remove all that was written about sessions."""
    for path in place.sessions.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_what_lives_is_listed_whoever_started_it(place: Place) -> None:
    assert list(place.backend.living()) == []
    place.run()
    assert list(place.backend.living()) == list(place.again().living()) == [ATTEMPT]
    elsewhere = LocalProcesses(place.sandbox.folder("elsewhere"))
    assert list(elsewhere.living()) == []
    place.backend.end(ATTEMPT, patience_seconds=5)
    assert list(place.backend.living()) == []


@pytest.mark.parametrize("offset", [timedelta(), -HOUR], ids=["right clock", "an hour behind"])
def test_a_session_that_runs_is_found_again_although_everything_that_was_written_is_gone(
    place: Place, offset: timedelta
) -> None:
    place.clock.offset = offset
    pid = place.run()
    before = place.observe()
    wipe(place)
    again = place.again()
    found = again.observe(ATTEMPT)
    assert (found.life, found.at is not None) == (Life.RUNNING, True)
    assert before.started_at is not None
    assert found.started_at is not None
    assert abs((found.started_at - before.started_at).total_seconds()) < 0.5
    assert again.observe(ATTEMPT) == found
    assert again.start(ATTEMPT, secret="", argv_prefix=[], exchange_url="", env={}, home=Path("/")) == pid
    ended = again.end(ATTEMPT, patience_seconds=5)
    assert (ended.life, ended.started_at) == (Life.ENDED, found.started_at)
    assert not place.sandbox.processes()


def test_of_a_session_that_ended_and_of_which_everything_is_gone_nothing_is_known(place: Place) -> None:
    place.run()
    place.backend.end(ATTEMPT, patience_seconds=5)
    wipe(place)
    assert place.again().observe(ATTEMPT) == Observation(life=Life.ENDED)


def test_a_running_session_whose_own_folder_is_gone_is_charged_up_to_its_last_sight(place: Place) -> None:
    pid = place.run()
    running = place.observe()
    shutil.rmtree(place.folder)
    place.clock.passes(30)
    assert place.observe() == dataclasses.replace(running, host=None, port=None)
    os.kill(pid, signal.SIGKILL)
    place.sandbox.wait(lambda: not place.sandbox.processes(), 2)
    ended = place.observe()
    assert (ended.life, ended.estimated) == (Life.ENDED, True)
    assert 30 <= ran(ended) < 31


# --- who it runs as, and what it gets -----------------------------------------------------------------------------


def test_nothing_of_the_hub_leaks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "the hub's own")
    pid = place.run()
    given = {f"{name}={value}" for name, value in place.sandbox.environment.items()}
    for process in place.sandbox.processes():
        environment = set(Path(f"/proc/{process.pid}/environ").read_text().rstrip("\0").split("\0"))
        assert environment - {"LC_CTYPE=C.UTF-8"} == given
        assert SECRET not in " ".join(process.cmdline())
    assert psutil.Process(pid).terminal() is None
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/fd/1") == os.readlink(f"/proc/{pid}/fd/2") == str(place.folder / "log")
    assert place.sandbox.seen["cwd"] == str(place.sandbox.root / "home")
    assert place.sandbox.seen["argv"] == ["jupyterhub-singleuser", "--debug"]


@pytest.mark.skipif(not ROOT, reason="only root can hand a session to another account: run the tests as root")
def test_root_hands_the_session_to_an_account(place: Place) -> None:
    nobody = pwd.getpwnam("nobody")
    pid = place.run()
    seen = place.sandbox.seen
    assert (seen["uid"], seen["gid"], seen["groups"], seen["umask"]) == (nobody.pw_uid, nobody.pw_gid, [], 0o077)
    assert set(psutil.Process(pid).uids()) == {nobody.pw_uid}
    assert {path.stat().st_uid for path in [place.folder, *place.folder.iterdir()]} == {nobody.pw_uid}
    assert {path.stat().st_mode & 0o777 for path in place.folder.iterdir()} == {0o600}
    assert place.folder.stat().st_mode & 0o777 == 0o700
    records = place.sessions / ".records"
    assert (records.stat().st_uid, records.stat().st_mode & 0o777) == (0, 0o700)
    (launcher,) = place.sessions.glob(".launcher-????????????.py")
    assert (launcher.stat().st_uid, launcher.stat().st_mode & 0o777) == (0, 0o644)


# --- what the account may try -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../aa", "/etc", ".records", "aa\n", "AA", "a" * 65, "ä"])
def test_a_name_leads_nowhere_else(place: Place, name: str) -> None:
    backend = place.backend
    assert backend.observe(name) == Observation(life=Life.UNKNOWN)
    calls: list[Callable[[], object]] = [
        lambda: backend.end(name, patience_seconds=0),
        lambda: backend.log_tail(name, 10),
        lambda: backend.forget(name),
        lambda: backend.address(name, SECRET_HASH),
        lambda: backend.start(name, secret="", argv_prefix=[], exchange_url="", env={}, home=Path("/")),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not the name"):
            call()
    assert not list(place.sessions.iterdir())


def test_the_log_is_no_window_to_other_files(place: Place) -> None:
    place.run()
    place.write("elsewhere", "not for you")
    (place.folder / "log").unlink()
    (place.folder / "log").symlink_to(place.folder / "elsewhere")
    assert place.backend.log_tail(ATTEMPT, 100) == ""
    (place.folder / "log").unlink()
    os.mkfifo(place.folder / "log")
    assert place.backend.log_tail(ATTEMPT, 100) == ""


@pytest.mark.parametrize(
    "denial",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"pid": 1}, id="another process"),
        pytest.param({"started_at": 1}, id="long ago"),
        pytest.param({"attempt": "0192-bb"}, id="another attempt"),
    ],
)
def test_a_session_that_was_seen_running_cannot_deny_it(place: Place, denial: dict[str, Any]) -> None:
    place.run()
    running = place.observe()
    place.write("started.json", denial and place.file("started.json") | denial)
    place.write("ended.json", {"ended_at": time.time(), "exit_code": 0})
    assert place.observe() == place.again().observe(ATTEMPT) == running


@pytest.mark.skipif(not ROOT, reason="needs a bystander of another account: run the tests as root")
def test_a_session_that_names_another_process_is_found_all_the_same(place: Place) -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as bystander:
        place.run()
        place.write("started.json", started_json(bystander.pid) | {"started_at": time.time() + 30})
        running = place.observe()
        assert running.life is Life.RUNNING
        assert running.started_at is not None
        assert running.started_at < place.clock()
        assert place.backend.end(ATTEMPT, patience_seconds=5).life is Life.ENDED
        assert not place.sandbox.processes()
        assert bystander.poll() is None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"start_ticks": 5}, id="a later process has its number"),
        pytest.param({"boot_id": "0" * 36}, id="before the last boot"),
        pytest.param(
            started_json(1),
            id="a process of another account",
            marks=pytest.mark.skipif(os.stat("/proc/1").st_uid != 0, reason="process 1 is our own here"),
        ),
    ],
)
def test_only_the_very_process_is_the_session(place: Place, other: dict[str, Any]) -> None:
    place.crash_before_launch()
    command, account = [PYTHON, "-c", "import sys; sys.stdin.read()"], "nobody" if ROOT else None
    with subprocess.Popen(command, stdin=subprocess.PIPE, user=account) as process:
        place.write("started.json", started_json(process.pid))
        assert place.again().observe(ATTEMPT).life is Life.RUNNING
        (place.sessions / ".records" / ATTEMPT).unlink()
        place.write("started.json", started_json(process.pid) | other)
        ended = place.backend.end(ATTEMPT, patience_seconds=5)
        assert (ended.life, ended.estimated) == (Life.ENDED, True)
        assert process.poll() is None


def test_an_end_before_it_was_last_seen_is_not_believed(place: Place) -> None:
    place.run()
    place.clock.passes(50)
    running = place.observe()
    ended = place.backend.end(ATTEMPT, patience_seconds=5)
    assert ended.estimated
    assert running.started_at is not None
    assert ended.ended_at is not None
    assert (ended.ended_at - running.started_at).total_seconds() > 45


def test_an_address_needs_the_proof(place: Place) -> None:
    place.run()
    place.sandbox.wait((place.folder / "session.json").exists)
    right = place.file("session.json")
    assert place.backend.address(ATTEMPT, SECRET_HASH) == ("127.0.0.1", right["port"])
    assert place.backend.address(ATTEMPT, hashlib.sha256(b"other").hexdigest()) is None
    for forged in ({"port": 1}, {"node": "127.0.0.2"}, {"node": "10.0.0.1"}, {"proof": "0" * 64}, {"proof": None}):
        place.write("session.json", right | forged)
        assert place.backend.address(ATTEMPT, SECRET_HASH) is None


# --- reading files, purely ----------------------------------------------------------------------------------------


def test_only_small_plain_files_with_an_object_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert session_files.read_object(path) is None
    path.write_text('{"a": 1}')
    assert session_files.read_object(path) == {"a": 1}
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    assert session_files.read_object(tmp_path / "link") is None
    assert session_files.read_object(tmp_path / "pipe") is None
    assert session_files.read_object(tmp_path) is None
    for content in ("", "[]", "1", "{", '{"a": "' + "x" * 4096 + '"}', '{"a":' + "[" * 4000, "\x00", "{'a': 1}"):
        path.write_text(content)
        assert session_files.read_object(path) is None
    path.write_bytes(b'{"a": "\xff"}')
    assert session_files.read_object(path) is None
    path.write_text('{"a": "' + "x" * (4096 - 9) + '"}')
    assert session_files.read_object(path) is not None


START = {"attempt": ATTEMPT, "pid": 7, "boot_id": "0" * 36, "start_ticks": 3, "started_at": NOW}
PLACE = {"node": "127.0.0.1", "port": 5, "proof": "0" * 64}


def test_what_is_right_is_read() -> None:
    assert session_files.start_in(START, ATTEMPT) == session_files.Start(
        pid=7, boot_id="0" * 36, start_ticks=3, started_at=NOW
    )
    assert session_files.end_in({"ended_at": 5, "exit_code": -9}) == session_files.End(ended_at=5.0, exit_code=-9)
    assert session_files.place_in(PLACE) == session_files.Place(host="127.0.0.1", port=5, proof="0" * 64)
    assert session_files.place_in(PLACE | {"node": "::1"})


def each(wrong: dict[str, list[Any]]) -> pytest.MarkDecorator:
    """One case for each wrong value of each key."""
    cases = [(key, value) for key, values in wrong.items() for value in values]
    return pytest.mark.parametrize(("key", "value"), cases, ids=lambda value: repr(value)[:20])


@each(
    {
        "attempt": ["0192-bb", None],
        "pid": [0, -1, 2**31, True, 7.0, "7", None, [7]],
        "started_at": [0, -1, float("nan"), float("inf"), 10**400, True, "1", None, {}],
        "start_ticks": [-1, 2**63, 1.5, None],
        "boot_id": ["", "x" * 36, "0" * 37, 0, None],
    }
)
def test_a_start_of_the_wrong_kind_is_none(key: str, value: object) -> None:
    assert session_files.start_in(START | {key: value}, ATTEMPT) is None


@each({"ended_at": ["now", None], "exit_code": [256, -65, 1.0, True, None]})
def test_an_end_of_the_wrong_kind_is_none(key: str, value: object) -> None:
    assert session_files.end_in({"ended_at": NOW, "exit_code": 0} | {key: value}) is None


@each(
    {
        "node": ["10.0.0.1", "0.0.0.0", "localhost", "", "127.0.0.1@evil", 1, None],
        "port": [0, 65536, "80", True, None],
        "proof": ["", "0" * 63, "ä" * 64, None],
    }
)
def test_a_place_of_the_wrong_kind_is_none(key: str, value: object) -> None:
    assert session_files.place_in(PLACE | {key: value}) is None


@pytest.mark.parametrize(
    ("started_at", "charged_from"),
    [
        pytest.param(NOW - 100, NOW - 100, id="when submitted"),
        pytest.param(NOW - 105, NOW - 105, id="5 s before: the clocks differ"),
        pytest.param(NOW - 105.1, NOW - 100, id="before it was submitted"),
        pytest.param(NOW, NOW, id="now"),
        pytest.param(NOW + 60, NOW, id="60 s ahead: the clocks differ"),
        pytest.param(NOW + 61, NOW - 100, id="in the future"),
    ],
)
def test_the_start_that_is_charged_from(started_at: float, charged_from: float) -> None:
    assert session_files.sane_start(started_at, submitted_at=NOW - 100, now=NOW) == charged_from


@pytest.mark.parametrize(
    ("ended_at", "seen_at", "sane"),
    [
        pytest.param(NOW - 50, None, True, id="never seen"),
        pytest.param(NOW - 50.1, None, False, id="before the start"),
        pytest.param(NOW - 20, NOW - 20, True, id="when last seen"),
        pytest.param(NOW - 21, NOW - 20, True, id="1 s before it was last seen"),
        pytest.param(NOW - 21.1, NOW - 20, False, id="before it was last seen"),
        pytest.param(NOW + 60, NOW, True, id="60 s ahead"),
        pytest.param(NOW + 61, NOW, False, id="in the future"),
    ],
)
def test_the_end_that_is_believed(ended_at: float, seen_at: float | None, sane: bool) -> None:
    assert session_files.sane_end(ended_at, started_at=NOW - 50, seen_at=seen_at, now=NOW) is sane


@pytest.mark.parametrize(
    ("output", "characters", "text"),
    [
        pytest.param(b"one\ntwo", 100, "one\ntwo", id="plain"),
        pytest.param(b"one\ntwo", 3, "two", id="the end"),
        pytest.param(b"one", 0, "", id="nothing"),
        pytest.param(b"\x1b[1;31mred\x1b[0m\r\x07\x00", 100, "red", id="colours and bells"),
        pytest.param("ab\u202ecd".encode(), 100, "abcd", id="no reversed text"),
        pytest.param("größe".encode()[3:], 100, "\ufffd\ufffdße"[1:], id="cut within a character"),
    ],
)
def test_the_tail_is_printable(output: bytes, characters: int, text: str) -> None:
    assert session_files.printable_tail(output, characters) == text


# --- with the real single-user server -----------------------------------------------------------------------------


def environment_prefix() -> Path:
    """The installed environment with the least in it."""
    given = os.environ.get("NBFED_ENVIRONMENTS")
    found = [Path(given) / "minimal"] if given else sorted(Path("/var/lib/notebooks-federation").glob("*/minimal"))
    installed = [prefix for prefix in found if (prefix / "bin" / "python").exists()]
    if not installed:
        skip_or_fail("no notebook environment is installed: run `make setup`")
    return installed[0]


def hub_environment(hub: Any) -> dict[str, str]:
    """What `jupyterhub.spawner.Spawner.get_env` gives to the server of x."""
    return {
        "JUPYTERHUB_API_TOKEN": "server",
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-x",
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "0",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/x/oauth_callback",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:servers!server=x/", "access:servers!user=x"]',
        "JUPYTERHUB_OAUTH_SCOPES": '["access:servers!server=x/", "access:servers!user=x"]',
        "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES": "[]",
        "JUPYTERHUB_USER": "x",
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_API_URL": f"{hub.url}/hub/api",
        "JUPYTERHUB_ACTIVITY_URL": f"{hub.url}/hub/api/users/x/activity",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/x/",
        "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:0/user/x/",
        "JUPYTERHUB_PUBLIC_URL": "",
        "JUPYTERHUB_PUBLIC_HUB_URL": "",
    }


def get(address: tuple[str, int], path: str, *, method: str = "GET", **headers: str) -> tuple[Any, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()


@pytest.fixture
def real(place: Place) -> Iterator[tuple[str, int]]:
    """The address of a running JupyterLab for user x."""
    prefix = environment_prefix()
    place.hub.env = hub_environment(place.hub)
    home = place.sandbox.root / "home"
    env = {"HOME": str(home), "PATH": f"{prefix}/bin:/usr/bin:/bin", "MARK": place.sandbox.mark, "SHELL": "/bin/sh"}
    began = time.monotonic()
    place.start(argv_prefix=[str(prefix / "bin" / "python")], env=env, args=[])
    place.sandbox.wait(lambda: place.backend.address(ATTEMPT, SECRET_HASH))
    address = place.backend.address(ATTEMPT, SECRET_HASH)
    assert address is not None
    print(f"start to address: {time.monotonic() - began:.2f} s")
    get(address, "/user/x/api")
    print(f"start to answer: {time.monotonic() - began:.2f} s")
    yield address
    print(place.backend.log_tail(ATTEMPT, 3000))


def listening(process: psutil.Process) -> set[int]:
    """The ports that a process listens on; none once it is gone, like the short-lived ones that JupyterLab runs."""
    try:
        connections = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return set()
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_jupyterlab_serves_on_the_kept_socket(place: Place, real: tuple[str, int]) -> None:
    answer, body = get(real, "/user/x/api")
    assert answer.status == 200
    assert json.loads(body)["version"].startswith("2.")
    assert answer.headers["X-JupyterHub-Version"]
    assert {port for process in place.sandbox.processes() for port in listening(process)} == {real[1]}

    # Its scripts travel compressed and are kept by browsers.
    answer, page = get(real, "/user/x/lab", Authorization="token person", Accept_Encoding="gzip")
    assert answer.status == 200
    page = gzip.decompress(page)
    script = page.decode().partition('<script defer="defer" src="')[2].partition('"')[0]
    plain, content = get(real, script, Authorization="token person")
    packed, small = get(real, script, Authorization="token person", Accept_Encoding="gzip, br")
    assert packed.status == 200
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(small) == content
    assert len(small) < len(content) / 2
    print(script, len(content), "->", len(small), dict(packed.headers))
    assert "immutable" in packed.headers["Cache-Control"]

    # A terminal: a websocket, and a process that is the session's own.
    _, body = get(real, "/user/x/api/terminals", method="POST", Authorization="token person")
    url = f"ws://127.0.0.1:{real[1]}/user/x/terminals/websocket/{json.loads(body)['name']}"
    with connect(url, additional_headers={"Authorization": "token person"}, proxy=None) as terminal:
        mark = secrets.token_hex(4)
        terminal.send(json.dumps(["stdin", f"echo {mark[:4]}''{mark[4:]}\r"]))
        output = ""
        while mark not in output:
            output += str(json.loads(terminal.recv(timeout=10))[-1])
    began = time.monotonic()
    ended = place.backend.end(ATTEMPT, patience_seconds=20)
    print(f"end: {time.monotonic() - began:.2f} s")
    assert (ended.life, ended.estimated, ended.exit_code) == (Life.ENDED, False, 0)
    assert not place.sandbox.processes()
