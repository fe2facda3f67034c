"""What the gate can do: ping, submit, queue, history and cancel; each gives an answer, or a refusal."""

import hashlib
import json
import os
import time
from contextlib import suppress

from spawners.gate.acting import as_account, run
from spawners.gate.checking import ATTEMPT, JOB, check_bare, check_cancel, check_history, check_submit, parse
from spawners.gate.dialect import ENDED, PENDING
from spawners.gate.folder import LOG, STEPS, SessionFolder, files_of
from spawners.gate.policy import Policy
from spawners.gate.refusal import DETAIL_CHARACTERS, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

    from spawners.gate.dialect import Dialect

VERSION = 1
LARGEST_QUEUE = 10000
FILES_SECONDS = 5.0
NOTHING: "dict[str, Any]" = {
    "state": ENDED, "scheduler_state": "", "reason": None, "submitted_at": None, "started_at": None, "ended_at": None,
    "expected_start_at": None, "ends_by_at": None, "exit_code": None, "signal": None, "node": None,
}  # fmt: skip


class Gate:
    """Answers requests for one site. `run` and `as_account` are how it acts."""

    def __init__(
        self, folder: str, dialect: "type[Dialect]", owner: int = 0, run: "Any" = run,
        as_account: "Any" = as_account,
    ) -> None:  # fmt: skip
        self.policy = Policy(folder, owner)
        self.dialect = dialect(self.policy, run)
        self.as_account = as_account

    def answer(self, line: bytes) -> "tuple[dict[str, Any], dict[str, Any]]":
        """The request as far as it was understood, and the answer to it. Never raises."""
        request: "dict[str, Any]" = {}
        try:
            request = parse(line)
            verb = request.get("verb")
            if not isinstance(verb, str) or verb not in VERBS:
                raise Refusal("bad-verb", "the verbs are %s" % ", ".join(sorted(VERBS)))
            check, work = VERBS[verb]
            check(request)
            return request, dict(work(self, request), v=VERSION, ok=True)
        except Refusal as refusal:
            return request, {"v": VERSION, "ok": False, "error": refusal.code, "detail": refusal.detail}
        except Exception as error:  # The other side gets an answer whatever it is, and nothing of our memory.
            return request, {"v": VERSION, "ok": False, "error": "internal", "detail": type(error).__name__}

    # --- ping -----------------------------------------------------------------------------------------------------

    def ping(self, _request: "dict[str, Any]") -> "dict[str, Any]":
        with open(os.path.realpath(__file__), "rb") as file:
            file.readline()  # which Python runs it is the site's own matter
            digest = hashlib.sha256(file.read()).hexdigest()
        return {
            "gate_version": "%d-%s" % (VERSION, digest[:12]), "dialect": self.dialect.name, "time": time.time(),
            "scheduler_version": self.dialect.version()[:200], "drained": self.policy.drained() is not None,
            "limits": self.policy.limits(),
        }  # fmt: skip

    # --- submit ---------------------------------------------------------------------------------------------------

    def submit(self, request: "dict[str, Any]") -> "dict[str, Any]":
        person = self._acted_for(request["account"])
        given, objection = self._decide(person, request["resources"])
        job, existed = self.as_account(person, lambda: self._submit_as(person, request, given, objection))
        return {"job": job, "existed": existed, "minutes": self.policy.minutes(request["resources"]["minutes"])}

    def _decide(self, person: "pwd.struct_passwd", wish: "dict[str, Any]") -> "tuple[dict[str, Any], Refusal | None]":
        """What a new job would be given, and what stands against one."""
        try:
            if person.pw_name in self.policy.blocked():
                raise Refusal("blocked", "this site has blocked the account %s" % person.pw_name)
            drained = self.policy.drained()
            if drained is not None:
                raise Refusal("drained", "this site takes no new sessions: %s" % drained)
            return self.policy.granted(wish), None
        except Refusal as refusal:
            return {}, refusal

    def _submit_as(
        self, person: "pwd.struct_passwd", request: "dict[str, Any]", given: "dict[str, Any]",
        objection: "Refusal | None",
    ) -> "list[Any]":  # fmt: skip
        """The id of the attempt's job, and whether it was there before.

        Lock and look make one job of two requests at once, and of a second one after an answer that was lost. What
        stands against a new job does not stand against the answer that there is one.
        """
        name = self._name(request["attempt"])
        with SessionFolder(person.pw_dir, request["attempt"], make=True) as folder, folder.lock():
            theirs = self.dialect.jobs([person])
            noted = folder.read_object("job.json").get("job")
            known = [job["job"] for job in theirs if job["name"] == name]
            if known:
                return [known[-1], True]
            if isinstance(noted, str) and JOB.fullmatch(noted):
                return [noted, True]
            if objection is not None:
                raise objection
            self._room_for_one_more(theirs)
            folder.write("secret", request["secret"])
            try:
                log = "/".join([*STEPS, request["attempt"], LOG])
                job = self.dialect.submit(person, name, log, given, request["script"])
            except Refusal as refusal:
                if refusal.code != "timeout":  # After a time-out, there may be a job that needs it.
                    folder.remove("secret")
                raise
            self._note(folder, job)
            return [job, False]

    def _room_for_one_more(self, theirs: "list[dict[str, Any]]") -> None:
        limit = self.policy["limits"].get("jobs_per_account")
        ours = [job for job in theirs if self._attempt(job["name"]) and job["state"] != ENDED]
        if limit is not None and len(ours) >= limit:
            raise Refusal("limit", "this site allows %d sessions of one account at once" % limit)

    @staticmethod
    def _note(folder: SessionFolder, job: str) -> None:
        """Keep the id for a second request when the scheduler has forgotten the job; without it, its name must do."""
        with suppress(Refusal):
            folder.write("job.json", json.dumps({"job": job}))

    # --- queue ----------------------------------------------------------------------------------------------------

    def queue(self, _request: "dict[str, Any]") -> "dict[str, Any]":
        people = self._people()
        now = time.time()
        ours = [job for job in self.dialect.jobs(list(people.values())) if self._attempt(job["name"])]
        if len(ours) > LARGEST_QUEUE:
            raise Refusal("limit", "there are more than %d jobs" % LARGEST_QUEUE)
        files = self._files(people, [job for job in ours if job["state"] != PENDING], tail=False)
        return {"time": now, "jobs": [self._row(job, files) for job in ours]}

    def _row(self, job: "dict[str, Any]", files: "dict[tuple[str, str], dict[str, Any]]") -> "dict[str, Any]":
        attempt = self._attempt(job["name"]) or ""
        said = files.get((job["account"], attempt), {})
        return dict(short(job), attempt=attempt, session=said.get("session"), end=said.get("end"))

    # --- history --------------------------------------------------------------------------------------------------

    def history(self, request: "dict[str, Any]") -> "dict[str, Any]":
        """What is known of jobs that are over. Of accounts that the site does not let us act for nothing is known."""
        people = self._people()
        asked = [job for job in request["jobs"] if job["account"] in people]
        concerned = {job["account"]: people[job["account"]] for job in asked}
        recorded = self.dialect.past(asked, concerned) if asked and self.policy["history"] != "launcher" else []
        present = self.dialect.jobs(list(concerned.values()))
        files = self._files(concerned, asked, tail=True)
        return {"jobs": [self._past(job, recorded, present, files) for job in request["jobs"]]}

    def _past(
        self, job: "dict[str, str]", recorded: "list[dict[str, Any]]", present: "list[dict[str, Any]]",
        files: "dict[tuple[str, str], dict[str, Any]]",
    ) -> "dict[str, Any]":  # fmt: skip
        """One job, by the best source that knows it: the records, the scheduler, the launcher, the last sign of life."""
        records = runs_in_order([row for row in recorded if self._is(row, job)])
        living = [row for row in present if self._is(row, job)]
        said = files.get((job["account"], job["attempt"]), {})
        runs = [{"started_at": row["started_at"], "ended_at": row["ended_at"]} for row in records if ran(row)]
        found = dict(NOTHING)
        source = "none"
        if records and records[-1]["state"] == ENDED:
            found, source = records[-1], self.policy["history"]
        elif living:
            found, source = living[-1], "scheduler"
            if ran(found) and found["state"] == ENDED and found["started_at"] not in [r["started_at"] for r in runs]:
                runs.append({"started_at": found["started_at"], "ended_at": found["ended_at"]})
        elif said.get("end"):
            source = "launcher"
            found.update({key: said["end"][key] for key in ("started_at", "ended_at", "exit_code")})
        elif said.get("last_sign_at"):
            source = "last-seen"
            found.update(started_at=said["started_at"], ended_at=said["last_sign_at"])
        if not runs and found["state"] == ENDED and ran(found):
            runs = [{"started_at": found["started_at"], "ended_at": found["ended_at"]}]
        return dict(
            short(found), job=job["job"], attempt=job["attempt"], account=job["account"], source=source, runs=runs,
            estimated=source in ("last-seen", "none"), session=None, end=said.get("end"),
            log_tail=said.get("log_tail", ""),
        )  # fmt: skip

    # --- cancel ---------------------------------------------------------------------------------------------------

    def cancel(self, request: "dict[str, Any]") -> "dict[str, Any]":
        person = self._acted_for(request["account"])
        return {"cancelled": self.as_account(person, lambda: self._cancel_as(person, request))}

    def _cancel_as(self, person: "pwd.struct_passwd", request: "dict[str, Any]") -> bool:
        """Whether there was such a job to end. Its secret is of no use any more, and it shall not start again."""
        theirs = [job for job in self.dialect.jobs([person]) if self._is(job, request) and job["state"] != ENDED]
        if theirs:
            self.dialect.cancel(person, request["job"], self._name(request["attempt"]))
        # Without its folder there is nothing that it could start with; whatever lies there, the job was ended.
        with suppress(Refusal, OSError), SessionFolder(person.pw_dir, request["attempt"]) as folder:
            folder.remove("secret")
            folder.write("cancelled", "")
        return bool(theirs)

    # --- who and what ---------------------------------------------------------------------------------------------

    def _acted_for(self, account: str) -> "pwd.struct_passwd":
        person = self.policy.member(account)
        if os.geteuid() not in (0, person.pw_uid):
            raise Refusal("not-mapped", "this login acts for its own account only")
        return person

    def _people(self) -> "dict[str, pwd.struct_passwd]":
        """All accounts that this gate acts for: those of the site's list, or its own where it is not root."""
        found = [self.policy.found(account) for account in self.policy.accounts()]
        return {p.pw_name: p for p in found if p is not None and os.geteuid() in (0, p.pw_uid)}

    def _name(self, attempt: str) -> str:
        return "%s-%s" % (self.policy["prefix"], attempt)

    def _attempt(self, name: str) -> "str | None":
        """The attempt that a job with this name is; None if it is not ours."""
        prefix, _, attempt = name.partition("-")
        return attempt if prefix == self.policy["prefix"] and ATTEMPT.fullmatch(attempt) else None

    def _is(self, row: "dict[str, Any]", job: "dict[str, Any]") -> bool:
        """Whether the scheduler's row is the job that is meant: id, tag and owner."""
        theirs = (row["job"], row["name"], row["account"])
        return theirs == (job["job"], self._name(job["attempt"]), job["account"])

    def _files(
        self, people: "dict[str, pwd.struct_passwd]", jobs: "list[dict[str, Any]]", tail: bool
    ) -> "dict[tuple[str, str], dict[str, Any]]":
        """What the sessions' folders say, by account and attempt. A home that cannot be used hides nothing else."""
        attempts: "dict[str, list[str]]" = {}
        for job in jobs:
            attempt = job.get("attempt") or self._attempt(job["name"]) or ""
            attempts.setdefault(job["account"], []).append(attempt)
        found: "dict[tuple[str, str], dict[str, Any]]" = {}
        for account, theirs in attempts.items():
            home = people[account].pw_dir
            try:
                said = self.as_account(people[account], lambda h=home, t=theirs: files_of(h, t, tail), FILES_SECONDS)
            except Refusal:
                continue
            found.update({(account, attempt): what for attempt, what in said.items()})
        return found


def short(job: "dict[str, Any]") -> "dict[str, Any]":
    """A dialect's job as a row: without its name, and with texts of a length that the other side takes."""
    row = {key: value for key, value in job.items() if key != "name"}
    return {key: value[:DETAIL_CHARACTERS] if isinstance(value, str) else value for key, value in row.items()}


def ran(row: "dict[str, Any]") -> bool:
    """Whether both ends of a run are known and in order."""
    return row["started_at"] is not None and row["ended_at"] is not None and row["started_at"] <= row["ended_at"]


def runs_in_order(records: "list[dict[str, Any]]") -> "list[dict[str, Any]]":
    """The records of one job in the order of their runs; none if they cannot all be true.

    One job does not run twice at once. In a completion file a person can forge records by the name of a job.
    """
    order = sorted(records, key=lambda row: (row["started_at"] or row["ended_at"] or 0, row["ended_at"] or 0))
    for one, next_one in zip(order, order[1:]):
        if ran(one) and ran(next_one) and next_one["started_at"] < one["ended_at"]:
            return []
    return order


VERBS: "dict[str, Any]" = {
    "ping": (check_bare, Gate.ping),
    "submit": (check_submit, Gate.submit),
    "queue": (check_bare, Gate.queue),
    "history": (check_history, Gate.history),
    "cancel": (check_cancel, Gate.cancel),
}
