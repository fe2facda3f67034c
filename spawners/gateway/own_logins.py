"""A site that lets each account in for itself (`access: user-certificate`), served as one.

Each account that has a session there, or had one lately, has a `SiteGateway` of its own: its own certificate, two
connections, poller and breaker. So one account that cannot be signed in to keeps nobody else out, and what one person
does to the own connections reaches nobody else's sessions. Who they are is in the sessions' own rows, where the next
gateway finds it again.

While nobody has a session there is no account to ask by; then the site counts as open if its sshd says who it is.
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import TypeAdapter

from federation.database import DatabaseUnavailable
from spawners.backends.base import Life
from spawners.gateway.answers import Cancelled, JobView, PastJobs, Poll, SiteHealth, SiteState, Submitted, SubmitWanted
from spawners.gateway.calls import SiteAway
from spawners.gateway.forwards import NotReached
from spawners.gateway.link import MasterKind
from spawners.gateway.protocol import AccountName, HistoryRow, JobName, Row
from spawners.gateway.served import RobotSite
from spawners.gateway.site import Reverse

__all__ = ["Known", "OwnLogins", "Pace"]

_log = logging.getLogger("nbfed.gateway")

_ACCOUNT = TypeAdapter(AccountName)
_HELLO_SECONDS = 10.0
_HELLO = b"SSH-"
"""What every server says first (RFC 4253, 4.2)."""


class Known(Protocol):
    """Who has sessions at the site. Calls block."""

    def accounts(self) -> Collection[str]:
        """Accounts with a session there that has not ended, or ended lately."""

    def account_of(self, attempt: str) -> str | None:
        """The account that an attempt is run as; None if there is no such attempt there."""

    def left(self) -> Collection[str]:
        """Accounts that this gateway, or one before it, signed in to."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """In seconds: how often it is looked who has sessions, and whether the site answers while nobody has; and for how long
    an account that has none any more stays signed in.
    """

    look: float = 5.0
    hello: float = 30.0
    stay: float = 300.0


@dataclass
class _Login:
    served: RobotSite
    task: asyncio.Task[None]
    used_at: float


class OwnLogins:
    """Made in the loop that `run` runs in.

    Parameters
    ----------
    address
        Host and port of the login node.
    make
        Makes what signs in to one account.
    """

    def __init__(
        self,
        name: str,
        *,
        address: tuple[str, int],
        reverse: Reverse,
        make: Callable[[str], RobotSite],
        known: Known,
        pace: Pace | None = None,
    ) -> None:
        self.name, self.reverse = name, reverse
        self._address = address
        self._make = make
        self._known = known
        self._pace = pace or Pace()
        self._logins: dict[str, _Login] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._accounts: dict[str, str] = {}
        self._greeted_at: float | None = None
        self._greeting_error: str | None = None

    # --- what others ask for ------------------------------------------------------------------------------------

    async def submit(self, wanted: SubmitWanted) -> Submitted:
        login = await self._login(wanted.account)
        self._accounts[wanted.attempt] = wanted.account
        return await login.submit(wanted)

    def jobs(self) -> Poll:
        """Those of all accounts that are signed in to. Fresh, if all of them are. The gate runs as the person, who can have
        it say anything: what it says of other accounts is nothing.
        """
        each = [login.served.jobs() for login in self._logins.values()]
        if not each:
            return Poll(asked_at=self._greeted_at, answered_at=self._greeted_at, fresh=self._greeted_at is not None)
        asked = [poll.asked_at for poll in each if poll.asked_at is not None]
        answered = [poll.answered_at for poll in each if poll.answered_at is not None]
        return Poll(
            asked_at=min(asked, default=None),
            answered_at=min(answered) if len(answered) == len(each) else None,
            fresh=all(poll.fresh for poll in each),
            time=min((poll.time for poll in each if poll.time is not None), default=None),
            jobs=[row for account, poll in zip(self._logins, each, strict=True) for row in _of(account, poll)],
        )

    async def job(self, attempt: str) -> JobView:
        """Nobody is signed in to for that: who has a session that is open is signed in to already."""
        account = await self._account_of(attempt) or self._seen_at(attempt)
        login = self._logins.get(account) if account is not None else None
        return await login.served.job(attempt) if login is not None else JobView(life=Life.UNKNOWN)

    async def history(self, names: Sequence[JobName]) -> PastJobs:
        by_account = defaultdict(list)
        for name in names:
            by_account[name.account].append(name)
        answers = await asyncio.gather(*(self._history(each) for each in by_account.values()))
        return PastJobs(jobs=[job for answer in answers for job in answer])

    async def _history(self, names: Sequence[JobName]) -> list[HistoryRow]:
        answer = await (await self._login_for(names[0])).history(names)
        asked = {(name.job, name.attempt) for name in names}
        return [job for job in answer.jobs if (job.job, job.attempt) in asked]

    async def cancel(self, name: JobName) -> Cancelled:
        return await (await self._login_for(name)).cancel(name)

    async def open_forward(self, attempt: str, node: str, port: int) -> tuple[str, int]:
        account = await self._account_of(attempt)
        if account is None:
            raise NotReached(f"no session at {self.name} is attempt {attempt}; no way was opened")
        return await (await self._login(account)).open_forward(attempt, node, port)

    async def close_forward(self, attempt: str) -> None:
        """One who is not signed in to has no ways: they go when the connections are ended."""
        account = await self._account_of(attempt)
        if account in self._logins:
            await self._logins[account].served.close_forward(attempt)

    def health(self) -> SiteHealth:
        """As the accounts say that it is open to, or drained for. Only if it is neither for any, and all of two or more
        fail, or its sshd does not say who it is, is it the site's fault.
        """
        each = [login.served.health() for login in self._logins.values()]
        states = [health.state for health in each]
        answers = [health.last_answer_at for health in each if health.last_answer_at is not None]
        last = max(answers, default=self._greeted_at)
        errors = [health.last_error for health in each if health.last_error]
        return SiteHealth(
            state=self._state(states),
            last_answer_at=last,
            last_error=next(iter(errors), self._greeting_error or ""),
            queue_age_seconds=None if last is None else max(0.0, time.time() - last),
            masters=sum(health.masters for health in each),
            forwards=self.forward_count,
        )

    def _state(self, states: Sequence[SiteState]) -> SiteState:
        for certain in (SiteState.OK, SiteState.DRAINED):
            if certain in states:
                return certain
        if len(states) > 1 and set(states) == {SiteState.OPEN_BREAKER}:
            return SiteState.OPEN_BREAKER
        if self._greeting_error is None:
            return SiteState.UNKNOWN if self._greeted_at is None else SiteState.OK
        return SiteState.OPEN_BREAKER

    # --- who is signed in to ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep signed in whom it takes, until it is cancelled. The connections live on."""
        next_hello, is_tidy = 0.0, False
        try:
            while True:
                if await self._look() and not is_tidy:
                    await self._end_what_was_left()
                    is_tidy = True
                if not self._is_heard() and time.monotonic() >= next_hello:
                    await self._greet()
                    next_hello = time.monotonic() + self._pace.hello
                await asyncio.sleep(self._pace.look)
        finally:
            tasks = [*(login.task for login in self._logins.values()), *self._ending.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> bool:
        """Sign in to whom it takes, and to nobody else for long. False if nobody could say who that is."""
        for login in self._logins.values():
            if login.task.done():
                await login.task  # it never ends by itself: whatever it raised is a defect, and is told
        try:
            wanted = frozenset(await asyncio.to_thread(self._known.accounts))
        except DatabaseUnavailable as error:
            _log.warning("%s: nobody can say who has sessions there: %s", self.name, error)
            return False
        for account in wanted - self._ending.keys():
            await self._login(account)
        now = time.monotonic()
        for account, login in list(self._logins.items()):
            if account not in wanted and now > login.used_at + self._pace.stay:
                del self._logins[account]
                self._begin_to_end(account, login.served, login.task)
        self._accounts = {attempt: account for attempt, account in self._accounts.items() if account in self._logins}
        return True

    async def _end_what_was_left(self) -> None:
        """Connections outlive the gateway; those of accounts that have no session any more nobody else would end."""
        for account in await asyncio.to_thread(self._known.left):
            if account not in self._logins and account not in self._ending:
                self._begin_to_end(account, self._make(account))

    def _begin_to_end(self, account: str, served: RobotSite, task: "asyncio.Task[None] | None" = None) -> None:
        """It may take a while where the link is dead, and others do not wait for it."""

        async def end() -> None:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            try:
                await served.disconnect()
            except DatabaseUnavailable as error:
                _log.warning("%s: what %s had there is not all ended: %s", self.name, account, error)

        self._ending[account] = ending = asyncio.create_task(end())
        ending.add_done_callback(lambda _ended: self._ending.pop(account))

    async def _login_for(self, name: JobName) -> RobotSite:
        """Of an account that has sessions there; whom a gate makes up is not signed in to."""
        if name.account not in self._logins and await self._account_of(name.attempt) != name.account:
            raise SiteAway(f"{name.account} has no session at {self.name} that is known", was_sent=False)
        return await self._login(name.account)

    async def _login(self, account: str) -> RobotSite:
        _ACCOUNT.validate_python(account)  # it becomes the name of a folder
        while (ending := self._ending.get(account)) is not None:
            await asyncio.wait([ending])  # the same sockets
        login = self._logins.get(account)
        if login is None:
            served = self._make(account)
            login = _Login(served, asyncio.create_task(served.run()), 0.0)
            self._logins[account] = login
        login.used_at = time.monotonic()
        return login.served

    async def _account_of(self, attempt: str) -> str | None:
        if attempt not in self._accounts:
            account = await asyncio.to_thread(self._known.account_of, attempt)
            if account is None:
                return None
            self._accounts[attempt] = account
        return self._accounts[attempt]

    def _seen_at(self, attempt: str) -> str | None:
        """The account whose gate knows an attempt that no row of ours does."""
        for account, login in self._logins.items():
            if any(row.attempt == attempt for row in _of(account, login.served.jobs())):
                return account
        return None

    def _is_heard(self) -> bool:
        """Whether an account tells how the site is."""
        return any(login.served.health().state in (SiteState.OK, SiteState.DRAINED) for login in self._logins.values())

    async def _greet(self) -> None:
        try:
            await _says_who_it_is(*self._address)
        except SiteAway as away:
            self._greeting_error = away.detail
            _log.warning("%s: %s", self.name, away.detail)
        else:
            self._greeted_at, self._greeting_error = time.time(), None

    # --- figures for Prometheus ---------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        return sum(login.served.waiting for login in self._logins.values())

    @property
    def forward_count(self) -> int:
        return sum(login.served.forward_count for login in self._logins.values())

    @property
    def broken_count(self) -> int:
        return sum(login.served.broken_count for login in self._logins.values())

    def masters_up(self, kind: MasterKind) -> int:
        return sum(login.served.masters_up(kind) for login in self._logins.values())


def _of(account: str, poll: Poll) -> list[Row]:
    return [row for row in poll.jobs if row.account == account]


async def _says_who_it_is(host: str, port: int) -> None:
    """Whether an ssh server answers there; nobody signs in."""
    try:
        async with asyncio.timeout(_HELLO_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                hello = await reader.readexactly(len(_HELLO))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise SiteAway(f"{host}, port {port}, does not answer: {error or 'in time'}", was_sent=False) from error
    if hello != _HELLO:
        raise SiteAway(f"{host}, port {port}, is no ssh server", was_sent=False)
