"""Root is given up for good before anything is done for an account; what hangs or dies there costs a bounded time."""

import os
import pwd
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from spawners.gate import acting
from spawners.gate.acting import as_account, environment, run
from spawners.gate.refusal import Refusal
from tests.spawners.gate.recorded import Policy

NOBODY = pwd.getpwnam("nobody")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def refused(work: Callable[[], Any], seconds: float = 20) -> Refusal:
    with pytest.raises(Refusal) as caught:
        as_account(NOBODY, work, seconds)
    return caught.value


@root_only
def test_the_work_is_done_as_the_account_alone() -> None:
    def who() -> list[Any]:
        umask = os.umask(0)
        return [os.getresuid(), os.getresgid(), os.getgroups(), umask, os.getcwd()]

    uids, gids, groups, umask, folder = as_account(NOBODY, who)
    assert uids == [NOBODY.pw_uid] * 3
    assert gids == [NOBODY.pw_gid] * 3
    assert set(groups) <= set(os.getgrouplist("nobody", NOBODY.pw_gid))
    assert (umask, folder) == (0o077, "/")
    assert os.geteuid() == 0


@root_only
def test_there_is_no_way_back_to_root() -> None:
    def try_it() -> bool:
        try:
            os.setresuid(0, 0, 0)
        except PermissionError:
            return False
        return True

    assert as_account(NOBODY, try_it) is False


@root_only
def test_a_refusal_comes_back_and_anything_else_is_our_mistake() -> None:
    def refuse() -> None:
        raise Refusal("stage", "no room")

    said = refused(refuse)
    assert (said.code, said.detail) == ("stage", "no room")
    assert refused(lambda: 1 / 0).code == "internal"


@root_only
def test_work_that_hangs_or_dies_is_told_in_time() -> None:
    began = time.monotonic()
    assert refused(lambda: time.sleep(60), 0.3).code == "timeout"
    assert refused(lambda: os.kill(os.getpid(), signal.SIGKILL)).code == "internal"
    assert time.monotonic() - began < 30


@root_only
def test_nobody_is_left_behind() -> None:
    before = set(psutil.Process().children())
    for _ in range(3):
        assert as_account(NOBODY, lambda: 5) == 5
    assert set(psutil.Process().children()) == before


def test_a_command_sees_what_was_made_for_it_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("SLURM_JOB_NAME", "x")
    policy = Policy(path="/usr/bin:/bin", environment={"SLURM_CONF": "/etc/slurm.conf"})
    shown = run(["env"], environment(policy, NOBODY)).output.splitlines()  # type: ignore[arg-type]
    assert {line.partition("=")[0] for line in shown} == {
        "PATH", "LANG", "HOME", "USER", "LOGNAME", "SHELL", "SLURM_CONF"
    }  # fmt: skip
    assert f"HOME={NOBODY.pw_dir}" in shown


def test_a_command_that_hangs_is_missing_or_writes_too_much_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"PATH": "/usr/bin:/bin"}
    with pytest.raises(Refusal) as hung:
        run(["sleep", "60"], env, seconds=0.2)
    assert hung.value.code == "timeout"
    with pytest.raises(Refusal) as missing:
        run(["no-such-scheduler"], env)
    assert missing.value.code == "scheduler"
    monkeypatch.setattr(acting, "LARGEST_OUTPUT_CHARACTERS", 10)
    with pytest.raises(Refusal) as large:
        run(["echo", "x" * 11], env)
    assert large.value.code == "scheduler"


def test_arguments_are_no_shell() -> None:
    assert run(["echo", "$(id)", "; id", "`id`"], {"PATH": "/bin"}).output == "$(id) ; id `id`\n"
