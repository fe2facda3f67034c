"""Slurm, from 17.11 on: squeue, sbatch, scancel, and for the past sacct.

Fields are parted by a word made anew for each question: people choose the names of their jobs, line breaks included
(seen with 22.05), and must not be able to write what looks like a row of somebody else's.

Facts seen with 22.05: an unknown id in `--jobs` is an error, in `--user` it is not; scancel of a job that is not the
caller's ends with 0; `%e` of a running job is the end of its walltime; a job that is started again has a record of the
earlier run with the state PENDING in the completion file, which sacct opens with the rights of who calls it.
"""

import os

from spawners.gate.dialect import ENDED, PENDING, RUNNING, Dialect, failed, moment
from spawners.gate.refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

# squeue(1), "JOB STATE CODES". What is named in neither list counts as running: only evidence ends a job. COMPLETING is
# no end, as it also comes before a job starts again.
WAITING_STATES = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
ENDED_STATES = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
)  # fmt: skip
QUEUE_FIELDS = ("%i", "%U", "%T", "%r", "%V", "%S", "%e", "%B", "%j")
PAST_FIELDS = ("jobid", "uid", "state", "start", "end", "exitcode", "nodelist", "jobname")
NO_NODE = ("", "n/a", "(null)", "None assigned", "Unknown")
EPOCH = {"SLURM_TIME_FORMAT": "%s"}


class Slurm(Dialect):
    """Slurm's commands."""

    name = "slurm"

    def version(self) -> str:
        result = self.ask(["sbatch", "--version"])
        if result.code != 0:
            raise failed(result, "sbatch --version")
        return result.output.strip()

    def jobs(self, people: "list[pwd.struct_passwd]") -> "list[dict[str, Any]]":
        if not people:
            return []
        mark = separator()
        form = mark.join(QUEUE_FIELDS) + mark
        users = ",".join(str(person.pw_uid) for person in people)
        result = self.ask(
            ["squeue", "--noheader", "--all", "--states=all", "--format=" + form, "--user=" + users], more=EPOCH
        )
        if result.code != 0:
            raise failed(result, "squeue")
        owners = {str(person.pw_uid): person.pw_name for person in people}
        return [
            _queued(row, owners[row[1]]) for row in rows(result.output, mark, len(QUEUE_FIELDS)) if row[1] in owners
        ]

    def submit(self, person: "pwd.struct_passwd", name: str, log: str, given: "dict[str, Any]", script: str) -> str:
        argv = [
            "sbatch", "--parsable", "--export=ALL", "--no-requeue", "--ignore-pbs", "--nodes=1", "--ntasks=1",
            "--job-name=" + name, "--comment=" + name, "--chdir=" + person.pw_dir, "--output=" + log,
            "--cpus-per-task=%d" % given["cpus"], "--mem=%dM" % given["memory_mib"], "--time=%d" % given["minutes"],
        ]  # fmt: skip
        if given["gpus"]:
            argv.append("--gres=gpu:%d" % given["gpus"])
        argv += ["--%s=%s" % (key, given[key]) for key in ("partition", "account", "reservation") if given[key]]
        result = self.ask(argv + self.policy["options"], person, script)
        job = result.output.strip().partition(";")[0]
        if result.code != 0 or not job.isdigit():
            raise failed(result, "sbatch")
        return job

    def cancel(self, person: "pwd.struct_passwd", job: str, name: str) -> None:
        result = self.ask(["scancel", "--user=" + person.pw_name, "--name=" + name, job], person)
        if result.code != 0:
            raise failed(result, "scancel")

    def past(self, jobs: "list[dict[str, str]]", people: "dict[str, pwd.struct_passwd]") -> "list[dict[str, Any]]":
        mark = separator()
        source = ["--completion"] if self.policy["history"] == "completion" else ["--allocations", "--duplicates"]
        ids = ",".join(sorted({job["job"] for job in jobs}))
        argv = ["sacct", *source, "--noheader", "--parsable", "--delimiter=" + mark, "--jobs=" + ids]
        result = self.ask([*argv, "--format=" + ",".join(PAST_FIELDS)], more=EPOCH)
        if result.code != 0:
            raise failed(result, "sacct")
        owners = {str(person.pw_uid): name for name, person in people.items()}
        return [_past(row, owners[row[1]]) for row in rows(result.output, mark, len(PAST_FIELDS)) if row[1] in owners]


def separator() -> str:
    """A word that nobody can have known when they named a job."""
    return "@" + os.urandom(8).hex() + "@"


def rows(output: str, mark: str, count: int) -> "list[list[str]]":
    """The rows of an output in which the separator follows each field."""
    fields = output.split(mark)
    if len(fields) % count != 1:
        raise Refusal("scheduler", "the scheduler's answer cannot be read")
    return [[field.strip("\n") for field in fields[at : at + count]] for at in range(0, len(fields) - 1, count)]


def _queued(row: "list[str]", account: str) -> "dict[str, Any]":
    """A row of squeue."""
    job, _uid, word, reason, submitted, start, end, node, name = row
    state = _state(word)
    started = state != PENDING and node not in NO_NODE
    return {
        "job": job, "name": name, "account": account, "state": state, "scheduler_state": word,
        "reason": reason if reason != "None" else None,
        "submitted_at": moment(submitted),
        "started_at": moment(start) if started else None,
        "ended_at": moment(end) if state == ENDED else None,
        "expected_start_at": moment(start) if state == PENDING else None,
        "ends_by_at": moment(end) if state == RUNNING else None,
        "exit_code": None, "signal": None,
        "node": node if started else None,
    }  # fmt: skip


def _past(row: "list[str]", account: str) -> "dict[str, Any]":
    """A row of sacct: one run of a job."""
    job, _uid, word, start, end, code, nodes, name = row
    exit_code, number = _exit(code)
    started = nodes not in NO_NODE
    return {
        "job": job, "name": name, "account": account, "state": _state(word), "scheduler_state": word,
        "reason": None, "submitted_at": None,
        "started_at": moment(start) if started else None, "ended_at": moment(end),
        "expected_start_at": None, "ends_by_at": None,
        "exit_code": exit_code, "signal": number,
        "node": nodes if started else None,
    }  # fmt: skip


def _state(word: str) -> str:
    first = word.partition(" ")[0].rstrip("+")  # "CANCELLED by 1001"
    if first in WAITING_STATES:
        return PENDING
    return ENDED if first in ENDED_STATES else RUNNING


def _exit(code: str) -> "tuple[Any, Any]":
    """Exit code and signal in sacct's `code:signal`."""
    exit_code, _, number = code.partition(":")
    return (int(exit_code), int(number)) if exit_code.isdigit() and number.isdigit() else (None, None)
