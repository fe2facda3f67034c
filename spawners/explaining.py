"""Why a start would be admitted or refused, line by line, as data for a page, a terminal or a program. Pure.

Texts are in the present language. Every figure is one that was read (`spawners.findings`); the verdict is admission's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor

from federation.errors import Failure
from federation.i18n import decimal, gettext, moment
from federation.ids import reference
from quota.amounts import to_unit_hours
from quota.capping import Scope
from quota.forecast import HORIZON
from quota.page import GrantStanding
from quota.statement import Line as Session
from quota.statement import Standing
from quota.tables import OwnerKind
from quota.words import each_period
from spawners.findings import CapFinding, Findings, PoolFinding
from vetting.missing import describe_all

__all__ = ["Explanation", "Line", "Part", "explain"]


def _(message: str) -> str:
    return message


_GAUGES = {
    "sessions": _("sessions"),
    "cpu": _("CPU"),
    "memory_mib": _("GiB memory"),
    "gpu": _("GPU"),
}
_SCOPES = {
    Scope.USER: _("The person: {gauge}"),
    Scope.SITE: _("Place “{scope}”: {gauge}"),
    Scope.FLAVOUR: _("Flavour “{scope}”: {gauge}"),
    Scope.GROUP: _("Pool “{scope}”: {gauge}"),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line. `amount` is the figure, exact, where it is an amount of quota: milli-unit-seconds."""

    code: str
    heading: str
    figure: str
    note: str = ""
    amount: int | None = None
    is_obstacle: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """Lines that belong together."""

    code: str
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The answer, with every reason against it where it is no; and what it was made of."""

    at: datetime
    flavour: str
    admitted: bool
    answer: str
    reasons: tuple[Failure, ...]
    parts: tuple[Part, ...]


def explain(found: Findings) -> Explanation:
    """Put what was found into words."""
    parts = [
        Part(code="access", title=gettext("Access"), lines=tuple(_access(found))),
        Part(code="own", title=gettext("Own quota"), lines=tuple(_own(found))),
        Part(code="pools", title=gettext("Pools of communities"), lines=tuple(_pools(found))),
        Part(code="limits", title=gettext("Limits on what runs at the same time"), lines=tuple(_limits(found))),
        Part(code="payers", title=gettext("Who is asked to pay, in this order"), lines=tuple(_payers(found))),
        Part(code="forecast", title=gettext("How long it lasts"), lines=tuple(_forecast(found))),
    ]
    return Explanation(
        at=found.at,
        flavour=found.flavour,
        admitted=found.admitted is not None,
        answer=_answer(found),
        reasons=found.reasons,
        parts=tuple(part for part in parts if part.lines),
    )


def _answer(found: Findings) -> str:
    admitted = found.admitted
    if admitted is None:
        return gettext("A session of the flavour {flavour} would not be started now.").format(flavour=found.flavour)
    pool = next((payer.title for payer in found.pays if payer.owner == admitted.payer and payer.title), None)
    minutes = floor((admitted.lease_until - found.at) / timedelta(minutes=1))
    text = (
        gettext(
            "A session of the flavour {flavour} would be started now. The pool “{pool}” would pay; the first {minutes} "
            "minutes would be set aside, and more as it runs."
        )
        if pool is not None
        else gettext(
            "A session of the flavour {flavour} would be started now. The own quota would pay; the first {minutes} "
            "minutes would be set aside, and more as it runs."
        )
    )
    return text.format(flavour=found.flavour, pool=pool, minutes=minutes)


# --- the parts ----------------------------------------------------------------------------------------------------


def _access(found: Findings) -> Iterator[Line]:
    eligibility = found.eligibility
    tier = eligibility.tier
    given = describe_all(eligibility.given(tier)) if tier else ""
    yield Line(code="tier", heading=gettext("Tier"), figure=tier or gettext("none"), note=given)
    missing = describe_all(eligibility.missing(found.tier))
    has_it = eligibility.reaches(found.tier)
    yield Line(
        code="flavour-tier",
        heading=gettext("The flavour {flavour} needs").format(flavour=found.flavour),
        figure=found.tier,
        note="" if has_it else gettext("Missing: {missing}").format(missing=missing),
        is_obstacle=not has_it,
    )
    yield Line(code="place", heading=gettext("Place"), figure=found.site or gettext("none"), is_obstacle=not found.site)


def _own(found: Findings) -> Iterator[Line]:
    what_is, default = found.standing, found.default
    if default is None or not default.amount_hours:
        yield Line(code="default", heading=gettext("Default quota"), figure=_unit_hours(0), amount=0)
    else:
        note = gettext("Of the tier {tier}; pays for: {flavours}. The next comes on {returns}.").format(
            tier=found.default_tier,
            flavours=", ".join(found.titles.get(name, name) for name in default.flavours),
            returns=moment(found.returns_at) if found.returns_at else "",
        )
        figure = each_period(default.amount_hours, default.period)
        yield Line(code="default", heading=gettext("Default quota"), figure=figure, note=note)
    yield from map(_grant, (grant for grant in what_is.grants if grant.active))
    for session in found.sessions:
        yield _session(session, found.titles.get(session.flavour, session.flavour))
    if what_is.owed > 0:
        yield Line(
            code="owed",
            heading=gettext("Owed"),
            figure=_unit_hours(what_is.owed),
            note=gettext("Used without cover; the next quota pays it first."),
            amount=what_is.owed,
        )
    yield Line(
        code="left",
        heading=gettext("Left for new sessions"),
        figure=_unit_hours(what_is.left),
        note=gettext("What is left of the grants, without what is set aside and what is owed."),
        amount=what_is.left,
        is_obstacle=what_is.left == 0 and found.admitted is None,
    )


def _grant(grant: GrantStanding) -> Line:
    return Line(
        code="grant",
        heading=gettext("Default quota of this period") if grant.is_default else grant.reason,
        figure=_of(grant.left, grant.amount),
        note=gettext("Until {until}.").format(until=moment(grant.ends_at)),
        amount=grant.left,
    )


def _session(session: Session, flavour: str) -> Line:
    return Line(
        code="held",
        heading=gettext("Session {name}").format(name=session.server or reference(session.hold)),
        figure=gettext("{amount} set aside").format(amount=_unit_hours(session.amount)),
        note=gettext("{flavour}; until {until}.").format(
            flavour=flavour, until=moment(session.lease_until.replace(microsecond=0))
        ),
        amount=session.amount,
    )


def _pools(found: Findings) -> Iterator[Line]:
    for pool in found.pools:
        yield Line(
            code="pool",
            heading=pool.title,
            figure=_of(pool.standing.left, pool.standing.granted),
            note=_about(pool),
            amount=pool.standing.left,
        )


def _about(pool: PoolFinding) -> str:
    if not pool.pays:
        return gettext("It does not pay for this flavour.")
    return gettext("{held} set aside for its members' sessions. The next comes on {returns}.").format(
        held=_unit_hours(pool.standing.held), returns=moment(pool.returns_at)
    )


def _limits(found: Findings) -> Iterator[Line]:
    for each in found.caps:
        gauge = gettext(_GAUGES[each.cap.gauge])
        yield Line(
            code=f"cap-{each.cap.scope}-{each.cap.gauge}",
            heading=gettext(_SCOPES[each.cap.scope]).format(scope=each.cap.reason.scope, gauge=gauge),
            figure=gettext("{used} of {limit} in use").format(
                used=_gauge(each, each.used), limit=_gauge(each, each.cap.limit)
            ),
            note=gettext("This flavour takes {needed}.").format(needed=_gauge(each, each.needed)),
            is_obstacle=each.is_full,
        )


def _payers(found: Findings) -> Iterator[Line]:
    standings = {pool.name: pool.standing for pool in found.pools}
    chosen = found.admitted.payer if found.admitted else None
    for number, payer in enumerate(found.pays, start=1):
        is_own = payer.owner.kind is OwnerKind.USER
        left = (found.standing if is_own else standings.get(payer.owner.ref, Standing())).left
        yield Line(
            code="payer",
            heading=f"{number}. {payer.title or gettext('Own quota')}",
            figure=gettext("{amount} left").format(amount=_unit_hours(left)),
            note=gettext("It would pay.") if payer.owner == chosen else "",
            amount=left,
        )


def _forecast(found: Findings) -> Iterator[Line]:
    outlook = found.outlook
    yield Line(
        code="lasts",
        heading=gettext("Hours of this flavour"),
        figure=decimal(floor(outlook.seconds / 360) / 10, 1),
        note=gettext("At {weight} unit-hours an hour, from the own quota.").format(
            weight=decimal(found.weight_milli / 1000, 3)
        ),
    )
    if outlook.burning:
        until = outlook.lasts_until
        yield Line(
            code="lasts-until",
            heading=gettext("At the present pace"),
            figure=gettext("until {until}").format(until=moment(until.replace(microsecond=0)))
            if until
            else gettext("more than {days} days").format(days=HORIZON.days),
            note=gettext("If what runs now goes on and nothing else starts; ends of grants and new defaults counted."),
        )


# --- figures ------------------------------------------------------------------------------------------------------


def _unit_hours(amount: int) -> str:
    """What is left is never rounded up."""
    return gettext("{amount} unit-hours").format(amount=decimal(_floored(amount), 3))


def _of(left: int, amount: int) -> str:
    return gettext("{left} of {amount} unit-hours left").format(
        left=decimal(_floored(left), 3), amount=decimal(float(to_unit_hours(amount)), 3)
    )


def _floored(amount: int) -> float:
    return floor(to_unit_hours(amount) * 1000) / 1000


def _gauge(each: CapFinding, amount: int) -> str:
    return decimal(amount / 1024, 1) if each.cap.gauge == "memory_mib" else str(amount)
