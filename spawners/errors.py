"""What can go wrong with one session."""

from federation.errors import Problem

__all__ = [
    "ENDED_BEFORE_ANSWER",
    "NO_ANSWER_IN_TIME",
    "OPTION_INVALID",
    "OPTION_UNKNOWN",
    "PERSON_UNKNOWN",
    "PLACE_BROKEN",
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
