"""What keeps a person from a tier, in words that they read."""

from federation.i18n import gettext
from vetting.eligibility import Check

__all__ = ["describe"]


def _(message: str) -> str:
    return message


_TEXTS = {
    "communities": _("membership of one of these communities: {wanted}"),
    "assurance": _("a sign-in that is vouched for better: {wanted}"),
    "affiliation": _("an affiliation at your home organisation: {wanted}"),
    "tier": _("the tier {wanted}"),
    "any": _("one of these: {wanted}"),
    "terms": _("your acceptance of the terms of use"),
    "evidence": _("evidence that the support team has recorded"),
    "mapping": _("the acceptance of the site"),
    "review": _("a decision of the support team"),
    "mfa": _("a sign-in with a second factor"),
}


def describe(check: Check) -> str:
    """One check that does not hold, in the present language."""
    return gettext(_TEXTS[check.field]).format(wanted=check.wanted)
