"""Why a person may not use something."""

from federation.errors import Problem

__all__ = [
    "ACCESS_SUSPENDED",
    "FLAVOUR_NEEDS_TIER",
    "FLAVOUR_NOT_AT_SITE",
    "NOT_ELIGIBLE",
    "NO_PLACE",
    "SITE_ASKS_MORE",
    "SITE_DOWNTIME",
    "SITE_NOT_ATTACHED",
    "SITE_NOT_OPEN",
    "TERMS_NOT_ACCEPTED",
]


def _(message: str) -> str:
    return message


NOT_ELIGIBLE = Problem(
    code="not-eligible",
    status=403,
    text=_("You are signed in, but notebooks are not open to you yet: {missing}"),
    advice=_("The page “My access” says what is missing."),
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

TERMS_NOT_ACCEPTED = Problem(
    code="terms-not-accepted",
    status=403,
    text=_("Nothing can be started before you have accepted the terms of use."),
    advice=_("Read and accept them on the page “Terms of use”; then start again."),
)

ACCESS_SUSPENDED = Problem(
    code="access-suspended",
    status=403,
    text=_("Your access is suspended, so nothing can be started. {reason}"),
    advice=_("Your files and your quota stay. Write to support if you think that this is a mistake."),
)

SITE_ASKS_MORE = Problem(
    code="site-asks-more",
    status=403,
    text=_("{site} is not open to you yet. What is missing: {missing}."),
    advice=_("Choose another site, or ask for access to this one."),
)

SITE_NOT_OPEN = Problem(
    code="site-not-open",
    status=503,
    text=_("{site} takes no sessions at the moment: it is not certified."),
    advice=_("Choose another site, or try again another day."),
)

SITE_DOWNTIME = Problem(
    code="site-downtime",
    status=503,
    text=_("{site} is down for maintenance until {until}."),
    advice=_("Choose another site, or try again then."),
)

SITE_NOT_ATTACHED = Problem(
    code="site-not-attached",
    status=503,
    text=_("Sessions at {site} cannot be started from here yet."),
    advice=_("Choose another site."),
)
