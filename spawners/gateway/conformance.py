"""Whether a site does what the federation needs, and nothing else: the steps of `nbfed site check`.

The check signs in by itself, with a key and certificates of its own, and does not need the gateway to run. Each step
says what it saw, or what is wrong and what to mend. A step that others rest on ends the check when it fails. A site
passed when every step did; nothing of the check is left there but the ended jobs.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx

from federation.checks import Check, State
from federation.clock import Clock
from federation.nodes import expanded
from federation.settings import BatchSite
from federation.trust import trusted
from spawners.gateway.calls import Calls, Request, SiteAway, request_id
from spawners.gateway.credentials import Credentials
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.masters import Master, MasterError
from spawners.gateway.processes import TooMuch, TooSlow, run
from spawners.gateway.protocol import (
    LARGEST_ANSWER_BYTES,
    Answer,
    BrokenAnswer,
    ErrorCode,
    GateRefusal,
    Limits,
    Ping,
    Pong,
)
from spawners.gateway.site import Reverse

__all__ = ["Connection", "SiteCheck", "Step", "Unmet", "looked_at", "walked"]

A = TypeVar("A", bound=Answer)
S = TypeVar("S")

_SKEW_SECONDS = 30.0
"""A certificate is valid from a minute before our time: half of that is left for what comes later."""
_ANSWER_SECONDS = 20.0
_HUB_SECONDS = 5.0
_HOW_TO = "docs/how-to/join-an-hpc-site.md"
_ADVICE = {
    ErrorCode.NOT_MAPPED: "The site puts this account into its file `accounts`; or name another one with --account.",
    ErrorCode.BLOCKED: "The site takes this account out of its file `blocked`; or name another one with --account.",
    ErrorCode.DRAINED: "The site removes its file `drained`.",
    ErrorCode.LIMIT: "See the site's policy.json: it gives less than this job asks for.",
    ErrorCode.STAGE: "Can the account write into its home on the login node? Is it full? Does it know flock?",
    ErrorCode.SCHEDULER: "These are the scheduler's words: try its commands by hand, as that account.",
}


class Unmet(Exception):
    """A step failed.

    Parameters
    ----------
    text
        What was seen.
    advice
        What to mend.
    """

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.text = text
        self.advice = advice


@dataclass(frozen=True, kw_only=True)
class SiteCheck:
    """What is checked, and by what.

    Parameters
    ----------
    link
        The site, with a folder for this check alone.
    stranger
        The same login node, as another site of the federation: what signs in there must not get in here.
    credentials
        Makes those of a link.
    gate_version
        Of the gate that this program would install.
    offered
        The most that a session of the site's flavours asks for.
    reverse
        How jobs reach the hub.
    hub_api
        Where this machine itself asks the hub.
    """

    link: Link
    stranger: Link
    credentials: Callable[[Link], Credentials]
    gate_version: str
    offered: Limits
    reverse: Reverse
    hub_api: str
    clock: Clock


class Connection:
    """The check's own connections to the site."""

    def __init__(self, check: SiteCheck) -> None:
        link = check.link
        own = check.credentials(link)
        self.link = link
        self.command, self.data = (Master(link, kind, own) for kind in (MasterKind.COMMAND, MasterKind.DATA))
        self._calls = Calls(self.command, link.command_words(MasterKind.COMMAND))

    @property
    def site(self) -> BatchSite:
        return self.link.settings

    async def ask(self, request: Request, answer: type[A]) -> A:
        """Ask the gate.

        Raises
        ------
        GateRefusal
            It says no.
        Unmet
            It cannot be asked.
        """
        try:
            return await self._calls.ask(request, answer)
        except SiteAway as away:
            raise Unmet(away.detail, f"Try the gate at the site itself, as {_HOW_TO} says under “Try it”.") from away

    async def close(self) -> None:
        """End them."""
        await self.command.end()
        await self.data.end()


@dataclass(frozen=True)
class Step(Generic[S]):
    """One step; `is_needed`: without it, those that follow have no sense."""

    name: str
    walk: Callable[[S, Connection], Awaitable[str]]
    is_needed: bool = False


async def looked_at(check: SiteCheck, connection: Connection) -> AsyncIterator[Check]:
    """All that needs no job."""
    steps = (
        Step("sign-in", _signs_in, is_needed=True),
        Step("other certificates", _keeps_others_out),
        Step("gate", _answers, is_needed=True),
        Step("clock", _has_the_time),
        Step("policy", _allows_what_is_offered),
        Step("refusals", _refuses),
        Step("way to the hub", _lets_jobs_reach_the_hub),
    )
    async for found in walked(steps, check, connection):
        yield found


async def walked(steps: Sequence[Step[S]], subject: S, connection: Connection) -> AsyncIterator[Check]:
    """What each step saw, until one fails that the others need."""
    for step in steps:
        try:
            yield Check(step.name, State.OK, await step.walk(subject, connection))
        except (Unmet, GateRefusal) as why:
            unmet = why if isinstance(why, Unmet) else _refused(why)
            yield Check(step.name, State.FAIL, unmet.text, unmet.advice)
            if step.is_needed:
                return


def _refused(refusal: GateRefusal) -> Unmet:
    advice = _ADVICE.get(refusal.error, "See the line of this request in the gate's log at the site.")
    return Unmet(f"The gate refused it: {refusal}", advice)


async def _signs_in(_check: SiteCheck, connection: Connection) -> str:
    """With the host key that is pinned, and the federation's certificate."""
    link = connection.link
    login = link.settings.login
    try:
        for master in (connection.command, connection.data):
            await master.ensure()
    except MasterError as error:
        raise Unmet(str(error), _advice_about_sign_in(str(error), link)) from error
    return f"{link.user}@{login.host}:{login.port} has the pinned host key and takes the federation's certificate"


def _advice_about_sign_in(said: str, link: Link) -> str:
    login = link.settings.login
    if "Host key verification failed" in said:
        return (
            f"The login node shows another key than login.host_key_file ({login.host_key_file}). Ask its administrators, "
            "by a way that you trust, for `cat /etc/ssh/ssh_host_*_key.pub`, before you change the file."
        )
    if "Permission denied" in said:
        return (
            f"At the site: ca.pub has to be that of `nbfed ca init`, {_principals(link)} has to have the line "
            f"{link.principal}, sshd has to have read the lines of sshd.conf (`{_shown_by(link)}`), and AllowUsers, if "
            f"there is any, has to name {link.user}, whose password is not locked (`!`)."
        )
    return f"Can this machine reach {login.host}, port {login.port}? What stands in sites.{link.site}.login is used."


async def _keeps_others_out(check: SiteCheck, _connection: Connection) -> str:
    """A certificate for another site of the federation opens nothing here."""
    master = Master(check.stranger, MasterKind.COMMAND, check.credentials(check.stranger))
    try:
        await master.ensure()
    except MasterError as error:
        if "Permission denied" in str(error):
            return "a certificate that is meant for another site is refused"
        raise Unmet(
            f"A certificate for another site was not refused but: {error}",
            "Check again; if it stays so, look into the log of the site's sshd.",
        ) from error
    await master.end()
    raise Unmet(
        "The site lets in a certificate that is meant for another site.",
        f"AuthorizedPrincipalsFile has to name the file {_principals(check.link)} with the one line "
        f"{check.link.principal}.",
    )


async def _answers(check: SiteCheck, connection: Connection) -> str:
    pong = await connection.ask(Ping(id=request_id()), Pong)
    if pong.dialect != connection.site.dialect:
        raise Unmet(
            f"The gate speaks {pong.dialect}, and federation.yaml says {connection.site.dialect}.",
            f"Set sites.{check.link.site}.dialect right, or install what `nbfed site gate {check.link.site}` prints.",
        )
    if pong.gate_version != check.gate_version:
        raise Unmet(
            f"The site has gate {pong.gate_version}; this program would install {check.gate_version}.",
            f"`nbfed site gate {check.link.site}` prints the newer one, to be compared and installed over the old one.",
        )
    return f"version {pong.gate_version}, {pong.scheduler_version}"


async def _has_the_time(check: SiteCheck, connection: Connection) -> str:
    before = check.clock().timestamp()
    pong = await connection.ask(Ping(id=request_id()), Pong)
    after = check.clock().timestamp()
    skew = max(before - pong.time, pong.time - after, 0.0)
    behind = "behind" if pong.time < before else "ahead of"
    if skew > _SKEW_SECONDS:
        raise Unmet(
            f"The site's clock is {skew:.0f} seconds {behind} ours.",
            "One of the two is wrong: set it by NTP. Certificates are refused when the difference grows to a minute.",
        )
    return f"within {max(skew, after - before):.1f} seconds of ours"


async def _allows_what_is_offered(check: SiteCheck, connection: Connection) -> str:
    """What people can choose is no more than the site's policy gives."""
    pong, offered = await connection.ask(Ping(id=request_id()), Pong), check.offered
    too_much = [
        f"{name}: {theirs} at the most, and federation.yaml offers {ours}"
        for name in ("cpus", "memory_mib", "gpus", "minutes")
        if (theirs := getattr(pong.limits, name)) is not None and (ours := getattr(offered, name) or 0) > theirs
    ]
    unknown = [
        f"{name}: not {', '.join(missing)}"
        for name in ("partitions", "charge_accounts", "reservations")
        if (missing := sorted(set(getattr(offered, name)) - set(getattr(pong.limits, name))))
    ]
    if pong.drained:
        raise Unmet("The site takes no new sessions: it is drained.", "Its administrators remove the file `drained`.")
    if too_much or unknown:
        raise Unmet(
            f"The site's policy gives less than federation.yaml offers. {'; '.join([*too_much, *unknown])}.",
            "Offer less in federation.yaml, or have the site change policy.json.",
        )
    return "it gives what federation.yaml offers"


async def _refuses(check: SiteCheck, connection: Connection) -> str:
    """Verbs that there are not, programs other than the gate, and ways to anything but the nodes."""
    link = connection.link
    unknown = await _gate_said(link.command_words(MasterKind.COMMAND), b'{"v": 1, "id": "check", "verb": "shell"}\n')
    if unknown is not ErrorCode.BAD_VERB:
        raise Unmet(f"A verb that there is not was not refused as such: {unknown}.", _other_gate(check))
    other = await _gate_said(link.command_words(MasterKind.COMMAND, "id"), b"\n")
    if other is not ErrorCode.BAD_REQUEST:
        raise Unmet("Asked for another program, the site did not start the gate.", _other_gate(check))
    if "localhost" not in expanded(connection.site.nodes):
        reach = await connection.data.reach("localhost", connection.site.login.port, seconds=_ANSWER_SECONDS)
        if reach.reached:
            raise Unmet(
                "The site forwards to its login node itself.",
                "PermitOpen has to name the nodes and nothing else; other lines of sshd_config may come before sshd.conf.",
            )
    return "unknown verbs, other programs, and forwards to anything but the nodes"


async def _lets_jobs_reach_the_hub(check: SiteCheck, connection: Connection) -> str:
    """That the way is open; a job tells whether it leads there. A gateway that runs has it already."""
    try:
        async with httpx.AsyncClient(timeout=_HUB_SECONDS, trust_env=False, verify=trusted()) as client:
            (await client.get(check.hub_api)).raise_for_status()
    except httpx.HTTPError as error:
        raise Unmet(
            f"The hub does not answer at {check.hub_api} ({type(error).__name__}), so no job can reach it.",
            "Start the service, and check again.",
        ) from error
    if not check.reverse.words:
        return f"jobs go to {check.reverse.url} themselves"
    opened = await connection.data.order("-O", "forward", *check.reverse.words)
    if opened.code == 0:
        return f"jobs go to {check.reverse.url}, which this check opened for itself"
    return f"jobs go to {check.reverse.url}, which is open already, or not allowed: the job will tell"


async def _gate_said(words: list[str], request: bytes) -> ErrorCode | None:
    """The refusal of the gate; None if it was none."""
    try:
        done = await run(words, stdin=request, seconds=_ANSWER_SECONDS, most_bytes=LARGEST_ANSWER_BYTES)
        Pong.parse(done.out.strip())
    except GateRefusal as refusal:
        return refusal.error
    except (BrokenAnswer, TooSlow, TooMuch):
        return None
    return None


def _other_gate(check: SiteCheck) -> str:
    return (
        f"ForceCommand in sshd.conf has to start the gate that `nbfed site gate {check.link.site}` prints, and nothing "
        f"else; other lines of sshd_config may come first (`{_shown_by(check.link)}`)."
    )


def _principals(link: Link) -> str:
    """What the site's list of principals is called."""
    return "principals" if link.account is None else f"principals/{link.account}"


def _shown_by(link: Link) -> str:
    """What shows at the site with which lines sshd serves us."""
    words = f"sshd -T -C user={link.user}"
    return words if link.account is None else f"{words},lport={link.settings.login.port}"
