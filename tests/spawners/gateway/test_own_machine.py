"""A gateway with a machine or a pod of its own: asked at an address, by whoever shows its token, and its forwards begin
there. A new pod has none of the connections of the one before.
"""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from spawners.gateway.answers import GatewayAway
from spawners.gateway.client import GatewayClient
from spawners.gateway.door import Door
from spawners.gateway.link import MasterKind
from spawners.gateway.protocol import Resources
from tests.spawners.gateway.test_gateway import Session, in_order
from tests.support.gateway_rig import Rig, RunningGateway, running_gateway, wait_until
from tests.support.sshd import NODES

pytestmark = [pytest.mark.service, pytest.mark.timeout(200)]

HOST = "127.0.0.7"
"""Stands for the name of its service: another address of this machine than loopback's usual one."""


@pytest.fixture(scope="module")
def gateway(_rig: Rig, tables: Path) -> Iterator[RunningGateway]:
    with running_gateway(_rig, tables, HOST) as running:
        wait_until(lambda: in_order(running), told=lambda: running.log)
        yield running


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer another"}, {"Authorization": "a-token-of-tests"}])
@pytest.mark.parametrize("path", ["sites", "metrics", "sites/andes/jobs"])
def test_who_does_not_show_the_token_is_told_nothing(
    gateway: RunningGateway, path: str, headers: dict[str, str]
) -> None:
    answer = httpx.get(f"{gateway.door.url}/{path}", headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert "andes" not in answer.text
    assert httpx.get(f"{gateway.door.url}/healthz", trust_env=False).status_code == 200, "whoever looks after pods"


def test_a_wrong_token_is_an_outage_and_says_nothing_of_a_site(gateway: RunningGateway) -> None:
    client = GatewayClient(Door(gateway.socket, gateway.door.url, "another"))
    with pytest.raises(GatewayAway) as raised:
        client.submit(
            "andes", attempt=str(uuid4()), account="ana", secret="s", script="#!/bin/sh\n",
            resources=Resources(cpus=1, memory_mib=1, minutes=9),
        )  # fmt: skip
    assert raised.value.sent is False


def test_it_has_no_socket_and_says_where_it_is(gateway: RunningGateway) -> None:
    assert not gateway.socket.exists()
    done = gateway.nbfed("gateway", "status")
    assert done.returncode == 0, done.stderr
    assert "andes" in done.stdout


def test_forwards_begin_at_its_address_and_are_there_again_when_another_pod_takes_its_place(
    gateway: RunningGateway,
) -> None:
    session = Session()
    try:
        attempt = str(uuid4())
        address = gateway.client.open_forward("andes", attempt, node=NODES[0], port=session.port)
        assert address[0] == HOST
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(b"one\n")
            assert connection.recv(100)
        masters = [gateway.master_pid(site, kind) for site in gateway.rig.sshd for kind in MasterKind]
        gateway.kill()
        for pid in masters:
            os.kill(pid, signal.SIGKILL)
        gateway.start()

        def answers() -> bool:
            try:
                with socket.create_connection(address, timeout=2) as again:
                    again.sendall(b"two\n")
                    return bool(again.recv(100))
            except OSError:
                return False

        wait_until(answers, told=lambda: gateway.log)
        assert gateway.client.open_forward("andes", attempt, node=NODES[0], port=session.port) == address
    finally:
        session.server.close()
