"""What people read while a session waits in the queue of a batch system, and why it runs where it does. Pure.

Texts say when with the placeholder `{time}`, for which each page puts the moment in the reader's own zone.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from federation.errors import catalogue
from federation.i18n import gettext
from federation.settings import Site, in_language
from spawners.backends.child import Wait

__all__ = ["reason_text", "waiting", "why_not_elsewhere"]

_SHOWN_CHARACTERS = 60


def _(message: str) -> str:
    return message


# Slurm's job reason codes, by how they begin (squeue(1), "JOB REASON CODES"); the first that fits.
_REASONS = (
    ("Priority", _("Jobs of others go first.")),
    ("Resources", _("It is next, as soon as enough is free.")),
    ("ReqNodeNotAvail", _("The nodes that it needs are down, or reserved, at the moment.")),
    ("Reservation", _("It waits for its reservation to begin.")),
    ("BeginTime", _("It was put off for a moment and is looked at again soon.")),
    ("JobHeld", _("The site holds it back.")),
    ("Partition", _("Its partition does not start jobs at the moment.")),
    ("Node", _("The nodes that it needs are down, or reserved, at the moment.")),
    ("QOS", _("As much runs as the site allows you or your group; it starts when some of that ends.")),
    ("Assoc", _("As much runs as the site allows you or your group; it starts when some of that ends.")),
    ("Licenses", _("It waits for a licence.")),
)
_SAYS = _("The batch system says: {reason}.")
_EXPECTED = _("It is expected to start at {time}.")
_SILENT = _("The site does not answer at the moment; the session keeps its place.")


def reason_text(code: str) -> str:
    """What a scheduler's word means to somebody who waits; empty if it says nothing."""
    for beginning, text in _REASONS:
        if code.startswith(beginning):
            return gettext(text)
    if code in ("", "None"):
        return ""
    return gettext(_SAYS).format(reason="".join(c for c in code if c.isprintable())[:_SHOWN_CHARACTERS])


def waiting(wait: Wait | None) -> tuple[str, datetime | None]:
    """What to say of a wait, with `{time}` in it where a moment is returned."""
    if wait is None:
        return "", None
    if wait.silent:
        return gettext(_SILENT), None
    expected = gettext(_EXPECTED) if wait.expected_start_at else ""
    reason = reason_text(wait.reason).replace("{", "(").replace("}", ")")  # it is the site's, and no placeholder
    return " ".join(filter(None, [reason, expected])), wait.expected_start_at


def why_not_elsewhere(kept: Sequence[Mapping[str, Any]], sites: Mapping[str, Site]) -> list[str]:
    """For each place that was not taken, why: what was kept with the session, in the reader's language."""
    problems = {problem.code: problem for problem in catalogue()}
    texts = []
    for place in kept:
        problem = problems.get(place.get("code", ""))
        if problem is None:
            continue
        figures = {**place.get("figures", {})}
        if place["site"] in sites and "site" in figures:
            figures["site"] = in_language(sites[place["site"]].title, place["site"])
        texts.append(gettext(problem.text).format(**figures))
    return texts
