"""Programs are bounded in time and in what they say, whoever holds their pipes."""

import psutil
import pytest

from spawners.gateway.processes import TooMuch, TooSlow, run, said_until
from tests.support.gateway_rig import wait_until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def sleepers(mark: str) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cmdline"]) if mark in " ".join(each.info["cmdline"] or [])]


async def test_a_program_is_given_its_input_and_heard_to_its_end() -> None:
    done = await run(sh("cat; echo oops >&2; exit 3"), stdin=b"x" * 200_000, seconds=20, most_bytes=200_000)
    assert (done.code, len(done.out), done.error) == (3, 200_000, "oops")


async def test_one_that_does_not_read_its_input_is_heard_all_the_same() -> None:
    assert (await run(sh("echo no"), stdin=b"x" * 1_000_000, seconds=20)).out == b"no\n"


@pytest.mark.parametrize("stream", ["", ">&2"])
async def test_one_that_says_too_much_is_killed(stream: str) -> None:
    with pytest.raises(TooMuch):
        await run(sh(f"exec yes nbfed-{stream[-1:]}endless {stream}"), seconds=60)
    wait_until(lambda: not sleepers(f"yes nbfed-{stream[-1:]}endless"))


async def test_exactly_as_much_as_it_may_say_is_taken() -> None:
    assert len((await run(sh("head -c 1000 /dev/zero"), seconds=20, most_bytes=1000)).out) == 1000
    with pytest.raises(TooMuch):
        await run(sh("head -c 1001 /dev/zero"), seconds=20, most_bytes=1000)


async def test_nobody_waits_for_pipes_that_another_process_holds() -> None:
    """A master holds those of its clients. asyncio's own wait would last as long as the other process."""
    with pytest.raises(TooSlow):
        await run(sh("sleep 3333 & exec sleep 3334"), seconds=0.2)
    wait_until(lambda: not sleepers("sleep 3334"))
    for each in sleepers("sleep 3333"):
        each.kill()


async def test_it_is_heard_until_it_says_what_is_waited_for() -> None:
    assert await said_until(sh("echo 'well: yes' >&2; exec sleep 3335"), ("no", "yes"), seconds=20) == (
        "yes",
        "well: yes\n",
    )
    wait_until(lambda: not sleepers("sleep 3335"))
    assert await said_until(sh("echo other >&2"), ("no", "yes"), seconds=20) == (None, "other\n")
    with pytest.raises(TooSlow):
        await said_until(sh("exec sleep 3336"), ("no",), seconds=0.2)
    with pytest.raises(TooMuch):
        await said_until(sh("yes >&2"), ("no",), seconds=60)
