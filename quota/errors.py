"""What the books can answer besides yes: one `Problem` for each reason, with the figures its text needs."""

from federation.errors import Problem

__all__ = [
    "FLAVOUR_FULL",
    "GRANT_ENDED",
    "NOT_IN_DEFAULT",
    "NO_GRANT",
    "POOL_FULL",
    "POOL_USED_UP",
    "QUOTA_HELD",
    "QUOTA_SPENT",
    "QUOTA_USED_UP",
    "SERVER_BUSY",
    "SESSIONS_CAP",
    "SITE_FULL",
    "USER_CAP",
]


def _(message: str) -> str:
    return message


NO_GRANT = Problem(
    code="no-grant",
    status=403,
    text=_("You have no quota for notebooks yet."),
    advice=_("The page “My access” says what is missing."),
)

NOT_IN_DEFAULT = Problem(
    code="not-in-default",
    status=403,
    text=_("The default quota does not pay for the flavour {flavour}, and you have no other quota."),
    advice=_("Choose another flavour, or ask for quota for this one."),
)

GRANT_ENDED = Problem(
    code="grant-ended",
    status=403,
    text=_("Your quota ended on {ended}."),
    advice=_("Ask for a renewal; your files are kept."),
)

QUOTA_USED_UP = Problem(
    code="quota-used-up",
    status=429,
    text=_(
        "Your quota is used up: of {limit} unit-hours you have used {used}, and {held} are set aside for sessions that"
        " run. Starting this flavour needs at least {needed}."
    ),
    advice=_("New quota comes on {returns}. If you need more before that, ask for it."),
)

QUOTA_SPENT = Problem(
    code="quota-spent",
    status=403,
    text=_(
        "Your quota is spent: of {limit} unit-hours you have used {used}, and {held} are set aside for sessions that"
        " run. Starting this flavour needs at least {needed}."
    ),
    advice=_("None comes by itself; ask for more."),
)

QUOTA_HELD = Problem(
    code="quota-held",
    status=429,
    text=_(
        "Your quota is set aside for sessions that run: of {limit} unit-hours you have used {used}, and {held} are held."
        " Starting this flavour needs at least {needed}."
    ),
    advice=_("Stop a session to free what it holds, or ask for more."),
)

SESSIONS_CAP = Problem(
    code="sessions-cap",
    status=429,
    text=_("You already have {used} of {limit} sessions that may run at the same time."),
    advice=_("Stop one of them first."),
)

SITE_FULL = Problem(
    code="site-full",
    status=429,
    text=_("{site} is full: {used} of {limit} {resource} are in use by the federation's people."),
    advice=_("Try again later, or choose another place."),
)

USER_CAP = Problem(
    code="user-cap",
    status=429,
    text=_("Your sessions already use {used} {resource}, this one needs {needed}, and {limit} are the most for you."),
    advice=_("Stop one of them first, choose a smaller flavour, or ask for more."),
)

FLAVOUR_FULL = Problem(
    code="flavour-full",
    status=429,
    text=_("All sessions of the flavour {scope} are taken: {used} of {limit} {resource} are in use by the federation."),
    advice=_("Try again later, or choose another flavour."),
)

POOL_USED_UP = Problem(
    code="pool-used-up",
    status=429,
    text=_(
        "The quota of {scope} is used up: of {limit} unit-hours its members have used {used}, and {held} are set aside"
        " for sessions that run. Starting this flavour needs at least {needed}."
    ),
    advice=_("Try again later, or ask for quota of your own."),
)

POOL_FULL = Problem(
    code="pool-full",
    status=429,
    text=_("The members of {scope} together already use {used} of {limit} {resource}."),
    advice=_("Try again when one of them has stopped a session, or ask for quota of your own."),
)

SERVER_BUSY = Problem(
    code="server-busy",
    status=429,
    text=_("A session of yours with this name is still starting or ending."),
    advice=_("Wait a moment and try again, or give the new one another name."),
)
