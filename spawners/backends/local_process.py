"""Sessions as processes of this machine.

What holds, whoever crashes when: an attempt runs at most once; it counts as alive as long as its launcher lives; it
counts as ended only when that very process is gone. Sessions are not isolated from each other: they share one
account.

For each attempt there are two places. The folder `<sessions>/<attempt>` belongs to the session's account, which can
write there what it likes. The record `<sessions>/.records/<attempt>` is the hub's own: when the attempt was
submitted, what was launched, and, from the first time that it was seen running, since when; the time of the file is
when it was last seen. Once something is on record, the folder does not change it.

Every attempt has a clock of its own: the hub's clock at its submission, and the seconds of this machine since then
(CLOCK_BOOTTIME). All its times are of that clock, so the hub's may be an hour behind the machine's, or be set while the
session runs: what is charged, and which times are possible, stays the same.

Hub and worker may use one sessions folder at the same time. The module is longer than most because everything that
may signal a process, and the proof that it is the right one, is kept in sight of each other.
"""

import contextlib
import errno
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from federation.clock import Clock, system_clock
from spawners.backends import session_files
from spawners.backends.base import Life, Observation
from spawners.backends.session_files import Place, Start
from spawners.launcher import uptime as launcher_uptime

__all__ = ["LocalProcesses"]

LAUNCHER = Path(__file__).resolve().parents[1] / "launcher.py"
SUBMIT_GRACE_SECONDS = 10.0
SEEN_INTERVAL_SECONDS = 1.0
CANCEL_SECONDS = 1.0
FORCE_SECONDS = 5.0
POLL_SECONDS = 0.05
KILLED = -9


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the hub itself knows about an attempt. Times are in seconds since 1970, by the attempt's own clock.

    Parameters
    ----------
    submitted_at
        When `LocalProcesses.start` was first called, by the hub's clock.
    boot_id, submitted_uptime
        The same moment in seconds after this boot of the machine. None in records of earlier versions.
    launched
        The process that it made. Not on record when the hub died at that moment.
    start
        The launcher that was seen running, and since when it runs.
    cancelled
        It was ended before it ran, and never will run.
    ended_at
        When the hub ended it by force.
    """

    submitted_at: float
    boot_id: str | None = None
    submitted_uptime: float | None = None
    launched: Start | None = None
    start: Start | None = None
    cancelled: bool = False
    ended_at: float | None = None


NO_RECORD = Record(submitted_at=0)
"""Of an attempt that was never submitted, or of which everything that was written was removed."""


class LocalProcesses:
    """The backend for sessions of this machine.

    Parameters
    ----------
    sessions_folder
        Holds one folder for each attempt. The account of the sessions must be able to enter it (mode 711).
    clock
        The hub's; looked at once for each attempt, at its submission.
    account
        Whom the sessions run as, when this process is root. Otherwise they run as whoever runs this process.
    uptime
        Seconds since this machine started, as the launcher takes them.
    """

    def __init__(
        self,
        sessions_folder: Path,
        clock: Clock = system_clock,
        account: str | None = None,
        uptime: Callable[[], float] = launcher_uptime,
    ) -> None:
        self._sessions = sessions_folder.absolute()
        self._clock = clock
        self._uptime = uptime
        self.account = account
        self._account = pwd.getpwnam(account) if account is not None and os.geteuid() == 0 else None
        self._uid = self._account.pw_uid if self._account else os.geteuid()
        # Only to bury them, and to learn how they ended.
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._starting = threading.Lock()

    def start(
        self,
        attempt: str,
        *,
        secret: str,
        argv_prefix: Sequence[str],
        exchange_url: str,
        env: Mapping[str, str],
        home: Path,
        args: Sequence[str] = (),
    ) -> int:
        """Start an attempt, detached from this process. One that was started before is left as it is.

        Parameters
        ----------
        attempt
            Its unique name: 1 to 64 of `0-9a-f-`.
        secret
            What the launcher exchanges for the session's environment.
        argv_prefix
            The interpreter of the notebook environment.
        exchange_url
            Where the hub exchanges it.
        env
            The whole environment of the process: nothing of the hub's own is added.
        home
            The folder to start in.
        args
            Arguments for the single-user server.

        Returns
        -------
        int
            The number of the launcher's process.

        Raises
        ------
        ValueError
            If the name is not one of an attempt.
        OSError
            If nothing could be started, or the attempt was cancelled. Then nothing new is left behind.
        """
        folder = self._folder(attempt)
        with self._starting:
            before = self._start(attempt) or self._living_launched(attempt)
            if before is not None:
                return before.pid
            if self._record(attempt).cancelled:
                raise OSError(errno.ECANCELED, "it was cancelled before it ran")
            again = folder.exists()
            try:
                log = self._prepare(attempt, secret)
                command = [*argv_prefix, str(self._launcher_copy()), str(folder), exchange_url, "--", *args]
                self._launch(attempt, command, env, home, log)
            except OSError:
                if not again:
                    self._erase(attempt)
                raise
            return self._children[attempt].pid

    def observe(self, attempt: str) -> Observation:
        """What is known of an attempt. Never raises: what cannot be asked is `Life.UNKNOWN`."""
        try:
            return self._observe(attempt)
        except (OSError, ValueError, TypeError, KeyError, psutil.Error):
            return Observation(life=Life.UNKNOWN)

    def address(self, attempt: str, secret_hash: str) -> tuple[str, int] | None:
        """Where the single-user server listens; None until it said so and showed that it had the secret.

        Parameters
        ----------
        attempt
            Its name.
        secret_hash
            The SHA-256 of its secret, in hexadecimal.

        Raises
        ------
        ValueError
            If the name is not one of an attempt.
        """
        place = self._place(attempt)
        if place is None or not session_files.proof_holds(secret_hash, place.host, place.port, place.proof):
            return None
        return place.host, place.port

    def living(self) -> Collection[str]:
        """The attempts whose launchers live, by their command lines: nothing that was written is needed for it."""
        return self._launchers_by_command()

    def end(self, attempt: str, *, patience_seconds: float) -> Observation:
        """End an attempt with all its processes: politely first, by force when the patience is over.

        One that does not run yet never will. Ending twice is a no-op. The answer is what was seen afterwards: a
        session that could not be ended is still `Life.RUNNING`.

        Raises
        ------
        ValueError
            If the name is not one of an attempt.
        """
        self._folder(attempt)
        life = self.observe(attempt).life
        if life is Life.RUNNING or (life is Life.PENDING and not self._cancel(attempt)):
            launcher = self._launcher(attempt)
            if launcher is not None:
                with contextlib.suppress(psutil.Error):
                    launcher.terminate()
                if not self._wait(attempt, patience_seconds):
                    self._kill(attempt, launcher)
        return self.observe(attempt)

    def log_tail(self, attempt: str, characters: int) -> str:
        """The end of what the session wrote, safe to show.

        Raises
        ------
        ValueError
            If the name is not one of an attempt.
        """
        # A character is at most four bytes.
        output = session_files.read_tail(self._folder(attempt) / "log", 4 * characters)
        return session_files.printable_tail(output, characters)

    def clear(self, is_over: Callable[[str], bool]) -> None:
        """Nothing: the records are small, and a second asker of an attempt gets the first one's answer from them."""

    def forget(self, attempt: str) -> None:
        """Remove everything that was kept of an ended attempt.

        Raises
        ------
        ValueError
            If it has not ended, or the name is not one of an attempt.
        """
        self._folder(attempt)
        if self.observe(attempt).life is not Life.ENDED:
            raise ValueError(f"attempt {attempt} has not ended")
        self._erase(attempt)

    # --- starting ---------------------------------------------------------------------------------------------

    def _prepare(self, attempt: str, secret: str) -> BinaryIO:
        """Record the intent, then make the folder. It becomes the account's last of all, so nobody interferes.

        Returns the log to write to.
        """
        if not self._record_path(attempt).exists():
            submitted_at = self._clock().timestamp()
            record = Record(submitted_at=submitted_at, boot_id=_boot_id(), submitted_uptime=self._uptime())
            self._write_record(attempt, record)
        folder = self._folder(attempt)
        if not folder.exists():
            folder.mkdir(mode=0o700)
        with self._new_file(folder / "secret") as file:
            file.write(secret.encode())
        log = self._new_file(folder / "log")
        self._hand_over(folder)
        return log

    def _new_file(self, path: Path) -> BinaryIO:
        """A file of the account's, readable by it alone. What is there already may be a link: it is not written to."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self._hand_over(descriptor)
        return os.fdopen(descriptor, "wb")

    def _hand_over(self, thing: int | Path) -> None:
        if self._account:
            os.chown(thing, self._account.pw_uid, self._account.pw_gid)

    def _launcher_copy(self) -> Path:
        """The launcher where the account can read it. An update of the product leaves the running ones alone."""
        code = LAUNCHER.read_bytes()
        copy = self._sessions / f".launcher-{hashlib.sha256(code).hexdigest()[:12]}.py"
        if not copy.exists():
            _write(copy, code, 0o644)
        return copy

    def _launch(self, attempt: str, command: list[str], env: Mapping[str, str], home: Path, log: BinaryIO) -> None:
        as_account: dict[str, Any] = {}
        if self._account:
            as_account = {"user": self._account.pw_uid, "group": self._account.pw_gid}
            as_account |= {"extra_groups": [], "umask": 0o077}
        with log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                close_fds=True,
                start_new_session=True,
                cwd=home,
                env=dict(env),
                **as_account,
            )
        self._children[attempt] = child
        record = self._record(attempt)
        # Nobody but us can bury it, so this is the right process even if it has ended meanwhile.
        self._write_record(attempt, replace(record, launched=_identity(child.pid, record.submitted_at)))

    # --- observing --------------------------------------------------------------------------------------------

    def _observe(self, attempt: str) -> Observation:
        for child in list(self._children.values()):
            child.poll()  # The dead are buried here: this process is their parent.
        record = self._record(attempt)
        return replace(self._seen(attempt, record), at=_utc(self._now(record)))

    def _seen(self, attempt: str, record: Record) -> Observation:
        if record.cancelled:
            return Observation(life=Life.ENDED)
        start, launcher = self._start(attempt), self._launcher(attempt)
        if start is None and launcher is None:  # Unless it came, and perhaps went, between the two looks.
            start, launcher = self._start(attempt), self._launcher(attempt)
        if start is None:
            return self._unstarted(attempt, record, launcher)
        if launcher is None:
            return self._ended(attempt, record, start)
        started_at = self._note_seen(attempt, record, start)
        place = self._place(attempt)
        host, port = (place.host, place.port) if place else (None, None)
        return Observation(life=Life.RUNNING, started_at=_utc(started_at), host=host, port=port)

    def _unstarted(self, attempt: str, record: Record, launcher: psutil.Process | None) -> Observation:
        """Of an attempt whose launcher has not said anything: it may be about to, or it never came to be."""
        if launcher is not None:
            return Observation(life=Life.PENDING)
        if record.launched is not None:
            return Observation(life=Life.ENDED, exit_code=self._exit_code(attempt))
        if record == NO_RECORD and attempt in (found := self._launchers_by_command()):
            return self._found_again(attempt, found[attempt])
        young = self._now(record) - record.submitted_at < SUBMIT_GRACE_SECONDS
        return Observation(life=Life.PENDING if young else Life.ENDED)

    def _launchers_by_command(self) -> dict[str, psutil.Process]:
        """The launchers of this folder that live. A launcher's child, the server, has the same command line."""
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                for script, folder in pairwise(process.cmdline()):
                    named = Path(folder)
                    if script.startswith(f"{self._sessions}/.launcher-") and named.parent == self._sessions:
                        if process.uids().real == self._uid and session_files.is_attempt(named.name):
                            found.setdefault(named.name, []).append(process)
                        break
        return {attempt: min(theirs, key=_start_ticks) for attempt, theirs in found.items()}

    def _found_again(self, attempt: str, launcher: psutil.Process) -> Observation:
        """Of an attempt that runs although all that was written of it is gone: it is put on record anew."""
        start = _identity(launcher.pid, 0.0)
        uptime = start.start_ticks / os.sysconf("SC_CLK_TCK")
        started_at = self._clock().timestamp() + uptime - self._uptime()
        start = replace(start, started_at=started_at, started_uptime=uptime)
        record = Record(
            submitted_at=started_at, boot_id=start.boot_id, submitted_uptime=uptime, launched=start, start=start
        )
        self._write_record(attempt, record)
        return Observation(life=Life.RUNNING, started_at=_utc(started_at))

    def _ended(self, attempt: str, record: Record, start: Start) -> Observation:
        """Of an attempt whose launcher is gone: by what it left behind, by the hub's own hand, or by last sight."""
        end = session_files.end_in(session_files.read_object(self._folder(attempt) / "ended.json"))
        seen_at = self._seen_at(attempt) if record.start else None
        started_at, now = start.started_at, self._now(record)
        said = None
        if end:
            said = end.ended_at if end.ran_seconds is None else started_at + end.ran_seconds
        exit_code: int | None
        if end and said and session_files.sane_end(said, started_at=started_at, seen_at=seen_at, now=now):
            ended_at, exit_code, estimated = said, end.exit_code, False
        elif record.ended_at is not None:
            ended_at, exit_code, estimated = max(started_at, record.ended_at), KILLED, False
        else:
            ended_at, exit_code, estimated = max(started_at, seen_at or 0), self._exit_code(attempt), True
        return Observation(
            life=Life.ENDED,
            started_at=_utc(started_at),
            ended_at=_utc(ended_at),
            estimated=estimated,
            exit_code=exit_code,
        )

    def _start(self, attempt: str) -> Start | None:
        """The start on record, else the one that the launcher wrote, with a time that can be."""
        record = self._record(attempt)
        if record.start is not None:
            return record.start
        start = session_files.start_in(session_files.read_object(self._folder(attempt) / "started.json"), attempt)
        if start is None:
            return None
        said = start.started_at
        if start.started_uptime is not None and record.submitted_uptime is not None and start.boot_id == record.boot_id:
            said = record.submitted_at + start.started_uptime - record.submitted_uptime
        at = session_files.sane_start(said, submitted_at=record.submitted_at, now=self._now(record))
        return replace(start, started_at=at)

    def _launcher(self, attempt: str) -> psutil.Process | None:
        """The launcher of this attempt, if it lives.

        What we launched counts even if the files name another process.
        """
        for known in (self._start(attempt), self._record(attempt).launched):
            process = _living(known, self._uid) if known else None
            if process is not None:
                return process
        return None

    def _living_launched(self, attempt: str) -> Start | None:
        launched = self._record(attempt).launched
        return launched if launched is not None and _living(launched, self._uid) else None

    def _place(self, attempt: str) -> Place | None:
        return session_files.place_in(session_files.read_object(self._folder(attempt) / "session.json"))

    def _exit_code(self, attempt: str) -> int | None:
        child = self._children.get(attempt)
        return child.poll() if child is not None else None

    def _note_seen(self, attempt: str, record: Record, start: Start) -> float:
        """Note that it runs now, at most once a second; at first sight also as what. Returns since when it runs."""
        now = self._now(record)
        if record.start is None:
            # Who names another process in the file than the one that runs is not believed the time either.
            start = start if _living(start, self._uid) or not record.launched else record.launched
            self._write_record(attempt, replace(record, start=start))
        elif abs(now - self._seen_at(attempt)) < SEEN_INTERVAL_SECONDS:
            return start.started_at
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._record_path(attempt), (now, now))
        return start.started_at

    def _seen_at(self, attempt: str) -> float:
        try:
            return self._record_path(attempt).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    # --- ending -----------------------------------------------------------------------------------------------

    def _cancel(self, attempt: str) -> bool:
        """Make it impossible that a pending attempt starts. False if it started after all."""
        with self._starting, contextlib.suppress(FileExistsError, FileNotFoundError):
            path = self._folder(attempt) / "cancelled"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
        deadline = time.monotonic() + CANCEL_SECONDS
        while time.monotonic() < deadline:
            if self._start(attempt) is not None:
                return False
            time.sleep(POLL_SECONDS)
        launcher = self._launcher(attempt)
        if launcher is not None:
            _kill_all(launcher)
        # A launcher that comes even later looks for our file after it wrote its own, and runs nothing.
        self._write_record(attempt, replace(self._record(attempt), cancelled=True))
        return True

    def _wait(self, attempt: str, seconds: float) -> bool:
        """Whether the launcher ended within this time."""
        deadline = time.monotonic() + seconds
        while self._launcher(attempt) is not None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _kill(self, attempt: str, launcher: psutil.Process) -> None:
        """End an attempt by force and put the moment on record: a killed launcher cannot say it."""
        _kill_all(launcher)
        if self._wait(attempt, FORCE_SECONDS):
            record = self._record(attempt)
            self._write_record(attempt, replace(record, ended_at=self._now(record)))

    # --- files ------------------------------------------------------------------------------------------------

    def _folder(self, attempt: str) -> Path:
        if not session_files.is_attempt(attempt):
            raise ValueError(f"{attempt!r} is not the name of an attempt")
        return self._sessions / attempt

    def _record_path(self, attempt: str) -> Path:
        return self._folder(attempt).parent / ".records" / attempt

    def _record(self, attempt: str) -> Record:
        """The hub's own record. Where there is none (somebody removed it) the folder's time stands in for it."""
        content = session_files.read_object(self._record_path(attempt))
        if content is None:
            if not self._sessions.is_dir():
                raise FileNotFoundError(f"{self._sessions} is not there")
            with contextlib.suppress(FileNotFoundError):
                return Record(submitted_at=self._folder(attempt).lstat().st_mtime)
            return NO_RECORD
        known = {name: Start(**content[name]) for name in ("launched", "start") if content[name]}
        return Record(**content | known)

    def _write_record(self, attempt: str, record: Record) -> None:
        path = self._record_path(attempt)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _write(path, json.dumps(asdict(record)).encode(), 0o600)

    def _erase(self, attempt: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder(attempt))
        self._record_path(attempt).unlink(missing_ok=True)
        self._children.pop(attempt, None)

    def _now(self, record: Record) -> float:
        """The time on the attempt's own clock; the hub's where the machine was started anew."""
        if record.submitted_uptime is None or record.boot_id != _boot_id():
            return self._clock().timestamp()
        return record.submitted_at + self._uptime() - record.submitted_uptime


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is whole as soon as it is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
    temporary.replace(path)


# --- processes ------------------------------------------------------------------------------------------------


def _identity(pid: int, started_at: float) -> Start:
    """What names the process with this number for ever."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    # The 22nd field in proc(5): the start, in ticks after boot.
    return Start(pid=pid, boot_id=_boot_id(), start_ticks=int(fields[19]), started_at=started_at)


def _start_ticks(process: psutil.Process) -> int:
    return _identity(process.pid, 0.0).start_ticks


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _living(start: Start, uid: int) -> psutil.Process | None:
    """The process of this start, if it lives and is this user's: nobody may point us at another one's process."""
    try:
        process = psutil.Process(start.pid)
        same = _identity(start.pid, start.started_at).is_same_process(start) and process.uids().real == uid
        alive = process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return None
    except (FileNotFoundError, ProcessLookupError, IndexError):
        if psutil.pid_exists(start.pid):
            raise  # It is not the process that is missing.
        return None
    return process if same and alive else None


def _kill_all(launcher: psutil.Process) -> None:
    """Kill a launcher and all below it. It goes last: as long as it lives, orphans become its children."""
    deadline = time.monotonic() + FORCE_SECONDS
    while time.monotonic() < deadline:
        below = _below(launcher)
        if not below:
            break
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(psutil.Error):
        launcher.kill()


def _below(launcher: psutil.Process) -> list[psutil.Process]:
    """All that a launcher, or what it started, started; and what shares its session, which it leads."""
    found: set[psutil.Process] = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        found.update(launcher.children(recursive=True))
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            if os.getsid(pid) == launcher.pid and pid != launcher.pid:
                found.add(psutil.Process(pid))
    return [process for process in found if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
