"""People are told when 80 % and when all of their quota is spent, held and owed included."""

from datetime import UTC, datetime

import pytest

from quota.notices import threshold_reached
from quota.page import GrantStanding
from quota.statement import Standing

BEGIN, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


def grant(amount: int, left: int, *, active: bool = True) -> GrantStanding:
    return GrantStanding(
        id=str(amount), amount=amount, left=left, starts_at=BEGIN, ends_at=END, active=active, taken_in=True,
        is_default=True, reason="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("standing", "percent"),
    [
        pytest.param(Standing(), None, id="no-grant"),
        pytest.param(Standing(grants=(grant(100, 100),)), None, id="nothing-used"),
        pytest.param(Standing(grants=(grant(100, 21),)), None, id="just-below-80"),
        pytest.param(Standing(grants=(grant(100, 20),)), 80, id="80"),
        pytest.param(Standing(grants=(grant(100, 60),), held=40), 80, id="80-with-what-is-held"),
        pytest.param(Standing(grants=(grant(100, 1),)), 80, id="just-below-100"),
        pytest.param(Standing(grants=(grant(100, 0),)), 100, id="100"),
        pytest.param(Standing(grants=(grant(100, 30),), held=20, owed=10), 100, id="100-with-what-is-held-and-owed"),
        pytest.param(Standing(grants=(grant(100, 0), grant(400, 400))), None, id="another-grant-is-full"),
        pytest.param(Standing(grants=(grant(100, 100, active=False),)), None, id="a-grant-that-is-over"),
    ],
)
def test_the_highest_threshold_that_is_reached(standing: Standing, percent: int | None) -> None:
    assert threshold_reached(standing) == percent
