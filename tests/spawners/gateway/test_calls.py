"""Masters and the command queue on a real sshd: what survives, what is found again, what a malicious site can do."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.calls import AT_ONCE, Calls, SiteAway, request_id
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.masters import Master, MasterError
from spawners.gateway.protocol import GateRefusal, Jobs, Ping, Pong, Queue
from tests.support.gateway_rig import Rig, StandIn

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]


class Site:
    """A command master and the queue over it."""

    def __init__(self, rig: Rig, name: str = "andes", **seconds: float) -> None:
        self.rig = rig
        self.link: Link = rig.link(name)
        self.gate: StandIn = rig.gates[name]
        self.master = Master(self.link, MasterKind.COMMAND, rig.credentials(self.link))
        self.outcomes: list[tuple[str, str]] = []
        self.calls = Calls(
            self.master,
            self.link.command_words(MasterKind.COMMAND),
            observe=lambda verb, outcome, _seconds: self.outcomes.append((verb, outcome)),
            seconds=seconds,
        )

    async def ping(self) -> Pong:
        return await self.calls.ask(Ping(id=request_id()), Pong)

    async def pid(self) -> int:
        assert await self.master.find()
        assert self.master.pid is not None
        return self.master.pid


@pytest_asyncio.fixture
async def site(rig: Rig) -> AsyncIterator[Site]:
    made = Site(rig)
    yield made
    await made.master.end()


async def test_a_gate_answers_through_a_master_that_is_started_when_it_is_needed(site: Site) -> None:
    assert not await site.master.find()
    assert (await site.ping()).gate_version == "stand-in"
    first = await site.pid()
    await site.ping()
    assert await site.pid() == first
    assert site.outcomes == [("ping", "ok")] * 2


async def test_a_refusal_of_the_gate_is_told_as_one(site: Site) -> None:
    site.gate.behave("refuses")
    with pytest.raises(GateRefusal, match="not-mapped: nobody knows this account"):
        await site.ping()
    assert site.outcomes == [("ping", "refused")]


async def test_a_master_outlives_the_process_that_started_it_and_is_found_again(rig: Rig, site: Site) -> None:
    started = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", STARTER, str(site.link.folder), site.link.settings.model_dump_json(),
         str(rig.sshd["andes"].host_key_file)],
        cwd=Path(__file__).parents[3], check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert started.returncode == -signal.SIGKILL, started.stderr
    assert await site.master.find()
    pid = await site.pid()
    assert os.getsid(pid) != os.getsid(0)
    assert not await site.master.ensure()
    await site.ping()
    assert await site.pid() == pid


async def test_a_killed_master_is_started_anew_and_the_request_answered(site: Site) -> None:
    await site.ping()
    first = await site.pid()
    os.kill(first, signal.SIGKILL)
    assert (await site.ping()).dialect == "slurm"
    assert await site.pid() != first


async def test_a_master_that_dies_under_a_request_is_no_answer(site: Site) -> None:
    await site.ping()
    site.gate.behave("slow")
    asked = asyncio.create_task(site.ping())
    await asyncio.sleep(0.3)
    os.kill(await site.pid(), signal.SIGKILL)
    assert (await asked).dialect == "slurm"  # nothing had come back, so it was asked again


async def test_a_half_open_link_is_found_by_a_ping_and_cut(rig: Rig) -> None:
    site = Site(rig, ping=1.0, queue=1.0)
    await site.ping()
    first = psutil.Process(await site.pid())
    rig.sshd["andes"].freeze()
    assert await site.master.find(), "ssh itself believes in the link"
    with pytest.raises(SiteAway, match="did not answer"):
        await site.ping()
    assert first.status() == psutil.STATUS_ZOMBIE if first.is_running() else True
    assert (await site.ping()).dialect == "slurm"
    await site.master.end()


async def test_a_slow_gate_does_not_cost_the_connection(rig: Rig) -> None:
    site = Site(rig, queue=0.5)
    await site.ping()
    first = await site.pid()
    site.gate.behave("slow")
    with pytest.raises(SiteAway) as caught:
        await site.calls.ask(Queue(id=request_id()), Jobs)
    assert caught.value.was_sent
    assert await site.pid() == first
    await site.master.end()


@pytest.mark.parametrize("behaviour", ["endless", "huge", "noisy"])
async def test_an_endless_answer_is_cut_and_memory_stays_flat(site: Site, behaviour: str) -> None:
    await site.ping()
    own = psutil.Process()
    before = own.memory_info().rss
    site.gate.behave(behaviour)
    with pytest.raises(SiteAway, match="cut off"):
        await site.ping()
    assert own.memory_info().rss - before < 64 * 2**20
    site.gate.behave("well")
    assert (await site.ping()).dialect == "slurm"


@pytest.mark.parametrize("behaviour", ["garbage", "crash"])
async def test_what_is_no_answer_of_a_gate_is_not_believed(site: Site, behaviour: str) -> None:
    site.gate.behave(behaviour)
    with pytest.raises(SiteAway, match="no answer of a gate") as caught:
        await site.ping()
    assert caught.value.was_sent
    assert site.outcomes == [("ping", "away")]


async def test_no_more_than_eight_run_at_once_and_all_are_answered(site: Site) -> None:
    site.gate.behave("slow")
    await site.master.ensure()
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            words = [each.info["cmdline"] or [""] for each in psutil.process_iter(["cmdline"])]
            running = [each for each in words if "python3" in each[0] and str(site.gate.command) in each]
            most = max(most, len(running))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(*(site.ping() for _ in range(AT_ONCE + 4)))
    watching.cancel()
    assert len(answers) == AT_ONCE + 4
    assert 1 < most <= AT_ONCE


async def test_who_comes_when_too_many_wait_is_turned_away_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.calls.waiting = 64
    with pytest.raises(SiteAway, match="wait for this site already") as caught:
        await site.ping()
    assert not caught.value.was_sent


async def test_a_site_with_another_host_key_is_not_signed_in_to(rig: Rig) -> None:
    site = Site(rig)
    other = Master(
        site.link, MasterKind.COMMAND, rig.credentials(site.link, host_key_file=Path(f"{site.link.folder}/ca.pub"))
    )
    with pytest.raises(MasterError, match="Host key verification failed"):
        await other.ensure()
    assert site.gate.requests() == []


async def test_a_site_that_is_not_there_is_away(rig: Rig) -> None:
    site = Site(rig)
    login = site.link.settings.login.model_copy(update={"port": 1})
    settings = site.link.settings.model_copy(update={"login": login})
    link = Link(hub="hub", site="andes", settings=settings, folder=site.link.folder)
    with pytest.raises(MasterError, match="refused"):
        await Master(link, MasterKind.COMMAND, rig.credentials(link)).ensure()


async def test_who_finds_no_place_to_begin_a_connection_in_time_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, places = rig.link("andes"), asyncio.Semaphore(1)
    master = Master(link, MasterKind.COMMAND, rig.credentials(link), places=places)
    monkeypatch.setattr("spawners.gateway.masters._PLACE_SECONDS", 0.2)
    await places.acquire()
    with pytest.raises(MasterError, match="too many connections to andes"):
        await master.ensure()
    places.release()
    monkeypatch.undo()
    assert await master.ensure()
    await master.end()
    await asyncio.wait_for(places.acquire(), 1)


async def test_the_start_of_a_master_needs_a_certificate(rig: Rig, tmp_path: Path) -> None:
    link = rig.link("andes")
    credentials = rig.credentials(link)
    credentials._authority = CertificateAuthority(tmp_path)
    with pytest.raises(MasterError, match="nbfed ca init"):
        await Master(link, MasterKind.COMMAND, credentials).ensure()


async def test_without_ssh_it_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SiteAway, match="No such file") as caught:
        await site.ping()
    assert not caught.value.was_sent
    assert (await site.master.reach("127.0.0.2", 1024, seconds=1)).reached is None
    monkeypatch.undo()


async def test_a_socket_that_a_dead_master_left_is_no_obstacle(site: Site) -> None:
    await site.ping()
    pid = await site.pid()
    os.kill(pid, signal.SIGKILL)
    assert site.link.control(MasterKind.COMMAND).exists()
    fresh = Site(site.rig)
    assert await fresh.master.ensure()
    assert await fresh.pid() != pid


STARTER = """
import asyncio, os, signal, sys
from pathlib import Path
from federation.clock import system_clock
from federation.settings import BatchSite
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.credentials import Credentials
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.masters import Master

folder, settings, keys = Path(sys.argv[1]), BatchSite.model_validate_json(sys.argv[2]), Path(sys.argv[3])
link = Link(hub="hub", site="andes", settings=settings, folder=folder)
own = Credentials(link, CertificateAuthority(folder), minutes=5, host_key_file=keys, clock=system_clock)
asyncio.run(Master(link, MasterKind.COMMAND, own).ensure())
os.kill(os.getpid(), signal.SIGKILL)
"""
