"""Time, always UTC and always injected: no house calls `datetime.now` itself.

For demonstrations and tests all processes of an installation may read one clock file (`NBFED_CLOCK_FILE`), which holds
by how many seconds their time differs from the machine's. What a session is charged does not follow it: that is
measured by the machine (`spawners/launcher.py`).
"""

import contextlib
import tempfile
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

__all__ = ["CLOCK_FILE", "Clock", "FileClock", "as_utc", "months_later", "set_clock_file", "system_clock"]

CLOCK_FILE = "NBFED_CLOCK_FILE"
"""The variable that names the clock file."""

_FARTHEST_SECONDS = 100 * 366 * 24 * 3600

Clock = Callable[[], datetime]
"""Returns the present moment as an aware datetime in UTC."""


def system_clock() -> datetime:
    """The machine's clock, in UTC."""
    return datetime.now(UTC)


class FileClock:
    """The machine's clock and the seconds in a file, which is read each time.

    No file, or an empty one, is no difference; what cannot be read leaves the last difference in force.

    Raises
    ------
    ValueError
        When it is made, if the file holds something else than a number of seconds.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = self._read()

    def __call__(self) -> datetime:
        with contextlib.suppress(OSError, ValueError):
            self._offset = self._read()
        return system_clock() + self._offset

    def _read(self) -> timedelta:
        try:
            text = self._file.read_text().strip()
        except FileNotFoundError:
            return timedelta()
        seconds = float(text or 0)
        if not abs(seconds) <= _FARTHEST_SECONDS:
            raise ValueError(f"{self._file} holds {text!r}, which is not a number of seconds within a hundred years")
        return timedelta(seconds=seconds)


def set_clock_file(file: Path, offset: timedelta) -> None:
    """Write a clock file; who reads it at this moment sees the old time or the new one."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}-", delete=False) as written:
        written.write(f"{offset.total_seconds()}\n")
    Path(written.name).replace(file)


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC.

    Raises
    ------
    ValueError
        If the moment carries no time zone: a naive time means different moments to different readers.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(UTC)


def months_later(start: datetime, months: int) -> datetime:
    """The same day of a later month, or that month's last day.

    Raises
    ------
    ValueError
        If that is beyond the calendar.
    """
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return start.replace(year=year, month=month + 1, day=min(start.day, monthrange(year, month + 1)[1]))
