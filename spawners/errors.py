"""What can go wrong with one session."""

from federation.errors import Problem

__all__ = [
    "ENDED_BEFORE_ANSWER",
    "EVICTED_BEFORE_ANSWER",
    "HOME_NOT_THERE",
    "IMAGE_NOT_THERE",
    "MEMORY_BEFORE_ANSWER",
    "NO_ANSWER_IN_TIME",
    "NO_ROOM_IN_TIME",
    "OPTION_INVALID",
    "OPTION_UNKNOWN",
    "PERSON_UNKNOWN",
    "PLACE_BROKEN",
    "PLACE_FULL",
    "QUEUE_TOO_LONG",
    "SITE_AWAY",
    "SITE_DRAINED",
    "SITE_REFUSED",
    "SITE_SILENT",
    "STOPPED_MEANWHILE",
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

PLACE_FULL = Problem(
    code="place-full",
    status=429,
    text=_("{site} has no room for another session: all that it gives to this service is in use."),
    advice=_(
        "Nothing was charged. Try again when others have stopped theirs, or choose another place or a smaller size."
    ),
)

NO_ROOM_IN_TIME = Problem(
    code="no-room-in-time",
    status=429,
    text=_("No machine of {site} had room for a session of this size within {seconds} seconds."),
    advice=_("Nothing was charged. Try again later, or choose another place or a smaller size."),
)

IMAGE_NOT_THERE = Problem(
    code="image-not-there",
    status=503,
    text=_("{site} could not get the environment {environment}; the fault is on our side."),
    advice=_("Nothing was charged. Choose another environment or another place, or tell support."),
)

HOME_NOT_THERE = Problem(
    code="home-not-there",
    status=503,
    text=_("{site} could not provide your home folder; the fault is on our side, and your files are untouched."),
    advice=_("Nothing was charged. Try again in a few minutes, or tell support."),
)

MEMORY_BEFORE_ANSWER = Problem(
    code="memory-before-answer",
    status=502,
    text=_(
        "The session needed more memory than one of this size has, and ended before it answered. You are charged only "
        "for the seconds that it ran."
    ),
    advice=_("Choose a larger size, or another environment."),
)

EVICTED_BEFORE_ANSWER = Problem(
    code="evicted-before-answer",
    status=503,
    text=_(
        "{site} had to end the session before it answered: a machine failed, or was needed for something else. You are "
        "charged only for the seconds that it ran."
    ),
    advice=_("Try again; if it happens again, choose another place."),
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

STOPPED_MEANWHILE = Problem(
    code="stopped-meanwhile",
    status=409,
    text=_("The session was stopped while it was being started."),
    advice=_("Nothing was started and nothing was charged."),
)
