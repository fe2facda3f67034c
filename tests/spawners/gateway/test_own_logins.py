"""Who is signed in to at a site that lets each account in for itself, and what is told of the site then.

What signs in is a stand-in here: which accounts fail, and when, is what these tests are about. With real connections:
`tests/hpc/test_own_accounts.py`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from pydantic import ValidationError

from federation.database import DatabaseUnavailable
from spawners.backends.base import Life
from spawners.gateway.answers import Cancelled, JobView, PastJobs, Poll, SiteHealth, SiteState, Submitted, SubmitWanted
from spawners.gateway.calls import SiteAway
from spawners.gateway.forwards import NotReached
from spawners.gateway.own_logins import OwnLogins, Pace
from spawners.gateway.protocol import HistoryRow, JobName, JobState, Resources, Row
from spawners.gateway.served import RobotSite
from spawners.gateway.site import Reverse
from tests.support.sshd import free_port

pytestmark = pytest.mark.asyncio

QUICK = Pace(look=0.02, hello=0.02, stay=0.1)
A1, A2, B1, NOBODY_S = (f"00000000-0000-7000-8000-00000000000{digit}" for digit in range(4))
ATTEMPTS = {A1: "ana", A2: "ana", B1: "ben"}


class Login:
    """One account's part: it says what it is told to, and notes what it is asked."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.asked: list[Any] = []
        self.state, self.last_answer_at, self.fresh = SiteState.OK, 100.0, True
        self.rows: list[Row] = []
        self.past: list[HistoryRow] = []
        self.runs = 0
        self.is_disconnected = False
        self.link_hangs = asyncio.Event()
        self.link_hangs.set()

    async def run(self) -> None:
        self.runs += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.runs -= 1

    async def disconnect(self) -> None:
        await self.link_hangs.wait()
        self.is_disconnected = True

    async def submit(self, wanted: SubmitWanted) -> Submitted:
        self.asked.append(wanted.attempt)
        return Submitted(job="7", existed=False, minutes=60)

    async def job(self, attempt: str) -> JobView:
        self.asked.append(attempt)
        return JobView(life=Life.RUNNING)

    async def history(self, names: Sequence[JobName]) -> PastJobs:
        self.asked.append([name.attempt for name in names])
        return PastJobs(jobs=self.past)

    async def cancel(self, name: JobName) -> Cancelled:
        self.asked.append(name.attempt)
        return Cancelled(cancelled=True)

    async def open_forward(self, attempt: str, node: str, port: int) -> tuple[str, int]:
        self.asked.append(attempt)
        return node, port

    async def close_forward(self, attempt: str) -> None:
        self.asked.append(attempt)

    def jobs(self) -> Poll:
        answered = self.last_answer_at if self.fresh else None
        return Poll(asked_at=self.last_answer_at, answered_at=answered, fresh=self.fresh, time=5.0, jobs=self.rows)

    def health(self) -> SiteHealth:
        return SiteHealth(state=self.state, last_answer_at=self.last_answer_at, masters=2)

    forward_count, waiting, broken_count = 1, 0, 0

    def masters_up(self, _kind: object) -> int:
        return 1


class Site:
    """The site, and who has sessions there; `wanted` may be an exception."""

    def __init__(self, port: int) -> None:
        self.made: dict[str, Login] = {}
        self.before: set[str] = set()
        self.wanted: set[str] | Exception = set()
        self.site = OwnLogins(
            "andes", address=("127.0.0.1", port), reverse=Reverse("https://hub"), make=self._make, known=self, pace=QUICK
        )  # fmt: skip

    def _make(self, account: str) -> RobotSite:
        self.made[account] = Login(account)
        return cast("RobotSite", self.made[account])

    def accounts(self) -> set[str]:
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return self.wanted

    @staticmethod
    def account_of(attempt: str) -> str | None:
        return ATTEMPTS.get(attempt)

    def left(self) -> set[str]:
        return self.before

    def running(self) -> set[str]:
        return {account for account, login in self.made.items() if login.runs}


@asynccontextmanager
async def running(
    *wanted: str, hello: bytes = b"SSH-2.0-x\r\n", closed: bool = False, before: Sequence[str] = (), away: bool = False
) -> AsyncIterator[Site]:
    """A site where these have sessions, and a server that says this. A gateway before this one was signed in to some. With
    `away` nobody can say at first who has sessions.
    """

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello)
        writer.close()

    port = free_port()
    server = None if closed else await asyncio.start_server(greet, "127.0.0.1", port)
    site = Site(port)
    site.wanted, site.before = DatabaseUnavailable("away") if away else set(wanted), set(before)
    task = asyncio.create_task(site.site.run())
    try:
        yield site
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not site.running()
        if server is not None:
            server.close()


async def until(true: Callable[[], object]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within ten seconds")


def name(attempt: str) -> JobName:
    return JobName(job="7", attempt=attempt, account=ATTEMPTS[attempt])


def submit(account: str, attempt: str = A1) -> SubmitWanted:
    wanted = Resources(cpus=1, memory_mib=1, minutes=9)
    return SubmitWanted(attempt=attempt, account=account, secret="x", script="#!/bin/sh\n", resources=wanted)


# --- who is signed in to ------------------------------------------------------------------------------------------


async def test_who_has_sessions_is_signed_in_to_and_after_a_while_without_no_more() -> None:
    async with running("ana", "ben") as site:
        await until(lambda: site.running() == {"ana", "ben"})
        site.wanted = {"ben"}
        await until(lambda: site.made["ana"].is_disconnected)
        assert site.running() == {"ben"}
        assert not site.made["ben"].is_disconnected


async def test_who_comes_back_while_the_old_connections_are_ended_waits_for_that_and_nobody_else_does() -> None:
    async with running("ana") as site:
        await until(site.running)
        old = site.made["ana"]
        old.link_hangs.clear()
        site.wanted = {"ben"}
        await until(lambda: site.running() == {"ben"})
        submitting = asyncio.create_task(site.site.submit(submit("ana")))
        site.wanted = {"ana", "ben", "eva"}
        await until(lambda: site.running() == {"ben", "eva"})
        assert not submitting.done()
        old.link_hangs.set()
        await submitting
        assert old.is_disconnected
        assert site.made["ana"] is not old


async def test_connections_that_an_earlier_gateway_left_are_ended_unless_somebody_has_a_session() -> None:
    async with running("ana", before=("ana", "ben")) as site:
        await until(lambda: "ben" in site.made and site.made["ben"].is_disconnected)
        assert site.running() == {"ana"}
        assert not site.made["ana"].is_disconnected


async def test_while_nobody_can_say_who_has_sessions_no_connection_that_was_left_is_ended() -> None:
    async with running(away=True, before=("ana", "ben")) as site:
        await asyncio.sleep(10 * QUICK.look)
        assert not site.made
        site.wanted = {"ana"}
        await until(lambda: "ben" in site.made and site.made["ben"].is_disconnected)
        assert site.running() == {"ana"}
        assert not site.made["ana"].is_disconnected


async def test_who_is_asked_for_is_signed_in_to_at_once_and_asked_alone() -> None:
    async with running() as site:
        await site.site.submit(submit("ana"))
        assert site.made["ana"].asked == [A1]
        assert set(site.made) == {"ana"}
        await until(lambda: site.running() == {"ana"})


@pytest.mark.parametrize("account", ["../ben", "a/b", "", "-o", "ana\n"])
async def test_a_name_that_no_account_can_have_signs_in_nowhere(account: str) -> None:
    async with running() as site:
        with pytest.raises(ValidationError):
            await site.site.submit(submit(account))
        assert not site.made


async def test_while_the_books_are_away_all_stay_signed_in() -> None:
    async with running("ana") as site:
        await until(site.running)
        site.wanted = DatabaseUnavailable("away")
        await asyncio.sleep(3 * QUICK.stay)
        assert site.running() == {"ana"}


async def test_a_defect_in_one_account_s_part_is_not_passed_over() -> None:
    class Broken(Login):
        async def run(self) -> None:
            raise RuntimeError("a defect")

    site = Site(free_port())
    site.wanted = {"ana"}
    site.site._make = lambda account: cast("RobotSite", Broken(account))
    with pytest.raises(RuntimeError, match="a defect"):
        await asyncio.wait_for(site.site.run(), 10)


# --- who is asked -------------------------------------------------------------------------------------------------


async def test_each_is_asked_for_the_own_jobs_and_ways() -> None:
    async with running("ana", "ben") as site:
        await until(lambda: len(site.running()) == 2)
        each: list[Awaitable[object]] = [
            site.site.job(A1), site.site.cancel(name(A2)), site.site.open_forward(B1, "c1", 20000),
            site.site.history([name(A1), name(B1), name(A2)]), site.site.close_forward(B1),
        ]  # fmt: skip
        for one in each:
            await one
        assert site.made["ana"].asked == [A1, A2, [A1, A2]]
        assert site.made["ben"].asked == [B1, [B1], B1]


async def test_of_an_attempt_that_nobody_has_nothing_is_known_and_no_way_is_opened() -> None:
    async with running() as site:
        assert (await site.site.job(NOBODY_S)).life is Life.UNKNOWN
        with pytest.raises(NotReached):
            await site.site.open_forward(NOBODY_S, "c1", 20000)
        await site.site.close_forward(NOBODY_S)
        assert not site.made


async def test_who_ended_a_session_long_ago_is_signed_in_to_for_its_history_and_for_nothing_less() -> None:
    async with running() as site:
        assert (await site.site.job(A1)).life is Life.UNKNOWN
        await site.site.close_forward(A1)
        assert not site.made
        await site.site.history([name(A1)])
        assert set(site.made) == {"ana"}


async def test_a_job_that_no_row_of_ours_knows_is_found_and_cancelled() -> None:
    async with running("ana") as site:
        await until(site.running)
        site.made["ana"].rows = [row("ana", NOBODY_S)]
        assert (await site.site.job(NOBODY_S)).life is Life.RUNNING
        assert (await site.site.cancel(JobName(job="7", attempt=NOBODY_S, account="ana"))).cancelled


async def test_what_a_gate_says_of_another_account_is_nothing_and_signs_in_to_nobody() -> None:
    async with running("ana") as site:
        await until(site.running)
        ana = site.made["ana"]
        ana.rows = [row("ben", B1), row("eva", NOBODY_S), row("ana", A1)]
        ana.past = [past(A1), past(B1)]
        assert [one.attempt for one in site.site.jobs().jobs] == [A1]
        assert (await site.site.job(NOBODY_S)).life is Life.UNKNOWN
        assert [one.attempt for one in (await site.site.history([name(A1)])).jobs] == [A1]
        for made_up in ("eva", "ben"):
            with pytest.raises(SiteAway):
                await site.site.cancel(JobName(job="7", attempt=A1, account=made_up))
        assert set(site.made) == {"ana"}


def row(account: str, attempt: str) -> Row:
    return Row(job="7", attempt=attempt, account=account, state=JobState.RUNNING, scheduler_state="R")


def past(attempt: str) -> HistoryRow:
    return HistoryRow(
        job="7", attempt=attempt, account="ana", state=JobState.ENDED, scheduler_state="COMPLETED", source="accounting",
        estimated=False,
    )  # fmt: skip


async def test_an_answer_is_fresh_if_it_is_of_all() -> None:
    async with running("ana", "ben") as site:
        await until(lambda: len(site.running()) == 2)
        for login, attempt in ((site.made["ana"], A1), (site.made["ben"], B1)):
            login.rows = [row(login.account, attempt)]
        site.made["ben"].last_answer_at = 90.0
        poll = site.site.jobs()
        assert {row.attempt for row in poll.jobs} == {A1, B1}
        assert (poll.fresh, poll.answered_at) == (True, 90.0)
        site.made["ben"].fresh = False
        poll = site.site.jobs()
        assert (poll.fresh, poll.answered_at) == (False, None)
        assert len(poll.jobs) == 2


# --- how the site is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param((SiteState.OK, SiteState.OPEN_BREAKER), SiteState.OK, id="open-to-one"),
        pytest.param((SiteState.DRAINED, SiteState.OPEN_BREAKER), SiteState.DRAINED, id="drained-for-one"),
        pytest.param((SiteState.OPEN_BREAKER,), SiteState.OK, id="one-fails-and-sshd-is-there"),
        pytest.param((SiteState.OPEN_BREAKER, SiteState.OPEN_BREAKER), SiteState.OPEN_BREAKER, id="all-of-two-fail"),
        pytest.param((SiteState.UNKNOWN, SiteState.OPEN_BREAKER), SiteState.OK, id="not-all-were-tried"),
        pytest.param((), SiteState.OK, id="nobody-has-a-session"),
    ],
)
async def test_how_the_site_is_by_its_accounts(states: tuple[SiteState, ...], expected: SiteState) -> None:
    accounts = ("ana", "ben")[: len(states)]
    async with running(*accounts) as site:
        await until(lambda: len(site.running()) == len(accounts))
        for account, state in zip(accounts, states, strict=True):
            site.made[account].state = state
        await until(lambda: site.site.health().state is expected)
        assert site.site.health().masters == 2 * len(accounts)
        assert site.site.forward_count == len(accounts)


@pytest.mark.parametrize(
    ("hello", "closed", "said"),
    [
        pytest.param(b"", True, "does not answer", id="nobody-listens"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", False, "is no ssh server", id="something-else"),
        pytest.param(b"", False, "does not answer", id="it-hangs-up"),
    ],
)
async def test_a_login_node_that_does_not_say_who_it_is_is_away(hello: bytes, closed: bool, said: str) -> None:
    async with running(hello=hello, closed=closed) as site:
        assert site.site.health().state is SiteState.UNKNOWN
        await until(lambda: site.site.health().state is SiteState.OPEN_BREAKER)
        assert said in site.site.health().last_error
        assert not site.site.jobs().fresh
