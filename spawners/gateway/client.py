"""How hub and worker ask the gateway: HTTP at its door. Calls block; the hub makes them in threads.

Each call either returns what the site said, or raises `GatewayRefused` (no) or `GatewayAway` (nobody knows). What the
gateway sends is checked like anything else that comes from outside.
"""

from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from federation.trust import trusted
from spawners.gateway.answers import (
    Address,
    Cancelled,
    Error,
    ForwardWanted,
    GatewayAway,
    GatewayError,
    GatewayRefused,
    HistoryWanted,
    HubAddress,
    JobView,
    PastJobs,
    Poll,
    SiteHealth,
    Submitted,
    SubmitWanted,
)
from spawners.gateway.door import Door
from spawners.gateway.protocol import HistoryRow, JobName, Resources

__all__ = ["GatewayClient"]

_Answer = TypeVar("_Answer", bound=BaseModel)
_CONNECT_SECONDS = 2.0


class GatewayClient:
    """The gateway behind a door. Safe to use from several threads.

    Parameters
    ----------
    timeout_seconds
        How long one answer may take; the gateway itself gives up on a site sooner.
    """

    def __init__(self, door: Door, *, timeout_seconds: float = 30.0) -> None:
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=None if door.url else str(door.socket), verify=trusted()),
            base_url=door.url or "http://gateway",
            headers={"Authorization": f"Bearer {door.token}"} if door.token else {},
            timeout=httpx.Timeout(timeout_seconds, connect=_CONNECT_SECONDS),
        )

    def sites(self) -> dict[str, SiteHealth]:
        """How each site is."""
        answer = self._send("GET", "/sites")
        try:
            return {name: SiteHealth.model_validate(health) for name, health in answer.json().items()}
        except (ValueError, AttributeError) as error:
            raise _broken(error) from error

    def submit(
        self, site: str, *, attempt: str, account: str, secret: str, script: str, resources: Resources
    ) -> Submitted:
        """Start an attempt as a job; the same attempt again finds the job of the first time."""
        wanted = SubmitWanted(attempt=attempt, account=account, secret=secret, script=script, resources=resources)
        return self._ask("POST", f"/sites/{site}/jobs", Submitted, wanted)

    def jobs(self, site: str) -> Poll:
        """All jobs of this installation there, as last seen."""
        return self._ask("GET", f"/sites/{site}/jobs", Poll)

    def job(self, site: str, attempt: str) -> JobView:
        """One attempt, as last seen."""
        return self._ask("GET", f"/sites/{site}/jobs/{attempt}", JobView)

    def history(self, site: str, jobs: list[JobName]) -> list[HistoryRow]:
        """What became of jobs that are over."""
        return self._ask("POST", f"/sites/{site}/history", PastJobs, HistoryWanted(jobs=jobs)).jobs

    def cancel(self, site: str, job: JobName) -> bool:
        """End a job; False if there was none any more."""
        return self._ask("POST", f"/sites/{site}/jobs/{job.attempt}/cancel", Cancelled, job).cancelled

    def open_forward(self, site: str, attempt: str, *, node: str, port: int) -> tuple[str, int]:
        """Where a session can be reached from here. The same again is the same."""
        wanted = ForwardWanted(node=node, port=port)
        address = self._ask("PUT", f"/sites/{site}/forwards/{attempt}", Address, wanted)
        return address.host, address.port

    def close_forward(self, site: str, attempt: str) -> None:
        """The session needs no way any more; twice is once."""
        self._send("DELETE", f"/sites/{site}/forwards/{attempt}")

    def hub_url(self, site: str) -> str:
        """How jobs of a site reach the hub: scheme, host and port."""
        return self._ask("GET", f"/sites/{site}/reverse", HubAddress).hub_url

    def _ask(self, method: str, path: str, model: type[_Answer], wanted: BaseModel | None = None) -> _Answer:
        try:
            return model.model_validate_json(self._send(method, path, wanted).content)
        except ValidationError as error:
            raise _broken(error) from error

    def _send(self, method: str, path: str, wanted: BaseModel | None = None) -> httpx.Response:
        content = None if wanted is None else wanted.model_dump_json(exclude_none=True)
        headers = {} if wanted is None else {"Content-Type": "application/json"}
        try:
            answer = self._http.request(method, path, content=content, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise GatewayAway("gateway-away", str(error), retry=True, sent=False) from error
        except httpx.HTTPError as error:
            raise GatewayAway("gateway-silent", type(error).__name__, retry=True, sent=True) from error
        if answer.is_success:
            return answer
        raise _failed(answer)


def _failed(answer: httpx.Response) -> GatewayError:
    try:
        said = Error.model_validate_json(answer.content)
    except ValidationError:
        said = Error(error=f"http-{answer.status_code}")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        # It is the installation's own fault, and says nothing of a site.
        return GatewayAway(said.error, said.detail, retry=True, sent=False)
    if answer.is_client_error:
        return GatewayRefused(said.error, said.detail, retry=said.retry, sent=True)
    sent = answer.status_code != httpx.codes.SERVICE_UNAVAILABLE
    return GatewayAway(said.error, said.detail, retry=True, sent=sent)


def _broken(error: Exception) -> GatewayAway:
    return GatewayAway("broken-answer", type(error).__name__, retry=True, sent=True)
