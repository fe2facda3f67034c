"""The end of the service: what is ended with it, and what is left to its scheduler."""

from federation.database import Database
from spawners.tables import EndReason, SessionState
from tests.support.batch import batch_place
from tests.support.books import MINUTE
from tests.support.fakes import HUB


def test_jobs_of_batch_sites_go_on_and_nothing_is_written_of_them(database: Database) -> None:
    with batch_place(database) as place:
        ana = place.house.member("ana")
        session = place.submit(ana)
        place.system.release()
        place.house.clock.move(MINUTE)
        asked = len(place.system.asked)

        going_on = place.house.upkeep().end_all(EndReason.SERVICE)

        again = place.house.again(session)
        assert [one.attempt for one in going_on] == [session.attempt]
        assert (again.end_reason, again.ended_at, again.state) == (None, None, SessionState.SUBMITTED)
        assert "cancel" not in place.system.asked[asked:]
        assert place.house.sessions.open_on(HUB) == [again]


def test_what_ended_before_is_in_the_books_with_its_own_reason(database: Database) -> None:
    with batch_place(database) as place:
        session = place.submit(place.house.member("ana"))
        place.house.sessions.ending(session.attempt, EndReason.STOPPED)
        place.jobs.end(session.attempt, patience_seconds=5)

        place.house.upkeep().end_all(EndReason.SERVICE)

        again = place.house.again(session)
        assert (again.end_reason, again.state) == (EndReason.STOPPED, SessionState.ENDED)
        assert place.house.books.row(session.attempt).state == "released"
