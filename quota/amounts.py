"""Amounts of quota: whole milli-unit-seconds, never floats.

One unit is what a flavour of weight 1 uses; one hour of it is a unit-hour, 3,600,000 milli-unit-seconds. People read
unit-hours; the books hold milli-unit-seconds, so that sums are exact and every weight with three decimals is whole.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from federation.clock import as_utc

__all__ = [
    "MILLI_UNIT_SECONDS_PER_UNIT_HOUR",
    "charge",
    "from_unit_hours",
    "run_seconds",
    "to_unit_hours",
    "weight_milli",
    "whole_seconds",
]

MILLI_UNIT_SECONDS_PER_UNIT_HOUR = 3_600_000


def weight_milli(weight: Decimal) -> int:
    """A flavour's weight in thousandths.

    Raises
    ------
    ValueError
        If it is not a positive number, or has more than three decimals.
    """
    scaled = _times(weight, 1000)
    if scaled is None or scaled <= 0:
        raise ValueError(f"a weight is positive and has at most three decimals, not {weight}")
    return scaled


def from_unit_hours(hours: Decimal | int) -> int:
    """Milli-unit-seconds for an amount of unit-hours.

    Raises
    ------
    ValueError
        If it is not a finite number, or finer than one milli-unit-second.
    """
    amount = _times(Decimal(hours), MILLI_UNIT_SECONDS_PER_UNIT_HOUR)
    if amount is None:
        raise ValueError(f"{hours} unit-hours is not a whole number of milli-unit-seconds")
    return amount


def to_unit_hours(milli_unit_seconds: int) -> Decimal:
    """Unit-hours, for people; as exact as 28 digits are."""
    return Decimal(milli_unit_seconds) / MILLI_UNIT_SECONDS_PER_UNIT_HOUR


def whole_seconds(duration: timedelta) -> int:
    """A duration in seconds, rounded up: every second that was begun counts. Never negative."""
    microseconds = duration // timedelta(microseconds=1)
    return max(0, -(-microseconds // 1_000_000))


def run_seconds(started: datetime, ended: datetime) -> int:
    """How long a run took, in seconds that were begun.

    Raises
    ------
    ValueError
        If the end is before the start.
    """
    # In UTC: Python subtracts two moments of one zone by their wall clocks, summer time or not.
    started, ended = as_utc(started), as_utc(ended)
    if ended < started:
        raise ValueError(f"a session that ends ({ended}) before it starts ({started}) cannot be settled")
    return whole_seconds(ended - started)


def charge(weight: int, started: datetime, ended: datetime) -> int:
    """What a session costs: ceil(end - start in seconds) x weight in thousandths; nothing if the end comes first."""
    started, ended = as_utc(started), as_utc(ended)
    return run_seconds(started, max(started, ended)) * weight


def _times(number: Decimal, factor: int) -> int | None:
    """The product, where it is whole. By fractions: `Decimal` would round after 28 digits."""
    if not number.is_finite():
        return None
    product = Fraction(number) * factor
    return product.numerator if product.denominator == 1 else None
