"""How far a site is on its way into the federation, and when it is away.

    candidate   --check passed--> uncertified --certify--> certified
    (any state) --suspend-->      suspended   --certify--> certified

Anything that is not in this table is an error and changes nothing. Only certified sites take sessions; what runs at one
that is suspended, or in a downtime, goes on. The states are those of EGI's procedure for resource centres (PROC09).

A batch site that nothing is recorded of is a candidate. It is certified on the strength of a check of the last 30 days
that passed after its last suspension. Sites of other kinds are run by the federation itself: they are certified from
the start, and what can be checked of them `nbfed doctor` looks at. Every change writes its audit row in the same
transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from federation.audit import Act, record
from federation.ids import new_id
from federation.settings import BatchSite, Site
from vetting.placement import Certification, Downtime, SiteState
from vetting.site_tables import DowntimeTable, SiteTable

__all__ = [
    "CHECK_COUNTS",
    "TRANSITIONS",
    "Announcement",
    "Event",
    "SiteError",
    "SiteRecord",
    "announce_downtime",
    "change",
    "downtimes",
    "end_downtime",
    "site_record",
    "site_states",
]

CHECK_COUNTS = timedelta(days=30)
"""How long a check that passed counts."""


class Event(StrEnum):
    """What happens to a site."""

    PASS = "pass"
    CERTIFY = "certify"
    SUSPEND = "suspend"


_ANY = tuple(Certification)
TRANSITIONS: dict[tuple[Certification, Event], Certification] = {
    # A check that passes is recorded in every state; it changes only that of a candidate.
    **{(state, Event.PASS): state for state in _ANY},
    (Certification.CANDIDATE, Event.PASS): Certification.UNCERTIFIED,
    (Certification.UNCERTIFIED, Event.CERTIFY): Certification.CERTIFIED,
    (Certification.SUSPENDED, Event.CERTIFY): Certification.CERTIFIED,
    **{(state, Event.SUSPEND): Certification.SUSPENDED for state in _ANY if state is not Certification.SUSPENDED},
}
_ACTS = {Event.PASS: Act.SITE_CHECKED, Event.CERTIFY: Act.SITE_CERTIFIED, Event.SUSPEND: Act.SITE_SUSPENDED}


class SiteError(Exception):
    """It cannot be done, and nothing was changed; the message says why, to operators."""


@dataclass(frozen=True, kw_only=True)
class SiteRecord:
    """One site as it is now; `changed_at` says since when, `reason` why. None: from the start.

    Parameters
    ----------
    checked_at
        When it last passed its check.
    """

    certification: Certification
    reason: str = ""
    changed_by: str = ""
    changed_at: datetime | None = None
    checked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """One downtime as it was announced; `ended_at` is when somebody ended it before its time."""

    id: str
    site: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    announced_by: str
    announced_at: datetime
    ended_at: datetime | None = None

    @property
    def over_at(self) -> datetime:
        """When the site is back."""
        return self.ends_at if self.ended_at is None else min(self.ends_at, self.ended_at)


def site_record(connection: Connection, name: str, site: Site) -> SiteRecord:
    """What holds of one site."""
    return _records(connection, {name: site})[name]


def site_states(connection: Connection, sites: Mapping[str, Site], now: datetime) -> dict[str, SiteState]:
    """Of each site what placement asks; downtimes that are over are left out."""
    announced = downtimes(connection, since=now)
    return {
        name: SiteState(
            certification=known.certification,
            downtimes=tuple(
                Downtime(starts_at=one.starts_at, ends_at=one.over_at)
                for one in announced
                if one.site == name and one.starts_at < one.over_at
            ),
        )
        for name, known in _records(connection, sites).items()
    }


def change(
    connection: Connection, name: str, site: Site, *, event: Event, by: str, reason: str = "", now: datetime
) -> SiteRecord:
    """Let something happen to a site.

    Raises
    ------
    SiteError
        If its state does not know the event, or a certification has no check to rest on.
    """
    if event is Event.PASS and not isinstance(site, BatchSite):
        raise SiteError(f"{name} is no batch site: there is no check of it.")
    before = site_record(connection, name, site)
    state = TRANSITIONS.get((before.certification, event))
    if state is None:
        raise SiteError(_why_not(name, before.certification))
    if event is Event.CERTIFY and isinstance(site, BatchSite):
        _require_check(name, before, now)
    after = replace(before, checked_at=now) if event is Event.PASS else before
    if state is not before.certification:
        after = replace(after, certification=state, reason=reason, changed_by=by, changed_at=now)
    if not _written(connection, name, before, after):
        raise SiteError(f"Somebody else changed {name} just now; look again.")
    _audit(connection, _ACTS[event], name, by, reason, now, state=state.value, before=before.certification.value)
    return after


def announce_downtime(
    connection: Connection, site: str, *, starts_at: datetime, ends_at: datetime, reason: str, by: str, now: datetime
) -> Announcement:
    """Say that a site will be away. Times that overlap with others are one time away.

    Raises
    ------
    SiteError
        If it would be over already, or before it began.
    """
    if ends_at <= max(starts_at, now):
        raise SiteError("A downtime ends after it begins, and not in the past.")
    made = Announcement(
        id=new_id(), site=site, starts_at=starts_at, ends_at=ends_at, reason=reason, announced_by=by, announced_at=now
    )
    connection.execute(insert(DowntimeTable).values(vars(made)))
    _audit_downtime(connection, Act.DOWNTIME_ANNOUNCED, made, by, reason, now)
    return made


def end_downtime(connection: Connection, downtime: str, *, by: str, reason: str, now: datetime) -> Announcement:
    """End a downtime before its time, or take it back before it begins.

    Raises
    ------
    SiteError
        If there is none, or it is over.
    """
    row = connection.execute(select(DowntimeTable.__table__).where(DowntimeTable.id == downtime)).one_or_none()
    if row is None:
        raise SiteError(f"There is no downtime {downtime!r}.")
    found = Announcement(**row._mapping)
    changed = connection.execute(
        update(DowntimeTable)
        .where(DowntimeTable.id == downtime, DowntimeTable.ended_at.is_(None), DowntimeTable.ends_at > now)
        .values(ended_at=now)
    ).rowcount
    if not changed:
        raise SiteError(f"The downtime of {found.site} is over already.")
    ended = replace(found, ended_at=now)
    _audit_downtime(connection, Act.DOWNTIME_ENDED, ended, by, reason, now)
    return ended


def downtimes(connection: Connection, *, site: str | None = None, since: datetime | None = None) -> list[Announcement]:
    """Announced downtimes in the order of their beginning: all, those of one site, or those that end after `since`."""
    query = select(DowntimeTable.__table__).order_by(DowntimeTable.starts_at, DowntimeTable.id)
    if site is not None:
        query = query.where(DowntimeTable.site == site)
    if since is not None:
        query = query.where(DowntimeTable.ends_at > since)
    found = (Announcement(**row._mapping) for row in connection.execute(query))
    return [one for one in found if since is None or one.over_at > since]


def _records(connection: Connection, sites: Mapping[str, Site]) -> dict[str, SiteRecord]:
    rows = connection.execute(select(SiteTable.__table__).where(SiteTable.name.in_(sites)))
    known = {row.name: _record(row._mapping) for row in rows}
    return {name: known.get(name) or _from_the_start(site) for name, site in sites.items()}


def _record(row: Any) -> SiteRecord:
    values = {name: value for name, value in row.items() if name != "name"}
    return SiteRecord(**{**values, "certification": Certification(row["certification"])})


def _from_the_start(site: Site) -> SiteRecord:
    is_batch = isinstance(site, BatchSite)
    return SiteRecord(certification=Certification.CANDIDATE if is_batch else Certification.CERTIFIED)


def _written(connection: Connection, name: str, before: SiteRecord, after: SiteRecord) -> bool:
    """Whether the row, if there was one, was still as it had been read."""
    if before.changed_at is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(SiteTable).values(vars(after) | {"name": name}))
        except IntegrityError:
            return False
        return True
    the_same = (SiteTable.name == name, SiteTable.certification == before.certification.value)
    return connection.execute(update(SiteTable).where(*the_same).values(vars(after))).rowcount == 1


def _require_check(name: str, known: SiteRecord, now: datetime) -> None:
    """A check counts that is not too old, and that passed after the last suspension."""
    check = f"`nbfed site check {name}` makes one."
    if known.checked_at is None or now - known.checked_at > CHECK_COUNTS:
        raise SiteError(f"{name} has passed no check in the last {CHECK_COUNTS.days} days. {check}")
    suspended = known.certification is Certification.SUSPENDED
    if suspended and known.changed_at is not None and known.checked_at <= known.changed_at:
        raise SiteError(f"{name} has passed no check since it was suspended. {check}")


def _why_not(name: str, state: Certification) -> str:
    if state is Certification.CANDIDATE:
        return f"{name} is a candidate: it has to pass its check first. `nbfed site check {name}` makes it."
    return f"{name} is {state} already."


def _audit_downtime(
    connection: Connection, act: Act, downtime: Announcement, by: str, reason: str, now: datetime
) -> None:
    _audit(
        connection, act, downtime.site, by, reason, now, downtime=downtime.id,
        starts_at=downtime.starts_at.isoformat(), ends_at=downtime.ends_at.isoformat(),
    )  # fmt: skip


def _audit(connection: Connection, act: Act, site: str, by: str, reason: str, now: datetime, **details: Any) -> None:
    record(connection, at=now, act=act, actor=by, target=f"site:{site}", reason=reason, **details)
