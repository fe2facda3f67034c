"""Reading what a session wrote about itself.

The files lie in a folder of the session's own account, so they may say anything, and be anything: a link, a pipe,
a gigabyte. What comes out of this module has the right types and lies within bounds, or is None. Whether it is true
is the caller's to judge. Only trouble of our own, such as too many open files, is raised as OSError: that must not
look like a file that is not there.
"""

import errno
import hashlib
import hmac
import ipaddress
import json
import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "LARGEST_FILE_BYTES",
    "End",
    "Place",
    "Start",
    "end_in",
    "is_attempt",
    "place_in",
    "printable_tail",
    "proof_holds",
    "read_object",
    "read_tail",
    "sane_end",
    "sane_start",
    "start_in",
]

LARGEST_FILE_BYTES = 4096
SKEW_BEFORE_SECONDS = 5.0
SKEW_AFTER_SECONDS = 60.0
SEEN_SLACK_SECONDS = 1.0

# What the owner of the folder can bring about.
_NOT_A_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.EPERM}
_ATTEMPT = re.compile(r"[0-9a-f-]{1,64}")
_BOOT_ID = re.compile(r"[0-9a-f-]{36}")
_PROOF = re.compile(r"[0-9a-f]{64}")
_ANSI_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@dataclass(frozen=True, kw_only=True)
class Start:
    """Which process an attempt is, and since when.

    Parameters
    ----------
    pid, boot_id, start_ticks
        Together they name one process for ever. Its start as a time of day would not do: that moves when the
        machine's clock is set, and then every living session would look dead.
    started_at
        Seconds since 1970.
    started_uptime
        The same moment in seconds since the boot, which do not move; None where nobody wrote it.
    """

    pid: int
    boot_id: str
    start_ticks: int
    started_at: float
    started_uptime: float | None = None

    def is_same_process(self, other: "Start") -> bool:
        """Whether both are the same process, whatever is said of its time of day."""
        return (self.pid, self.boot_id, self.start_ticks) == (other.pid, other.boot_id, other.start_ticks)


@dataclass(frozen=True, kw_only=True)
class End:
    """When a session ended (seconds since 1970), how (negative: by that signal), and how long it ran, by a clock that
    nobody can set; None where nobody wrote it.
    """

    ended_at: float
    exit_code: int
    ran_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the single-user server says it listens, and what shows that it had the secret."""

    host: str
    port: int
    proof: str


def is_attempt(name: str) -> bool:
    """Whether this is the name of an attempt: it cannot lead out of a folder, nor be a hidden file."""
    return _ATTEMPT.fullmatch(name) is not None


# --- files --------------------------------------------------------------------------------------------------------


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a small regular file; None when there is none, or something else is there."""
    content = _read(path, LARGEST_FILE_BYTES + 1)
    if content is None or len(content) > LARGEST_FILE_BYTES:
        return None
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def read_tail(path: Path, size_bytes: int) -> bytes:
    """The end of a regular file; empty when there is none, or something else is there."""
    return _read(path, size_bytes, from_end=True) or b""


def _read(path: Path, size_bytes: int, *, from_end: bool = False) -> bytes | None:
    try:
        # Links are not followed, and a pipe does not make us wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            return None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        if from_end:
            os.lseek(descriptor, max(0, status.st_size - size_bytes), os.SEEK_SET)
        return os.read(descriptor, size_bytes)
    finally:
        os.close(descriptor)


# --- what they say ------------------------------------------------------------------------------------------------


def start_in(content: dict[str, Any] | None, attempt: str) -> Start | None:
    """The start that a `started.json` tells of; None unless it is of this attempt."""
    if content is None or content.get("attempt") != attempt:
        return None
    pid = _integer(content.get("pid"), 1, 2**31)
    ticks = _integer(content.get("start_ticks"), 0, 2**63)
    started_at = _moment(content.get("started_at"))
    boot_id = _matching(content.get("boot_id"), _BOOT_ID)
    if pid is None or ticks is None or started_at is None or boot_id is None:
        return None
    uptime = _seconds(content.get("started_uptime"))
    return Start(pid=pid, boot_id=boot_id, start_ticks=ticks, started_at=started_at, started_uptime=uptime)


def end_in(content: dict[str, Any] | None) -> End | None:
    """The end that an `ended.json` tells of."""
    if content is None:
        return None
    ended_at = _moment(content.get("ended_at"))
    exit_code = _integer(content.get("exit_code"), -64, 256)
    if ended_at is None or exit_code is None:
        return None
    return End(ended_at=ended_at, exit_code=exit_code, ran_seconds=_seconds(content.get("ran_seconds")))


def place_in(content: dict[str, Any] | None) -> Place | None:
    """The place that a `session.json` tells of; None unless it is on this machine alone (a loopback address)."""
    if content is None:
        return None
    host, port = content.get("node"), _integer(content.get("port"), 1, 65536)
    proof = _matching(content.get("proof"), _PROOF)
    if not isinstance(host, str) or port is None or proof is None or not _is_loopback(host):
        return None
    return Place(host=host, port=port, proof=proof)


def proof_holds(secret_hash_hex: str, host: str, port: int, proof: str) -> bool:
    """Whether this place was written by who had the secret whose SHA-256, in hexadecimal, is given."""
    expected = hmac.new(secret_hash_hex.encode(), f"{host}:{port}".encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), proof.encode())


def sane_start(started_at: float, *, submitted_at: float, now: float) -> float:
    """The time that is charged from: what the session said, or, if that cannot be, when it was submitted."""
    possible = submitted_at - SKEW_BEFORE_SECONDS <= started_at <= now + SKEW_AFTER_SECONDS
    return min(started_at, now) if possible else submitted_at


def sane_end(ended_at: float, *, started_at: float, seen_at: float | None, now: float) -> bool:
    """Whether a session can have ended then: after its start, not long after now, and not while it was seen alive."""
    alive_until = started_at if seen_at is None else max(started_at, seen_at - SEEN_SLACK_SECONDS)
    return alive_until <= ended_at <= now + SKEW_AFTER_SECONDS


def printable_tail(output: bytes, characters: int) -> str:
    """The last characters of some output, without what could move a cursor, colour a page or turn a line around."""
    text = _ANSI_SEQUENCE.sub("", output.decode(errors="replace"))
    kept = "".join(c for c in text if c == "\n" or unicodedata.category(c) not in {"Cc", "Cf"})
    return kept[-characters:] if characters > 0 else ""


def _integer(value: object, least: int, below: int) -> int | None:
    # True and False are integers to Python.
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value < below else None


def _moment(value: object) -> float | None:
    """Seconds since 1970, up to the year 9999."""
    return _seconds(value) or None


def _seconds(value: object) -> float | None:
    """A length or a moment in seconds, none or more; no number compares with NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 253_402_300_799 else None


def _matching(value: object, pattern: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
