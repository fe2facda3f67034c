"""Why a person may not use something."""

from federation.errors import Problem

__all__ = ["FLAVOUR_NEEDS_TIER", "FLAVOUR_NOT_AT_SITE", "NOT_ELIGIBLE", "NO_PLACE"]


def _(message: str) -> str:
    return message


NOT_ELIGIBLE = Problem(
    code="not-eligible",
    status=403,
    text=_("You are signed in, but notebooks are not open to you yet: {missing}"),
    advice=_("The page “Where to ask” says what is missing."),
)

FLAVOUR_NEEDS_TIER = Problem(
    code="flavour-needs-tier",
    status=403,
    text=_("The flavour {flavour} is for people of tier {tier}; yours is {yours}."),
    advice=_("Choose another flavour, or ask for access to this one."),
)

FLAVOUR_NOT_AT_SITE = Problem(
    code="flavour-not-at-site",
    status=400,
    text=_("{site} does not offer the flavour {flavour} with the environment {environment}."),
    advice=_("Choose another combination on the start form."),
)

NO_PLACE = Problem(
    code="no-place",
    status=503,
    text=_("No place of the federation offers the flavour {flavour} with the environment {environment} at the moment."),
    advice=_("Choose another combination, or try again later."),
)
