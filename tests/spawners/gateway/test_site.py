"""What counts against a site, and what does not."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from federation.clock import system_clock
from federation.database import Database
from spawners.gateway.answers import SiteState
from spawners.gateway.book import ForwardBook
from spawners.gateway.calls import LINK_PING_SECONDS, Calls, SiteAway, request_id
from spawners.gateway.door import Door
from spawners.gateway.forwards import Forwards
from spawners.gateway.link import MasterKind
from spawners.gateway.masters import Master
from spawners.gateway.pace import BreakerState
from spawners.gateway.protocol import GateRefusal, Jobs, Ping, Pong, Queue
from spawners.gateway.site import Reverse, SiteGateway, Times
from tests.support.gateway_rig import Rig

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]


@pytest_asyncio.fixture
async def site(rig: Rig, database: Database) -> AsyncIterator[SiteGateway]:
    """One that nobody polls: the test asks."""
    link = rig.link("andes")
    command, data = (Master(link, kind, rig.credentials(link)) for kind in (MasterKind.COMMAND, MasterKind.DATA))
    book, at = ForwardBook(database, range(1), system_clock), Door(Path("a-socket"))
    forwards = Forwards("andes", data, frozenset(), range(1), book, at)
    calls = Calls(command, link.command_words(MasterKind.COMMAND))
    yield SiteGateway(
        "andes",
        command=command,
        data=data,
        calls=calls,
        data_calls=calls,
        forwards=forwards,
        reverse=Reverse("http://x"),
    )
    await command.end()


async def ping(site: SiteGateway) -> Pong:
    return await site.ask(Ping(id=request_id()), Pong)


async def test_a_refusal_is_an_answer_and_counts_for_nothing(site: SiteGateway, rig: Rig) -> None:
    rig.gates["andes"].behave("refuses")
    for _ in range(5):
        with pytest.raises(GateRefusal):
            await ping(site)
    assert site.breaker.state is BreakerState.CLOSED


async def test_a_scheduler_that_cannot_be_asked_counts(site: SiteGateway, rig: Rig) -> None:
    rig.gates["andes"].behave("refuses")
    for _ in range(2):
        with pytest.raises(GateRefusal):
            await site.ask(Queue(id=request_id()), Jobs)
    assert site.health().state is SiteState.OPEN_BREAKER


async def test_a_queue_that_is_full_says_nothing_about_the_site(site: SiteGateway) -> None:
    site._calls.waiting = 64
    for _ in range(5):
        with pytest.raises(SiteAway, match="wait for this site already"):
            await ping(site)
    assert site.breaker.state is BreakerState.CLOSED


async def test_while_it_is_left_alone_nobody_waits_and_then_one_question_decides(site: SiteGateway, rig: Rig) -> None:
    rig.gates["andes"].behave("garbage")
    for _ in range(2):
        with pytest.raises(SiteAway):
            await ping(site)
    asked = len(rig.gates["andes"].requests())
    with pytest.raises(SiteAway, match="left alone") as caught:
        await ping(site)
    assert not caught.value.was_sent
    assert len(rig.gates["andes"].requests()) == asked

    rig.gates["andes"].behave("slow")
    site.breaker = type(site.breaker)(failures=2, open_until=time.monotonic())
    first = asyncio.create_task(ping(site))
    await asyncio.sleep(0.1)
    assert site.breaker.state is BreakerState.HALF_OPEN
    with pytest.raises(SiteAway, match="left alone"):
        await ping(site)
    await first
    assert site.breaker.state is BreakerState.CLOSED
    assert len(rig.gates["andes"].requests()) == asked + 1


async def test_a_question_that_was_given_up_leaves_the_way_open_for_another(site: SiteGateway, rig: Rig) -> None:
    site.breaker = type(site.breaker)(failures=2, open_until=time.monotonic())
    rig.gates["andes"].behave("slow")
    given_up = asyncio.create_task(ping(site))
    await asyncio.sleep(0.3)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert site.breaker.state is BreakerState.OPEN
    rig.gates["andes"].behave("well")
    await ping(site)
    assert site.breaker.state is BreakerState.CLOSED


async def test_a_half_open_link_is_cut_soon_enough_for_sessions_to_answer_again_within_25_seconds() -> None:
    """The times are those of every gateway; that it is cut and made anew is seen in `test_gateway.py`."""
    times = Times()
    to_cut = times.tick + times.ping + times.silence + LINK_PING_SECONDS
    assert to_cut <= 20  # a new connection takes less than one second, and each forward some milliseconds
