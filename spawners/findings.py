"""Reads all that decides whether a person may start a flavour now, and asks admission itself for the answer.

What is read is put into words by `spawners.explaining`. The present period's default is given first, as at a start and
on the home page; nothing else is kept: the start is tried by the code of a real one, and rolled back.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from federation.database import Database
from federation.errors import Failure
from federation.ids import new_id
from federation.persons import Person
from federation.settings import in_language
from quota import rates
from quota.answers import Admitted, Denied, Payer
from quota.capping import GAUGES, Cap, Gauges, Scope, exceeded
from quota.defaults import period_bounds
from quota.errors import SITE_FULL
from quota.forecast import HORIZON, Burn, Forecast, defaults_to_come, forecast, funds_of
from quota.settings import DefaultGrant
from quota.statement import Line, Standing, coming, open_lines, standing
from spawners.admission import Admission
from spawners.paying import gauges_of, owner_of, pool_owner, pools_of
from spawners.sessions import Server
from vetting.eligibility import Eligibility
from vetting.placement import Wish

__all__ = ["CapFinding", "Findings", "PoolFinding", "burn_of", "find", "forecast_of"]


@dataclass(frozen=True, kw_only=True)
class CapFinding:
    """A limit: how much of its gauge is in use, and how much more this flavour would take."""

    cap: Cap
    used: int
    needed: int

    @property
    def is_full(self) -> bool:
        return self.used + self.needed > self.cap.limit


@dataclass(frozen=True, kw_only=True)
class PoolFinding:
    """A pool of one of the person's communities; `pays` says whether it may pay for this flavour."""

    name: str
    title: str
    standing: Standing
    returns_at: datetime
    pays: bool


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What there is at a moment; amounts in milli-unit-seconds.

    Parameters
    ----------
    flavour, site
        Their titles; `site` is empty where there is no place.
    titles
        Of all flavours, by name.
    default
        What the tier `default_tier` gives in each period; the next on `returns_at`.
    sessions
        Open ones that the person's own account pays for.
    pays
        The accounts that may pay, in the order in which they are asked.
    admitted
        What a start would get; None if it would be refused, for the `reasons`.
    outlook
        Of the person's own account.
    """

    at: datetime
    person: Person
    flavour: str
    tier: str
    weight_milli: int
    site: str
    titles: Mapping[str, str]
    eligibility: Eligibility
    default: DefaultGrant | None
    default_tier: str
    returns_at: datetime | None
    standing: Standing
    sessions: tuple[Line, ...]
    pools: tuple[PoolFinding, ...]
    caps: tuple[CapFinding, ...]
    pays: tuple[Payer, ...]
    admitted: Admitted | None
    reasons: tuple[Failure, ...]
    outlook: Forecast


def find(
    admission: Admission, database: Database, *, hub: str, person: Person, flavour: str, site: str | None, now: datetime
) -> Findings:
    """Look at everything; `flavour` and `site` (None: the first that fits) are names of the settings.

    Raises
    ------
    KeyError
        If the flavour has no weight yet.
    Failure, federation.database.DatabaseUnavailable
        If the books are away.
    """
    admission.give_default(person)
    policy, own, eligibility = admission.policy, owner_of(person), admission.eligibility(person)
    default = policy.default_for(eligibility)
    wish, place, no_place = _placed(admission, person, flavour, site)
    where = place or next(iter(policy.sites))  # where there is no place, any will do to see what the quota alone says
    server = Server(hub, person.user_name, new_id())  # one of no name that is in use: whether one is is not asked
    admitted, reasons = _asked(admission, person, server, wish, where, now)
    if no_place is not None:
        admitted, reasons = None, [no_place, *(reason for reason in reasons if reason.problem is not SITE_FULL)]
    pays: list[Payer] = []
    with suppress(Failure):  # then it is among the reasons
        pays = admission.payers(person, flavour)
    caps = [cap for cap in admission.caps(person, server, wish, where) if place or cap.scope is not Scope.SITE]
    caps += [cap for payer in pays for cap in payer.caps]
    with database.read() as connection:
        weight_milli = rates.in_force(connection)[1][flavour]
        what_is, sessions = standing(connection, own, now), open_lines(connection, own)
        return Findings(
            at=now,
            person=person,
            flavour=in_language(policy.flavours[flavour].title, flavour),
            tier=policy.flavours[flavour].tier,
            weight_milli=weight_milli,
            site=in_language(policy.sites[place].title, place) if place else "",
            titles={name: in_language(each.title, name) for name, each in policy.flavours.items()},
            eligibility=eligibility,
            default=default,
            default_tier=next((name for name, each in policy.defaults.items() if each is default), ""),
            returns_at=period_bounds(default.period, now)[1] if default else None,
            standing=what_is,
            sessions=sessions,
            pools=tuple(_pools(connection, admission, person, flavour, now)),
            caps=tuple(_in_use(connection, caps, gauges_of(policy.flavours[flavour]))),
            pays=tuple(pays),
            admitted=admitted,
            reasons=tuple(reasons),
            outlook=forecast_of(connection, admission, person, what_is, sessions, weight_milli, now),
        )


def burn_of(sessions: Sequence[Line], now: datetime) -> Burn:
    """What the sessions that run use each second, and have used so far."""
    running = [(line, line.started_at) for line in sessions if line.started_at is not None]
    used = sum(max(0, int((now - started).total_seconds())) * line.weight_milli for line, started in running)
    return Burn(each_second=sum(line.weight_milli for line, _ in running), used=used)


def forecast_of(
    connection: Connection,
    admission: Admission,
    person: Person,
    what_is: Standing,
    sessions: Sequence[Line],
    weight_milli: int,
    now: datetime,
) -> Forecast:
    """How long a person's own account lasts at the present pace; `sessions` are those open ones that it pays for."""
    own = owner_of(person)
    setting, ref = admission.default_of_payer(person, own)
    funds = [
        *funds_of(what_is.grants, now),
        *coming(connection, own, now, now + HORIZON),
        *defaults_to_come(setting, ref, what_is.grants, now, HORIZON),
    ]
    return forecast(
        funds, taken=what_is.held + what_is.owed, owed=what_is.owed, burn=burn_of(sessions, now),
        weight_milli=weight_milli, now=now,
    )  # fmt: skip


def _placed(
    admission: Admission, person: Person, flavour: str, site: str | None
) -> tuple[Wish, str | None, Failure | None]:
    """The first environment with which there is a place, and that place; or why there is none with any."""
    wishes = [Wish(flavour=flavour, environment=name, site=site) for name in admission.policy.environments]
    first: Failure | None = None
    for wish in wishes:
        try:
            return wish, admission.place(person, wish), None
        except Failure as failure:
            first = first or failure
    return wishes[0], None, first


def _asked(
    admission: Admission, person: Person, server: Server, wish: Wish, site: str, now: datetime
) -> tuple[Admitted | None, list[Failure]]:
    try:
        answer = admission.preview(person, server, wish, site)
    except Failure as failure:
        return None, [failure]
    if isinstance(answer, Denied):
        return None, [reason.failure(now) for reason in answer.reasons]
    return answer, []


def _pools(
    connection: Connection, admission: Admission, person: Person, flavour: str, now: datetime
) -> Iterator[PoolFinding]:
    for name, pool in pools_of(person.facts, admission.policy.pools).items():
        yield PoolFinding(
            name=name,
            title=in_language(pool.title, name),
            standing=standing(connection, pool_owner(name), now),
            returns_at=period_bounds(pool.period, now)[1],
            pays=flavour in pool.flavours,
        )


def _in_use(connection: Connection, caps: Sequence[Cap], gauges: Gauges) -> Iterator[CapFinding]:
    # A limit below nothing is exceeded by anything, so each of them says what is in use.
    closed = [replace(cap, limit=-1) for cap in caps]
    reasons = exceeded(connection, closed, Gauges(**dict.fromkeys(GAUGES, 1)))
    for cap, reason in zip(caps, reasons, strict=True):
        yield CapFinding(cap=cap, used=reason.used, needed=getattr(gauges, cap.gauge))
