"""The folder of one session in its account's home. All here is done as that account.

No link is followed on the way down from the home, and a folder that others can write to, or that is not the account's
own, is refused: nobody else may have prepared it. What is read may say anything; what is handed on has the right types.
"""

import errno
import fcntl
import json
import os
import re
import stat
import time
from contextlib import contextmanager, suppress

from spawners.gate.refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

STEPS = (".nbfed", "sessions")
LOG = "job.log"
LARGEST_FILE_BYTES = 4096
TAIL_CHARACTERS = 4000
LOCK_SECONDS = 5.0
PROOF = re.compile(r"[0-9a-f]{64}")
LATEST = 253402300799


class SessionFolder:
    """An open folder: what happens to its name meanwhile does not matter."""

    def __init__(self, home: str, attempt: str, make: bool = False) -> None:
        self.attempt = attempt
        self.descriptor = _open_home(home)
        for step in (*STEPS, attempt):
            self._enter(step, make)

    def _enter(self, step: str, make: bool) -> None:
        above = self.descriptor
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(step, 0o700, dir_fd=above)
            self.descriptor = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        except OSError as error:
            self.descriptor = -1
            raise Refusal("stage", "%s in the account's home cannot be used: %s" % (step, error.strerror))
        finally:
            os.close(above)
        status = os.fstat(self.descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            self.close()
            raise Refusal("stage", "%s in the account's home belongs to others, or others can write to it" % step)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> "SessionFolder":
        return self

    def __exit__(self, *_error: "Any") -> None:
        self.close()

    @contextmanager
    def lock(self) -> "Iterator[None]":
        """One at a time, on all login nodes: the home is shared, and so is the lock on a file in it."""
        deadline = time.monotonic() + LOCK_SECONDS
        try:
            file = os.open(".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=self.descriptor)
        except OSError as error:
            raise Refusal("stage", "the session's folder cannot be locked: %s" % error.strerror)
        try:
            while not _locked(file):
                if time.monotonic() > deadline:
                    raise Refusal("busy", "another request for this attempt is at work")
                time.sleep(0.05)
            yield
        finally:
            os.close(file)

    def write(self, name: str, text: str) -> None:
        """Write a new file that only the account can read; an older one of this name is removed, not overwritten."""
        try:
            self.remove(name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(name, flags, 0o600, dir_fd=self.descriptor), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Refusal("stage", "%s cannot be written in the account's home: %s" % (name, error.strerror))

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def read_object(self, name: str) -> "dict[str, Any]":
        """The JSON object in a small file; empty when there is none, or something else is there."""
        content = self._read(name, LARGEST_FILE_BYTES + 1)
        if len(content) > LARGEST_FILE_BYTES:
            return {}
        try:
            found = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def session(self) -> "dict[str, Any] | None":
        """Where the session listens, and the proof that the launcher said so."""
        found = self.read_object("session.json")
        node, port, proof = found.get("node"), found.get("port"), found.get("proof")
        if not isinstance(node, str) or not 0 < len(node) <= 255 or not _is_whole(port, 1, 65535):
            return None
        if not isinstance(proof, str) or not PROOF.fullmatch(proof):
            return None
        return {"node": node, "port": port, "proof": proof}

    def started_at(self) -> "float | None":
        found = self.read_object("started.json")
        return _moment(found.get("started_at")) if found.get("attempt") == self.attempt else None

    def end(self) -> "dict[str, Any] | None":
        """How the launcher says that its session ended."""
        found = self.read_object("ended.json")
        ended_at, code = _moment(found.get("ended_at")), found.get("exit_code")
        if ended_at is None or not _is_whole(code, -255, 255):
            return None
        ran_seconds = _moment(found.get("ran_seconds"))
        return {"started_at": self.started_at(), "ended_at": ended_at, "ran_seconds": ran_seconds, "exit_code": code}

    def last_sign_at(self) -> "float | None":
        """When something was last written here by the session, which is the last that is known of it."""
        times = []
        for name in ("started.json", "session.json", LOG):
            try:
                times.append(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mtime)
            except OSError:
                continue
        return max(times) if times else None

    def log_tail(self) -> str:
        """The end of what the job wrote, without what could move a cursor or hide a line."""
        text = self._read(LOG, 4 * TAIL_CHARACTERS, from_end=True).decode("utf-8", "replace")
        return "".join(c for c in text if c in "\n\t" or c.isprintable())[-TAIL_CHARACTERS:]

    def _read(self, name: str, size: int, from_end: bool = False) -> bytes:
        try:
            # A pipe does not make us wait.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.descriptor)
        except OSError:
            return b""
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                return b""
            if from_end:
                os.lseek(file, max(0, status.st_size - size), os.SEEK_SET)
            return os.read(file, size)
        except OSError:
            return b""
        finally:
            os.close(file)


def files_of(home: str, attempts: "list[str]", tail: bool) -> "dict[str, dict[str, Any]]":
    """What the folders of these attempts say; an attempt whose folder cannot be used is left out."""
    found: "dict[str, dict[str, Any]]" = {}
    for attempt in attempts:
        try:
            with SessionFolder(home, attempt) as folder:
                said = {"session": folder.session(), "end": folder.end(), "started_at": folder.started_at()}
                more = {"last_sign_at": folder.last_sign_at(), "log_tail": folder.log_tail()} if tail else {}
                found[attempt] = dict(said, **more)
        except Refusal:
            continue
    return found


def _open_home(home: str) -> int:
    try:
        return os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Refusal("stage", "the account's home cannot be used: %s" % error.strerror)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        raise Refusal("stage", "the file system of the homes has no locks (flock): %s" % error.strerror)
    return True


def _is_whole(value: "Any", least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _moment(value: "Any") -> "float | None":
    """Seconds; no number compares with NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= LATEST else None
