"""What the gateway's interface asks of a site, whoever signs in there: `Served`; and the site of one robot account.

With a robot there is one `SiteGateway` for the whole site. Where each account signs in for itself there is one for each
of them, and `own_logins` puts them together.
"""

from collections.abc import Sequence
from typing import Protocol

from spawners.gateway import protocol
from spawners.gateway.answers import Cancelled, JobView, PastJobs, Poll, SiteHealth, Submitted, SubmitWanted
from spawners.gateway.calls import request_id
from spawners.gateway.link import MasterKind
from spawners.gateway.protocol import JobName
from spawners.gateway.site import Reverse, SiteGateway

__all__ = ["RobotSite", "Served"]


class Served(Protocol):
    """One site. What is asked of it may raise what `SiteGateway.ask` and `Forwards` raise."""

    @property
    def name(self) -> str: ...

    @property
    def reverse(self) -> Reverse: ...

    async def submit(self, wanted: SubmitWanted) -> Submitted:
        """Start an attempt as a job; the same attempt again finds the job of the first time."""

    def jobs(self) -> Poll:
        """All jobs of this installation there, as last seen."""

    async def job(self, attempt: str) -> JobView:
        """One attempt, as last seen."""

    async def history(self, names: Sequence[JobName]) -> PastJobs:
        """What became of jobs that are over."""

    async def cancel(self, name: JobName) -> Cancelled:
        """End a job."""

    async def open_forward(self, attempt: str, node: str, port: int) -> tuple[str, int]:
        """Have a way to a session, and return where it begins."""

    async def close_forward(self, attempt: str) -> None:
        """Have no way to it any more."""

    def health(self) -> SiteHealth:
        """How the site is, for placement and for people."""

    async def run(self) -> None:
        """Poll and keep, until it is cancelled."""

    # --- figures for Prometheus ---

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""

    @property
    def forward_count(self) -> int:
        """Sessions that a way leads to."""

    @property
    def broken_count(self) -> int:
        """Those of them that could not be made."""

    def masters_up(self, kind: MasterKind) -> int:
        """Connections of this kind whose process runs."""


class RobotSite:
    """A site that one account signs in to for everybody; also one account's part of a site that each signs in to."""

    def __init__(self, site: SiteGateway) -> None:
        self.site = site

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def reverse(self) -> Reverse:
        return self.site.reverse

    async def submit(self, wanted: SubmitWanted) -> Submitted:
        given = {name: getattr(wanted, name) for name in SubmitWanted.model_fields}
        answer = await self.site.submit(protocol.Submit(id=request_id(), **given))
        return Submitted(job=answer.job, existed=answer.existed, minutes=answer.minutes)

    def jobs(self) -> Poll:
        site = self.site
        return Poll(
            asked_at=site.asked_at,
            answered_at=site.answered_at if site.sightings.fresh else None,
            fresh=site.sightings.fresh,
            time=site.site_time,
            jobs=site.sightings.rows,
        )

    async def job(self, attempt: str) -> JobView:
        site = self.site
        if not site.sightings.knows(attempt):
            site.nudge()  # of before our start: the hub waits for what the site says of it
        view = site.sightings.view(attempt)
        return JobView(life=view.life, row=view.row, missing_count=view.missing_count, time=site.site_time)

    async def history(self, names: Sequence[JobName]) -> PastJobs:
        answer = await self.site.ask(protocol.History(id=request_id(), jobs=list(names)), protocol.PastJobs)
        return PastJobs(jobs=answer.jobs)

    async def cancel(self, name: JobName) -> Cancelled:
        answer = await self.site.ask(protocol.Cancel(id=request_id(), **name.model_dump()), protocol.Cancelled)
        self.site.nudge()
        return Cancelled(cancelled=answer.cancelled)

    async def open_forward(self, attempt: str, node: str, port: int) -> tuple[str, int]:
        return await self.site.forwards.open(attempt, node, port)

    async def close_forward(self, attempt: str) -> None:
        await self.site.forwards.close(attempt)

    def health(self) -> SiteHealth:
        return self.site.health()

    async def run(self) -> None:
        await self.site.run()

    @property
    def waiting(self) -> int:
        return self.site.waiting

    @property
    def forward_count(self) -> int:
        return self.site.forward_count

    @property
    def broken_count(self) -> int:
        return len(self.site.forwards.broken)

    def masters_up(self, kind: MasterKind) -> int:
        return int((self.site.command if kind is MasterKind.COMMAND else self.site.data).is_up)

    async def disconnect(self) -> None:
        """End its connections, for good, and forget the ways over them."""
        await self.site.forwards.forget()
        await self.site.command.end()
        await self.site.data.end()
