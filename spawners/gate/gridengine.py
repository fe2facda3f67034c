"""Grid Engine (Sun, Son of, Univa, Altair): qsub, qstat with XML, qdel, and qacct for the past.

Written after the outputs of Sun Grid Engine 6.2, Son of Grid Engine 8.1 and Univa Grid Engine that are recorded in the
tests; not tried on a server yet. What sites name as they like is in the policy's `names`: the parallel environment for
several cores, and the resources for memory (taken for each slot) and GPUs.

Limits of Grid Engine: a job that ended is not in qstat any more, and qacct takes one job at a time.
"""

import re
import time
from xml.etree import ElementTree

from spawners.gate.dialect import ENDED, PENDING, RUNNING, Dialect, failed
from spawners.gate.refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

GE_SIGNALLED = 128
"""From here on an exit status is this and the signal (accounting(5))."""
GE_INTERPRETER = re.compile(r"#!(/[A-Za-z0-9._/-]+)")
# qstat and qacct write local time, each version in another way.
GE_TIMES = ("%Y-%m-%dT%H:%M:%S", "%a %b %d %H:%M:%S %Y", "%m/%d/%Y %H:%M:%S")


class GridEngine(Dialect):
    """The commands of Grid Engine."""

    name = "gridengine"

    def version(self) -> str:
        # It has no option for that: the first line of the help says it, and some versions end with 1 all the same.
        result = self.ask(["qstat", "-help"])
        said = (result.output.strip() or result.errors).splitlines()
        if not said:
            raise failed(result, "qstat -help")
        return said[0].strip()

    def jobs(self, people: "list[pwd.struct_passwd]") -> "list[dict[str, Any]]":
        if not people:
            return []
        result = self.ask(["qstat", "-u", ",".join(person.pw_name for person in people), "-xml"])
        if result.code != 0:
            raise failed(result, "qstat")
        wanted = {person.pw_name for person in people}
        try:
            root = ElementTree.fromstring(result.output)  # noqa: S314  what the site's own scheduler wrote
            found = [_ge_job(job, queue) for job, queue in _ge_rows(root)]
        except (ElementTree.ParseError, ValueError):
            raise Refusal("scheduler", "what qstat wrote cannot be read")
        return [job for job in found if job["account"] in wanted]

    def submit(self, person: "pwd.struct_passwd", name: str, log: str, given: "dict[str, Any]", script: str) -> str:
        names = self.policy["names"]
        # Without -S the queue's shell would run the script. An empty prefix: no line of it is taken for an option.
        interpreter = GE_INTERPRETER.match(script)
        if interpreter is None:
            raise Refusal("bad-request", "the script's first line names no program that Grid Engine can start")
        argv = ["qsub", "-terse", "-N", name, "-C", "", "-S", interpreter.group(1), "-r", "n", "-m", "n", "-j", "y"]
        argv += ["-wd", person.pw_dir, "-o", "%s/%s" % (person.pw_dir, log), "-l", "h_rt=%d" % (given["minutes"] * 60)]
        each_mib = -(-given["memory_mib"] // given["cpus"])
        argv += ["-l", "%s=%dM" % (names["memory"], each_mib)]
        argv += ["-pe", names["parallel_environment"], "%d" % given["cpus"]] if given["cpus"] > 1 else []
        argv += ["-l", "%s=%d" % (names["gpu"], given["gpus"])] if given["gpus"] else []
        argv += ["-q", given["partition"]] if given["partition"] else []
        argv += ["-P", given["account"]] if given["account"] else []
        argv += ["-ar", given["reservation"]] if given["reservation"] else []
        result = self.ask(argv + self.policy["options"], person, script)
        job = result.output.strip()
        if result.code != 0 or not job.isdigit():
            raise failed(result, "qsub")
        return job

    def cancel(self, person: "pwd.struct_passwd", job: str, name: str) -> None:
        result = self.ask(["qdel", job], person)
        if result.code != 0:
            raise failed(result, "qdel")

    def past(self, jobs: "list[dict[str, str]]", people: "dict[str, pwd.struct_passwd]") -> "list[dict[str, Any]]":
        found: "list[dict[str, Any]]" = []
        for job in sorted({each["job"] for each in jobs}):
            result = self.ask(["qacct", "-j", job])
            if result.code == 0:
                found += [record for record in _ge_records(result.output) if record["account"] in people]
            elif "not found" not in result.errors:  # "error: job id 7 not found"
                raise failed(result, "qacct")
        return found


def _ge_rows(root: "ElementTree.Element") -> "list[tuple[ElementTree.Element, str]]":
    """Each job and the queue instance that it runs in: beside it, or, in lists by queue, around it."""
    around = {
        id(job): queue.findtext("name", "") for queue in root.iter("Queue-List") for job in queue.iter("job_list")
    }
    return [(job, job.findtext("queue_name") or around.get(id(job), "")) for job in root.iter("job_list")]


def _ge_job(job: "ElementTree.Element", queue: str) -> "dict[str, Any]":
    """A job in the words of the protocol. `qw`, `hqw` and `Eqw` wait; all else (`r`, `t`, `s`, `dr`) may run."""
    letters = job.findtext("state", "")
    state = PENDING if "q" in letters else RUNNING
    return {
        "job": job.findtext("JB_job_number", ""), "name": job.findtext("JB_name", ""),
        "account": job.findtext("JB_owner", ""), "state": state, "scheduler_state": letters,
        "reason": "the job is in an error state" if "E" in letters else None,
        "submitted_at": _ge_moment(job.findtext("JB_submission_time")),
        "started_at": _ge_moment(job.findtext("JAT_start_time")) if state == RUNNING else None,
        "ended_at": None, "expected_start_at": None, "ends_by_at": None, "exit_code": None, "signal": None,
        "node": queue.partition("@")[2] or None if state == RUNNING else None,
    }  # fmt: skip


def _ge_records(output: str) -> "list[dict[str, Any]]":
    """The records in what qacct wrote: one for each run of the job, after a line of `=`."""
    found = []
    for text in re.split(r"^=+$", output, flags=re.MULTILINE)[1:]:
        facts = {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in text.splitlines()}
        status = facts.get("exit_status", "").partition(" ")[0]
        code = int(status) if status.isdigit() else None
        start = _ge_moment(facts.get("start_time"))
        found.append({
            "job": facts.get("jobnumber", ""), "name": facts.get("jobname", ""), "account": facts.get("owner", ""),
            "state": ENDED, "scheduler_state": "failed %s" % facts.get("failed", "?"), "reason": None,
            "submitted_at": _ge_moment(facts.get("qsub_time")),
            "started_at": start, "ended_at": _ge_moment(facts.get("end_time")),
            "expected_start_at": None, "ends_by_at": None,
            "exit_code": None if code is None else code if code < GE_SIGNALLED else 0,
            "signal": None if code is None else code - GE_SIGNALLED if code >= GE_SIGNALLED else 0,
            "node": facts.get("hostname") if start else None,
        })  # fmt: skip
    return found


def _ge_moment(text: "str | None") -> "float | None":
    """Seconds since 1970, fractions included where the version writes them."""
    whole, _, fraction = (text or "").partition(".")
    for form in GE_TIMES:
        try:
            moment = time.mktime(time.strptime(whole.strip(), form))
        except (ValueError, OverflowError):
            continue
        return moment + (int(fraction) / 10 ** len(fraction) if fraction.isdigit() else 0)
    return None
