"""Which processes `nbfed up` has started, on disk: whoever comes next can find them and end them.

A process writes its own record before it turns into its program, so none can outlive a killed supervisor unrecorded. A
record names the process by id and time of creation, since the system gives ids away again; it stands for the process
group that the process leads.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Running"]

SAME_SECONDS = 2.0
"""How far two readings of one time of creation may lie apart: it is computed from the machine's clock."""


@dataclass(frozen=True)
class _Record:
    name: str
    pid: int
    created: float


class Running:
    """One record for each name, in a folder of its own.

    Parameters
    ----------
    folder
        Made when the first record is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record_this_process(self, name: str) -> None:
        """Record the calling process, which leads its process group, under a name; replaces that name's record."""
        record = {"name": name, "pid": os.getpid(), "created": psutil.Process().create_time()}
        self._folder.mkdir(mode=0o700, exist_ok=True)
        unfinished = self._folder / f"{name}.unfinished"
        unfinished.write_text(json.dumps(record))
        unfinished.replace(self._folder / f"{name}.json")

    def end_all(self, grace_seconds: float, say: Callable[[str], None] = lambda _: None) -> None:
        """End every recorded process and its group, at first politely and after the grace by force; forget them.

        `say` hears once which ones were still there, before they are ended. Nothing there is fine.
        """
        found = {record: members for record in self._records() if (members := _members(record))}
        if found:
            say(", ".join(f"{record.name} (process {record.pid})" for record in found))
        _end([process for members in found.values() for process in members], grace_seconds)
        for file in self._files():
            file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    def _records(self) -> list[_Record]:
        records = []
        for file in self._files():
            # A file that cannot be read tells of nothing that could be ended safely.
            with suppress(OSError, ValueError, KeyError, TypeError):
                content = json.loads(file.read_text())
                records.append(_Record(str(content["name"]), int(content["pid"]), float(content["created"])))
        return records


def _members(record: _Record) -> list[psutil.Process]:
    """The living processes of a record's group; none if its id belongs to another process by now."""
    with suppress(psutil.Error):
        if abs(psutil.Process(record.pid).create_time() - record.created) > SAME_SECONDS:
            return []
    members = []
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):
            if os.getpgid(pid) != record.pid or record.pid == os.getpgrp():
                continue
            process = psutil.Process(pid)
            if process.create_time() > record.created - SAME_SECONDS and _is_alive(process):
                members.append(process)
    return members


def _end(processes: list[psutil.Process], grace_seconds: float) -> None:
    for seconds, end in ((grace_seconds, psutil.Process.terminate), (5.0, psutil.Process.kill)):
        for process in processes:
            with suppress(psutil.Error):
                end(process)
        limit = time.monotonic() + seconds
        while (processes := [p for p in processes if _is_alive(p)]) and time.monotonic() < limit:
            time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    # Whoever inherits an orphan may be slow to collect it: a zombie has ended.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
