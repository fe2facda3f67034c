"""What will become of a session: when it will be stopped if nothing changes, why, and whether to say so now. Pure.

The worker stops sessions by these rules (`spawners/upkeep.py`), so what is announced is what happens: an idle session
once nobody has used it for too long; any other at the end of its lease, when that cannot be renewed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from quota.amounts import whole_seconds
from quota.forecast import Fund, free
from spawners.tables import EndReason

__all__ = [
    "HORIZON",
    "Account",
    "Outlook",
    "Prospect",
    "Stop",
    "StopRules",
    "idle_stop_at",
    "look_ahead",
    "reason_at_lease_end",
    "renewal_from",
]

HORIZON = timedelta(hours=24)
"""Stops that are further away are not looked for."""
_NOTICE = timedelta(minutes=15)
"""How long before the end of a lease that cannot be renewed the person is told (design, ledger.md)."""


@dataclass(frozen=True, kw_only=True)
class StopRules:
    """The times that decide. `idle_notice` is how long before an idle stop the person is told."""

    lease: timedelta
    idle_stop: timedelta | None
    idle_notice: timedelta


@dataclass(frozen=True, kw_only=True)
class Account:
    """What pays a session.

    Parameters
    ----------
    funds
        Its grants in spend order, those to come included.
    taken
        What is held by open sessions, this one too, or still owed; milli-unit-seconds.
    others_weight_milli
        The weights of its other open sessions together: what they take from it each second.
    """

    funds: Sequence[Fund]
    taken: int
    others_weight_milli: int = 0


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """What is known of one open session. `ready_at` is None until it answered, or while the hub does not have it. A lease
    that is not renewed is the walltime of a job.
    """

    lease_until: datetime
    weight_milli: int
    eligible: bool
    account: Account
    ready_at: datetime | None
    last_activity: datetime | None
    renews: bool = True


@dataclass(frozen=True)
class Stop:
    """A stop to come, with the reason that will be written."""

    at: datetime
    reason: EndReason


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What to expect.

    Parameters
    ----------
    stop
        The first stop, if nobody uses the session from now on; None if there is none within `HORIZON`.
    runs_until
        Until when it runs however much it is used; None if that is further away than `HORIZON`.
    lasts
        How long what is left pays for it.
    notice
        The stop that the person has to be told of now, if any.
    left
        What new leases may take now, in milli-unit-seconds.
    weight_milli
        What a second of it costs, in milli-unit-seconds.
    """

    stop: Stop | None
    runs_until: datetime | None
    lasts: timedelta
    notice: Stop | None
    left: int
    weight_milli: int


def idle_stop_at(
    ready_at: datetime | None, last_activity: datetime | None, idle_stop: timedelta | None
) -> datetime | None:
    """The moment after which a session counts as idle. Activity before it answered was an earlier session's."""
    if ready_at is None or idle_stop is None:
        return None
    return max(ready_at, last_activity or ready_at) + idle_stop


def renewal_from(lease_until: datetime, lease: timedelta) -> datetime:
    """The moment after which a lease is renewed: when less than half of it is left."""
    return lease_until - lease / 2


def reason_at_lease_end(*, eligible: bool, renews: bool = True) -> EndReason:
    """Why a session is stopped whose lease ended and was not renewed."""
    if not renews:
        return EndReason.WALLTIME
    return EndReason.QUOTA if eligible else EndReason.ACCESS


def look_ahead(prospect: Prospect, rules: StopRules, now: datetime) -> Outlook:
    """See `Outlook`."""
    account = prospect.account
    lease_end = _lease_end(prospect, rules.lease, now)
    idle_at = idle_stop_at(prospect.ready_at, prospect.last_activity, rules.idle_stop)
    stops: list[tuple[Stop, timedelta]] = []
    if idle_at is not None and rules.idle_stop is not None:
        # Never more than half of the time: who has just used a session is not told that it is idle.
        stops.append((Stop(idle_at, EndReason.IDLE), min(rules.idle_notice, rules.idle_stop / 2)))
    if lease_end is not None:
        stops.append((Stop(lease_end, _reason(prospect)), _NOTICE))
    stops.sort(key=lambda each: each[0].at)
    left, _ = free(account.funds, account.taken, now)
    burn = prospect.weight_milli + account.others_weight_milli
    spent_at = lease_end or prospect.lease_until + timedelta(seconds=left // burn)
    return Outlook(
        stop=stops[0][0] if stops and stops[0][0].at <= now + HORIZON else None,
        runs_until=lease_end,
        lasts=max(spent_at - now, timedelta(0)),
        notice=next((stop for stop, notice in stops if now >= stop.at - notice), None),
        left=left,
        weight_milli=prospect.weight_milli,
    )


def _reason(prospect: Prospect) -> EndReason:
    return reason_at_lease_end(eligible=prospect.eligible, renews=prospect.renews)


def _lease_end(prospect: Prospect, lease: timedelta, now: datetime) -> datetime | None:
    """When the lease ends for good: the renewals of the worker, one after another, until one gets nothing."""
    until, account = prospect.lease_until, prospect.account
    if not prospect.eligible or not prospect.renews:
        return until
    funds, taken, at = list(account.funds), account.taken, now
    while until <= now + HORIZON:
        following = max(at, renewal_from(until, lease))
        taken += account.others_weight_milli * whole_seconds(following - at)
        at = following
        left, funds = free(funds, taken, at)
        seconds = min(whole_seconds(at + lease - until), left // prospect.weight_milli)
        if seconds:
            until += timedelta(seconds=seconds)
            taken += seconds * prospect.weight_milli
            continue
        # Nothing is left; the worker asks again until the lease is over, and a grant may begin before.
        begins = [fund.starts_at for fund in funds if at < fund.starts_at <= until]
        if not begins:
            return until
        at = min(begins)
    return None
