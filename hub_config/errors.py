"""Why somebody cannot be signed in."""

from federation.errors import Problem

__all__ = [
    "PROVIDER_AWAY",
    "SIGN_IN_CANCELLED",
    "SIGN_IN_INTERRUPTED",
    "SIGN_IN_MISCONFIGURED",
    "SIGN_IN_NOT_TRUSTED",
    "SIGN_IN_WITHOUT_BOOKS",
    "SIGN_IN_WITHOUT_SUBJECT",
]


def _(message: str) -> str:  # Marks a text for extraction; it is translated when it is shown.
    return message


_START_AGAIN = _("Please sign in again from the start.")

PROVIDER_AWAY = Problem(
    code="provider-away",
    status=503,
    text=_("{provider} does not answer at the moment, so nobody can be signed in there. Running sessions go on."),
    advice=_("Try again in a few minutes."),
)

SIGN_IN_INTERRUPTED = Problem(
    code="sign-in-interrupted",
    status=400,
    text=_("This sign-in was not begun in this browser, took too long, or was used already. You are not signed in."),
    advice=_START_AGAIN,
)

SIGN_IN_CANCELLED = Problem(
    code="sign-in-cancelled",
    status=403,
    text=_("{provider} did not sign you in: it was cancelled there, or not allowed."),
    advice=_START_AGAIN,
)

SIGN_IN_MISCONFIGURED = Problem(
    code="sign-in-misconfigured",
    status=503,
    text=_(
        "{provider} does not accept this service, so nobody can be signed in there. This is a fault of ours, not yours."
    ),
    advice=_("Tell support the reference."),
)

SIGN_IN_NOT_TRUSTED = Problem(
    code="sign-in-not-trusted",
    status=403,
    text=_("What came back from {provider} could not be verified, so you are not signed in."),
    advice=_("Sign in again from the start. If it stays so, tell support the reference."),
)

SIGN_IN_WITHOUT_SUBJECT = Problem(
    code="sign-in-without-subject",
    status=403,
    text=_("{provider} did not say who you are, so you cannot be signed in."),
    advice=_("Tell support the reference."),
)

SIGN_IN_WITHOUT_BOOKS = Problem(
    code="sign-in-without-books",
    status=503,
    text=_("The federation's books cannot be reached, so nobody can be signed in. This is an outage of ours."),
    advice=_("Try again in a few minutes."),
)
