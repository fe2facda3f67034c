"""Sites: one table of transitions, no certification without a check, downtimes that end, an audit row for each change."""

import threading
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import select

from federation.audit import AuditTable
from federation.database import Database
from federation.settings import BatchSite, LocalSite, Site
from tests.support.batch import hpc
from vetting.placement import Certification, SiteState
from vetting.sites import (
    CHECK_COUNTS,
    TRANSITIONS,
    Announcement,
    Event,
    SiteError,
    SiteRecord,
    announce_downtime,
    change,
    downtimes,
    end_downtime,
    site_record,
    site_states,
)

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
CANDIDATE, UNCERTIFIED, CERTIFIED, SUSPENDED = Certification
SITES: dict[str, Site] = {
    "andes": hpc(),
    "here": LocalSite.model_validate({"kind": "local", "title": "Here", "flavours": ["small"]}),
}
WAYS: dict[Certification, list[Event]] = {
    CANDIDATE: [],
    UNCERTIFIED: [Event.PASS],
    CERTIFIED: [Event.PASS, Event.CERTIFY],
    SUSPENDED: [Event.SUSPEND],
}


class Office:
    """Changes, each in a transaction of its own, a second after the one before."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW

    def change(self, event: Event, name: str = "andes", reason: str = "why") -> SiteRecord:
        self.now += timedelta(seconds=1)
        with self.database.write() as connection:
            return change(connection, name, SITES[name], event=event, by="cli:olga", reason=reason, now=self.now)

    def announce(self, first: timedelta, last: timedelta, name: str = "andes") -> Announcement:
        with self.database.write() as connection:
            return announce_downtime(
                connection, name, starts_at=self.now + first, ends_at=self.now + last, reason="cooling", by="cli:olga",
                now=self.now,
            )  # fmt: skip

    def end(self, downtime: str) -> Announcement:
        with self.database.write() as connection:
            return end_downtime(connection, downtime, by="cli:olga", reason="done", now=self.now)

    def record(self, name: str = "andes") -> SiteRecord:
        with self.database.read() as connection:
            return site_record(connection, name, SITES[name])

    def state(self, name: str = "andes") -> SiteState:
        with self.database.read() as connection:
            return site_states(connection, SITES, self.now)[name]

    def audit(self) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(select(AuditTable.__table__).order_by(AuditTable.seq)))


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database)


# --- states -------------------------------------------------------------------------------------------------------


def test_a_batch_site_begins_as_a_candidate_and_other_sites_as_certified(office: Office) -> None:
    assert office.state("andes").certification is CANDIDATE
    assert office.state("here").certification is CERTIFIED


@pytest.mark.parametrize(("state", "event"), [*product(Certification, Event)])
def test_what_the_table_has_happens_and_nothing_else(office: Office, state: Certification, event: Event) -> None:
    for each in WAYS[state]:
        office.change(each)
    assert office.record().certification is state
    if state is SUSPENDED and event is Event.CERTIFY:
        office.change(Event.PASS)
    audited = len(office.audit())
    if (state, event) not in TRANSITIONS:
        with pytest.raises(SiteError):
            office.change(event)
        assert (office.record().certification, len(office.audit())) == (state, audited)
        return
    assert office.change(event) == office.record()
    assert office.record().certification is TRANSITIONS[state, event]
    row = office.audit()[-1]
    assert (row.actor, row.target, row.reason) == ("cli:olga", "site:andes", "why")
    assert row.details == {"before": state.value, "state": TRANSITIONS[state, event].value}


def test_a_certification_rests_on_a_check_that_is_not_too_old(office: Office) -> None:
    office.change(Event.PASS)
    office.now += CHECK_COUNTS
    with pytest.raises(SiteError, match="no check in the last 30 days"):
        office.change(Event.CERTIFY)
    office.change(Event.PASS)
    assert office.change(Event.CERTIFY).certification is CERTIFIED


def test_after_a_suspension_a_check_of_before_does_not_count(office: Office) -> None:
    for event in (Event.PASS, Event.CERTIFY, Event.SUSPEND):
        office.change(event)
    with pytest.raises(SiteError, match="no check since it was suspended"):
        office.change(Event.CERTIFY)
    assert office.change(Event.PASS).certification is SUSPENDED, "a check alone opens nothing"
    assert office.change(Event.CERTIFY).certification is CERTIFIED


def test_a_later_check_keeps_since_when_and_why_a_site_is_certified(office: Office) -> None:
    office.change(Event.PASS)
    certified = office.change(Event.CERTIFY, reason="met them")
    later = office.change(Event.PASS, reason="gate 1-abc")
    assert (later.changed_at, later.reason) == (certified.changed_at, "met them")
    assert later.checked_at == office.now


def test_a_site_of_our_own_is_suspended_and_certified_without_a_check(office: Office) -> None:
    assert office.change(Event.SUSPEND, "here").certification is SUSPENDED
    with pytest.raises(SiteError, match="no batch site"):
        office.change(Event.PASS, "here")
    assert office.change(Event.CERTIFY, "here").certification is CERTIFIED


def test_two_who_change_a_site_at_once_change_it_one_after_the_other(office: Office) -> None:
    failures: list[Exception] = []

    def suspend() -> None:
        try:
            office.change(Event.SUSPEND)
        except SiteError as error:
            failures.append(error)

    threads = [threading.Thread(target=suspend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 3
    assert len(office.audit()) == 1


# --- downtimes ----------------------------------------------------------------------------------------------------


def test_a_downtime_closes_its_own_site_from_its_start_until_its_end(office: Office) -> None:
    office.announce(HOUR, 2 * HOUR)
    begin = office.now
    seen = []
    for minutes in (0, 59, 60, 119, 120):
        office.now = begin + timedelta(minutes=minutes)
        seen.append(office.state().down_until(office.now) is not None)
    assert seen == [False, False, True, True, False]
    office.now = begin + 1.5 * HOUR
    assert office.state("here").downtimes == ()


def test_a_downtime_that_is_ended_is_over_at_once_and_one_that_is_taken_back_never_begins(office: Office) -> None:
    now_one, later = office.announce(timedelta(0), 2 * HOUR), office.announce(3 * HOUR, 4 * HOUR)
    office.now += HOUR
    assert office.end(now_one.id).ended_at == office.now
    assert office.state().down_until(office.now) is None
    office.end(later.id)
    office.now += 2.5 * HOUR
    assert office.state().down_until(office.now) is None
    with pytest.raises(SiteError, match="over already"):
        office.end(now_one.id)


def test_a_downtime_that_is_over_by_itself_cannot_be_ended(office: Office) -> None:
    made = office.announce(timedelta(0), HOUR)
    office.now += HOUR
    with pytest.raises(SiteError, match="over already"):
        office.end(made.id)
    with pytest.raises(SiteError, match="no downtime"):
        office.end("another")


@pytest.mark.parametrize(("first", "last"), [(2, 1), (1, 1), (-2, -1), (-1, 0)])
def test_a_downtime_ends_after_it_begins_and_not_in_the_past(office: Office, first: int, last: int) -> None:
    with pytest.raises(SiteError, match="ends after it begins"):
        office.announce(first * HOUR, last * HOUR)
    assert office.audit() == []


def test_announcing_and_ending_are_audited_with_their_times(office: Office) -> None:
    made = office.announce(timedelta(0), HOUR)
    office.end(made.id)
    assert [(row.act, row.target, row.reason) for row in office.audit()] == [
        ("operator:downtime:announced", "site:andes", "cooling"),
        ("operator:downtime:ended", "site:andes", "done"),
    ]
    assert office.audit()[0].details["downtime"] == made.id


def test_a_list_has_those_that_were_asked_for_in_the_order_of_their_beginning(office: Office) -> None:
    office.announce(2 * HOUR, 3 * HOUR)
    first = office.announce(timedelta(0), HOUR)
    other = office.announce(HOUR, 2 * HOUR, "here")
    with office.database.read() as connection:
        assert [one.site for one in downtimes(connection)] == ["andes", "here", "andes"]
        assert downtimes(connection, site="here") == [other]
        assert first not in downtimes(connection, since=first.ends_at)


def test_a_site_that_is_not_in_the_settings_any_more_is_in_nobody_s_way(office: Office) -> None:
    office.change(Event.SUSPEND)
    office.announce(timedelta(0), HOUR)
    only: dict[str, Site] = {"other": BatchSite.model_validate(SITES["andes"].model_dump())}
    with office.database.read() as connection:
        assert site_states(connection, only, office.now) == {"other": SiteState(certification=CANDIDATE)}
