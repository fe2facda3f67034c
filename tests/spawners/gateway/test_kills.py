"""Gateway, command master and data master are killed again and again, at chance moments: nothing is lost or doubled."""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from spawners.backends.base import Life
from spawners.gateway.answers import GatewayAway
from spawners.gateway.link import MasterKind
from spawners.gateway.protocol import Resources
from tests.support.gateway_rig import Rig, RunningGateway, running_gateway, wait_until
from tests.support.sshd import NODES

pytestmark = [pytest.mark.service]

VICTIMS = ("gateway", MasterKind.COMMAND, MasterKind.DATA)


@pytest.fixture
def session() -> Iterator[int]:
    """Says its name to who connects; its port on a node."""
    with socket.create_server((NODES[0], 0)) as server:

        def greet() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(b"session")

        threading.Thread(target=greet, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(3, id="3-each", marks=pytest.mark.timeout(240)),
        pytest.param(50, id="50-each", marks=[pytest.mark.long, pytest.mark.timeout(3000)]),
    ],
)
def test_whatever_is_killed_jobs_and_forwards_are_there_once(rig: Rig, tables: Path, session: int, times: int) -> None:
    seed = int(os.environ.get("NBFED_SEED") or random.randrange(2**32))
    print(f"NBFED_SEED={seed}")
    chance = random.Random(seed)
    victims = [victim for victim in VICTIMS for _ in range(times)]
    chance.shuffle(victims)
    attempts, addresses = list[str](), dict[str, tuple[str, int]]()
    with running_gateway(rig, tables) as gateway, ThreadPoolExecutor(1) as thread:
        for victim in victims:
            attempt = str(uuid4())
            attempts.append(attempt)
            started = thread.submit(started_at_last, gateway, attempt, session)
            time.sleep(chance.uniform(0, 0.5))
            kill(gateway, victim)
            addresses[attempt] = started.result(60)
            if len(addresses) > 8:  # as sessions that end
                gone = chance.choice(list(addresses))
                closed_at_last(gateway, gone)
                del addresses[gone]
        wait_until(lambda: all(answers(address) for address in addresses.values()), told=lambda: gateway.log)
        wait_until(lambda: {gateway.client.job("andes", each).life for each in attempts} == {Life.PENDING})
        assert len(set(addresses.values())) == len(addresses)
        rows = gateway.client.jobs("andes").jobs
        assert sorted(row.attempt for row in rows) == sorted(attempts), "none lost, none doubled"
        wait_until(lambda: gateway.client.sites()["andes"].forwards == len(addresses))


def started_at_last(gateway: RunningGateway, attempt: str, port: int) -> tuple[str, int]:
    """As the hub does: ask until it is done; every request may be made again."""
    while True:
        with suppress(GatewayAway):
            resources = Resources(cpus=1, memory_mib=1, minutes=9)
            facts = {"account": "ana", "secret": "a-secret-of-a-session", "script": "#!/bin/sh\n"}
            gateway.client.submit("andes", attempt=attempt, resources=resources, **facts)
            return gateway.client.open_forward("andes", attempt, node=NODES[0], port=port)
        time.sleep(0.1)


def closed_at_last(gateway: RunningGateway, attempt: str) -> None:
    while True:
        with suppress(GatewayAway):
            return gateway.client.close_forward("andes", attempt)
        time.sleep(0.1)


def kill(gateway: RunningGateway, victim: str) -> None:
    if victim == "gateway":
        gateway.kill()
        gateway.start()
    elif pid := gateway.master_pid("andes", MasterKind(victim)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=5) as connection:
            return connection.recv(100) == b"session"
    except OSError:
        return False
