"""What can go wrong with one session."""

from federation.errors import Problem

__all__ = [
    "ENDED_BEFORE_ANSWER",
    "NO_ANSWER_IN_TIME",
    "OPTION_INVALID",
    "OPTION_UNKNOWN",
    "PERSON_UNKNOWN",
    "PLACE_BROKEN",
    "QUEUE_TOO_LONG",
    "SITE_AWAY",
    "SITE_DRAINED",
    "SITE_REFUSED",
    "SITE_SILENT",
]


def _(message: str) -> str:
    return message


OPTION_UNKNOWN = Problem(
    code="option-unknown",
    status=400,
    text=_("There is no option {option} for a session. Known are: {known}."),
    advice=_("Nothing was started."),
)

OPTION_INVALID = Problem(
    code="option-invalid",
    status=400,
    text=_("{option} cannot be {value}. Possible are: {known}."),
    advice=_("Nothing was started."),
)

PERSON_UNKNOWN = Problem(
    code="person-unknown",
    status=403,
    text=_("The federation has no record of the account {user}; it never signed in here."),
    advice=_("Sign in again; if that does not help, tell support."),
)

ENDED_BEFORE_ANSWER = Problem(
    code="ended-before-answer",
    status=502,
    text=_(
        "The session ended before it answered (exit code {exit_code}). You are charged only for the seconds that it ran."
    ),
    advice=_("Try again, perhaps with another environment. The last lines that it wrote: {log}"),
)

NO_ANSWER_IN_TIME = Problem(
    code="no-answer-in-time",
    status=504,
    text=_("The session did not answer within {seconds} seconds and was stopped."),
    advice=_("Try again; if it happens again, tell support."),
)

PLACE_BROKEN = Problem(
    code="place-broken",
    status=503,
    text=_("{site} could not start the session; the fault is on our side."),
    advice=_("Nothing was charged. Try another place, or tell support."),
)

SITE_AWAY = Problem(
    code="site-away",
    status=503,
    text=_("{site} does not answer at the moment, so no session was handed to it."),
    advice=_("Nothing was charged. Choose another site, or try again in a few minutes."),
)

SITE_DRAINED = Problem(
    code="site-drained",
    status=503,
    text=_("{site} takes no new sessions at the moment; the site has decided so."),
    advice=_("Choose another site, or try again later."),
)

SITE_REFUSED = Problem(
    code="site-refused",
    status=502,
    text=_("{site} did not take the session. It says: {why} ({code})."),
    advice=_("Nothing was charged. Ask for less, choose another site, or tell support."),
)

SITE_SILENT = Problem(
    code="site-silent",
    status=504,
    text=_("{site} was handed the session and did not answer whether it has it. If it has, it is ended there."),
    advice=_("You are charged only if it ran. Try again in a few minutes."),
)

QUEUE_TOO_LONG = Problem(
    code="queue-too-long",
    status=504,
    text=_("The session waited for {hours} hours in the queue of {site}, and was taken out of it."),
    advice=_(
        "Nothing was charged. Ask for less, for another partition or site, or try again when there is less to do."
    ),
)
