"""What the gateway says to hub and worker over its unix socket: one model for each answer, and its errors.

Rows of jobs are the gate's own (`spawners.gateway.protocol`). Times with names in `_at` are seconds since 1970 on the
gateway's clock, apart from those in rows, which are on the site's.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from spawners.backends.base import Life
from spawners.gateway.protocol import HistoryRow, JobId, JobName, Resources, Row

__all__ = [
    "Address",
    "Cancelled",
    "Error",
    "ForwardWanted",
    "GatewayAway",
    "GatewayError",
    "GatewayRefused",
    "HistoryWanted",
    "HubAddress",
    "JobView",
    "PastJobs",
    "Poll",
    "SiteHealth",
    "SiteState",
    "SubmitWanted",
    "Submitted",
]

Port = Annotated[int, Field(ge=1, le=65535)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# --- requests -----------------------------------------------------------------------------------------------------


class SubmitWanted(_Model):
    """POST /sites/{site}/jobs."""

    attempt: str
    account: str
    secret: str
    script: str
    resources: Resources


class HistoryWanted(_Model):
    """POST /sites/{site}/history."""

    jobs: list[JobName]


class ForwardWanted(_Model):
    """PUT /sites/{site}/forwards/{attempt}."""

    node: str
    port: Port


# --- answers ------------------------------------------------------------------------------------------------------


class Submitted(_Model):
    """POST /sites/{site}/jobs.

    Parameters
    ----------
    existed
        The job was there already: the answer to an earlier request was lost.
    minutes
        Its walltime.
    """

    job: JobId
    existed: bool
    minutes: int


class Poll(_Model):
    """GET /sites/{site}/jobs: what the last question to the site brought.

    Parameters
    ----------
    asked_at, answered_at
        Of the last question; not answered: it failed, or is under way.
    fresh
        Whether `jobs` is the answer to that question, and not to an older one.
    time
        The site's clock at the answer that `jobs` is of.
    """

    asked_at: float | None = None
    answered_at: float | None = None
    fresh: bool = False
    time: float | None = None
    jobs: list[Row] = []


class JobView(_Model):
    """GET /sites/{site}/jobs/{attempt}: what is known of one attempt.

    Parameters
    ----------
    life
        Ended only after a terminal state, or after two successful answers without it.
    row
        The last that the site said of it.
    missing_count
        How many successful answers in a row were without it.
    time
        The site's clock at the answer that this rests on.
    """

    life: Life
    row: Row | None = None
    missing_count: int = 0
    time: float | None = None


class PastJobs(_Model):
    """POST /sites/{site}/history."""

    jobs: list[HistoryRow]


class Cancelled(_Model):
    """POST /sites/{site}/jobs/{attempt}/cancel; false: there was no such job any more."""

    cancelled: bool


class Address(_Model):
    """PUT /sites/{site}/forwards/{attempt}: where the hub reaches the session; it was probed."""

    host: str
    port: Port


class HubAddress(_Model):
    """GET /sites/{site}/reverse: what jobs of the site reach the hub by, as scheme://host:port."""

    hub_url: str


class SiteState(StrEnum):
    """Whether a site takes sessions."""

    OK = "ok"
    OPEN_BREAKER = "open-breaker"
    """It failed again and again, and is asked only now and then."""
    DRAINED = "drained"
    """It answers, and takes no new sessions."""
    UNKNOWN = "unknown"
    """It was not asked yet."""


class SiteHealth(_Model):
    """One site of GET /sites."""

    state: SiteState
    last_answer_at: float | None = None
    last_error: str = ""
    queue_age_seconds: float | None = None
    masters: int = 0
    forwards: int = 0


class Error(_Model):
    """What comes with a status of 400 and more."""

    error: str
    detail: str = ""
    retry: bool = False


# --- errors -------------------------------------------------------------------------------------------------------


class GatewayError(Exception):
    """It was not done, or nobody can say whether it was.

    Parameters
    ----------
    code
        A gate's error code, or one of the gateway's own.
    retry
        Whether the same request may succeed later.
    sent
        Whether anything can have reached the site.
    """

    def __init__(self, code: str, detail: str = "", *, retry: bool, sent: bool) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.retry = retry
        self.sent = sent


class GatewayRefused(GatewayError):
    """The site, or the gateway for it, said no: nothing was done."""


class GatewayAway(GatewayError):
    """The site, or the gateway itself, did not answer."""
