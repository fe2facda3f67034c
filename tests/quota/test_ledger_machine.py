"""Whatever is done to the books, in whatever order and however often, and wherever it crashes: after every step they
add up, a refusal has left no trace, and what people are shown is what they have.

`make test` plays some dozens of histories, `make test-long` thousands. A long run prints its seed; NBFED_SEED plays
it again.
"""

import os
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, event, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from hypothesis.statistics import collector

from quota.answers import Admitted, Denied, NotRenewed, Payer, Place, Renewed, Settlement
from quota.capping import Cap, Gauges, Scope
from quota.errors import SITE_FULL
from quota.granting import KeyTaken
from quota.ledger import Ledger
from quota.owners import Owner
from quota.reasons import Reason
from quota.shelf import open_page
from quota.tables import OPEN_STATES, AccountTable, GrantTable, HoldState, OwnerKind
from tests.support.books import ANN, ANNA, WEIGHTS, Books, Crash, CrashingDatabase, discrepancies, open_books
from tests.support.databases import KINDS, Databases

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86_400))
LEASE = 45 * MINUTE
SPENT = ("charge", "overrun", "correction")

POOL = Owner(OwnerKind.GROUP, "pool")
owners = st.sampled_from([ANN, ANNA])
amounts = st.sampled_from([10_800_000, 2_700_000, 300_000, 299_999, 1]) | st.integers(1, 30_000_000)
lengths = st.one_of(
    st.timedeltas(timedelta.resolution, 2 * SECOND),
    st.timedeltas(SECOND, 3 * HOUR),
    st.sampled_from([timedelta(0), LEASE - timedelta.resolution, LEASE, LEASE + timedelta.resolution]),
)
moments = st.timedeltas(-HOUR, 2 * HOUR)
weights = st.fixed_dictionaries({name: st.sampled_from([1, 500, 1000, 1001, 4000]) for name in WEIGHTS})


class BooksMachine(RuleBasedStateMachine):
    """Everything that hub, worker and operators may ask of the ledger, for two people who share nothing but a pool."""

    databases: Databases  # of the kind that is played on
    grants: Bundle[tuple[str, str]] = Bundle("grants")
    holds: Bundle[str] = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.database = CrashingDatabase(self.databases.migrated())
        self.books: Books = open_books(self.database)
        self.ledger: Ledger = self.books.ledger
        self.weights = dict(WEIGHTS)
        self.admitted: dict[str, int] = {}
        self.closed: dict[str, Settlement] = {}
        self.done: list[Callable[[], Any]] = []
        self.numbers = 0
        self.crash_at: int | None = None
        self.lost = False

    def teardown(self) -> None:
        for kind in {("- " if amount < 0 else "+ ") + kind for kind, amount in self.books.entries()}:
            event(f"a history with {kind}")
        self.database.dispose()
        self.databases.drop(self.database.url)

    @initialize(target=grants, amount=st.sampled_from([5_400_000, 10_800_000, 2_700_001]) | amounts)
    def everybody_has_quota(self, amount: int) -> Any:
        keys = {ANN: "of ann", ANNA: "of anna", POOL: "of the pool"}
        self.given = {key: (owner, amount) for owner, key in keys.items()}
        return multiple(*((self.books.grant(amount, owner, key=key), key) for owner, key in keys.items()))

    # --- what is tried first: a crash ---------------------------------------------------------------------------

    @precondition(lambda self: self.crash_at is None and not self.lost)
    @rule(crash_at=st.none() | st.integers(0, 25))
    def the_next_call_goes_wrong(self, crash_at: int | None) -> None:
        """It crashes before that statement, or before the commit; or else its answer is lost."""
        self.crash_at, self.lost = crash_at, crash_at is None

    def call(self, call: Callable[[], Any]) -> Any:
        """Do it; if it is to crash first, do it again, as whoever called would."""
        if self.crash_at is not None:
            before, self.database.crash_at, self.crash_at = self.books.dump(), self.crash_at, None
            with suppress(Crash, ValueError):
                call()
                event("there was nothing to crash")
                before = self.books.dump()
            assert self.books.dump() == before
            self.database.crash_at = None
        if self.lost:
            self.database.lost, self.lost = True, False
            with suppress(Crash, ValueError):
                call()
            self.database.lost = False
            done = self.books.dump()
            answer = call()
            assert self.books.dump() == done
            return answer
        return call()

    def tried(self, call: Callable[[], Any]) -> tuple[Any, str]:
        """The answer, or what was said to be wrong with the question."""
        try:
            return self.call(call), ""
        except ValueError as error:
            return None, str(error)

    # --- time, prices, grants -------------------------------------------------------------------------------------

    @rule(by=st.timedeltas(timedelta(0), 3 * HOUR))
    def time_passes(self, by: timedelta) -> None:
        self.books.clock.move(by)

    @rule(by=st.timedeltas(timedelta(0), HOUR))
    def the_clock_steps_back(self, by: timedelta) -> None:
        self.books.clock.move(-by)

    @rule(changed=weights)
    def prices_change(self, changed: dict[str, int]) -> None:
        self.call(lambda: self.books.publish(changed))
        self.weights = changed

    @rule(
        target=grants,
        owner=owners,
        amount=amounts,
        begins=st.one_of(st.just(timedelta(0)), moments),
        lasts=st.sampled_from([MINUTE, 10 * MINUTE, HOUR, DAY]),
        priority=st.integers(0, 1),
    )
    def give(self, owner: Owner, amount: int, begins: timedelta, lasts: timedelta, priority: int) -> tuple[str, str]:
        key = self.name("key")
        grant = self.call(
            lambda: self.books.grant(amount, owner, key=key, begins=begins, lasts=lasts, priority=priority)
        )
        self.given[key] = (owner, amount)
        self.done.append(lambda: self.books.grant(amount, owner, key=key, begins=begins, lasts=lasts))
        return grant, key

    @rule(grant=grants, owner=owners, amount=amounts)
    def give_with_a_key_of_before(self, grant: tuple[str, str], owner: Owner, amount: int) -> None:
        before, known = self.books.dump(), self.given[grant[1]]
        if known == (owner, amount):
            assert self.call(lambda: self.books.grant(amount, owner, key=grant[1])) == grant[0]
        else:
            with pytest.raises(KeyTaken):
                self.books.grant(amount, owner, key=grant[1])
        assert self.call(lambda: self.books.grant(known[1], known[0], key=grant[1])) == grant[0]
        assert self.books.dump() == before

    @rule(grant=grants)
    def revoke(self, grant: tuple[str, str]) -> None:
        self.keep(lambda: self.ledger.revoke(grant[0], actor="operator", reason="a test"))

    @rule(target=grants, grant=grants, amount=amounts, lasts=st.sampled_from([10 * MINUTE, DAY]))
    def change(self, grant: tuple[str, str], amount: int, lasts: timedelta) -> Any:
        """More, or less, or longer: what the owner has changes by just the difference."""
        key, now = self.name("key"), self.books.clock()
        terms = {"key": key, "amount": amount, "starts_at": now, "ends_at": now + lasts, "actor": "olga", "reason": "t"}
        was_over = self.books.rows(GrantTable, GrantTable.id == grant[0])[0].revoked_at is not None
        successor, error = self.tried(lambda: self.ledger.change(grant[0], **terms))
        assert bool(error) == was_over
        if error:
            assert "was revoked or changed before" in error
            return multiple()
        self.done.append(lambda: self.ledger.change(grant[0], **terms))
        event("a grant was changed" if successor else "a grant was changed to nothing")
        if successor is None:
            return multiple()
        (row,) = self.books.rows(GrantTable, GrantTable.id == successor)
        assert row.follows == grant[0]
        assert row.amount <= amount
        self.given[key] = (self.given[grant[1]][0], row.amount)
        return successor, key

    @rule(hold=holds, amount=amounts | st.integers(1, 60_000), back=st.booleans())
    def correct(self, hold: str, amount: int, back: bool) -> None:
        key, before, paid = (
            self.name("key"),
            self.books.dump(),
            sum(a for k, a in self.books.entries(hold) if k in SPENT),
        )
        correction = {"amount": -amount if back else amount, "key": key, "actor": "olga", "reason": "a test"}
        answer, error = self.tried(lambda: self.ledger.correct(hold, **correction))
        if error:
            event(f"not corrected: {error.split()[0]}")
            assert self.books.dump() == before
            assert self.books.row(hold).state != HoldState.SETTLED or (back and "at most" in error)
            return
        self.done.append(lambda: self.ledger.correct(hold, **correction))
        event("given back" if back else "charged more")
        assert answer.amount == correction["amount"]
        assert not back or amount <= paid

    # --- holds ------------------------------------------------------------------------------------------------------

    @rule(
        target=holds,
        owner=owners,
        flavour=st.sampled_from(["small", *sorted(WEIGHTS)]),
        sessions=st.integers(1, 3),
        seen=st.booleans(),
    )
    def start(self, owner: Owner, flavour: str, sessions: int, seen: bool) -> Any:
        admitted = []
        for _ in range(sessions):
            hold = self.reserve(owner, self.name("server"), flavour, LEASE, 5 * MINUTE, 100)
            admitted += [hold] if isinstance(hold, str) else []
        for hold in admitted if seen else []:
            self.ledger.started(hold, started_at=self.books.clock())
        return multiple(*admitted)

    @rule(
        target=holds,
        owner=owners,
        server=st.sampled_from(["", "one"]),
        flavour=st.sampled_from(sorted(WEIGHTS)),
        lease=st.timedeltas(10 * MINUTE, HOUR),
        shortest=st.sampled_from([SECOND, 5 * MINUTE]),
        most=st.integers(1, 4),
    )
    def start_where_it_may_be_full(
        self, owner: Owner, server: str, flavour: str, lease: timedelta, shortest: timedelta, most: int
    ) -> Any:
        return self.reserve(owner, server, flavour, lease, shortest, most)

    @rule(
        target=holds,
        owner=owners,
        flavour=st.sampled_from(sorted(WEIGHTS)),
        whole=st.booleans(),
        queue=st.sampled_from([timedelta(0), HOUR]),
    )
    def start_with_a_pool_behind(self, owner: Owner, flavour: str, whole: bool, queue: timedelta) -> Any:
        """One's own account if it covers all, else the pool if that does, else who covers a part."""
        attempt, weight = self.name("attempt"), self.weights[flavour]
        shortest = LEASE if whole else 5 * MINUTE
        covers = {who: min(LEASE // SECOND, self.books.standing(who).left // weight) * SECOND for who in (owner, POOL)}
        payers = [Payer(owner=owner), Payer(owner=POOL, title="pool")]
        place = Place(hub="hub", user=owner.ref, server=attempt, site="here")
        wish = {"place": place, "flavour": flavour, "lease": LEASE, "shortest": shortest, "gauges": Gauges()}
        answer = self.call(lambda: self.ledger.reserve(attempt=attempt, payers=payers, queue=queue, **wish))
        able = [who for who, lease in covers.items() if lease >= shortest]
        if not able:
            event("nobody pays")
            assert isinstance(answer, Denied)
            return multiple()
        payer = next((who for who in able if covers[who] == LEASE), able[0])
        event("the pool pays" if payer == POOL else "ones own account pays")
        assert answer == Admitted(attempt, self.books.clock() + queue + covers[payer], weight)
        assert self.books.row(attempt).account_id == self.books.account(payer)
        self.admitted[attempt] = weight
        return attempt

    @rule(hold=holds)
    def reserve_again(self, hold: str) -> None:
        row, before = self.books.row(hold), self.books.dump()
        place = {"server": row.server, "user": row.user}
        if row.state in OPEN_STATES:
            place["flavour"] = row.flavour
            answer = self.call(lambda: self.books.reserve(hold, **place))
            assert answer == Admitted(hold, row.lease_until, self.admitted[hold])
            with pytest.raises(ValueError, match="another place"):
                self.books.reserve(hold, server="elsewhere", user=row.user, flavour=row.flavour)
        else:
            with pytest.raises(ValueError, match="a new try needs a new attempt"):
                self.books.reserve(hold, **place)
        assert self.books.dump() == before

    @rule(hold=holds, by=st.timedeltas(-HOUR, 2 * HOUR))
    def renew(self, hold: str, by: timedelta) -> None:
        row, until = self.books.row(hold), self.books.clock() + by
        answer = self.call(lambda: self.ledger.renew(hold, until=until))
        lease_until = self.books.row(hold).lease_until
        assert answer.lease_until == lease_until >= row.lease_until
        match answer:
            case Renewed(_, short=short):
                event("renewed, short" if short else "renewed")
                assert short or lease_until >= until
            case NotRenewed(_, closed=closed):
                event("not renewed")
                assert closed == (row.state not in OPEN_STATES)

    @rule(hold=holds, since=moments)
    def started(self, hold: str, since: timedelta) -> None:
        self.call(lambda: self.ledger.started(hold, started_at=self.books.row(hold).reserved_at + since))

    @rule(hold=holds)
    def unknown(self, hold: str) -> None:
        self.call(lambda: self.ledger.unknown(hold))

    @rule(hold=holds, since=moments, ran=lengths)
    def settle(self, hold: str, since: timedelta, ran: timedelta) -> None:
        started_at = self.books.row(hold).reserved_at + since
        self.close(hold, lambda: self.settle_at(hold, started_at, started_at + ran))

    @rule(hold=holds, beyond=lengths)
    def settle_what_outlived_its_lease_and_everything_else(self, hold: str, beyond: timedelta) -> None:
        row = self.books.row(hold)
        owner = ANN if row.user == ANN.ref else ANNA
        covered = (row.amount + self.books.standing(owner).left) // row.weight_milli * SECOND
        self.close(hold, lambda: self.settle_at(hold, row.reserved_at, row.reserved_at + covered + beyond))

    @rule(
        owner=owners,
        flavour=st.sampled_from(sorted(WEIGHTS)),
        runs=st.lists(st.tuples(moments, lengths), min_size=5, max_size=5),
        callers=st.permutations(range(10)),
    )
    def five_sessions_of_one_person_end_together(
        self, owner: Owner, flavour: str, runs: list[tuple[timedelta, timedelta]], callers: list[int]
    ) -> None:
        """Each is ended twice, by callers that saw different times, in any order: the first one of each counts."""
        started = {}
        for since, ran in runs:
            hold = self.reserve(owner, self.name("server"), flavour, 10 * MINUTE, SECOND, 100)
            if isinstance(hold, str):
                started[hold] = (self.books.row(hold).reserved_at + since, ran)
        event(f"{len(started)} end together")
        ends = [(hold, *times, late) for late in (timedelta(0), SECOND) for hold, times in started.items()]
        for caller in callers:
            if caller < len(ends):
                hold, since, ran, late = ends[caller]
                self.close(
                    hold, lambda hold=hold, since=since, end=since + ran + late: self.settle_at(hold, since, end)
                )

    @rule()
    def everything_that_was_done_is_asked_once_more(self) -> None:
        """Whatever happened since, and wherever the clock is: nothing changes."""
        before = self.books.dump()
        for call in self.done:
            call()
        event(f"{min(len(self.done), 10)} calls or more asked again")
        assert self.books.dump() == before

    @rule(hold=holds, ran=lengths)
    def settle_with_an_end_before_the_start(self, hold: str, ran: timedelta) -> None:
        before, now = self.books.dump(), self.books.clock()
        with pytest.raises(ValueError, match="before it starts"):
            self.settle_at(hold, now, now - ran - timedelta.resolution)
        assert self.books.dump() == before

    @rule(hold=holds)
    def release(self, hold: str) -> None:
        self.close(hold, lambda: self.ledger.release(hold, reason="never ran"))

    @rule(late=st.timedeltas(timedelta(0), 2 * HOUR))
    def expire(self, late: timedelta) -> None:
        now = self.books.clock.move(late)
        due = {hold for hold in self.admitted if self.is_due(self.books.row(hold), now)}
        kept = {hold: self.books.row(hold) for hold in self.admitted if hold not in due}
        lost = self.lost
        expired = self.call(lambda: self.ledger.expire(now))
        assert set(expired) <= due
        assert lost or set(expired) == due
        assert {hold: self.books.row(hold) for hold in kept} == kept
        event(f"{len(due)} expired")

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def the_books_add_up(self) -> None:
        assert discrepancies(self.database) == []

    @invariant()
    def what_is_shown_is_what_could_be_reserved(self) -> None:
        for owner in (ANN, ANNA, POOL):
            shown = self.books.standing(owner).left
            assert shown == self.available(owner)

    @invariant()
    def a_hold_keeps_its_price_and_stays_closed(self) -> None:
        for hold, weight in self.admitted.items():
            assert self.books.row(hold).weight_milli == weight
        for hold, answer in self.closed.items():
            row = self.books.row(hold)
            assert (row.state, row.charged, row.ended_at) == (answer.state, answer.charged, answer.ended_at)

    @invariant()
    def no_more_time_is_charged_than_was_begun(self) -> None:
        for hold, weight in self.admitted.items():
            row = self.books.row(hold)
            if row.state == HoldState.SETTLED:
                assert row.charged <= -((row.started_at - row.ended_at) // SECOND) * weight
            else:
                assert not row.charged

    @invariant()
    def a_hold_ends_once(self) -> None:
        for hold in self.admitted:
            kinds = Counter(kind for kind, _ in self.books.entries(hold))
            closed = self.books.row(hold).state not in OPEN_STATES
            assert kinds["release"] == closed
            assert kinds["overrun"] <= closed

    # --- inner parts --------------------------------------------------------------------------------------------------

    def reserve(self, owner: Owner, server: str, flavour: str, lease: timedelta, shortest: timedelta, most: int) -> Any:
        attempt, now = self.name("attempt"), self.books.clock()
        cap = Cap(scope=Scope.SITE, ref="here", gauge="sessions", limit=most, reason=Reason(problem=SITE_FULL))
        before, shown, running = self.books.dump(), self.books.standing(owner).left, self.open_holds()
        answer = self.call(
            lambda: self.books.reserve(
                attempt, owner, server=server, flavour=flavour, lease=lease, shortest=shortest, caps=(cap,)
            )
        )
        weight = self.weights[flavour]
        seconds = min(-(-lease // SECOND), shown // weight)
        fits = seconds * SECOND >= shortest and running < most
        if isinstance(answer, Denied):
            assert self.books.dump() == before
            codes = {reason.problem.code for reason in answer.reasons}
            event(f"denied: {', '.join(sorted(codes))}")
            assert "server-busy" in codes or not fits
            return multiple()
        event("admitted")
        assert fits
        assert answer == Admitted(attempt, now + seconds * SECOND, weight)
        self.admitted[attempt] = weight
        return attempt

    def keep(self, call: Callable[[], Any]) -> Any:
        """Do it, and remember it."""
        answer = self.call(call)
        self.done.append(call)
        return answer

    def name(self, kind: str) -> str:
        self.numbers += 1
        return f"{kind}-{self.numbers}"

    def open_holds(self) -> int:
        return sum(self.books.row(hold).state in OPEN_STATES for hold in self.admitted)

    @staticmethod
    def is_due(row: Any, now: datetime) -> bool:
        return bool(row.state == HoldState.HELD and row.lease_until <= now)

    def settle_at(self, hold: str, started_at: datetime, ended_at: datetime) -> Settlement:
        return self.ledger.settle(hold, started_at=started_at, ended_at=ended_at, source="launcher")

    def close(self, hold: str, call: Callable[[], Settlement]) -> None:
        """Whoever closes a hold a second time gets the first one's answer, and changes nothing."""
        row, before = self.books.row(hold), self.books.dump()
        answer = self.call(call)
        if row.state in OPEN_STATES and answer.charged <= row.amount:
            assert "overrun" not in dict(self.books.entries(hold)), "what is set aside for a session is its own"
        first = self.closed.get(hold)
        if first is not None:
            event("closed again")
            assert answer == first
            assert self.books.dump() == before
        elif answer.state != HoldState.EXPIRED:  # one that expired may be settled still
            event(f"closed: {answer.state}")
            self.closed[hold] = answer
            self.done.append(call)

    def available(self, owner: Owner) -> int:
        """What a writer would find, had it opened the page now."""
        accounts = self.books.rows(AccountTable, AccountTable.owner_ref == owner.ref)
        if not accounts:
            return 0
        available = 0
        with suppress(Crash), self.database.write() as connection:
            with open_page(connection, accounts[0].id, self.books.clock(), "nobody") as page:
                available = max(0, page.available)
            raise Crash
        return available


def play(machine: type[BooksMachine], on: Databases, *, histories: int, steps: int) -> Counter[str]:
    """How many histories had each event."""
    rounds: list[Any] = []
    with collector.with_value(rounds.append):
        run_state_machine_as_test(
            type(machine.__name__, (machine,), {"databases": on}),
            settings=settings(
                max_examples=histories,
                stateful_step_count=steps,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
    (played,) = rounds
    histories_played = played["generate-phase"]["test-cases"]
    return Counter(
        event
        for history in histories_played
        for event in set(history["events"])
        if not event.startswith(("Retried draw", "gave up"))  # Hypothesis's own
    )


@pytest.mark.timeout(900)  # of which it takes seconds, unless it fails and looks for the shortest history that does
def test_the_books_add_up_after_every_step_of_some_histories(databases: Databases) -> None:
    play(BooksMachine, databases, histories=60 if databases.kind == "sqlite" else 15, steps=30)


REACHED = (
    "a grant was changed",
    "a grant was changed to nothing",
    "given back",
    "charged more",
    "not corrected: at",
    "not corrected: hold",
    "the pool pays",
    "ones own account pays",
    "nobody pays",
    "renewed",
    "renewed, short",
    "not renewed",
    "closed: settled",
    "closed: released",
    "closed again",
    "5 end together",
    "10 calls or more asked again",
    "a history with + overrun",
    "a history with - overrun",
    "a history with - lapse",
)
"""Branches that a run of many histories has to come to, or it shows less than it says."""
MANY = 1000


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_books_add_up_after_every_step_for_minutes(databases: Databases) -> None:
    minutes = float(os.environ.get("NBFED_MINUTES") or 10) / len(KINDS)
    first = int(os.environ.get("NBFED_SEED") or secrets.randbelow(2**32))
    end = time.monotonic() + 60 * minutes
    played, reached, histories = 0, Counter[str](), 20 if databases.kind == "sqlite" else 5
    for number in count(first):
        print(f"NBFED_SEED={number} NBFED_MINUTES=0 plays this round again")
        reached += play(seed(number)(type("Seeded", (BooksMachine,), {})), databases, histories=histories, steps=60)
        played += histories
        if time.monotonic() >= end:
            break
    print(f"{played} histories; in how many of them it happened:")
    print("\n".join(f"{times:7} {what}" for what, times in sorted(reached.items())))
    assert played < MANY or not [what for what in REACHED if not reached[what]]
