"""Four values, and only positive evidence that a job is gone."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spawners.backends.base import Life
from spawners.gateway.protocol import Row
from spawners.gateway.sightings import Sightings

ATTEMPTS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(4)]
SESSION = {"node": "c1", "port": 20000, "proof": "0" * 64}


def row(attempt: str = ATTEMPTS[0], state: str = "running", **more: object) -> Row:
    facts = {"job": "1", "attempt": attempt, "account": "ana", "state": state, "scheduler_state": state.upper()}
    return Row.model_validate(facts | more)


def answer(known: Sightings, *rows: Row) -> bool:
    return known.answered(known.ask(), rows)


def test_nothing_is_known_before_the_first_answer() -> None:
    assert Sightings().view(ATTEMPTS[0]).life is Life.UNKNOWN


def test_what_an_answer_says_is_so() -> None:
    known = Sightings()
    answer(known, row(state="pending"), row(ATTEMPTS[1]), row(ATTEMPTS[2], "ended"))
    assert [known.view(attempt).life for attempt in ATTEMPTS[:3]] == [Life.PENDING, Life.RUNNING, Life.ENDED]


def test_one_answer_without_it_says_nothing_and_two_say_that_it_is_gone() -> None:
    known = Sightings()
    answer(known, row())
    answer(known)
    assert (known.view(ATTEMPTS[0]).life, known.view(ATTEMPTS[0]).missing_count) == (Life.UNKNOWN, 1)
    answer(known)
    assert (known.view(ATTEMPTS[0]).life, known.view(ATTEMPTS[0]).missing_count) == (Life.ENDED, 2)
    assert known.view(ATTEMPTS[0]).row == row()


def test_one_that_comes_back_is_there() -> None:
    known = Sightings()
    answer(known, row())
    answer(known)
    answer(known, row())
    answer(known)
    assert known.view(ATTEMPTS[0]).life is Life.UNKNOWN


def test_failed_answers_say_nothing_however_many() -> None:
    known = Sightings()
    answer(known, row(), row(ATTEMPTS[1], "ended"))
    for _ in range(10):
        known.ask()
        known.failed()
    assert (known.view(ATTEMPTS[0]).life, known.view(ATTEMPTS[0]).missing_count) == (Life.UNKNOWN, 0)
    assert known.view(ATTEMPTS[1]).life is Life.ENDED, "what is over stays over"


def test_answers_to_questions_from_before_the_submit_do_not_count() -> None:
    known = Sightings()
    answer(known)
    answer(known)
    before = known.ask()
    known.submitted(ATTEMPTS[0])
    known.answered(before, [])
    assert (known.view(ATTEMPTS[0]).life, known.view(ATTEMPTS[0]).missing_count) == (Life.UNKNOWN, 0)
    answer(known)
    assert known.view(ATTEMPTS[0]).life is Life.UNKNOWN
    answer(known)
    assert known.view(ATTEMPTS[0]).life is Life.ENDED


def test_while_a_submit_is_in_doubt_no_answer_without_it_counts() -> None:
    known = Sightings()
    known.in_doubt(ATTEMPTS[0])
    for _ in range(5):
        answer(known)
    assert (known.view(ATTEMPTS[0]).life, known.view(ATTEMPTS[0]).missing_count) == (Life.UNKNOWN, 0)
    answer(known, row(state="pending"))
    assert known.view(ATTEMPTS[0]).life is Life.PENDING
    known.in_doubt(ATTEMPTS[1])
    known.submitted(ATTEMPTS[1])
    answer(known)
    answer(known)
    assert known.view(ATTEMPTS[1]).life is Life.ENDED


def test_of_one_that_nobody_knew_answers_count_from_the_first_question_about_it_on() -> None:
    known = Sightings()
    answer(known)
    answer(known)
    assert not known.knows(ATTEMPTS[0])
    assert known.view(ATTEMPTS[0]).life is Life.UNKNOWN
    answer(known)
    assert known.view(ATTEMPTS[0]).life is Life.UNKNOWN
    answer(known)
    assert (known.view(ATTEMPTS[0]).life, known.view(ATTEMPTS[0]).row) == (Life.ENDED, None)


def test_news_are_jobs_that_run_without_a_port_or_are_missing_for_the_first_time() -> None:
    known = Sightings()
    assert not answer(known, row(state="pending"))
    assert answer(known, row())
    assert not answer(known, row())
    assert not answer(known, row(session=SESSION))
    assert answer(known)
    assert not answer(known)


def test_what_is_gone_stays_gone_and_is_forgotten_at_last() -> None:
    known = Sightings()
    answer(known, *(row(attempt) for attempt in ATTEMPTS))
    for _ in range(100):
        answer(known)
    assert {known.view(attempt).life for attempt in ATTEMPTS} == {Life.ENDED}
    for _ in range(3000):
        answer(known)
    assert not known._seen


class SightingsMachine(RuleBasedStateMachine):
    """Against a plain account: per attempt, the answers of questions after it was last seen or submitted."""

    def __init__(self) -> None:
        super().__init__()
        self.known = Sightings()
        self.under_way: list[int] = []
        self.last: dict[str, str] = {}
        self.without: dict[str, int] = {}
        self.since: dict[str, int] = {}
        self.asked = 0
        for attempt in ATTEMPTS:
            self.known.view(attempt)

    @rule()
    def ask(self) -> None:
        self.under_way = [self.known.ask()]  # one poller: one question at a time
        self.asked += 1

    @rule(attempt=st.sampled_from(ATTEMPTS))
    def submit(self, attempt: str) -> None:
        self.known.submitted(attempt)
        self.without[attempt], self.since[attempt] = 0, self.asked
        self.last.pop(attempt, None) if self.last.get(attempt) == "ended" else None

    @rule(jobs=st.dictionaries(st.sampled_from(ATTEMPTS), st.sampled_from(["pending", "running", "ended"])))
    def answered(self, jobs: dict[str, str]) -> None:
        if not self.under_way:
            return
        number = self.under_way.pop()
        self.known.answered(number, [row(attempt, state) for attempt, state in jobs.items()])
        for attempt in ATTEMPTS:
            if attempt in jobs:
                self.last[attempt], self.without[attempt], self.since[attempt] = jobs[attempt], 0, number
            elif number > self.since.get(attempt, 0):
                self.without[attempt] = self.without.get(attempt, 0) + 1

    @rule()
    def failed(self) -> None:
        if self.under_way:
            self.under_way.pop()
            self.known.failed()

    @invariant()
    def gone_only_on_evidence(self) -> None:
        for attempt in ATTEMPTS:
            view = self.known.view(attempt)
            if view.life is Life.ENDED:
                said = view.row is not None and view.row.state == "ended"
                assert said or self.without.get(attempt, 0) >= 2
            if self.without.get(attempt, 0) >= 2:
                assert view.life is Life.ENDED
            if view.life in (Life.PENDING, Life.RUNNING):
                assert self.known.fresh
                assert self.last[attempt] == view.life


TestSightings = SightingsMachine.TestCase
