"""What the gate needs of a scheduler. A dialect makes the arguments of commands and reads what they print; it never
decides anything, and never makes a shell string. One dialect goes into a site's gate.

A job is a dict with the keys of the protocol's row (`job`, `state`, `started_at` and so on) and `name`, the name that
it was submitted with; `attempt`, `session` and `end` are added by the gate.
"""

from spawners.gate.acting import environment
from spawners.gate.refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable

    from spawners.gate.acting import Result
    from spawners.gate.policy import Policy

PENDING = "pending"
RUNNING = "running"
ENDED = "ended"


class Dialect:
    """Base of all dialects.

    Parameters
    ----------
    policy
        The site's policy: `environment`, `options` and `history` are for the dialect.
    run
        Runs a command: argv, environment, text for its input.
    """

    name = ""

    def __init__(self, policy: "Policy", run: "Callable[..., Result]") -> None:
        self.policy = policy
        self._run = run

    def ask(
        self, argv: "list[str]", person: "pwd.struct_passwd | None" = None, text: str = "",
        more: "dict[str, str] | None" = None,
    ) -> "Result":  # fmt: skip
        """Run one of the scheduler's commands; `more` is added to its environment."""
        return self._run(argv, dict(environment(self.policy, person), **(more or {})), text)

    def version(self) -> str:
        """The scheduler's own word for its version."""
        raise NotImplementedError

    def jobs(self, people: "list[pwd.struct_passwd]") -> "list[dict[str, Any]]":
        """All jobs of these accounts that the scheduler knows, in one question. Raises Refusal if it does not answer:
        no answer says nothing about any job.
        """
        raise NotImplementedError

    def submit(self, person: "pwd.struct_passwd", name: str, log: str, given: "dict[str, Any]", script: str) -> str:
        """Submit a job and return its id. `log` is where its output goes, below the account's home."""
        raise NotImplementedError

    def cancel(self, person: "pwd.struct_passwd", job: str, name: str) -> None:
        """End a job that was seen a moment ago. Raises Refusal if the scheduler refuses."""
        raise NotImplementedError

    def past(self, jobs: "list[dict[str, str]]", people: "dict[str, pwd.struct_passwd]") -> "list[dict[str, Any]]":
        """What the source that the policy's `history` names says about these jobs (dicts with `job`, `attempt` and
        `account`): one entry for each run, so several for a job that was started again.
        """
        raise NotImplementedError


def failed(result: "Result", command: str) -> Refusal:
    """What to raise when a command says that it failed."""
    said = " ".join(result.errors.split()) or " ".join(result.output.split()) or "it gave no reason"
    return Refusal("scheduler", "%s ended with %d: %s" % (command, result.code, said))


def moment(text: str) -> "float | None":
    """Seconds since 1970 as a scheduler prints them; None for all the words that say it is not known."""
    return float(text) if text.isdigit() and int(text) > 0 else None
