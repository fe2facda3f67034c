"""Why a sign-in goes no further: for the person as a problem of the catalogue, for the log as one line.

A `detail` never holds a token, a code or a secret: it is written into the log.
"""

from enum import StrEnum

from federation.errors import Failure
from federation.plain import plain
from hub_config.errors import (
    SIGN_IN_CANCELLED,
    SIGN_IN_INTERRUPTED,
    SIGN_IN_MISCONFIGURED,
    SIGN_IN_NOT_TRUSTED,
    SIGN_IN_WITHOUT_SUBJECT,
)

__all__ = ["ProviderAway", "Reason", "SignInRefused"]

_MOST_CHARACTERS = 200


class Reason(StrEnum):
    """What was wrong, in words that a log can be searched for."""

    STATE_MISSING = "state-missing"
    WRONG_STATE = "wrong-state"
    WRONG_RESPONSE_ISSUER = "wrong-response-issuer"
    PROVIDER_SAYS_NO = "provider-says-no"
    CODE_REFUSED = "code-refused"
    CLIENT_REFUSED = "client-refused"
    UNUSABLE_ANSWER = "unusable-answer"
    NO_ID_TOKEN = "no-id-token"
    WRONG_ALGORITHM = "wrong-algorithm"
    UNKNOWN_KEY = "unknown-key"
    WRONG_SIGNATURE = "wrong-signature"
    WRONG_ISSUER = "wrong-issuer"
    WRONG_AUDIENCE = "wrong-audience"
    WRONG_TIME = "wrong-time"
    WRONG_NONCE = "wrong-nonce"
    WRONG_SUBJECT = "wrong-subject"
    NO_SUBJECT = "no-subject"


class SignInRefused(Exception):
    """What came back must not sign anybody in."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = plain(detail[:_MOST_CHARACTERS])
        super().__init__(f"{reason}: {self.detail}" if detail else str(reason))

    def failure(self, provider: str) -> Failure:
        """What the person is told; `provider` is its title."""
        match self.reason:
            case Reason.STATE_MISSING | Reason.WRONG_STATE | Reason.CODE_REFUSED:
                return Failure(SIGN_IN_INTERRUPTED)
            case Reason.PROVIDER_SAYS_NO:
                return Failure(SIGN_IN_CANCELLED, {"provider": provider})
            case Reason.CLIENT_REFUSED:
                return Failure(SIGN_IN_MISCONFIGURED, {"provider": provider})
            case Reason.NO_SUBJECT:
                return Failure(SIGN_IN_WITHOUT_SUBJECT, {"provider": provider})
            case _:
                return Failure(SIGN_IN_NOT_TRUSTED, {"provider": provider})


class ProviderAway(Exception):
    """A provider does not answer, or answers with an error of its own; the text says which, for the log."""
