"""Forwards on a real sshd: only to the site's own nodes, tried before they are given out, found again on their ports."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import select

from federation.clock import system_clock
from federation.database import Database
from spawners.gateway.book import Forward, ForwardBook, PortsTaken
from spawners.gateway.door import Door
from spawners.gateway.forwards import ForwardRefused, Forwards, NotReached
from spawners.gateway.link import MasterKind
from spawners.gateway.masters import Master
from spawners.gateway.tables import ForwardTable
from tests.support.gateway_rig import Rig, wait_until
from tests.support.sshd import NODES, free_port, free_range

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]


class Ways:
    """Forwards of one site, as a gateway that just started has them."""

    def __init__(self, rig: Rig, database: Database, ports: range) -> None:
        link = rig.link("andes")
        self.master = Master(link, MasterKind.DATA, rig.credentials(link))
        self.book = ForwardBook(database, ports, system_clock)
        self.database = database
        # The site's PermitOpen lets nothing but the nodes through; federation.yaml has a third node that it forgot.
        nodes, at = frozenset({*NODES, "127.0.0.9"}), Door(Path("a-socket"))
        self.forwards = Forwards("andes", self.master, nodes, range(1024, 65_536), self.book, at)

    def rows(self) -> list[tuple[str, int]]:
        with self.database.read() as connection:
            return [(row.attempt, row.local_port) for row in connection.execute(select(ForwardTable.__table__))]


@pytest.fixture
def ports() -> range:
    return free_range(50)


@pytest_asyncio.fixture
async def ways(rig: Rig, database: Database, ports: range) -> AsyncIterator[Ways]:
    made = Ways(rig, database, ports)
    yield made
    await made.master.end()


@pytest.fixture
def session() -> Iterator[Callable[..., int]]:
    """Listens on a node and says its name to who connects; gives the port."""
    servers = list[socket.socket]()

    def listen(node: str = NODES[0], name: str = "session", port: int = 0) -> int:
        server = socket.create_server((node, port))
        servers.append(server)

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(name.encode())

        threading.Thread(target=greet, daemon=True).start()
        return int(server.getsockname()[1])

    yield listen
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def heard(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        return connection.makefile().read()


def attempt() -> str:
    return str(uuid4())


async def test_a_forward_leads_to_the_session(ways: Ways, session: Callable[..., int], ports: range) -> None:
    host, port = await ways.forwards.open(attempt(), NODES[0], session())
    assert host == "127.0.0.1"
    assert port in ports
    assert await asyncio.to_thread(heard, port) == "session"


async def test_the_same_again_is_the_same(ways: Ways, session: Callable[..., int]) -> None:
    one, target = attempt(), session()
    first = await ways.forwards.open(one, NODES[0], target)
    assert await ways.forwards.open(one, NODES[0], target) == first
    assert len(ways.rows()) == 1


async def test_a_job_that_was_started_again_elsewhere_keeps_its_port(ways: Ways, session: Callable[..., int]) -> None:
    one = attempt()
    first = await ways.forwards.open(one, NODES[0], session(NODES[0], "first"))
    assert await ways.forwards.open(one, NODES[1], session(NODES[1], "second")) == first
    assert await asyncio.to_thread(heard, first[1]) == "second"


async def test_a_closed_one_leads_nowhere_and_closing_twice_is_closing_once(
    ways: Ways, session: Callable[..., int]
) -> None:
    one = attempt()
    _, port = await ways.forwards.open(one, NODES[0], session())
    await ways.forwards.close(one)
    await ways.forwards.close(one)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(heard, port)
    assert ways.rows() == []


@pytest.mark.parametrize(
    ("node", "port"),
    [
        pytest.param("127.0.0.1", 8081, id="the-login-node"),
        pytest.param("10.0.0.1", 20_000, id="another-machine"),
        pytest.param("127.0.0.2", 22, id="a-port-of-the-system"),
        pytest.param("127.0.0.2:22 ", 20_000, id="words-for-ssh"),
        pytest.param("-oProxyCommand=x", 20_000, id="an-option"),
        pytest.param("", 20_000, id="nothing"),
    ],
)
async def test_a_gate_that_lies_about_node_or_port_gets_no_forward(ways: Ways, node: str, port: int) -> None:
    with pytest.raises(ForwardRefused, match="nothing was opened"):
        await ways.forwards.open(attempt(), node, port)
    assert ways.rows() == []
    assert not await ways.master.find(), "the site was not even asked"


async def test_a_forward_that_the_site_forbids_is_not_given_out_though_ssh_says_yes(
    ways: Ways, session: Callable[..., int]
) -> None:
    target = session("127.0.0.9")
    with pytest.raises(NotReached, match="refused by peer"):
        await ways.forwards.open(attempt(), "127.0.0.9", target)
    assert ways.rows() == []
    forward = Forward(attempt=attempt(), site="andes", node="127.0.0.9", port=target, local_port=free_port())
    assert (await ways.master.order("-O", "forward", *forward.words())).code == 0, "this is why it is tried first"


async def test_a_port_where_nobody_listens_is_not_given_out(ways: Ways) -> None:
    with pytest.raises(NotReached):
        await ways.forwards.open(attempt(), NODES[0], free_port())
    assert ways.rows() == []


async def test_a_port_that_something_else_has_here_is_not_used(
    ways: Ways, session: Callable[..., int], ports: range
) -> None:
    ways.book._ports = ports[:2]
    with socket.create_server(("127.0.0.1", ports[0])):
        for _ in range(3):  # chance takes the free one sometimes
            one = attempt()
            _, port = await ways.forwards.open(one, NODES[0], session())
            assert port == ports[1]
            await ways.forwards.close(one)


async def test_when_all_ports_are_taken_it_says_so(ways: Ways, session: Callable[..., int], ports: range) -> None:
    ways.book._ports = ports[:1]
    target = session()
    await ways.forwards.open(attempt(), NODES[0], target)
    with pytest.raises(PortsTaken, match="forward_ports"):
        await ways.forwards.open(attempt(), NODES[0], target)


async def test_after_a_restart_of_the_gateway_they_go_on_and_are_known(
    rig: Rig, ways: Ways, session: Callable[..., int], ports: range
) -> None:
    one, target = attempt(), session()
    address = await ways.forwards.open(one, NODES[0], target)
    later = Ways(rig, ways.database, ports)
    assert await later.master.find()
    assert address[1] in later.master.listening_ports()
    assert await later.forwards.restore() == 1
    assert await later.forwards.open(one, NODES[0], target) == address
    await later.forwards.close(one)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(heard, address[1])


async def test_after_the_master_died_they_are_made_anew_on_their_ports_and_a_busy_port_harms_none(
    ways: Ways, session: Callable[..., int]
) -> None:
    targets = [session(name=f"session {number}") for number in range(5)]
    attempts = [attempt() for _ in targets]
    found = [
        (await ways.forwards.open(one, NODES[0], target))[1] for one, target in zip(attempts, targets, strict=True)
    ]
    assert ways.master.pid is not None
    os.kill(ways.master.pid, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: not ways.master.is_up)
    with socket.create_server(("127.0.0.1", found[2])):
        await ways.master.ensure()
        assert await ways.forwards.restore() == 5
        assert list(ways.forwards.broken) == [attempts[2]]
        for number in (0, 1, 3, 4):
            assert await asyncio.to_thread(heard, found[number]) == f"session {number}"
    await ways.forwards.restore()
    assert await asyncio.to_thread(heard, found[2]) == "session 2"
    assert ways.forwards.broken == {}


async def test_fifty_sessions_are_opened_at_once(ways: Ways, session: Callable[..., int], ports: range) -> None:
    target = session()
    found = await asyncio.gather(*(ways.forwards.open(attempt(), NODES[0], target) for _ in range(50)))
    assert {port for _, port in found} == set(ports)


async def test_opening_and_closing_the_same_one_at_once_leaves_no_row_without_its_forward(
    ways: Ways, session: Callable[..., int]
) -> None:
    one, target = attempt(), session()
    await asyncio.gather(
        *(ways.forwards.open(one, NODES[0], target) for _ in range(3)),
        *(ways.forwards.close(one) for _ in range(3)),
        ways.forwards.restore(),
    )
    rows = ways.rows()
    assert {port for _, port in rows} == set(ways.master.listening_ports())
