"""What the pages show, computed from the books and the sessions table. Reads block; made in threads.

Amounts are turned into unit-hours and texts here, so that templates only arrange.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import floor
from types import MappingProxyType
from typing import Any

from federation.database import DatabaseUnavailable
from federation.ids import reference
from federation.persons import Person
from federation.settings import BatchSite, in_language
from hub_config.pages.endings import advice_text, notice_text, reason_text
from hub_config.pages.form_view import StartForm, start_form
from hub_config.pages.session_view import hours
from hub_config.pages.waiting import why_not_elsewhere
from hub_config.wiring import House
from quota.amounts import charge, to_unit_hours
from quota.notices import threshold_reached
from quota.owners import Owner
from quota.statement import Line, Standing, open_lines, standing
from quota.statement import lines as lines_of
from spawners.explaining import Explanation, explain
from spawners.findings import find, forecast_of
from spawners.options import ANY_SITE
from spawners.paying import owner_of, pool_owner, pools_of
from spawners.sessions import Server, Session
from spawners.tables import EndReason, SessionState

__all__ = [
    "EndedView",
    "HomeView",
    "PoolView",
    "QuotaView",
    "RunningView",
    "Views",
]

_LAST_SESSIONS = 10


@dataclass(frozen=True, kw_only=True)
class QuotaView:
    """A person's quota, in unit-hours."""

    granted: float
    used: float
    held: float
    left: float
    ends_at: datetime | None
    lasts_until: datetime | None = None
    """At the pace of what runs now; None if nothing runs, or that is far away."""
    spent_percent: int | None = None
    """The threshold that was reached (`quota.notices`)."""

    @property
    def used_percent(self) -> float:
        return 100 * self.used / self.granted if self.granted else 0.0

    @property
    def held_percent(self) -> float:
        return 100 * self.held / self.granted if self.granted else 0.0


@dataclass(frozen=True, kw_only=True)
class PoolView:
    """What the members of a community share, in unit-hours."""

    title: str
    granted: float
    left: float


@dataclass(frozen=True, kw_only=True)
class RunningView:
    """A session that runs or starts; `cost` so far in unit-hours. It may run until `runs_until`, or, where that is far
    away, for as long as the quota lasts. `notice` has `{time}` in it, for `stop_at`.
    """

    server: str
    url: str
    flavour: str
    environment: str
    site: str
    ready: bool
    ending: bool
    started_at: datetime | None
    elapsed_seconds: int
    weight: float
    cost: float
    reference: str
    runs_until: datetime | None = None
    lasts_hours: float | None = None
    notice: str = ""
    stop_at: datetime | None = None
    may_keep: bool = False
    why_not_elsewhere: list[str] = field(default_factory=list)
    stage: str = ""


@dataclass(frozen=True, kw_only=True)
class EndedView:
    """A session that is over; `charged` in unit-hours."""

    server: str
    flavour: str
    started_at: datetime
    seconds: int
    charged: float
    estimated: bool
    reason: str
    advice: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class HomeView:
    """The home page."""

    name: str
    quota: QuotaView
    pools: list[PoolView]
    running: list[RunningView]
    ended: list[EndedView]
    form: StartForm


class Views:
    """Makes what a page shows for a hub user name. Raises `Failure` where admission does."""

    def __init__(self, house: House) -> None:
        self._house = house

    def home(
        self,
        user_name: str,
        user_url: str,
        typed: dict[str, str],
        active: Mapping[str, datetime | None] = MappingProxyType({}),
        stages: Mapping[str, str] = MappingProxyType({}),
    ) -> HomeView:
        """The home page; gives this period's default quota if it was not given yet.

        `active` has the names of the servers that the hub counts as active, with their last activity; `stages` what is
        said of those that start.
        """
        house = self._house
        person = house.admission.person(user_name)
        house.admission.give_default(person)
        now = house.clock()
        running = house.sessions.open_of_person(person.id)
        ended = house.sessions.ended_of_person(person.id, limit=_LAST_SESSIONS)
        with house.database.read() as connection:
            quota, pools, accounts = self.quota(person, now)
            lines = lines_of(connection, [session.attempt for session in (*running, *ended)])
        return HomeView(
            name=person.facts.name or person.user_name,
            quota=quota,
            pools=pools,
            running=[
                replace(
                    self._running(s, lines.get(s.attempt), user_url, now, active), stage=stages.get(s.server.name, "")
                )
                for s in running
            ],
            ended=[self._ended(s, lines.get(s.attempt)) for s in ended],
            form=start_form(house, person, accounts, typed),
        )

    def form(self, user_name: str, typed: dict[str, str]) -> StartForm:
        """Only the start form."""
        return self.home(user_name, "", typed).form

    def quota(self, person: Person, now: datetime) -> tuple[QuotaView, list[PoolView], dict[Owner, Standing]]:
        """A person's own quota with its forecast, and their communities'; and what the books say of each account."""
        house = self._house
        own, pools = owner_of(person), pools_of(person.facts, house.admission.policy.pools)
        with house.database.read() as connection:
            accounts = {owner: standing(connection, owner, now) for owner in (own, *map(pool_owner, pools))}
            outlook = forecast_of(
                connection, house.admission, person, accounts[own], open_lines(connection, own), 1000, now
            )
        shared = [_pool(in_language(pool.title, name), accounts[pool_owner(name)]) for name, pool in pools.items()]
        return _quota(accounts[own], outlook.lasts_until), shared, accounts

    def why(self, user_name: str, flavour: str) -> Explanation:
        """Why the person could start a flavour now, or why not.

        Raises
        ------
        KeyError
            If there is no such flavour.
        """
        house = self._house
        if flavour not in house.admission.policy.flavours:
            raise KeyError(flavour)
        found = find(
            house.admission, house.database, hub=house.settings.yaml.federation.hub,
            person=house.admission.person(user_name), flavour=flavour, site=None, now=house.clock(),
        )  # fmt: skip
        return explain(found)

    def last_session(self, user_name: str, server: str) -> dict[str, str | bool]:
        """What became of a server's newest attempt: for the pages that wait, and for those that say it is over."""
        house = self._house
        session = house.sessions.last_of(Server(house.settings.yaml.federation.hub, user_name, server))
        if session is None:
            return {"known": False, "open": False}
        return {
            "known": True,
            "open": session.ended_at is None and session.end_reason is None,
            "reason": self._reason(session) if session.end_reason else "",
            "advice": advice_text(session.end_reason),
            "may_ask": session.end_reason in (EndReason.QUOTA, EndReason.ACCESS),
            "refused": session.end_reason is EndReason.REFUSED,
            "reference": reference(session.attempt),
        }

    def place_of(self, user_name: str, server: str) -> dict[str, Any]:
        """Where a server's open attempt is, and why not elsewhere; empty if that cannot be said just now."""
        house = self._house
        try:
            session = house.sessions.open_of(Server(house.settings.yaml.federation.hub, user_name, server))
        except DatabaseUnavailable:
            return {}
        if session is None:
            return {}
        yaml = house.settings.yaml
        sites = yaml.sites
        return {
            "may_be_told": yaml.mail is not None and isinstance(sites.get(session.site), BatchSite),
            "is_told": session.tell_when_ready,
            "site": self._site(session.site),
            "why_not_elsewhere": why_not_elsewhere(session.why_there, sites) if self._was_free(session) else [],
        }

    def tell_when_ready(self, user_name: str, server: str, wanted: bool) -> bool:
        """Note whether the person wants a mail when a session that waits runs; False if none waits."""
        key = Server(self._house.settings.yaml.federation.hub, user_name, server)
        return self._house.sessions.tell_when_ready(key, wanted=wanted)

    @staticmethod
    def _was_free(session: Session) -> bool:
        """Whether the person left the place to us."""
        return bool(session.options.get("site", ANY_SITE) == ANY_SITE)

    def _site(self, name: str) -> str:
        site = self._house.settings.yaml.sites.get(name)
        return in_language(site.title, name) if site else name

    def _running(
        self, session: Session, line: Line | None, user_url: str, now: datetime, active: Mapping[str, datetime | None]
    ) -> RunningView:
        yaml, server = self._house.settings.yaml, session.server.name
        outlook = self._house.outlooks.of(session, now, hub_has_it=server in active, last_activity=active.get(server))
        notice = outlook.notice if outlook else None
        started = session.started_at or (line.started_at if line else None)
        weight = line.weight_milli if line else 0
        return RunningView(
            server=session.server.name,
            url=f"{user_url}{session.server.name}/" if session.server.name else user_url,
            flavour=self._flavour(session.flavour),
            environment=in_language(yaml.environments[session.environment].title, session.environment)
            if session.environment in yaml.environments
            else session.environment,
            site=self._site(session.site),
            why_not_elsewhere=why_not_elsewhere(session.why_there, yaml.sites) if self._was_free(session) else [],
            ready=session.state is SessionState.RUNNING,
            ending=session.end_reason is not None,
            started_at=started,
            elapsed_seconds=max(0, int((now - started).total_seconds())) if started else 0,
            weight=weight / 1000,
            cost=float(to_unit_hours(charge(weight, started, now))) if started else 0.0,
            reference=reference(session.attempt),
            runs_until=outlook.runs_until if outlook else None,
            lasts_hours=hours(outlook.lasts) if outlook else None,
            notice=notice_text(notice.reason) if notice else "",
            stop_at=notice.at if notice else None,
            may_keep=notice is not None and notice.reason is EndReason.IDLE,
        )

    def _ended(self, session: Session, line: Line | None) -> EndedView:
        started = session.started_at or session.created_at
        ran = session.started_at is not None and session.ended_at is not None
        return EndedView(
            server=session.server.name,
            flavour=self._flavour(session.flavour),
            started_at=started,
            seconds=charge(1, started, session.ended_at) if ran and session.ended_at else 0,
            charged=float(to_unit_hours(line.cost or 0)) if line else 0.0,
            estimated=bool(line and line.source == "last seen"),
            reason=self._reason(session),
            advice=advice_text(session.end_reason),
            reference=reference(session.attempt),
        )

    def _reason(self, session: Session) -> str:
        idle_minutes = self._house.settings.yaml.idle.stop_after_minutes
        return reason_text(session.end_reason, idle_minutes, session.end_detail)

    def _flavour(self, name: str) -> str:
        flavour = self._house.settings.yaml.flavours.get(name)
        return in_language(flavour.title, name) if flavour else name


def _pool(title: str, standing: Standing) -> PoolView:
    return PoolView(title=title, granted=float(to_unit_hours(standing.granted)), left=_never_more(standing.left))


def _never_more(left: int) -> float:
    """What is left in unit-hours: never rounded up."""
    return floor(to_unit_hours(left) * 100) / 100


def _quota(standing: Standing, lasts_until: datetime | None = None) -> QuotaView:
    return QuotaView(
        granted=float(to_unit_hours(standing.granted)),
        used=float(to_unit_hours(standing.used)),
        held=float(to_unit_hours(standing.held)),
        left=_never_more(standing.left),
        ends_at=standing.ends_at,
        lasts_until=lasts_until,
        spent_percent=threshold_reached(standing),
    )
