"""Requests in words that people read: what one is about, how far it is; and what a flavour has."""

from datetime import datetime

from federation.i18n import decimal, gettext, last_day
from federation.settings import Flavour
from quota.amounts import to_unit_hours
from vetting.asking import Kind
from vetting.recorded import MappingState
from vetting.transitions import State

__all__ = ["about", "how_far", "site_said", "size_of"]


def _(message: str) -> str:
    return message


_ABOUT = {
    Kind.TIER: _("the tier {tier}"),
    Kind.QUOTA: _("{hours} unit-hours of quota until {until}"),
    Kind.SITE: _("an account at {sites}"),
}
_ACCOUNT_AND_HOURS = _("an account at {sites}, and {hours} unit-hours until {until}")
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

_SITE_SAID = {
    MappingState.ASKED: _("The site was asked to accept you, and has not answered yet."),
    MappingState.ACCEPTED: _("The site has accepted you."),
    MappingState.REFUSED: _("The site has not accepted you."),
    MappingState.ENDED: _("The site had accepted you; that has ended."),
}


def about(kind: Kind, *, tier: str, amount_milli_unit_seconds: int, ends_at: datetime, sites: list[str]) -> str:
    """What is asked for or given, in a few words."""
    both = kind is Kind.SITE and amount_milli_unit_seconds > 0
    return gettext(_ACCOUNT_AND_HOURS if both else _ABOUT[kind]).format(
        tier=tier,
        hours=decimal(float(to_unit_hours(amount_milli_unit_seconds)), 1),
        until=last_day(ends_at),
        sites=", ".join(sites),
    )


def how_far(state: State) -> str:
    """A state, for the person whose request it is."""
    return gettext(_HOW_FAR[state])


def site_said(state: MappingState) -> str:
    """What a site said about an account of a person, to them."""
    return gettext(_SITE_SAID[state])


def size_of(flavour: Flavour) -> str:
    """What a session of a flavour has."""
    parts = [
        gettext("{cpu} CPU").format(cpu=flavour.cpu),
        gettext("{memory} GiB memory").format(memory=flavour.memory_gib),
        *([gettext("{gpu} GPU").format(gpu=flavour.gpu)] if flavour.gpu else []),
    ]
    return ", ".join(parts)
