"""What the commands about the books share: whose account, amounts in unit-hours, moments for programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import click

from federation.clock import months_later
from federation.commands import Shop, find_person, person_title, plain, when
from federation.i18n import decimal
from federation.persons import Person
from federation.settings import in_language
from quota.amounts import from_unit_hours, to_unit_hours
from quota.ledger import Ledger
from quota.owners import Owner, account_of, owner_of, pool_owner
from quota.settings import Pool

__all__ = [
    "DEFAULT_MONTHS",
    "SIGNED_UNIT_HOURS",
    "UNIT_HOURS",
    "BookShop",
    "Holder",
    "amount",
    "end_of_grant",
    "exact",
    "holder",
    "milli_unit_seconds",
    "stored",
    "unit_hours",
]

DEFAULT_MONTHS = 12
"""How long a grant lasts for which nobody says it."""
_MOST_UNIT_HOURS = 10_000_000


class BookShop(Shop, Protocol):
    """A shop that keeps the books."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def pools(self) -> Mapping[str, Pool]:
        """Those of federation.yaml."""

    @property
    def weights_milli(self) -> Mapping[str, int]:
        """The weights of federation.yaml in thousandths, by flavour."""


# --- amounts ------------------------------------------------------------------------------------------------


def milli_unit_seconds(text: str, *, signed: bool = False) -> int:
    """The amount that somebody wrote in unit-hours: above zero, or with `signed` other than zero; three decimals at most.

    Raises
    ------
    ValueError
        Why it is none.
    """
    try:
        hours = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a number. Write it like 100 or 2.5.") from error
    complaint = _complaint(hours, signed=signed)
    if complaint:
        raise ValueError(f"{text} unit-hours cannot be {'booked' if signed else 'given'}: {complaint}.")
    return from_unit_hours(hours)


def _complaint(hours: Decimal, *, signed: bool) -> str:
    """Why this is no amount; empty if it is one. The bounds come first: beyond them arithmetic has no end."""
    if not hours.is_finite():
        return "it is not a finite number"
    if hours == 0 and signed:
        return "it changes nothing"
    if hours <= 0 and not signed:
        return "an amount is more than zero"
    if abs(hours) > _MOST_UNIT_HOURS:
        return f"the most is {_MOST_UNIT_HOURS:,} at a time"
    if hours != hours.quantize(Decimal("0.001")):
        return "it has more than three decimals"
    return ""


class _UnitHours(click.ParamType[int]):
    """An amount of unit-hours; the result is in milli-unit-seconds."""

    name = "unit-hours"

    def __init__(self, *, signed: bool) -> None:
        self._signed = signed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return milli_unit_seconds(value, signed=self._signed)
        except ValueError as error:
            self.fail(str(error), param, ctx)


UNIT_HOURS = _UnitHours(signed=False)
"""More than zero."""

SIGNED_UNIT_HOURS = _UnitHours(signed=True)
"""More or less than zero."""


def unit_hours(milli_unit_seconds: int) -> str:
    """An amount in unit-hours, as operators read it: at most three decimals; what is less, but not nothing, says so."""
    if 0 < abs(milli_unit_seconds) < from_unit_hours(Decimal("0.001")):
        return "<0.001" if milli_unit_seconds > 0 else ">-0.001"
    return decimal(float(to_unit_hours(milli_unit_seconds)), 3)


def amount(milli_unit_seconds: int) -> dict[str, float | int]:
    """An amount for programs."""
    hours = round(float(to_unit_hours(milli_unit_seconds)), 6)
    return {"unit_hours": hours, "milli_unit_seconds": milli_unit_seconds}


def exact(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, to the microsecond where there are any: charges are made of these."""
    return moment.astimezone(UTC).isoformat() if moment else None


# --- times --------------------------------------------------------------------------------------------------


def end_of_grant(start: datetime, ends_at: datetime | None, months: int | None, now: datetime) -> datetime:
    """When a grant ends that is given now: at `ends_at`, else after so many calendar months.

    Raises
    ------
    ValueError
        If that is no end.
    """
    end = ends_at or _after_months(start, months or DEFAULT_MONTHS)
    if end <= start:
        raise ValueError(f"The grant would end at {when(end)}, and that is not after its start, {when(start)}.")
    if end <= now:
        raise ValueError(f"The grant would have ended at {when(end)}: nobody could use it.")
    return end


def _after_months(start: datetime, months: int) -> datetime:
    try:
        return months_later(start, months)
    except ValueError as error:
        raise ValueError(f"{months} months from {when(start)} are beyond the calendar.") from error


# --- whose --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Somebody, or a pool, with an account. `title` is for people."""

    owner: Owner
    title: str
    person: Person | None = None
    pool: str | None = None


def holder(shop: BookShop, person: str | None, pool: str | None) -> Holder:
    """Whose account is meant: a person's, or that of the pool that `--pool` names.

    Raises
    ------
    click.ClickException
        If there is no such, or more than one.
    """
    if (person is None) == (pool is None):
        raise click.UsageError("Name one account: a PERSON, or a pool with --pool NAME.")
    if person is not None:
        someone = find_person(shop, person)
        return Holder(owner=owner_of(someone), title=person_title(someone), person=someone)
    assert pool is not None
    return _pool(shop, pool.strip())


def _pool(shop: BookShop, name: str) -> Holder:
    owner, pool = pool_owner(name), shop.pools.get(name)
    if pool is None:
        with shop.database.read() as connection:  # the books still have what was removed from the settings
            known = account_of(connection, owner) is not None
        if not known:
            there = ", ".join(shop.pools) or "none"
            raise click.ClickException(f"There is no pool {plain(name)!r}. Those of federation.yaml: {there}.")
    title = in_language(pool.title, name) if pool else name
    return Holder(owner=owner, title=plain(f"{title} (pool {name})" if title != name else f"pool {name}"), pool=name)


def stored(key: str) -> str:
    """An operator's key as the books keep it: it cannot be one that the product makes itself, as for default quotas."""
    return f"cli:{key}"
