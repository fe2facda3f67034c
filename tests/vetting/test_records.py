"""What is recorded of a person: what counts is read, what ended is not, and each decision has its audit row."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from federation.audit import AuditTable
from federation.database import Database
from federation.terms import Acceptance, accept
from vetting.decisions import admit, end_admission, end_evidence, record_evidence, restore, suspend
from vetting.mappings import Event, ask, change
from vetting.recorded import Evidence, MappingState, Recorded, Suspension
from vetting.records import recorded_of

NOW = datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)
BY: dict[str, Any] = {"person_id": "p", "by": "cli:olga", "now": NOW}


@pytest.fixture
def do(database: Database) -> Callable[..., Any]:
    """One decision in a transaction of its own."""

    def act(work: Callable[..., Any], **options: Any) -> Any:
        with database.write() as connection:
            return work(connection, **{**BY, **options})

    return act


@pytest.fixture
def recorded(database: Database) -> Callable[..., Recorded]:
    def read(person: str = "p") -> Recorded:
        with database.read() as connection:
            return recorded_of(connection, person)

    return read


def audit(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(AuditTable.__table__).order_by(AuditTable.seq)))


def everything(connection: Connection) -> None:
    accept(connection, person_id="p", version="1", language="pt", now=NOW)
    record_evidence(connection, what="a letter", ends_at=NOW + DAY, **BY)
    admit(connection, tier="T1", reason="known", **BY)
    suspend(connection, reason="Mining.", **BY)
    ask(connection, site="hpc", account="ana", **BY)
    change(connection, site="hpc", event=Event.ACCEPT, **BY)
    ask(connection, site="other", account="ana", **BY)


def test_of_nobody_nothing_is_recorded(recorded: Callable[..., Recorded]) -> None:
    assert recorded() == Recorded()


def test_everything_that_counts_is_read_in_one_statement(database: Database) -> None:
    with database.write() as connection:
        everything(connection)
    statements = []
    with database.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
        found = recorded_of(connection, "p")
        assert recorded_of(connection, "q") == Recorded()
    assert found == Recorded(
        acceptances=(Acceptance(version="1", language="pt", at=NOW),),
        evidence=(Evidence(ends_at=NOW + DAY),),
        mappings={"hpc": MappingState.ACCEPTED, "other": MappingState.ASKED},
        admitted=frozenset({"T1"}),
        suspended=Suspension(since=NOW, reason="Mining."),
    )
    assert len(statements) == 2


def test_a_suspension_is_ended_and_can_come_again(
    database: Database, do: Callable[..., Any], recorded: Callable[..., Recorded]
) -> None:
    assert not do(restore, reason="?")
    assert do(suspend, reason="Mining.")
    assert not do(suspend, reason="Again.")
    assert recorded().suspended == Suspension(since=NOW, reason="Mining.")
    assert recorded("q").suspended is None
    assert do(restore, reason="It was not.")
    assert not do(restore, reason="Again.")
    assert recorded().suspended is None
    assert do(suspend, reason="It was.", now=NOW + DAY)
    assert recorded().suspended == Suspension(since=NOW + DAY, reason="It was.")
    assert [(row.act, row.target, row.reason) for row in audit(database)] == [
        ("operator:person:suspended", "person:p", "Mining."),
        ("operator:person:restored", "person:p", "It was not."),
        ("operator:person:suspended", "person:p", "It was."),
    ]


def test_admissions_are_to_each_tier_and_can_be_taken_back(
    database: Database, do: Callable[..., Any], recorded: Callable[..., Recorded]
) -> None:
    assert do(admit, tier="T1", reason="known")
    assert not do(admit, tier="T1", reason="again")
    assert do(admit, tier="T2", reason="known, too")
    assert recorded().admitted == {"T1", "T2"}
    assert do(end_admission, tier="T1", reason="moved")
    assert not do(end_admission, tier="T1", reason="again")
    assert recorded().admitted == {"T2"}
    assert do(admit, tier="T1", reason="came back")
    assert recorded().admitted == {"T1", "T2"}
    assert [row.details for row in audit(database)] == [{"tier": tier} for tier in ("T1", "T2", "T1", "T1")]


def test_evidence_is_ended_before_its_time_but_only_of_the_person_it_is_of(
    database: Database, do: Callable[..., Any], recorded: Callable[..., Recorded]
) -> None:
    one = do(record_evidence, what="a letter", ends_at=NOW + DAY)
    do(record_evidence, what="a staff page", ends_at=NOW + 2 * DAY)
    assert not do(end_evidence, evidence=one, reason="forged", person_id="q")
    assert not do(end_evidence, evidence="?", reason="forged")
    assert do(end_evidence, evidence=one, reason="forged")
    assert not do(end_evidence, evidence=one, reason="again")
    assert recorded().evidence == (Evidence(ends_at=NOW + 2 * DAY),)
    assert [row.act.split(":")[2] for row in audit(database)] == ["recorded", "recorded", "ended"]


def test_what_the_evidence_was_stays_out_of_the_audit_trail(database: Database, do: Callable[..., Any]) -> None:
    do(record_evidence, what="a letter of her mother", ends_at=NOW + DAY)
    (row,) = audit(database)
    assert "mother" not in str(tuple(row))


@pytest.mark.parametrize(
    ("work", "options"),
    [
        pytest.param(suspend, {"reason": "r"}, id="suspend"),
        pytest.param(admit, {"tier": "T1", "reason": "r"}, id="admit"),
        pytest.param(record_evidence, {"what": "w", "ends_at": NOW + DAY}, id="evidence"),
        pytest.param(ask, {"site": "hpc", "account": "ana"}, id="mapping"),
    ],
)
def test_a_decision_that_is_not_committed_leaves_neither_itself_nor_an_audit_row(
    database: Database, recorded: Callable[..., Recorded], work: Callable[..., Any], options: dict[str, Any]
) -> None:
    class Crash(Exception):
        pass

    def crashes() -> None:
        with database.write() as connection:
            work(connection, **BY, **options)
            raise Crash

    with pytest.raises(Crash):
        crashes()
    assert recorded() == Recorded()
    assert audit(database) == []
