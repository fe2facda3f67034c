"""Acting as somebody: commands without a shell and with an environment made here, and work done as an account.

Root's rights are given up for good, in a child, before anything is done for an account; so nothing that lies in an
account's home, and nothing that a scheduler does for it, can be more than that account could do itself.
"""

import json
import os
import pwd
import select
import signal
import subprocess
import time
from contextlib import suppress

from spawners.gate.refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

COMMAND_SECONDS = 20.0
ACCOUNT_SECONDS = 40.0
LARGEST_OUTPUT_CHARACTERS = 32000000


class Result:
    """How a command ended and what it wrote."""

    def __init__(self, code: int, output: str, errors: str) -> None:
        self.code = code
        self.output = output
        self.errors = errors


def environment(policy: "Any", person: "pwd.struct_passwd | None" = None) -> "dict[str, str]":
    """All that a command gets to see; nothing of who called the gate."""
    made = {"PATH": policy["path"], "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    made.update(policy["environment"])
    if person is not None:
        made.update(HOME=person.pw_dir, USER=person.pw_name, LOGNAME=person.pw_name, SHELL=person.pw_shell)
    return made


def run(argv: "list[str]", env: "dict[str, str]", text: str = "", seconds: float = COMMAND_SECONDS) -> Result:
    """Run a program with these very arguments, and wait for it."""
    try:
        done = subprocess.run(
            argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd="/",
            timeout=seconds, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Refusal("timeout", "%s did not answer within %d seconds" % (argv[0], seconds))
    except OSError as error:
        raise Refusal("scheduler", "%s cannot be run: %s" % (argv[0], error.strerror))
    if len(done.stdout) > LARGEST_OUTPUT_CHARACTERS:
        raise Refusal("scheduler", "%s wrote too much" % argv[0])
    return Result(done.returncode, done.stdout, done.stderr.strip())


def as_account(person: "pwd.struct_passwd", work: "Callable[[], Any]", seconds: float = ACCOUNT_SECONDS) -> "Any":
    """What `work` returns (it must fit into JSON) when it is called as this account.

    Where the gate itself runs as the account there is nothing to give up. A home that hangs costs `seconds`, not more.
    """
    if os.geteuid() == person.pw_uid:
        os.umask(0o077)
        return work()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work_and_tell(person, work, writer, seconds)
    os.close(writer)
    try:
        told = _all_from(reader, time.monotonic() + seconds)
    finally:
        os.close(reader)
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, os.WNOHANG)
    if told is None:
        raise Refusal("timeout", "what was done as %s did not end within %d seconds" % (person.pw_name, seconds))
    try:
        answer = json.loads(told.decode("utf-8"))
    except ValueError:
        raise Refusal("internal", "what was done as %s ended without a word" % person.pw_name)
    if "refusal" in answer:
        raise Refusal(*answer["refusal"])
    return answer["value"]


def _work_and_tell(person: "pwd.struct_passwd", work: "Callable[[], Any]", writer: int, seconds: float) -> None:
    """The child: it never returns."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + 1)
        become(person)
        answer: "dict[str, Any]" = {"value": work()}
    except Refusal as refusal:
        answer = {"refusal": [refusal.code, refusal.detail]}
    except BaseException as error:
        answer = {"refusal": ["internal", type(error).__name__]}
    try:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(answer).encode("utf-8"))
    finally:
        os._exit(0)


def become(person: "pwd.struct_passwd") -> None:
    """Give up root for good."""
    os.setgroups(os.getgrouplist(person.pw_name, person.pw_gid))
    os.setgid(person.pw_gid)
    os.setuid(person.pw_uid)
    if os.getresuid() != (person.pw_uid,) * 3 or person.pw_uid == 0:
        raise Refusal("internal", "the account could not be taken on")
    os.umask(0o077)
    os.chdir("/")


def _all_from(reader: int, deadline: float) -> "bytes | None":
    """All that is written into a pipe until it is closed; None if that takes too long."""
    parts: "list[bytes]" = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return None
        part = os.read(reader, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
