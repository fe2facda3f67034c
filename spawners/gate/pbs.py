"""OpenPBS and PBS Professional, from 14.1 on: qsub, qstat with JSON, qdel.

Written after the outputs of 19.0.0, 22.05.11 and 2022.0.0 that are recorded in the tests; not tried on a server yet. The
server's history of ended jobs (`job_history_enable`) is the accounting; without it, `history` of the policy is `launcher`.

Limits of PBS: a job that the server started again (we ask that it never does) has the times of its last run alone, and
the job's output is in its folder only when it has ended.
"""

import json
import time

from spawners.gate.checking import JOB
from spawners.gate.dialect import ENDED, PENDING, RUNNING, Dialect, failed
from spawners.gate.refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

# "Job States" in the PBS Reference Guide. All others run, or may run: B, E (exiting), R, S and U (suspended).
PBS_WAITING = ("H", "M", "Q", "T", "W")
PBS_ENDED = ("C", "F", "X")
PBS_SIGNALLED = 256
"""From here on an exit status is this and the signal."""


class Pbs(Dialect):
    """The commands of OpenPBS and PBS Professional."""

    name = "pbs"

    def version(self) -> str:
        result = self.ask(["qstat", "--version"])
        if result.code != 0:
            raise failed(result, "qstat --version")
        return result.output.strip()

    def jobs(self, people: "list[pwd.struct_passwd]") -> "list[dict[str, Any]]":
        known = self._all() if people else []
        wanted = {person.pw_name for person in people}
        return [job for job in known if job["account"] in wanted]

    def submit(self, person: "pwd.struct_passwd", name: str, log: str, given: "dict[str, Any]", script: str) -> str:
        chunk = "select=1:ncpus=%d:mem=%dmb" % (given["cpus"], given["memory_mib"])
        if given["gpus"]:
            chunk += ":ngpus=%d" % given["gpus"]
        walltime = "walltime=%d:%02d:00" % divmod(given["minutes"], 60)
        # An empty prefix: no line of the script is taken for an option. A reservation is a queue.
        argv = ["qsub", "-N", name, "-C", "", "-l", chunk, "-l", walltime, "-r", "n", "-m", "n", "-j", "oe"]
        argv += ["-o", "%s/%s" % (person.pw_dir, log), "-W", "umask=0077"]
        queue = given["reservation"] or given["partition"]
        argv += ["-q", queue] if queue else []
        argv += ["-A", given["account"]] if given["account"] else []
        result = self.ask(argv + self.policy["options"], person, script)
        job = result.output.strip()
        if result.code != 0 or not JOB.fullmatch(job):
            raise failed(result, "qsub")
        return job

    def cancel(self, person: "pwd.struct_passwd", job: str, name: str) -> None:
        result = self.ask(["qdel", job], person)
        if result.code != 0:
            raise failed(result, "qdel")

    def past(self, jobs: "list[dict[str, str]]", people: "dict[str, pwd.struct_passwd]") -> "list[dict[str, Any]]":
        ids = {job["job"] for job in jobs}
        return [job for job in self._all() if job["job"] in ids and job["account"] in people]

    def _all(self) -> "list[dict[str, Any]]":
        """Every job that the server knows; with those that ended, if it keeps them."""
        ended = ["-x"] if self.policy["history"] != "launcher" else []
        result = self.ask(["qstat", *ended, "-f", "-F", "json"])
        if result.code != 0:
            raise failed(result, "qstat")
        try:
            found = json.loads(result.output, strict=False)["Jobs"] if '"Jobs"' in result.output else {}
            return [_pbs_job(job, facts) for job, facts in found.items() if JOB.fullmatch(job)]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refusal("scheduler", "what qstat wrote cannot be read")


def _pbs_job(job: str, facts: "dict[str, Any]") -> "dict[str, Any]":
    """A job in the words of the protocol."""
    letter = facts["job_state"]
    state = PENDING if letter in PBS_WAITING else ENDED if letter in PBS_ENDED else RUNNING
    started = _pbs_moment(facts.get("stime")) if state != PENDING else None
    length = _pbs_length(facts.get("Resource_List", {}).get("walltime"))
    code = _pbs_code(facts.get("Exit_status"))
    return {
        "job": job, "name": facts.get("Job_Name", ""), "account": facts.get("Job_Owner", "").partition("@")[0],
        "state": state, "scheduler_state": letter, "reason": facts.get("comment"),
        "submitted_at": _pbs_moment(facts.get("ctime")),
        "started_at": started,
        "ended_at": _pbs_end(facts, started) if state == ENDED else None,
        "expected_start_at": _pbs_moment(facts.get("estimated", {}).get("start_time")) if state == PENDING else None,
        "ends_by_at": started + length if state == RUNNING and started and length else None,
        "exit_code": None if code is None else code if code < PBS_SIGNALLED else 0,
        "signal": None if code is None else code - PBS_SIGNALLED if code >= PBS_SIGNALLED else 0,
        "node": facts["exec_host"].partition("/")[0] if started and "exec_host" in facts else None,
    }  # fmt: skip


def _pbs_end(facts: "dict[str, Any]", started: "float | None") -> "float | None":
    """When an ended job ended: newer versions say it, older ones how long it ran."""
    length = _pbs_length(facts.get("resources_used", {}).get("walltime"))
    end = _pbs_moment(facts.get("obittime"))
    if end is None and started is not None and length is not None:
        end = started + length
    return end if end is not None else _pbs_moment(facts.get("mtime"))


def _pbs_moment(text: "Any") -> "float | None":
    """Such as `Tue Oct 11 08:13:45 2022`, in the time zone of the server, which is this machine's."""
    try:
        return time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
    except (TypeError, ValueError, OverflowError):
        return None


def _pbs_length(text: "Any") -> "float | None":
    """Seconds in `100:02:03`."""
    parts = text.split(":") if isinstance(text, str) else []
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return None
    return float(parts[0]) * 3600 + float(parts[1]) * 60 + float(parts[2])


def _pbs_code(status: "Any") -> "int | None":
    """The exit status, which is a text in some versions; None for what no exit status is."""
    try:
        code = int(status)
    except (TypeError, ValueError):
        return None
    return code if -PBS_SIGNALLED < code < 2 * PBS_SIGNALLED else None
