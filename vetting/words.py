"""Requests in words that people read: what one is about, how far it is; and what a flavour has."""

from datetime import datetime

from federation.i18n import decimal, gettext, moment
from federation.settings import Flavour
from quota.amounts import to_unit_hours
from vetting.asking import Kind
from vetting.transitions import State

__all__ = ["about", "how_far", "size_of"]


def _(message: str) -> str:
    return message


_ABOUT = {
    Kind.TIER: _("the tier {tier}"),
    Kind.QUOTA: _("{hours} unit-hours of quota until {until}"),
    Kind.SITE: _("an account at {sites}"),
}
_HOW_FAR = {
    State.DRAFT: _("not sent yet"),
    State.SUBMITTED: _("waits for a reviewer"),
    State.IN_REVIEW: _("a reviewer looks at it"),
    State.NEEDS_INFO: _("waits for your answer"),
    State.AWAITING_SECOND: _("waits for a second reviewer"),
    State.APPROVED: _("approved, and given within a few minutes"),
    State.ACTIVE: _("approved and given"),
    State.SUSPENDED: _("suspended"),
    State.DENIED: _("not approved"),
    State.EXPIRED: _("has ended"),
    State.WITHDRAWN: _("withdrawn"),
}


def about(kind: Kind, *, tier: str, amount_milli_unit_seconds: int, ends_at: datetime, sites: list[str]) -> str:
    """What is asked for or given, in a few words."""
    return gettext(_ABOUT[kind]).format(
        tier=tier,
        hours=decimal(float(to_unit_hours(amount_milli_unit_seconds)), 1),
        until=moment(ends_at),
        sites=", ".join(sites),
    )


def how_far(state: State) -> str:
    """A state, for the person whose request it is."""
    return gettext(_HOW_FAR[state])


def size_of(flavour: Flavour) -> str:
    """What a session of a flavour has."""
    parts = [
        gettext("{cpu} CPU").format(cpu=flavour.cpu),
        gettext("{memory} GiB memory").format(memory=flavour.memory_gib),
        *([gettext("{gpu} GPU").format(gpu=flavour.gpu)] if flavour.gpu else []),
    ]
    return ", ".join(parts)
