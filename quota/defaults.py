"""Default quota: which grant a person of a tier gets for the present period. Pure.

Each period is a new grant, so nothing is carried over; the key makes giving it twice the same as giving it once.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta

from federation.clock import as_utc
from quota.amounts import from_unit_hours
from quota.page import DEFAULT_KEY
from quota.settings import DefaultGrant

__all__ = ["DefaultOfPeriod", "default_of_period", "period_bounds"]


@dataclass(frozen=True)
class DefaultOfPeriod:
    """What to grant: `amount` in milli-unit-seconds, for [starts_at, ends_at)."""

    key: str
    amount: int
    starts_at: datetime
    ends_at: datetime


def period_bounds(period: str, now: datetime) -> tuple[datetime, datetime]:
    """Start and end in UTC of the day, ISO week, month or year that `now` is in."""
    day = as_utc(now).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "day":
            return day, day + timedelta(days=1)
        case "week":
            monday = day - timedelta(days=day.weekday())
            return monday, monday + timedelta(days=7)
        case "month":
            first = day.replace(day=1)
            return first, first + timedelta(days=monthrange(first.year, first.month)[1])
        case "year":
            return day.replace(month=1, day=1), day.replace(year=day.year + 1, month=1, day=1)
    raise ValueError(f"unknown period {period!r}")


def default_of_period(setting: DefaultGrant, person_id: str, now: datetime) -> DefaultOfPeriod | None:
    """The default grant of a person for the period that `now` is in; None where the tier's default is nothing."""
    if setting.amount_hours == 0:
        return None
    starts_at, ends_at = period_bounds(setting.period, now)
    return DefaultOfPeriod(
        key=f"{DEFAULT_KEY}{setting.period}:{starts_at:%Y-%m-%d}:{person_id}",
        amount=from_unit_hours(setting.amount_hours),
        starts_at=starts_at,
        ends_at=ends_at,
    )
