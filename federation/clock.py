"""Time, always UTC and always injected: no house calls `datetime.now` itself."""

from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["Clock", "as_utc", "system_clock"]

Clock = Callable[[], datetime]
"""Returns the present moment as an aware datetime in UTC."""


def system_clock() -> datetime:
    """The machine's clock, in UTC."""
    return datetime.now(UTC)


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
