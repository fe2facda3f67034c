"""What gateway and gate say to each other: one JSON object on the gate's input, one line of JSON on its output.

The promise: what passes these models has the right types and lies within bounds, whoever wrote it. A request is checked
once more by the gate, which trusts nobody; an answer comes from a machine that may have been taken over, so numbers,
lengths of texts and lengths of lists are all bounded. Whether it is true is the caller's to judge.

Times are seconds since 1970 on the site's clock, which `ping` and `queue` answer as `time`. A key that is None may be
left out. Unknown keys of a request are refused; those of an answer are ignored, so that a newer gate can say more.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

__all__ = [
    "LARGEST_ANSWER_BYTES",
    "LARGEST_HISTORY",
    "LARGEST_REQUEST_BYTES",
    "SESSIONS_FOLDER",
    "VERSION",
    "Answer",
    "BrokenAnswer",
    "Cancel",
    "Cancelled",
    "End",
    "ErrorCode",
    "GateRefusal",
    "History",
    "HistoryRow",
    "JobName",
    "JobState",
    "Jobs",
    "Limits",
    "PastJobs",
    "Ping",
    "Pong",
    "Queue",
    "Request",
    "Resources",
    "Row",
    "Run",
    "Session",
    "Source",
    "Submit",
    "Submitted",
    "parse_request",
]

VERSION = 1

LARGEST_REQUEST_BYTES = 262_144
LARGEST_ANSWER_BYTES = 8_388_608
LARGEST_HISTORY = 100
"""Jobs in one request for history."""
LARGEST_QUEUE = 10_000
LARGEST_SCRIPT_CHARACTERS = 65_536
LARGEST_TAIL_CHARACTERS = 4_000

SESSIONS_FOLDER = ".nbfed/sessions"
"""Below the account's home. The folder of one session in it has the attempt as its name; the launcher gets it as FOLDER.
The gate writes `secret` there before it submits, and the job's output goes to `job.log`.
"""

Attempt = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", max_length=36)
]
"""A UUID in its usual form."""
AccountName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$", max_length=64)]
"""A login name at the site. It never begins with a hyphen."""
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", max_length=64)]
"""A name that the site gave to something of its scheduler: partition, charge account, reservation."""
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}(\.[A-Za-z0-9][A-Za-z0-9.-]{0,127})?$", max_length=141)]
"""`17` in Slurm and Grid Engine, `17.server` in PBS."""
RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$", max_length=64)]
Secret = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-]{16,512}$", max_length=512)]
Line = Annotated[str, StringConstraints(max_length=500)]
Moment = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=1, le=65_535)]
ExitCode = Annotated[int, Field(ge=-255, le=255)]
Signal = Annotated[int, Field(ge=0, le=255)]


class ErrorCode(StrEnum):
    """Why a gate did not do what it was asked for."""

    BAD_REQUEST = "bad-request"
    BAD_VERB = "bad-verb"
    NOT_MAPPED = "not-mapped"
    """The site's own list does not have this account."""
    BLOCKED = "blocked"
    """The site blocked this account."""
    DRAINED = "drained"
    """The site takes no new sessions."""
    LIMIT = "limit"
    """More than the site's policy allows, or something else than it allows."""
    SCHEDULER = "scheduler"
    """The scheduler refused, or could not be asked."""
    STAGE = "stage"
    """The session's folder could not be prepared in the account's home."""
    BUSY = "busy"
    """Another request for the same attempt is at work."""
    TOO_BIG = "too-big"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


class JobState(StrEnum):
    """What all schedulers' states come down to."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


class Source(StrEnum):
    """Who says when a job began and ended; the first that knows is taken."""

    ACCOUNTING = "accounting"
    """The scheduler's accounting."""
    COMPLETION = "completion"
    """The scheduler's file of completed jobs."""
    SCHEDULER = "scheduler"
    """The scheduler's own memory of a job that ended a moment ago, or did not end yet."""
    LAUNCHER = "launcher"
    """The launcher's own files."""
    LAST_SEEN = "last-seen"
    """The last sign of life in the session's folder; an estimate."""
    NONE = "none"
    """Nobody knows."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# --- requests -----------------------------------------------------------------------------------------------------


class _Asked(_Message):
    """What every request has."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    v: Annotated[int, Field(ge=VERSION, le=VERSION)] = VERSION
    id: RequestId

    def line(self) -> bytes:
        """What is written to the gate."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


class Ping(_Asked):
    verb: Literal["ping"] = "ping"


class Resources(BaseModel):
    """What a job asks for. Where the site has a choice of its own, None takes the site's."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cpus: Annotated[int, Field(ge=1, le=100_000)]
    memory_mib: Annotated[int, Field(ge=1, le=100_000_000)]
    gpus: Annotated[int, Field(ge=0, le=10_000)] = 0
    minutes: Annotated[int, Field(ge=1, le=527_040)]
    partition: Word | None = None
    account: Word | None = None
    """The account that the scheduler charges; not the login account."""
    reservation: Word | None = None


class Submit(_Asked):
    """Start one attempt as a job. The same attempt again finds the job of the first time."""

    verb: Literal["submit"] = "submit"
    attempt: Attempt
    account: AccountName
    secret: Secret
    script: Annotated[str, StringConstraints(min_length=3, max_length=LARGEST_SCRIPT_CHARACTERS, pattern=r"^#!/")]
    resources: Resources


class Queue(_Asked):
    verb: Literal["queue"] = "queue"


class JobName(BaseModel):
    """Which job is meant: by the scheduler's id, our tag and its owner; all three must be right."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    job: JobId
    attempt: Attempt
    account: AccountName


class History(_Asked):
    verb: Literal["history"] = "history"
    jobs: Annotated[list[JobName], Field(min_length=1, max_length=LARGEST_HISTORY)]


class Cancel(_Asked, JobName):
    verb: Literal["cancel"] = "cancel"


Request = Annotated[Ping | Submit | Queue | History | Cancel, Field(discriminator="verb")]

_REQUEST: TypeAdapter[Ping | Submit | Queue | History | Cancel] = TypeAdapter(Request)


def parse_request(text: bytes | str) -> Ping | Submit | Queue | History | Cancel:
    """The request in one line of JSON. Raises ValueError (pydantic's ValidationError is one)."""
    request = _REQUEST.validate_json(text)
    if "v" not in request.model_fields_set:
        raise ValueError("a request says its version")
    return request


# --- answers ------------------------------------------------------------------------------------------------------


class GateRefusal(Exception):
    """The gate said why it did not do it."""

    def __init__(self, error: ErrorCode, detail: str) -> None:
        super().__init__(f"{error}: {detail}" if detail else str(error))
        self.error = error
        self.detail = detail


class BrokenAnswer(Exception):
    """What came back is no answer of a gate of this version. It says nothing about any job."""


class _Refused(_Message):
    v: Literal[1]
    ok: Literal[False]
    error: ErrorCode
    detail: Line = ""


class Answer(_Message):
    """What every answer has."""

    v: Literal[1]
    ok: Literal[True]

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """The answer of this kind in a gate's line.

        Raises
        ------
        GateRefusal
            It is a refusal.
        BrokenAnswer
            It is neither.
        """
        if len(line) > LARGEST_ANSWER_BYTES:
            raise BrokenAnswer(f"the answer has more than {LARGEST_ANSWER_BYTES} bytes")
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            complaint = error
        try:
            refused = _Refused.model_validate_json(line)
        except ValidationError:
            raise BrokenAnswer(_first(complaint)) from complaint
        raise GateRefusal(refused.error, refused.detail)


class Limits(_Message):
    """The site's policy, as far as the other side has to know it. None: the gate sets no limit."""

    cpus: Annotated[int, Field(ge=1)] | None = None
    memory_mib: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    minutes: Annotated[int, Field(ge=1)] | None = None
    jobs_per_account: Annotated[int, Field(ge=1)] | None = None
    partitions: Annotated[list[Line], Field(max_length=1000)] = []
    """The first is taken when a request names none; empty: the scheduler's own."""
    charge_accounts: Annotated[list[Line], Field(max_length=10_000)] = []
    reservations: Annotated[list[Line], Field(max_length=1000)] = []


class Pong(Answer):
    gate_version: Line
    dialect: Line
    time: Moment
    scheduler_version: Line
    drained: bool
    limits: Limits


class Submitted(Answer):
    job: JobId
    existed: bool
    """The job was there already: the answer to the first submit was lost."""
    minutes: Annotated[int, Field(ge=1, le=527_040)]
    """The walltime: what was asked for, or less where the site's policy allows less."""


class Session(_Message):
    """What the launcher says: where it listens, and what shows that it had the secret."""

    node: Annotated[str, StringConstraints(max_length=255)]
    port: Port
    proof: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]


class End(_Message):
    """How the launcher says that its session ended. `exit_code` is negative for a signal."""

    started_at: Moment | None = None
    ended_at: Moment
    ran_seconds: Moment | None = None
    exit_code: ExitCode


class Row(_Message):
    """One job of this installation."""

    job: JobId
    attempt: Attempt
    account: AccountName
    state: JobState
    scheduler_state: Line
    reason: Line | None = None
    submitted_at: Moment | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    expected_start_at: Moment | None = None
    """The scheduler's estimate for a job that waits."""
    ends_by_at: Moment | None = None
    """The end of the walltime of a job that runs."""
    exit_code: ExitCode | None = None
    signal: Signal | None = None
    node: Line | None = None
    session: Session | None = None
    end: End | None = None


class Run(_Message):
    """Once from start to end. A job that the scheduler started again has several."""

    started_at: Moment
    ended_at: Moment


class HistoryRow(Row):
    """One job that is over, or not found any more."""

    source: Source
    estimated: bool
    runs: Annotated[list[Run], Field(max_length=100)] = []
    log_tail: Annotated[str, StringConstraints(max_length=LARGEST_TAIL_CHARACTERS)] = ""


class Jobs(Answer):
    time: Moment
    jobs: Annotated[list[Row], Field(max_length=LARGEST_QUEUE)]


class PastJobs(Answer):
    jobs: Annotated[list[HistoryRow], Field(max_length=LARGEST_HISTORY)]


class Cancelled(Answer):
    cancelled: bool
    """False: there was no such job any more."""


def _first(error: ValidationError) -> str:
    """The first complaint in one line, without what the site sent."""
    found: Any = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, found['loc'])) or 'answer'}: {found['msg']}"[:200]
