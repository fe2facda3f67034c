"""How each failure is told over the gateway's interface: whether anything was done, and whether to try again."""

from typing import cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from federation.database import DatabaseUnavailable
from spawners.gateway.api import application
from spawners.gateway.book import PortsTaken
from spawners.gateway.calls import QueueFull, SiteAway
from spawners.gateway.forwards import ForwardRefused, NotReached
from spawners.gateway.masters import MasterError, NoPlace
from spawners.gateway.protocol import ErrorCode, GateRefusal
from spawners.gateway.served import Served

pytestmark = pytest.mark.asyncio


class Failing:
    """A site where everything fails in one way."""

    name = "andes"

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def close_forward(self, _attempt: str) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        pytest.param(SiteAway("gone", was_sent=False), 503, "site-away", True, id="nothing-reached-it"),
        pytest.param(SiteAway("gone", was_sent=True), 504, "site-away", True, id="nobody-knows"),
        pytest.param(QueueFull("64 wait", was_sent=False), 503, "site-away", True, id="too-many-wait"),
        pytest.param(MasterError("no route"), 503, "site-away", True, id="no-connection"),
        pytest.param(NoPlace("others are begun"), 503, "site-away", True, id="no-place-to-begin"),
        pytest.param(NotReached("nobody listens"), 503, "not-reached", True, id="not-reached"),
        pytest.param(PortsTaken("all taken"), 503, "ports-taken", True, id="ports-taken"),
        pytest.param(DatabaseUnavailable("away"), 503, "database-away", True, id="database-away"),
        pytest.param(ForwardRefused("no such node"), 403, "forward-refused", False, id="refused-here"),
        pytest.param(GateRefusal(ErrorCode.BLOCKED, "not you"), 403, "blocked", False, id="refused-there"),
        pytest.param(GateRefusal(ErrorCode.DRAINED, "not now"), 409, "drained", True, id="refused-for-now"),
        pytest.param(GateRefusal(ErrorCode.TIMEOUT, "slow"), 504, "timeout", True, id="the-gate-does-not-know"),
    ],
)
async def test_a_failure_says_what_was_done_and_whether_to_try_again(
    error: Exception, status: int, code: str, retry: bool
) -> None:
    app = application({"andes": cast("Served", Failing(error))}, CollectorRegistry())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client:
        answer = await client.delete("/sites/andes/forwards/00000000-0000-7000-8000-000000000000")
    told = answer.json()
    assert (answer.status_code, told["error"], told["retry"]) == (status, code, retry)
    assert told["detail"]
