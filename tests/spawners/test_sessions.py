"""The sessions store: the intent comes first, one open attempt for each server, and the first reason stays."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from federation.database import Database
from federation.ids import new_id, reference
from spawners.sessions import Server, Session, SessionExists, Sessions
from spawners.tables import EndReason, SessionState, SessionTable
from tests.support.books import MINUTE, START, Crash, CrashingDatabase, MovableClock, dump

SERVER = Server("hub", "ana", "")


class Store:
    """A store, its clock, and attempts in any state."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = MovableClock()
        self.sessions = Sessions(database, clock=self.clock)

    def intend(self, server: Server = SERVER, *, person: str = "p-ana", site: str = "here", **more: Any) -> Session:
        self.clock.move(timedelta(seconds=1))
        return self.sessions.intend(
            attempt=more.pop("attempt", None) or new_id(), server=server, person_id=person, site=site, flavour="small",
            environment="python", options={"flavour": "small"}, secret_hash="hash", **more,
        )  # fmt: skip

    def end(self, session: Session, reason: EndReason | None = None) -> None:
        self.clock.move(timedelta(seconds=1))
        if reason is not None:
            self.sessions.ending(session.attempt, reason)
        self.sessions.ended(session.attempt, started_at=None, ended_at=self.clock())

    def again(self, session: Session) -> Session:
        found = self.sessions.get(session.attempt)
        assert found is not None
        return found


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


def attempts(sessions: list[Session]) -> list[str]:
    return [session.attempt for session in sessions]


# --- intent -----------------------------------------------------------------------------------------------------------


def test_an_intent_is_stored_before_anything_else_is_known(store: Store) -> None:
    session = store.intend()
    assert store.again(session) == session
    assert (session.state, session.created_at) == (SessionState.INTENT, START + timedelta(seconds=1))
    assert (session.server, session.person_id, session.site) == (SERVER, "p-ana", "here")
    assert (session.flavour, session.environment, session.options) == ("small", "python", {"flavour": "small"})
    assert (session.submitted_at, session.exchanged_at, session.started_at, session.ready_at) == (None,) * 4
    assert (session.ended_at, session.end_reason, session.token_ids, session.host) == (None, None, (), None)


def test_a_server_has_one_attempt_that_has_not_ended(store: Store) -> None:
    first = store.intend()
    before = dump(store.database)
    with pytest.raises(SessionExists):
        store.intend()
    assert dump(store.database) == before
    store.end(first)
    assert store.intend().attempt != first.attempt


def test_an_attempt_is_never_used_twice(store: Store) -> None:
    first = store.intend(attempt="a")
    store.end(first)
    with pytest.raises(SessionExists):
        store.intend(attempt="a")
    with pytest.raises(SessionExists):
        store.intend(Server("hub", "anna", ""), attempt="a")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Server("other", "ana", ""), id="another-hub"),
        pytest.param(Server("hub", "anna", ""), id="a-longer-name"),
        pytest.param(Server("hub", "Ana", ""), id="another-case"),
        pytest.param(Server("hub", "ana", "x"), id="a-named-server"),
        pytest.param(Server("hub", "anax", ""), id="user-and-server-run-together"),
        pytest.param(Server("hub", "an", "a"), id="user-and-server-split-elsewhere"),
        pytest.param(Server("hub", "ana@example.org", ""), id="at"),
        pytest.param(Server("hub", "ana%", ""), id="a-wildcard"),
        pytest.param(Server("hub", "añá", ""), id="other-letters"),
        pytest.param(Server("hub", "a" * 255, "b" * 255), id="as-long-as-it-may-be"),
    ],
)
def test_servers_that_look_alike_are_different_servers(store: Store, other: Server) -> None:
    mine, theirs = store.intend(), store.intend(other)
    assert store.sessions.open_of(SERVER) == mine
    assert store.sessions.open_of(other) == theirs
    store.end(theirs)
    assert store.sessions.open_of(SERVER) == mine


def test_of_intents_at_the_same_moment_one_is_stored(store: Store) -> None:
    start = threading.Barrier(8)

    def intend(_: int) -> bool:
        start.wait()
        try:
            store.intend()
        except SessionExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(intend, range(8))) == 1


def test_a_crash_before_the_commit_leaves_no_intent(store: Store) -> None:
    database = CrashingDatabase(store.database.url)
    database.crash_at = 99
    with pytest.raises(Crash):
        Store(database).intend(attempt="a")
    database.dispose()
    assert store.sessions.get("a") is None


# --- submission and exchange ------------------------------------------------------------------------------------------


def test_submitted_says_since_when_and_only_of_an_intent(store: Store) -> None:
    session = store.intend()
    store.sessions.submitted(session.attempt, "pid 7")
    submitted_at = store.clock()
    assert (store.again(session).state, store.again(session).submitted_at) == (SessionState.SUBMITTED, submitted_at)
    store.sessions.answered(session.attempt)
    store.clock.move(MINUTE)
    store.sessions.submitted(session.attempt, "pid 8")
    assert (store.again(session).state, store.again(session).submitted_at) == (SessionState.RUNNING, submitted_at)


def test_the_exchange_is_bound_to_the_first_launcher_which_may_ask_again(store: Store) -> None:
    attempt, claim = store.intend().attempt, store.sessions.claim
    assert claim(attempt, "hash", "mine")
    assert claim(attempt, "hash", "mine")
    assert not claim(attempt, "hash", "another")
    assert not store.sessions.confirm(attempt, "hash", "another")
    assert store.sessions.confirm(attempt, "hash", "mine")


def no_such_attempt(store: Store, attempt: str) -> tuple[str, str]:
    return "nobody", "hash"


def wrong_secret(store: Store, attempt: str) -> tuple[str, str]:
    return attempt, "hush"


def ended(store: Store, attempt: str) -> tuple[str, str]:
    store.sessions.ended(attempt, started_at=None, ended_at=START)
    return attempt, "hash"


def answered(store: Store, attempt: str) -> tuple[str, str]:
    store.sessions.claim(attempt, "hash", "mine")
    store.sessions.answered(attempt)
    return attempt, "hash"


@pytest.mark.parametrize("case", [no_such_attempt, wrong_secret, ended, answered], ids=lambda case: case.__name__)
def test_nothing_is_handed_out(store: Store, case: Callable[[Store, str], tuple[str, str]]) -> None:
    attempt, secret_hash = case(store, store.intend().attempt)
    before = dump(store.database)
    assert not store.sessions.claim(attempt, secret_hash, "mine")
    assert dump(store.database) == before


@pytest.mark.parametrize("case", [no_such_attempt, wrong_secret, ended], ids=lambda case: case.__name__)
def test_nothing_is_confirmed(store: Store, case: Callable[[Store, str], tuple[str, str]]) -> None:
    session = store.intend()
    store.sessions.claim(session.attempt, "hash", "mine")
    attempt, secret_hash = case(store, session.attempt)
    assert not store.sessions.confirm(attempt, secret_hash, "mine")
    assert not store.sessions.is_confirmed(attempt, secret_hash, "mine")
    assert store.again(session).exchanged_at is None


def test_a_confirmation_is_remembered_for_the_launcher_whose_answer_was_lost(store: Store) -> None:
    session = store.intend()
    store.sessions.claim(session.attempt, "hash", "mine")
    assert not store.sessions.is_confirmed(session.attempt, "hash", "mine")
    store.sessions.confirm(session.attempt, "hash", "mine")
    assert store.sessions.is_confirmed(session.attempt, "hash", "mine")
    assert not store.sessions.is_confirmed(session.attempt, "hash", "another")
    assert not store.sessions.is_confirmed(session.attempt, "hush", "mine")
    assert store.again(session).exchanged_at == store.clock()


def test_tokens_are_remembered_once_each(store: Store) -> None:
    session = store.intend(token_ids=[3])
    for token in (5, 3, 5, 7):
        store.sessions.add_token(session.attempt, token)
    assert store.again(session).token_ids == (3, 5, 7)
    store.sessions.add_token("nobody", 1)


# --- running and ending -----------------------------------------------------------------------------------------------


def test_where_it_listens_and_since_when_it_runs_and_answers(store: Store) -> None:
    session = store.intend()
    store.sessions.located(session.attempt, host="10.0.0.1", port=4321, started_at=START)
    assert store.again(session).state is SessionState.INTENT
    store.sessions.answered(session.attempt)
    seen = store.again(session)
    assert (seen.host, seen.port, seen.started_at) == ("10.0.0.1", 4321, START)
    assert (seen.state, seen.ready_at) == (SessionState.RUNNING, store.clock())


def test_the_first_reason_stays(store: Store) -> None:
    session = store.intend()
    assert store.sessions.ending(session.attempt, EndReason.IDLE, "an hour")
    assert not store.sessions.ending(session.attempt, EndReason.STOPPED, "too late")
    assert (store.again(session).end_reason, store.again(session).end_detail) == (EndReason.IDLE, "an hour")
    assert store.again(session).ended_at is None


def test_a_reason_is_not_written_into_what_has_ended_or_never_was(store: Store) -> None:
    session = store.intend()
    store.end(session)
    assert not store.sessions.ending(session.attempt, EndReason.STOPPED)
    assert not store.sessions.ending("nobody", EndReason.STOPPED)
    assert store.again(session).end_reason is None


def test_a_long_detail_is_cut(store: Store) -> None:
    session = store.intend()
    store.sessions.ending(session.attempt, EndReason.FAILED, "é" * 5000)
    assert store.again(session).end_detail == "é" * 2000


def test_ending_twice_is_once(store: Store) -> None:
    session = store.intend()
    store.sessions.ended(session.attempt, started_at=START, ended_at=START + MINUTE)
    before = dump(store.database)
    store.sessions.ended(session.attempt, started_at=None, ended_at=START + 2 * MINUTE)
    assert dump(store.database) == before
    assert store.again(session).state is SessionState.ENDED


def test_what_has_ended_does_not_live_again(store: Store) -> None:
    session = store.intend()
    store.end(session)
    before = dump(store.database)
    store.sessions.located(session.attempt, host="h", port=1, started_at=START)
    store.sessions.answered(session.attempt)
    store.sessions.submitted(session.attempt, "late")
    assert dump(store.database)["session"] == before["session"]


def test_times_are_kept_to_the_microsecond_and_in_utc(store: Store) -> None:
    store.clock.now = START + timedelta(microseconds=1)
    session = store.intend()
    assert store.again(session).created_at == START + timedelta(seconds=1, microseconds=1)
    assert store.again(session).created_at.utcoffset() == timedelta(0)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_last_attempt_of_a_server_is_the_newest_open_or_not(store: Store) -> None:
    assert store.sessions.last_of(SERVER) is None
    first = store.intend()
    store.end(first, EndReason.FAILED)
    assert store.sessions.last_of(SERVER) == store.again(first)
    assert store.sessions.open_of(SERVER) is None
    second = store.intend()
    assert store.sessions.last_of(SERVER) == store.sessions.open_of(SERVER) == second


def test_open_attempts_of_a_hub_and_of_a_person_oldest_first(store: Store) -> None:
    one, two = store.intend(Server("hub", "ana", "1")), store.intend(Server("hub", "ana", "2"))
    elsewhere = store.intend(Server("other", "ana", "1"))
    anna = store.intend(Server("hub", "anna", ""), person="p-anna")
    store.end(store.intend(Server("hub", "ana", "3")))
    assert attempts(store.sessions.open_on("hub")) == attempts([one, two, anna])
    assert attempts(store.sessions.open_of_person("p-ana")) == attempts([one, two, elsewhere])
    assert store.sessions.open_on("nowhere") == []


def test_what_ended_is_listed_newest_first_without_mere_refusals(store: Store) -> None:
    ended = []
    for reason in (EndReason.STOPPED, EndReason.REFUSED, None, EndReason.FAILED, EndReason.IDLE):
        session = store.intend()
        store.end(session, reason)
        ended.append(session)
    stopped, _refused, without, failed, idle = ended
    store.intend()
    assert attempts(store.sessions.ended_of_person("p-ana", limit=9)) == attempts([idle, failed, without, stopped])
    assert attempts(store.sessions.ended_of_person("p-ana", limit=2)) == attempts([idle, failed])
    assert store.sessions.ended_of_person("p-anna", limit=9) == []


def test_recent_ones_are_the_open_and_then_the_ended_of_a_person_or_a_site(store: Store) -> None:
    over = [store.intend(), store.intend(Server("hub", "anna", ""), person="p-anna")]
    for session in reversed(over):
        store.end(session)
    here, there = store.intend(), store.intend(Server("hub", "ana", "2"), site="there")
    recent = store.sessions.recent
    assert attempts(recent()) == attempts([there, here])
    assert attempts(recent(ended=9)) == attempts([there, here, over[0], over[1]])
    assert attempts(recent(ended=1)) == attempts([there, here, over[0]])
    assert attempts(recent(person_id="p-anna", ended=9)) == attempts([over[1]])
    assert attempts(recent(site="there", ended=9)) == attempts([there])
    assert recent(person_id="p-anna", site="there", ended=9) == []


def test_accounts_at_a_site_are_those_with_a_session_that_is_open_or_ended_lately(store: Store) -> None:
    accounts = store.sessions.accounts_at
    early = store.intend(account="early")
    store.end(early)
    moment = store.clock()
    for account, site in (("ana", "here"), ("ben", "there"), (None, "here"), ("ana", "here"), ("late", "here")):
        store.end(store.intend(account=account, site=site))
    store.intend(account="cleo")
    assert accounts("here", ended_after=moment) == {"ana", "late", "cleo"}
    assert accounts("there", ended_after=moment) == {"ben"}
    assert accounts("here", ended_after=store.clock()) == {"cleo"}


def test_a_reference_is_found_however_it_was_written_down(store: Store) -> None:
    session = store.intend()
    store.intend(Server("hub", "anna", ""))
    code = reference(session.attempt)
    misread = code.translate(str.maketrans("OIB", "018"))
    for written in (code, code.lower(), f"  {code} ", misread):
        assert attempts(store.sessions.with_reference(written)) == [session.attempt]
    for wrong in ("", "AAAAAAAA", code[:-1], code + "A", "%", "x" * 1000):
        assert store.sessions.with_reference(wrong) == []


def test_a_store_that_is_opened_again_knows_everything(store: Store) -> None:
    session = store.intend()
    store.sessions.submitted(session.attempt, "pid 7")
    store.sessions.ending(session.attempt, EndReason.STOPPED, "by hand")
    known = store.again(session)
    store.database.dispose()
    again = Database(store.database.url)
    assert Sessions(again).get(session.attempt) == known
    with again.read() as connection:
        assert connection.execute(SessionTable.__table__.select()).one().backend_ref == "pid 7"
    again.dispose()
