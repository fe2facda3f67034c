"""The gateway's client: what was done, what was refused, and what nobody knows, told apart."""

from pathlib import Path

import pytest

from federation.ids import new_id
from spawners.backends.base import Life
from spawners.gateway.answers import GatewayAway, GatewayRefused
from spawners.gateway.client import GatewayClient
from spawners.gateway.door import Door
from spawners.gateway.protocol import JobName, Resources
from tests.support.batch_system import BatchSystem, serving

RESOURCES = Resources(cpus=1, memory_mib=512, minutes=60)


@pytest.fixture
def system():
    with serving(held=True) as running:
        yield running


def submit(client: GatewayClient, attempt: str):
    return client.submit(
        "hpc", attempt=attempt, account="ana", secret="s" * 32, script="#!/bin/bash\n", resources=RESOURCES
    )


def test_a_job_from_submission_to_history(system: BatchSystem) -> None:
    client, attempt = system.client(), new_id()
    first, second = submit(client, attempt), submit(client, attempt)
    assert (first.existed, second.existed, second.job) == (False, True, first.job)
    assert system.jobs[attempt].resources == {"cpus": 1, "memory_mib": 512, "gpus": 0, "minutes": 60}
    assert client.job("hpc", attempt).life is Life.PENDING
    system.begin(attempt)
    assert [row.attempt for row in client.jobs("hpc").jobs] == [attempt]
    assert client.open_forward("hpc", attempt, node="c1", port=4242) == ("127.0.0.1", 4242)
    name = JobName(job=first.job, attempt=attempt, account="ana")
    assert client.cancel("hpc", name) is True
    assert client.cancel("hpc", name) is False
    client.close_forward("hpc", attempt)
    assert system.forwards == {}
    [row] = client.history("hpc", [name])
    assert (len(row.runs), row.state) == (1, "ended")
    assert client.hub_url("hpc") == system.hub_url
    assert client.sites()["hpc"].state == "ok"


@pytest.mark.parametrize(
    ("fault", "error", "code", "sent"),
    [
        pytest.param("away", GatewayAway, "breaker", False, id="site-was-not-asked"),
        pytest.param("silent", GatewayAway, "timeout", True, id="site-did-not-answer"),
        pytest.param("lost", GatewayAway, "gateway-silent", True, id="answer-lost"),
        pytest.param("limit", GatewayRefused, "limit", True, id="refused"),
    ],
)
def test_what_was_not_done_is_told_from_what_nobody_knows(
    system: BatchSystem, fault: str, error: type[Exception], code: str, sent: bool
) -> None:
    system.faults["submit"] = [fault]
    with pytest.raises(error) as raised:
        submit(system.client(), new_id())
    assert (raised.value.code, raised.value.sent) == (code, sent)
    assert bool(system.jobs) == (fault == "lost")


def test_a_gateway_that_is_not_there_was_not_asked(tmp_path: Path) -> None:
    with pytest.raises(GatewayAway) as raised:
        submit(GatewayClient(Door(tmp_path / "nothing.sock")), new_id())
    assert (raised.value.code, raised.value.sent) == ("gateway-away", False)


def test_an_answer_that_makes_no_sense_is_no_answer(system: BatchSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "answer", lambda *_: (200, ["x"]))
    client = system.client()
    for ask in (client.sites, lambda: client.job("hpc", new_id()), lambda: client.hub_url("hpc")):
        with pytest.raises(GatewayAway) as raised:
            ask()
        assert raised.value.code == "broken-answer"
