"""What a person asks for, between a form and the store: suggested by what was refused, read from what was typed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation

from federation.clock import months_later
from federation.errors import Failure
from federation.settings import BatchSite
from quota.amounts import from_unit_hours, to_unit_hours
from quota.errors import (
    GRANT_ENDED,
    NO_GRANT,
    NOT_IN_DEFAULT,
    POOL_FULL,
    POOL_USED_UP,
    QUOTA_HELD,
    QUOTA_SPENT,
    QUOTA_USED_UP,
)
from vetting.asking import Asked, Kind
from vetting.desk.forms import Form
from vetting.desk.parts import Offer
from vetting.errors import AMOUNT_UNREADABLE, DAY_UNREADABLE, FLAVOUR_NEEDS_TIER, SITE_ASKS_MORE

__all__ = [
    "AskForm",
    "day_of",
    "form_of",
    "hours_of",
    "kinds_on_offer",
    "read_asked",
    "read_end",
    "read_hours",
    "suggested",
    "typed",
]

_ABOUT_QUOTA = frozenset(
    problem.code
    for problem in (
        GRANT_ENDED, NO_GRANT, NOT_IN_DEFAULT, POOL_FULL, POOL_USED_UP, QUOTA_HELD, QUOTA_SPENT, QUOTA_USED_UP,
    )
)  # fmt: skip
_WITH_HOURS = (Kind.QUOTA, Kind.SITE)
_HOURS_SUGGESTED = 100
_MOST_DIGITS = 20


@dataclass(frozen=True, kw_only=True)
class AskForm:
    """The form: what may be chosen, and what stands in its fields, as text."""

    kind: Kind
    fields: Mapping[str, str]
    chosen_sites: tuple[str, ...]
    tiers: tuple[str, ...]
    asks_details: bool


def kinds_on_offer(offer: Offer) -> list[Kind]:
    """What can be asked for here at all: a tier only where a person decides about one."""
    return [kind for kind in (Kind.QUOTA, Kind.SITE, Kind.TIER) if kind is not Kind.TIER or _tiers(offer)]


def suggested(
    offer: Offer, now: datetime, *, kind: str = "", about: str = "", flavour: str = "", site: str = ""
) -> AskForm | None:
    """The form as it is first shown; None where nobody can say yet what is to be asked for.

    Parameters
    ----------
    about, flavour, site
        The code of what was refused, and what it was and where. What is not there is none.
    """
    wanted = offer.flavours.get(flavour)
    chosen = _kind(offer, kind, about, has_tier=wanted is not None and wanted.tier in _tiers(offer))
    if chosen is None:
        return None
    hours = _HOURS_SUGGESTED * (wanted.weight if wanted else 1)
    at_site = chosen is Kind.SITE and wanted is not None
    tiers = _tiers(offer)
    asked = Asked(
        ends_at=months_later(now, offer.grant_months),
        tier=(wanted.tier if wanted and wanted.tier in tiers else tiers[0]) if chosen is Kind.TIER else "",
        amount_milli_unit_seconds=from_unit_hours(Decimal(hours)) if chosen is Kind.QUOTA or at_site else 0,
        flavour=flavour if wanted else "",
        sites=(site,) if chosen is Kind.SITE and site in offer.sites else (),
    )
    return form_of(offer, chosen, asked)


def form_of(offer: Offer, kind: Kind, asked: Asked) -> AskForm:
    """The form with what is asked for in it."""
    return AskForm(
        kind=kind,
        fields=_fields_of(asked),
        chosen_sites=asked.sites,
        tiers=_tiers(offer),
        asks_details=any(isinstance(site, BatchSite) for site in offer.sites.values()),
    )


def _fields_of(asked: Asked) -> dict[str, str]:
    """What is asked for as the fields of a form have it. A day means its end, in UTC."""
    amount = asked.amount_milli_unit_seconds
    return {
        "tier": asked.tier,
        "hours": hours_of(amount),
        "until": day_of(asked.ends_at),
        "flavour": asked.flavour,
        "purpose": asked.purpose,
        "contact": asked.contact,
        "evidence": asked.evidence,
        "details": asked.details,
    }


def hours_of(amount_milli_unit_seconds: int) -> str:
    """An amount as a field has it; "" for none."""
    return f"{to_unit_hours(amount_milli_unit_seconds).normalize():f}" if amount_milli_unit_seconds else ""


def day_of(ends_at: datetime) -> str:
    """The last day on which something is there, as a field has it."""
    return (ends_at - timedelta(microseconds=1)).date().isoformat()


def typed(offer: Offer, kind: Kind, form: Form) -> AskForm:
    """The form with what was typed, be it what it may: nobody types it twice."""
    names = ("tier", "hours", "until", "flavour", "purpose", "contact", "evidence", "details")
    return AskForm(
        kind=kind,
        fields={name: form.text(name) for name in names},
        chosen_sites=tuple(form.texts("site")),
        tiers=_tiers(offer),
        asks_details=any(isinstance(site, BatchSite) for site in offer.sites.values()),
    )


def read_asked(offer: Offer, kind: Kind, form: Form) -> Asked:
    """What was typed, as the store keeps it. Whether it can be had is asked when it is sent.

    Raises
    ------
    Failure
        If an amount or a day cannot be read.
    """
    flavour = form.text("flavour")
    return Asked(
        ends_at=read_end(form.text("until")),
        tier=form.text("tier") if kind is Kind.TIER else "",
        amount_milli_unit_seconds=read_hours(form.text("hours")) if kind in _WITH_HOURS else 0,
        flavour=flavour if flavour in offer.flavours else "",
        sites=tuple(dict.fromkeys(form.texts("site"))) if kind is Kind.SITE else (),
        purpose=form.text("purpose"),
        contact=form.text("contact"),
        evidence=form.text("evidence"),
        details=form.text("details"),
    )


def read_hours(text: str) -> int:
    """Unit-hours as people write them, with a comma or a point for the decimals; nothing is none.

    Raises
    ------
    Failure
        If it is no number, or less than nothing.
    """
    if not text:
        return 0
    try:
        hours = Decimal(text.replace(",", ".") if len(text) <= _MOST_DIGITS else "")
        amount = from_unit_hours(hours)
    except (InvalidOperation, ValueError) as error:
        raise Failure(AMOUNT_UNREADABLE, {"typed": text[:_MOST_DIGITS]}) from error
    if amount < 0:
        raise Failure(AMOUNT_UNREADABLE, {"typed": text})
    return amount


def read_end(text: str) -> datetime:
    """The end of a day, in UTC.

    Raises
    ------
    Failure
        If it is none.
    """
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise Failure(DAY_UNREADABLE, {"typed": text[:_MOST_DIGITS]}) from error


def _tiers(offer: Offer) -> tuple[str, ...]:
    return tuple(name for name, tier in offer.tiers.items() if tier.vetting == "review")


def _kind(offer: Offer, kind: str, about: str, *, has_tier: bool) -> Kind | None:
    on_offer = kinds_on_offer(offer)
    if kind:
        return next((one for one in on_offer if one.value == kind), None)
    if about in _ABOUT_QUOTA:
        return Kind.QUOTA
    if about == SITE_ASKS_MORE.code:
        return Kind.SITE
    return Kind.TIER if about == FLAVOUR_NEEDS_TIER.code and has_tier else None
