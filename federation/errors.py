"""The catalogue of everything that can be refused or go wrong for a person: code, HTTP status, text, what to do next.

Each house fills the catalogue in its own `errors.py` with `Problem(...)` constants. A `Failure` is one occurrence: a
problem with its figures. Texts are gettext message ids with `{placeholders}`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from federation.i18n import gettext

__all__ = ["DATABASE_AWAY", "Failure", "Problem", "catalogue"]

_catalogue: dict[str, "Problem"] = {}


@dataclass(frozen=True)
class Problem:
    """One kind of refusal or error.

    Parameters
    ----------
    code
        Stable, for programs and for metrics; carries no numbers.
    status
        HTTP status: 400 and 422 wrong input, 401 without a token, 403 not eligible, 404 unknown, 409 somebody else was
        faster, 429 frees itself, 503 an outage of ours; 502 and 504
        for a session that ended, or kept silent, before it answered.
    text
        What happened and what it means.
    advice
        What the person can do next.
    """

    code: str
    status: int
    text: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.code in _catalogue:
            raise ValueError(f"the error code {self.code} is taken")
        _catalogue[self.code] = self


@dataclass(eq=False)  # exceptions are told apart by identity, and must be hashable
class Failure(Exception):
    """One occurrence of a problem.

    Parameters
    ----------
    problem
        Its kind.
    figures
        The values for the placeholders of its texts.
    retry_after_seconds
        When trying again may help, if that is known.
    reference
        The short code that support can look up.
    """

    problem: Problem
    figures: dict[str, Any] = field(default_factory=dict)
    retry_after_seconds: int | None = None
    reference: str = ""

    @property
    def message(self) -> str:
        """The text in the reader's language, followed by the advice."""
        parts = [gettext(self.problem.text), gettext(self.problem.advice)]
        return " ".join(part.format(**self.figures) for part in parts if part)

    def __str__(self) -> str:
        return f"{self.problem.code}: {self.problem.text.format(**self.figures)}"


def catalogue() -> Iterator[Problem]:
    """All problems that the imported houses know, by code."""
    return iter(sorted(_catalogue.values(), key=lambda problem: problem.code))


def _(message: str) -> str:  # Marks a text for extraction; it is translated when it is shown.
    return message


DATABASE_AWAY = Problem(
    code="database-away",
    status=503,
    text=_("The federation's books cannot be reached at the moment. This is an outage of ours, not your quota."),
    advice=_("Nothing was started and nothing was charged. Please try again in a few minutes."),
)
