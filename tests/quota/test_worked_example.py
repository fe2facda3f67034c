"""The example of docs/explanation/how-quota-works.md happens on a real ledger as it is told, figure by figure."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from federation.database import Database
from quota.amounts import from_unit_hours, to_unit_hours
from quota.answers import Admitted
from quota.owners import owner_of
from quota.settings import DefaultGrant
from quota.statement import Standing
from spawners.sessions import Server
from tests.support.books import MINUTE, discrepancies
from tests.support.fakes import HUB, Installation
from vetting.placement import Wish

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "how-quota-works.md"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DEFAULT = DefaultGrant(amount_hours=100, period="month", sessions=2, flavours=["small", "medium"])


def told() -> list[tuple[Decimal, ...]]:
    """Granted, used, set aside and left of each step of the page's table."""
    rows = re.findall(r"^\| \d+ \|.*$", PAGE.read_text(), re.MULTILINE)
    return [tuple(Decimal(cell.strip()) for cell in row.strip("|").split("|")[-4:]) for row in rows]


def at(month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


class Story:
    """Inês and the books."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.ines = house.member("ines")
        self.books, self.ledger, self.clock = house.books, house.ledger, house.clock

    def start(self, attempt: str, flavour: str) -> None:
        server = Server(HUB, self.ines.user_name, "")
        wish = Wish(flavour=flavour, environment="python")
        assert isinstance(self.house.admission.reserve(attempt, self.ines, server, wish, "here"), Admitted)
        self.ledger.started(attempt, started_at=self.clock())

    def end(self, attempt: str, started_at: datetime) -> None:
        self.ledger.settle(attempt, started_at=started_at, ended_at=self.clock(), source="launcher")

    def steps(self) -> Iterator[None]:
        """One for each row of the table."""
        self.clock.now = at(3, 2, 9)
        self.house.admission.give_default(self.ines)
        yield
        self.start("medium", "medium")
        yield
        self.clock.now = at(3, 2, 9, 30)
        self.ledger.renew("medium", until=at(3, 2, 10, 15))
        yield
        self.clock.now = at(3, 2, 9, 59) + timedelta(seconds=59.2)
        self.end("medium", at(3, 2, 9))
        yield
        self.clock.now = at(3, 3)
        self.books.grant(from_unit_hours(20), owner_of(self.ines), lasts=at(3, 16) - at(3, 3))
        yield
        self.clock.now = at(3, 4)
        self.start("small", "small")
        self.ledger.renew("small", until=at(3, 4, 10))
        self.clock.now = at(3, 4, 10)
        self.end("small", at(3, 4))
        yield
        self.clock.now = at(3, 16)
        yield
        self.clock.now = at(3, 17)
        self.ledger.correct("medium", amount=-from_unit_hours(4), key="broken", actor="olga", reason="a broken node")
        yield
        self.clock.now = at(3, 31, 23, 30)
        self.start("late", "small")
        yield
        self.clock.now = at(4, 1)
        self.house.admission.give_default(self.ines)
        yield
        self.clock.now = at(4, 1, 0, 15)
        self.end("late", at(3, 31, 23, 30))
        yield


def figures(standing: Standing) -> tuple[Decimal, ...]:
    return tuple(to_unit_hours(getattr(standing, name)) for name in ("granted", "used", "held", "left"))


@pytest.fixture
def story(database: Database) -> Iterator[Story]:
    yield Story(Installation(database, defaults={"T1": DEFAULT}))
    assert discrepancies(database) == []


def test_the_example_of_the_page_is_what_happens(story: Story) -> None:
    happened = [figures(story.books.standing(owner_of(story.ines))) for _ in story.steps()]
    assert happened == told()
    assert len(happened) == 11


def test_what_was_used_through_an_outage_is_owed_and_paid_from_what_comes_next(story: Story) -> None:
    assert "1 is paid, 1 is owed. He is given 5 more: 4 are left." in PAGE.read_text()
    rui = owner_of(story.house.books.person("rui"))
    story.books.grant(from_unit_hours(1), rui)
    hold = story.books.hold(rui, lease=45 * MINUTE)
    story.books.settle(hold, 2 * HOUR)
    standing = story.books.standing(rui)
    assert (standing.left, standing.owed) == (0, from_unit_hours(1))
    story.books.grant(from_unit_hours(5), rui)
    standing = story.books.standing(rui)
    assert (standing.left, standing.owed) == (from_unit_hours(4), 0)
