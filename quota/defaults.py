"""Default quota: which grant a person of a tier, or a pool, gets for the present period. Pure.

Each period is a new grant, so nothing is carried over; the key makes giving it twice the same as giving it once.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from federation.clock import as_utc
from quota.amounts import from_unit_hours
from quota.page import DEFAULT_KEY, GrantStanding
from quota.settings import DefaultGrant, Pool

__all__ = ["DefaultOfPeriod", "missing_default", "period_bounds"]


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


def missing_default(
    setting: DefaultGrant | Pool, ref: str, grants: Sequence[GrantStanding], now: datetime
) -> DefaultOfPeriod | None:
    """What an account still has to be given for the period that `now` is in; None if nothing.

    Parameters
    ----------
    ref
        A person's id, or `pool:` and a pool's name; it makes the key one of this account.
    grants
        All of the account that have begun. If the setting has grown since the period's default was given, or the person
        reached a higher tier, the difference is given; if it shrank, what was given stays; what was revoked is not given
        again.
    """
    amount = from_unit_hours(setting.amount_hours)
    given = sum(grant.amount for grant in grants if grant.is_default and grant.starts_at <= now < grant.ends_at)
    if amount <= given:
        return None
    starts_at, ends_at = period_bounds(setting.period, now)
    key = f"{DEFAULT_KEY}{setting.period}:{starts_at:%Y-%m-%d}:{ref}"
    return DefaultOfPeriod(
        key=f"{key}:{amount}" if given else key, amount=amount - given, starts_at=starts_at, ends_at=ends_at
    )
