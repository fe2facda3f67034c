"""Time: aware, in UTC, and for demonstrations as far from the machine's as a file says."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from federation.clock import Clock, FileClock, as_utc, set_clock_file, system_clock

HOUR = timedelta(hours=1)


def offset_of(clock: Clock) -> timedelta:
    """How far from the machine's clock, in whole seconds."""
    return timedelta(seconds=round((clock() - datetime.now(UTC)).total_seconds()))


@pytest.mark.parametrize("clock", [system_clock, FileClock(Path("/nowhere/clock"))], ids=["system", "no file"])
def test_the_machines_clock_is_aware_and_in_utc(clock: Clock) -> None:
    assert clock().tzinfo is UTC
    assert offset_of(clock) == timedelta()


@pytest.mark.parametrize("offset", [-HOUR, timedelta(), HOUR, timedelta(days=-400, milliseconds=500)], ids=str)
def test_all_who_read_the_file_are_at_the_same_time(tmp_path: Path, offset: timedelta) -> None:
    file = tmp_path / "clock"
    before, other = FileClock(file), FileClock(file)
    set_clock_file(file, offset)
    assert abs((before() - datetime.now(UTC)) - offset) < timedelta(seconds=0.4)
    assert abs(before() - other()) < timedelta(seconds=0.4)
    assert [path.name for path in tmp_path.iterdir()] == ["clock"]


def test_the_file_may_be_written_by_hand_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = FileClock(file)
    for text, expected in ((" -3600\n", -HOUR), ("", timedelta()), ("3600", HOUR)):
        file.write_text(text)
        assert offset_of(clock) == expected
    file.unlink()
    assert offset_of(clock) == timedelta()


@pytest.mark.parametrize("text", ["soon", "nan", "inf", "1e300", "1 2"])
def test_a_file_with_nonsense_is_refused_and_later_changes_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "clock"
    set_clock_file(file, -HOUR)
    clock = FileClock(file)
    clock()
    file.write_text(text)
    assert offset_of(clock) == -HOUR
    with pytest.raises(ValueError, match=r"clock|float"):
        FileClock(file)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        as_utc(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    assert as_utc(datetime(2026, 1, 1, 2, tzinfo=timezone(HOUR))) == datetime(2026, 1, 1, 1, tzinfo=UTC)
