"""The hub's spawner, where no whole hub is needed: whether an attempt of before is gone on with."""

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from traitlets.config import Config

from federation.database import Database
from federation.errors import DATABASE_AWAY, Failure
from federation.persons import Person
from quota.errors import QUOTA_SPENT, SERVER_BUSY
from spawners.adoption import OpenAttempts
from spawners.context import Context
from spawners.federated import FederatedSpawner
from spawners.refusal import Refusal
from spawners.tables import EndReason, SessionState
from tests.support.books import discrepancies
from tests.support.fakes import HUB, Installation
from vetting.placement import Wish


@pytest.fixture
def house(database: Database) -> Any:
    """An installation whose books add up at the end of the test."""
    yield Installation(database)
    assert discrepancies(database) == []


@pytest.fixture
def ana(house: Installation) -> Person:
    return house.member()


@pytest.fixture
def spawner(house: Installation, ana: Person, monkeypatch: pytest.MonkeyPatch) -> FederatedSpawner:
    """Of her default server, in a hub that was just started."""
    spawner = FederatedSpawner(config=Config(), user=SimpleNamespace(name=ana.user_name))
    context = Context(
        hub=HUB, database=house.database, ledger=house.ledger, admission=house.admission, sessions=house.sessions,
        open_attempts=OpenAttempts(house.sessions, HUB), backends=house.backends, ask_url="/ask", clock=house.clock,
    )  # fmt: skip
    monkeypatch.setattr(FederatedSpawner, "context", context, raising=False)
    spawner.wish = Wish(flavour="small", environment="python")
    return spawner


def test_an_attempt_that_was_not_exchanged_is_gone_on_with(
    house: Installation, ana: Person, spawner: FederatedSpawner
) -> None:
    session = house.submit(ana)
    assert spawner._attempt([7]).attempt == session.attempt
    assert house.again(session).token_ids == (7,)


def test_an_attempt_whose_hold_was_closed_meanwhile_is_ended_and_a_new_one_is_made(
    house: Installation, ana: Person, spawner: FederatedSpawner
) -> None:
    session = house.submit(ana)
    house.backend.runs(session.attempt)
    house.ledger.release(session.attempt, reason="a mistake")
    new = spawner._attempt([])
    assert new.attempt != session.attempt
    assert (new.state, house.books.row(new.attempt).state) == (SessionState.INTENT, "held")
    ended = house.again(session)
    assert (ended.state, ended.end_reason) == (SessionState.ENDED, EndReason.STOPPED)
    assert house.backend.ended == [(session.attempt, 7)]


def test_an_attempt_at_a_site_that_is_not_configured_any_more_is_neither_gone_on_with_nor_doubled(
    house: Installation, ana: Person, spawner: FederatedSpawner
) -> None:
    house.policy.sites["gone"] = house.policy.sites["here"]
    session = house.submit(ana, site="gone")
    del house.policy.sites["gone"]
    with pytest.raises(Failure) as refused:
        spawner._attempt([])
    assert refused.value.problem is SERVER_BUSY
    assert house.again(session).ended_at is None


@pytest.mark.parametrize("problem", [QUOTA_SPENT, DATABASE_AWAY], ids=lambda problem: problem.code)
def test_a_refusal_is_counted_by_its_code_where_the_hub_shows_its_metrics(problem: Any) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("nbfed_refusals_total", {"code": problem.code}) or 0

    before = count()
    figures = {"limit": 1, "used": 1, "held": 0, "needed": 1} if problem is QUOTA_SPENT else {}
    Refusal(Failure(problem, figures), "/ask")
    assert count() == before + 1
