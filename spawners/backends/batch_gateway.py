"""What the batch backend needs of the gateway: the calls of `spawners.gateway.client`, without how they travel."""

from typing import Protocol

from spawners.gateway.answers import JobView, Poll, SiteHealth, Submitted
from spawners.gateway.protocol import HistoryRow, JobName, Resources

__all__ = ["Gateway"]


class Gateway(Protocol):
    """Each call blocks, and raises `GatewayRefused` or `GatewayAway` (`spawners.gateway.answers`)."""

    def sites(self) -> dict[str, SiteHealth]:
        """How each site is."""
        ...

    def submit(
        self, site: str, *, attempt: str, account: str, secret: str, script: str, resources: Resources
    ) -> Submitted:
        """Start an attempt as a job; the same attempt again finds the job of the first time."""
        ...

    def jobs(self, site: str) -> Poll:
        """All jobs of this installation there, as last seen."""
        ...

    def job(self, site: str, attempt: str) -> JobView:
        """One attempt, as last seen."""
        ...

    def history(self, site: str, jobs: list[JobName]) -> list[HistoryRow]:
        """What became of jobs that are over."""
        ...

    def cancel(self, site: str, job: JobName) -> bool:
        """End a job; False if there was none any more."""
        ...

    def open_forward(self, site: str, attempt: str, *, node: str, port: int) -> tuple[str, int]:
        """Where a session can be reached from here. The same again is the same."""
        ...

    def close_forward(self, site: str, attempt: str) -> None:
        """The session needs no way any more; twice is once."""
        ...

    def hub_url(self, site: str) -> str:
        """How jobs of a site reach the hub: scheme, host and port."""
        ...
