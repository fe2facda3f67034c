"""What the pages show, computed from the books and the sessions table. Reads block; made in threads.

Amounts are turned into unit-hours and texts here, so that templates only arrange.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
from types import MappingProxyType

from federation.i18n import gettext
from federation.ids import reference
from federation.persons import Person
from federation.settings import in_language
from hub_config.pages.endings import advice_text, notice_text, reason_text
from hub_config.pages.session_view import hours
from hub_config.wiring import House
from quota.amounts import charge, to_unit_hours
from quota.statement import Line, Standing, statement
from spawners.options import ANY_SITE
from spawners.paying import owner_of
from spawners.sessions import Server, Session
from spawners.tables import EndReason, SessionState
from vetting.eligibility import Eligibility
from vetting.placement import Wish, places

__all__ = [
    "Choice",
    "EndedView",
    "HomeView",
    "QuotaView",
    "RunningView",
    "StartForm",
    "Views",
    "quota_view",
]

_LAST_SESSIONS = 10
_LOOK_BACK = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class QuotaView:
    """A person's quota, in unit-hours."""

    granted: float
    used: float
    held: float
    left: float
    ends_at: datetime | None

    @property
    def used_percent(self) -> float:
        return 100 * self.used / self.granted if self.granted else 0.0

    @property
    def held_percent(self) -> float:
        return 100 * self.held / self.granted if self.granted else 0.0


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
class Choice:
    """One thing to choose on the start form; closed when `why_not` is set."""

    name: str
    title: str
    text: str = ""
    weight: float = 0.0
    lasts_hours: float = 0.0
    why_not: str = ""
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class StartForm:
    """The start form: flavours, environments and sites, with what was typed before."""

    flavours: list[Choice]
    environments: list[Choice]
    sites: list[Choice]
    server: str = ""
    may_name: bool = False

    @property
    def is_open(self) -> bool:
        """Whether anything can be started with it."""
        return any(not choice.why_not for choice in self.flavours)


@dataclass(frozen=True, kw_only=True)
class HomeView:
    """The home page."""

    name: str
    quota: QuotaView
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
    ) -> HomeView:
        """The home page; gives this period's default quota if it was not given yet.

        `active` has the names of the servers that the hub counts as active, with their last activity.
        """
        house = self._house
        person = house.admission.person(user_name)
        house.admission.give_default(person)
        now = house.clock()
        with house.database.read() as connection:
            books = statement(connection, owner_of(person), now, since=now - _LOOK_BACK)
        lines = {line.hold: line for line in books.lines}
        running = house.sessions.open_of_person(person.id)
        ended = house.sessions.ended_of_person(person.id, limit=_LAST_SESSIONS)
        return HomeView(
            name=person.facts.name or person.user_name,
            quota=quota_view(books.standing),
            running=[self._running(s, lines.get(s.attempt), user_url, now, active) for s in running],
            ended=[self._ended(s, lines.get(s.attempt)) for s in ended],
            form=self._form(person, books.standing, typed),
        )

    def form(self, user_name: str, typed: dict[str, str]) -> StartForm:
        """Only the start form."""
        return self.home(user_name, "", typed).form

    def last_session(self, user_name: str, server: str) -> dict[str, str | bool]:
        """What became of a server's newest attempt: for the pages that wait, and for those that say it is over."""
        house = self._house
        session = house.sessions.last_of(Server(house.settings.yaml.federation.hub, user_name, server))
        if session is None:
            return {"known": False, "open": False}
        return {
            "known": True,
            "open": session.ended_at is None and session.end_reason is None,
            "reason": reason_text(session.end_reason, house.settings.yaml.idle.stop_after_minutes)
            if session.end_reason
            else "",
            "advice": advice_text(session.end_reason),
            "may_ask": session.end_reason in (EndReason.QUOTA, EndReason.ACCESS),
            "refused": session.end_reason is EndReason.REFUSED,
            "reference": reference(session.attempt),
        }

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
            site=in_language(yaml.sites[session.site].title, session.site)
            if session.site in yaml.sites
            else session.site,
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
            charged=float(to_unit_hours(line.charged or 0)) if line else 0.0,
            estimated=bool(line and line.source == "last seen"),
            reason=reason_text(session.end_reason, self._house.settings.yaml.idle.stop_after_minutes),
            advice=advice_text(session.end_reason),
            reference=reference(session.attempt),
        )

    def _flavour(self, name: str) -> str:
        flavour = self._house.settings.yaml.flavours.get(name)
        return in_language(flavour.title, name) if flavour else name

    def _form(self, person: Person, standing: Standing, typed: dict[str, str]) -> StartForm:
        policy, admission = self._house.admission.policy, self._house.admission
        eligibility = admission.eligibility(person)
        default = policy.default_for(eligibility)
        environments = [
            Choice(name=name, title=in_language(e.title), text=in_language(e.description))
            for name, e in policy.environments.items()
            if any(getattr(e, policy.sites[site].kind) is not None for site in self._house.backends)
        ]
        flavours = [self._choice(name, person, standing, eligibility, environments) for name in policy.flavours]
        sites = [
            Choice(name=name, title=in_language(policy.sites[name].title), text=in_language(policy.sites[name].files))
            for name in self._house.backends
        ]
        if len(sites) > 1:
            sites.insert(0, Choice(name=ANY_SITE, title=gettext("The first that fits")))
        return StartForm(
            flavours=_with_chosen(flavours, typed.get("flavour")),
            environments=_with_chosen(environments, typed.get("environment")),
            sites=_with_chosen(sites, typed.get("site")),
            server=typed.get("server", ""),
            may_name=default is None or default.sessions is None or default.sessions > 1,
        )

    def _choice(
        self, name: str, person: Person, standing: Standing, eligibility: Eligibility, environments: list[Choice]
    ) -> Choice:
        policy = self._house.admission.policy
        flavour = policy.flavours[name]
        options = [
            option
            for environment in environments
            for option in places(
                Wish(flavour=name, environment=environment.name),
                eligibility=eligibility,
                flavours=policy.flavours,
                environments=policy.environments,
                sites=policy.sites,
                kinds={policy.sites[site].kind for site in self._house.backends},
                now=self._house.clock(),
            )
        ]
        refusals = [option.why_not for option in options if option.why_not is not None]
        why_not = refusals[0] if refusals and len(refusals) == len(options) else None
        why_not = why_not or self._house.admission.not_in_default(person, name, standing)
        weight = float(flavour.weight)
        size = [
            gettext("{cpu} CPU").format(cpu=flavour.cpu),
            gettext("{memory} GiB memory").format(memory=flavour.memory_gib),
            *([gettext("{gpu} GPU").format(gpu=flavour.gpu)] if flavour.gpu else []),
        ]
        return Choice(
            name=name,
            title=in_language(flavour.title, name),
            text=", ".join(size),
            weight=weight,
            lasts_hours=float(to_unit_hours(standing.left)) / weight,
            why_not=why_not.message if why_not else "",
        )


def quota_view(standing: Standing) -> QuotaView:
    """The books' answer in unit-hours."""
    return QuotaView(
        granted=float(to_unit_hours(standing.granted)),
        used=float(to_unit_hours(standing.used)),
        held=float(to_unit_hours(standing.held)),
        left=floor(to_unit_hours(standing.left) * 100) / 100,  # what is left is never rounded up
        ends_at=standing.ends_at,
    )


def _with_chosen(choices: list[Choice], wanted: str | None) -> list[Choice]:
    """Mark what was typed before, else the first that is open."""
    open_ones = [choice.name for choice in choices if not choice.why_not]
    chosen = wanted if wanted in open_ones else (open_ones[0] if open_ones else None)
    return [Choice(**{**vars(choice), "chosen": choice.name == chosen}) for choice in choices]
