"""Books that somebody changed by hand are found out, whatever was changed; books that nobody changed are right."""

from typing import Any

import pytest
from sqlalchemy import text

from federation.database import Database
from quota.answers import Payer, Place
from quota.capping import Gauges
from tests.support.books import ANN, ANNA, MINUTE, Books, discrepancies, open_books, units


@pytest.fixture
def eventful(database: Database) -> Books:
    """Books with everything that can be in them."""
    books = open_books(database)
    grant = books.grant(units(7200), lasts=60 * 24 * MINUTE)
    books.ledger.revoke(books.grant(units(600)), actor="olga", reason="")
    settled = books.hold()
    books.settle(settled, 10 * MINUTE)
    books.ledger.correct(settled, amount=-units(60), key="c", actor="olga", reason="")
    books.ledger.release(books.hold(), reason="never ran")
    books.running(server="one")
    books.grant(units(600), ANNA)
    books.settle(books.hold(ANNA), 20 * MINUTE)
    now = books.clock()
    books.ledger.change(
        grant, key="longer", amount=units(9000), starts_at=now, ends_at=now + 24 * 60 * MINUTE, actor="olga", reason=""
    )
    return books


def test_books_that_nobody_changed_are_right(eventful: Books) -> None:
    assert discrepancies(eventful.database) == []


def edit(books: Books, *statements: str) -> None:
    """As somebody does who has the database's password, and takes its triggers off first."""
    with books.database.write() as connection:
        if books.database.is_sqlite:
            for name in (
                connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            ):
                connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
        else:
            for table in ("audit", "entry", "grant", "rate_table"):
                connection.exec_driver_sql(f'ALTER TABLE "{table}" DISABLE TRIGGER USER')
        for statement in statements:
            assert connection.exec_driver_sql(statement).rowcount > 0


_LAST = "(SELECT max(seq) FROM entry)"
_COPY = (
    "INSERT INTO entry (account_id, hold_id, grant_id, kind, amount, at, actor, reason) "
    "SELECT {values} FROM entry WHERE seq = (SELECT min(seq) FROM entry WHERE kind = 'charge')"
)
_CHARGE = "seq = (SELECT min(seq) FROM entry WHERE kind = 'charge')"


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param(["UPDATE balance SET granted = granted + 1 WHERE used > 0"], id="more-granted"),
        pytest.param(["UPDATE balance SET used = used - 1 WHERE used > 0"], id="less-used"),
        pytest.param(["UPDATE balance SET held = held - 1 WHERE held > 0"], id="less-held"),
        pytest.param([f"UPDATE entry SET amount = amount - 1 WHERE {_CHARGE}"], id="an-entry-of-less"),
        pytest.param(
            [
                f"UPDATE entry SET amount = amount - 1000 WHERE {_CHARGE}",
                "UPDATE balance SET used = used - 1000 WHERE account_id = 1",
                "UPDATE grant_balance SET charged = charged - 1000 WHERE charged > 1000 AND account_id = 1",
                "UPDATE hold SET charged = charged - 1000 WHERE charged > 1000 AND account_id = 1",
            ],
            id="less-everywhere-but-in-the-times",
        ),
        pytest.param([f"UPDATE entry SET actor = 'nobody' WHERE {_CHARGE}"], id="another-actor"),
        pytest.param([f"UPDATE entry SET reason = 'a gift' WHERE {_CHARGE}"], id="another-reason"),
        pytest.param([f"UPDATE entry SET at = '2020-01-01 00:00:00' WHERE {_CHARGE}"], id="another-time"),
        pytest.param([f"UPDATE entry SET kind = 'overrun' WHERE {_CHARGE}"], id="another-kind"),
        pytest.param([f"UPDATE entry SET grant_id = NULL WHERE {_CHARGE}"], id="of-no-grant"),
        pytest.param([f"UPDATE entry SET hold_id = NULL WHERE {_CHARGE}"], id="of-no-hold"),
        pytest.param([f"UPDATE entry SET account_id = 2 WHERE {_CHARGE}"], id="of-another-account"),
        pytest.param([f"UPDATE entry SET key = 'k' WHERE {_CHARGE}"], id="with-another-key"),
        pytest.param([f"UPDATE entry SET seq = 1 + {_LAST} WHERE {_CHARGE}"], id="in-another-order"),
        pytest.param([f"DELETE FROM entry WHERE {_CHARGE}"], id="an-entry-gone"),
        pytest.param([f"DELETE FROM entry WHERE seq = {_LAST}"], id="the-last-entry-gone"),
        pytest.param(
            [_COPY.format(values="1, NULL, NULL, 'grant', 0, at, 'x', ''")],
            id="an-entry-of-nothing",
        ),
        pytest.param(["UPDATE hold SET charged = charged - 1000 WHERE charged > 1000"], id="a-cheaper-hold"),
        pytest.param(["UPDATE hold SET amount = amount + 1000 WHERE state = 'running'"], id="a-larger-hold"),
        pytest.param(["UPDATE hold SET weight_milli = 1 WHERE state = 'running'"], id="a-lighter-hold"),
        pytest.param(["UPDATE hold SET state = 'released' WHERE state = 'running'"], id="a-hold-that-was-let-go"),
        pytest.param(["UPDATE hold SET state = 'running' WHERE state = 'settled'"], id="a-hold-that-runs-again"),
        pytest.param(["UPDATE hold SET ended_at = started_at WHERE state = 'settled'"], id="a-shorter-run"),
        pytest.param(["UPDATE hold SET ended_at = NULL WHERE state = 'settled'"], id="a-run-without-end"),
        pytest.param(["UPDATE hold SET earlier_seconds = 1 WHERE state = 'settled'"], id="an-earlier-run"),
        pytest.param(["UPDATE hold SET account_id = 2 WHERE account_id = 1"], id="a-hold-of-another-account"),
        pytest.param(['UPDATE "grant" SET amount = amount + 1000'], id="a-larger-grant"),
        pytest.param(["UPDATE \"grant\" SET ends_at = '2099-01-01 00:00:00'"], id="a-longer-grant"),
        pytest.param(["UPDATE \"grant\" SET starts_at = '2000-01-01 00:00:00'"], id="an-earlier-grant"),
        pytest.param(['UPDATE "grant" SET priority = 9'], id="a-grant-of-another-priority"),
        pytest.param(['UPDATE "grant" SET revoked_at = NULL'], id="a-grant-that-counts-again"),
        pytest.param(["UPDATE grant_balance SET charged = charged - 1 WHERE charged > 0"], id="a-grant-paid-less"),
        pytest.param(["UPDATE grant_balance SET lapsed = lapsed - 1 WHERE lapsed > 0"], id="less-lapsed"),
        pytest.param(["UPDATE rate_table SET weight_milli = 1 WHERE flavour = 'small'"], id="another-weight"),
        pytest.param(["DELETE FROM audit WHERE act = 'operator:grant:added'"], id="an-audit-trail-with-gaps"),
    ],
)
def test_a_database_that_was_edited_by_hand_is_found_out(eventful: Books, edits: list[str]) -> None:
    edit(eventful, *edits)
    assert discrepancies(eventful.database) != []


def test_books_in_which_a_hold_was_charged_twice_are_found_out(eventful: Books) -> None:
    edit(eventful)
    with eventful.database.write() as connection:
        connection.exec_driver_sql("DROP INDEX uq_entry_terminal")
    edit(eventful, _COPY.format(values="account_id, hold_id, grant_id, kind, amount, at, actor, reason"))
    assert any("2 entries of the kind charge" in one for one in discrepancies(eventful.database))


def test_a_thousand_sessions_are_verified_like_one(database: Database) -> None:
    """More rows than are read at a time."""
    books = open_books(database)
    books.grant(units(10**7))
    wish: dict[str, Any] = {
        "payers": [Payer(owner=ANN)], "flavour": "small", "lease": MINUTE, "shortest": MINUTE, "gauges": Gauges(),
    }  # fmt: skip
    for n in range(600):
        place = Place(hub="hub", user="ann", server="", site="here")
        books.ledger.reserve(attempt=f"a{n}", place=place, **wish)
        books.settle(f"a{n}", MINUTE)
    assert discrepancies(database) == []
