"""Default quota in words that people read."""

from decimal import Decimal

from federation.i18n import decimal, gettext

__all__ = ["each_period"]


def _(message: str) -> str:
    return message


_PERIODS = {
    "day": _("{amount} unit-hours each day"),
    "week": _("{amount} unit-hours each week"),
    "month": _("{amount} unit-hours each month"),
    "year": _("{amount} unit-hours each year"),
}


def each_period(amount_hours: Decimal | float, period: str) -> str:
    """`100 unit-hours each month`, in the present language."""
    return gettext(_PERIODS[period]).format(amount=decimal(float(amount_hours)))
