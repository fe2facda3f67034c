"""Requests that nobody would send, in this process: whatever comes, there is an answer; what is run is just what the
protocol's own models make of the request, or nothing.
"""

import gc
import json
import os
import pwd
import random
import re
import shutil
import tempfile
import tracemalloc
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from spawners.gate import policy as gate_policy
from spawners.gate.acting import Result
from spawners.gate.checking import CONTROL, DIRECTIVE
from spawners.gate.slurm import Slurm
from spawners.gate.verbs import Gate
from spawners.gateway.protocol import Cancel, ErrorCode, History, Submit, parse_request

ACCOUNTS = ("alice", "bob")
WEIRD: list[Any] = [
    None, True, False, 0, -1, 1, 2**63, 10**400, 0.5, 1.0, "", " ", "x", "1", "\n", "\x00", "-", "--uid=0", "$(id)", "`id`",
    "; id", "../..", "/", "\u2028", "\ud800", "ä", "x" * 300, [], [[]], {}, {"a": 1}, "alice", "bob", "root", "nbfed-x",
    "#!/bin/sh\n#SBATCH -t 1", "#!/bin/sh\n", "notebooks", float("nan"), float("inf"),
]  # fmt: skip


class Site:
    """A gate in this process whose scheduler notes what it is asked. Its one account of the system is this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        (folder / "accounts").write_text("\n".join(ACCOUNTS))
        policy = {"site": "s", "history": "completion", "partitions": ["notebooks"], "limits": {"minutes": 60}}
        (folder / "policy.json").write_text(json.dumps(policy))
        self.ran: list[tuple[list[str], dict[str, str], str]] = []
        self.gate = Gate(str(folder), Slurm, os.geteuid(), self.run, lambda _person, work, *_seconds: work())

    def run(self, argv: list[str], env: dict[str, str], text: str = "") -> Result:
        self.ran.append((argv, env, text))
        return Result(0, "17\n" if argv[0] == "sbatch" else "", "")

    def answer(self, line: bytes) -> dict[str, Any]:
        self.ran.clear()
        shutil.rmtree(self.home / ".nbfed", ignore_errors=True)
        _request, answer = self.gate.answer(line)
        return answer


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def getpwnam(account: str) -> pwd.struct_passwd:
            if account not in ACCOUNTS:
                raise KeyError(account)
            uid = 5000 + ACCOUNTS.index(account)
            return pwd.struct_passwd((account, "x", uid, uid, "", str(folder / "home"), "/bin/sh"))

        monkeypatch.setattr(gate_policy.pwd, "getpwnam", getpwnam)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(os, "fstat", lambda file, real=os.fstat: _as_root(real(file)))
        yield Site(folder)


def _as_root(status: os.stat_result) -> os.stat_result:
    return os.stat_result([*status[:4], 0, *status[5:10]])


# --- requests -----------------------------------------------------------------------------------------------------


def valid(chance: random.Random, accounts: Sequence[str] = ACCOUNTS) -> dict[str, Any]:
    """A request that a gateway would send."""
    attempt = str(uuid.UUID(int=chance.getrandbits(128)))
    named = {"job": str(chance.randrange(1, 10**6)), "attempt": attempt, "account": chance.choice(accounts)}
    resources = {
        "cpus": chance.randrange(1, 64),
        "memory_mib": chance.randrange(1, 10**5),
        "minutes": chance.randrange(1, 60),
    }
    if chance.random() < 0.5:
        resources["gpus"] = chance.randrange(3)
        resources["partition"] = "notebooks"
    bodies: list[dict[str, Any]] = [
        {"verb": "ping"},
        {"verb": "queue"},
        {"verb": "cancel", **named},
        {"verb": "history", "jobs": [named]},
        {"verb": "submit", "attempt": attempt, "account": named["account"], "secret": "s" * 20,
         "script": "#!/bin/sh\nexec x\n", "resources": resources},
    ]  # fmt: skip
    return {"v": 1, "id": "r1", **chance.choice([*bodies, bodies[4], bodies[4]])}


def mutated(request: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The request with one thing changed, somewhere."""
    content: dict[str, Any] = json.loads(json.dumps(request))
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = chance.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.7:
            place = place[key]
            continue
        break
    match chance.randrange(5):
        case 0:
            del place[key]
        case 1:
            place[key] = chance.choice(WEIRD)
        case 2 if isinstance(place, dict):
            place[chance.choice(["x", "argv", "uid", "user", "shell", "", "__class__"])] = chance.choice(WEIRD)
        case 3 if isinstance(place[key], str) and place[key]:
            at = chance.randrange(len(place[key]) + 1)
            place[key] = place[key][:at] + str(chance.choice(WEIRD))[:5] + place[key][at:]
        case _:
            place[key] = [place[key]] if chance.random() < 0.5 else {"": place[key]}
    return content


def garbage(chance: random.Random, accounts: Sequence[str] = ACCOUNTS) -> bytes:
    """Bytes that were a request once, or never."""
    text = bytearray(json.dumps(valid(chance, accounts)).encode())
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(text) + 1)
        text[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
    return bytes(text)


def strange(chance: random.Random, accounts: Sequence[str] = ACCOUNTS) -> bytes:
    """A tenth are valid, more than half have one thing changed, the others are garbage."""
    kind = chance.random()
    if kind < 0.1:
        return json.dumps(valid(chance, accounts)).encode()
    return json.dumps(mutated(valid(chance, accounts), chance)).encode() if kind < 0.7 else garbage(chance, accounts)


# --- what must come of it -----------------------------------------------------------------------------------------


def squeue(uids: str) -> list[str]:
    return ["squeue", "--noheader", "--all", "--states=all", "--format=F", f"--user={uids}"]


def expected(line: bytes) -> list[list[str]] | None:
    """What is run for a request by the protocol's own models; None if they refuse it."""
    try:
        request = parse_request(line)
    except ValueError:
        return None
    match request:
        case Submit():
            if CONTROL.search(request.script) or DIRECTIVE.search(request.script):
                return None
            wish = request.resources
            refused = request.account not in ACCOUNTS
            unknown = wish.partition not in {None, "notebooks"} or wish.account or wish.reservation
            if refused:
                return []
            look = squeue(str(5000 + ACCOUNTS.index(request.account)))
            return [look] if unknown else [look, ["sbatch", *_options(request)]]
        case Cancel():
            return [squeue(str(5000 + ACCOUNTS.index(request.account)))] if request.account in ACCOUNTS else []
        case History():
            known = [job for job in request.jobs if job.account in ACCOUNTS]
            ids = ",".join(sorted({job.job for job in known}))
            users = dict.fromkeys(str(5000 + ACCOUNTS.index(job.account)) for job in known)
            sacct = [
                "sacct",
                "--completion",
                "--noheader",
                "--parsable",
                "--delimiter=F",
                f"--jobs={ids}",
                "--format=F",
            ]
            return [sacct, squeue(",".join(users))] if known else []
    return [["sbatch", "--version"]] if request.verb == "ping" else [squeue("5000,5001")]


def _options(request: Submit) -> list[str]:
    wish, name = request.resources, f"nbfed-{request.attempt}"
    home = "HOME"
    gres = [f"--gres=gpu:{wish.gpus}"] if wish.gpus else []
    return [
        "--parsable", "--export=ALL", "--no-requeue", "--ignore-pbs", "--nodes=1", "--ntasks=1", f"--job-name={name}",
        f"--comment={name}", f"--chdir={home}", f"--output=.nbfed/sessions/{request.attempt}/job.log",
        f"--cpus-per-task={wish.cpus}", f"--mem={wish.memory_mib}M", f"--time={min(60, wish.minutes)}", *gres,
        "--partition=notebooks",
    ]  # fmt: skip


def _comparable(argv: list[str], home: Path) -> list[str]:
    """Without what is new each time, and what lies in a folder of the test."""
    changed = [re.sub(r"^--(format|delimiter)=.*", r"--\1=F", word, flags=re.DOTALL) for word in argv]
    return [word.replace(str(home), "HOME") for word in changed]


def look_at(site: Site, line: bytes) -> str:
    """Ask, and compare; the code of the answer."""
    answer = site.answer(line)
    wanted = expected(line)
    assert json.loads(json.dumps(answer)) == answer
    ran = [_comparable(argv, site.home) for argv, _env, _text in site.ran]
    if wanted is None:
        assert ran == [], line
        assert answer["error"] in {"bad-request", "bad-verb", "too-big"}, (line, answer)
    else:
        assert ran == wanted, line
        assert answer["ok"] or answer["error"] in {"not-mapped", "limit"}, (line, answer)
    for argv, env, text in site.ran:
        assert set(env) <= {"PATH", "LANG", "LC_ALL", "HOME", "USER", "LOGNAME", "SHELL", "SLURM_TIME_FORMAT"}
        assert text.startswith("#!/") if "--parsable" in argv and argv[0] == "sbatch" else text == ""
    code: str = "ok" if answer["ok"] else answer["error"]
    assert code == "ok" or ErrorCode(code) is not ErrorCode.INTERNAL
    return code


def fuzz(site: Site, count: int, seed: int, at_each: Callable[[int], None] = lambda _number: None) -> dict[str, int]:
    chance = random.Random(seed)
    seen: dict[str, int] = {}
    for number in range(count):
        code = look_at(site, strange(chance))
        seen[code] = seen.get(code, 0) + 1
        at_each(number)
    return seen


def test_hundreds_of_strange_requests_run_nothing_that_was_not_asked_for(site: Site) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    seen = fuzz(site, 800, seed)
    assert seen["ok"] > 80
    assert seen["bad-request"] > 200


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_strange_requests_leave_nothing_behind_in_memory(site: Site) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    sizes: list[int] = []

    def weigh(number: int) -> None:
        if number % 10_000 == 9_999:
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        seen = fuzz(site, 100_000, seed, weigh)
    finally:
        tracemalloc.stop()
    assert seen["ok"] > 10_000
    # The caches of this process fill up at first. Ten bytes of each request would be half a megabyte.
    assert max(sizes[5:]) - max(sizes[:5]) < 300_000, sizes


def test_the_look_sees_an_argument_that_nobody_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"v": 1, "id": "r", "verb": "queue"}).encode()
    assert look_at(site, line) == "ok"
    monkeypatch.setattr(Slurm, "jobs", lambda self, _people: self.ask(["squeue", "--uid=0"]) and [])
    with pytest.raises(AssertionError):
        look_at(site, line)
