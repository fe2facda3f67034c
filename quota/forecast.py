"""How long an account lasts: what is left of its grants, when they end, those to come, and what is used each second. Pure.

A forecast says what happens if nothing changes: what runs goes on, nothing else starts, nobody gives or takes quota.
Amounts in milli-unit-seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from quota.amounts import whole_seconds
from quota.defaults import missing_default, period_bounds
from quota.page import GrantStanding
from quota.settings import DefaultGrant, Pool

__all__ = ["HORIZON", "Burn", "Forecast", "Fund", "defaults_to_come", "forecast", "free", "funds_of", "lasts_until"]

HORIZON = timedelta(days=60)
"""What lasts longer is not told to the hour."""


@dataclass(frozen=True, kw_only=True)
class Fund:
    """A grant: `left`, of which new leases may be paid in [starts_at, ends_at)."""

    left: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class Burn:
    """What sessions that run use: `each_second` from now on, and what they have `used` so far, which is not charged yet."""

    each_second: int = 0
    used: int = 0


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What to expect of an account.

    Parameters
    ----------
    seconds
        How long what is left now pays for a session of the flavour, if nothing else used it.
    burning
        Whether anything runs.
    lasts_until
        Until when it pays for what runs now; None if that is further away than the horizon, or nothing runs.
    """

    seconds: int
    burning: bool
    lasts_until: datetime | None


def forecast(funds: Sequence[Fund], *, taken: int, owed: int, burn: Burn, weight_milli: int, now: datetime) -> Forecast:
    """See `Forecast`. `taken` is what open sessions hold and what is owed; `funds` are in spend order."""
    left, _ = free(funds, taken, now)
    return Forecast(
        seconds=left // weight_milli,
        burning=burn.each_second > 0,
        lasts_until=lasts_until(funds, taken=taken, owed=owed, burn=burn, now=now),
    )


def funds_of(grants: Sequence[GrantStanding], now: datetime) -> list[Fund]:
    """What has begun; a grant that does not count any more, because it was revoked, ends now."""
    return [
        Fund(left=grant.left, starts_at=grant.starts_at, ends_at=grant.ends_at if grant.active else now)
        for grant in grants
    ]


def defaults_to_come(
    setting: DefaultGrant | Pool | None, ref: str, grants: Sequence[GrantStanding], now: datetime, horizon: timedelta
) -> Iterator[Fund]:
    """The default grants of this period, as far as it was not given yet, and of those that begin within the horizon."""
    at, given = now, grants
    while setting is not None and at <= now + horizon:
        default = missing_default(setting, ref, given, at)
        if default is not None:
            yield Fund(left=default.amount, starts_at=default.starts_at, ends_at=default.ends_at)
        at, given = period_bounds(setting.period, at)[1], ()


def free(funds: Sequence[Fund], taken: int, at: datetime) -> tuple[int, list[Fund]]:
    """What new leases may take, and the funds once what is left of those that ended, and is not held, has lapsed.

    What is taken counts against the grants in spend order, as in `quota.page.Page.update_grants`.
    """
    available, after = 0, []
    for fund in funds:
        if fund.starts_at > at:
            after.append(fund)
            continue
        kept = min(fund.left, taken)
        taken -= kept
        counts = at < fund.ends_at
        available += fund.left - kept if counts else 0
        after.append(fund if counts else replace(fund, left=kept))
    return available, after


def lasts_until(
    funds: Sequence[Fund], *, taken: int, owed: int, burn: Burn, now: datetime, horizon: timedelta = HORIZON
) -> datetime | None:
    """When everything is used, at this pace; None if not within the horizon.

    What a grant has left at its end lapses, but for what sessions hold or used of it by then.
    """
    if burn.each_second <= 0:
        return None
    at, used, end = now, owed + burn.used, now + horizon
    rest = sorted(funds, key=lambda fund: fund.ends_at)  # spend order; the sort keeps that of equal ends
    changes = {moment for fund in rest for moment in (fund.starts_at, fund.ends_at)}
    for following in [*sorted(moment for moment in changes if now < moment < end), end]:
        _, rest = free(rest, max(used, taken), at)
        there = sum(fund.left for fund in rest if fund.starts_at <= at)
        seconds = max(0, there - used) // burn.each_second
        # A grant that begins in the very second in which all is used comes in time.
        if at + timedelta(seconds=seconds) < following:
            return at + timedelta(seconds=seconds)
        used += burn.each_second * whole_seconds(following - at)
        at = following
    return None
