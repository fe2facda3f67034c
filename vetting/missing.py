"""What a tier or a site asks of a person, in words that they read: what they have, and what is missing."""

from collections.abc import Iterable
from functools import reduce

from federation.i18n import gettext, moment
from vetting.eligibility import Check

__all__ = ["describe", "describe_all"]


def _(message: str) -> str:
    return message


_TEXTS = {
    "communities": _("membership of one of these communities: {wanted}"),
    "assurance": _("a sign-in that is vouched for better: {wanted}"),
    "affiliation": _("an affiliation at your home organisation: {wanted}"),
    "tier": _("the tier {wanted}"),
    "terms": _("your acceptance of the terms of use"),
    "evidence": _("evidence that the support team has recorded"),
    "mapping": _("the acceptance of the site"),
    "review": _("a decision of the support team"),
    "mfa": _("a sign-in with a second factor"),
    "class_seat": _("a seat in a class"),
    "suspension": _("the end of your suspension"),
}
_GIVEN = {
    "communities": _("the membership {by}"),
    "assurance": _("a sign-in that is vouched for: {by}"),
    "affiliation": _("the affiliation {by}"),
}
_ONE_OF = _("one of these: {wanted}")
_WITH = _("{one}, with {other}")
_OR = _("{one}; or {other}")
_UNTIL = {
    "evidence": _("{what} (until {until})"),
    "terms": _("{what} (of an earlier version; the present one must be accepted before {until})"),
}


def describe(check: Check) -> str:
    """One check, in the present language: something that the person has, with what gives it; or that they miss."""
    if check.alternatives:
        fulfilled = [checks for checks in check.alternatives if all(one.holds for one in checks)]
        alternatives = [_joined(_WITH, map(describe, checks)) for checks in fulfilled or check.alternatives]
        wanted = _joined(_OR, alternatives)
        return wanted if fulfilled else gettext(_ONE_OF).format(wanted=wanted)
    text = _GIVEN.get(check.field, _TEXTS[check.field]) if check.holds and check.by else _TEXTS[check.field]
    what = gettext(text).format(wanted=check.wanted, by=", ".join(check.by))
    if check.until is None:
        return what
    return gettext(_UNTIL[check.field]).format(what=what, until=moment(check.until))


def describe_all(checks: tuple[Check, ...]) -> str:
    """Several checks in one line."""
    return "; ".join(map(describe, checks))


def _joined(text: str, parts: Iterable[str]) -> str:
    """The parts in one text, put together as `text` says; "" of none."""
    texts = list(parts)
    return reduce(lambda one, other: gettext(text).format(one=one, other=other), texts) if texts else ""
