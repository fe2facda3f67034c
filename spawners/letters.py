"""The mails about quota, sessions and homes, for people who are away."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from federation.i18n import decimal, gettext, moment
from federation.letters import Letter, LetterKind
from federation.settings import in_language
from quota.amounts import to_unit_hours
from spawners.announcer import QUOTA_SPENT, SESSION_READY, SESSION_STOPS
from spawners.home_rounds import HOME_KEPT
from spawners.homes import WhyKept
from spawners.tables import EndReason

__all__ = ["HOME_LETTER", "QUOTA_LETTER", "READY_LETTER", "STOP_LETTER"]

_WHOLLY = 100


def _(message: str) -> str:
    return message


_WHY = {
    EndReason.QUOTA: _("Your session will be stopped at {at}, because no quota is left to pay for more time."),
    EndReason.ACCESS: _("Your session will be stopped at {at}, because you may not use its flavour any more."),
}
_SAVE = _("Save your work before that; your files stay. Reference: {reference}")
_NEARLY = _(
    "Of {granted} unit-hours of quota you have {left} left. What running sessions have set aside counts as used."
)
_ALL = _("Your quota is used up, or set aside for what runs: nothing new can be started.")
_UNTIL = _("This quota counts until {until}.")


_HOMES = {
    WhyKept.ACCESS: (
        _("You may not start sessions at {site} any more. Your files there are kept until {until}."),
        _("If you need them, ask for access again, or ask the support team for a copy."),
    ),
    WhyKept.UNUSED: (
        _("You have not started a session at {site} for a long time. Your files there are kept until {until}."),
        _("Start a session there before that, and they are kept for as long as you use them."),
    ),
}
_NOT_BY_ITSELF = _("After that an operator may remove them. Nothing is removed by itself.")


def _quota_letter(figures: Mapping[str, Any]) -> Letter:
    spent = int(figures["percent"]) >= _WHOLLY
    named = {name: _hours(figures[f"{name}_milli_unit_seconds"]) for name in ("granted", "left")}
    paragraphs = [gettext(_ALL if spent else _NEARLY).format(**named)]
    if figures["ends_at"]:
        paragraphs.append(gettext(_UNTIL).format(until=moment(datetime.fromisoformat(figures["ends_at"]))))
    subject = gettext(_("{percent} % of your quota are spent")).format(percent=figures["percent"])
    return Letter(subject=subject, paragraphs=tuple(paragraphs))


def _stop_letter(figures: Mapping[str, Any]) -> Letter:
    at = moment(datetime.fromisoformat(figures["at"]))
    return Letter(
        subject=gettext(_("Your session will be stopped")),
        paragraphs=(
            gettext(_WHY[EndReason(figures["reason"])]).format(at=at),
            gettext(_SAVE).format(reference=figures["reference"]),
        ),
    )


def _ready_letter(figures: Mapping[str, Any]) -> Letter:
    return Letter(
        subject=gettext(_("Your session runs")),
        paragraphs=(
            gettext(_("The session that waited at {site} runs now; its time counts from its start.")).format(
                site=figures["site"]
            ),
            gettext(_("Stop it when you do not need it any more. Reference: {reference}")).format(
                reference=figures["reference"]
            ),
        ),
    )


def _hours(milli_unit_seconds: int) -> str:
    return decimal(float(to_unit_hours(milli_unit_seconds)), 1)


def _home_letter(figures: Mapping[str, Any]) -> Letter:
    why = WhyKept(figures["why"])
    named = {
        "site": in_language(figures["title"], figures["site"]),
        "until": moment(datetime.fromisoformat(figures["until"])),
    }
    return Letter(
        subject=gettext(_("Your files at {site} are kept until {until}")).format(**named),
        paragraphs=tuple(gettext(text).format(**named) for text in (*_HOMES[why], _NOT_BY_ITSELF)),
    )


QUOTA_LETTER = LetterKind(
    QUOTA_SPENT,
    _quota_letter,
    {
        "percent": 80, "granted_milli_unit_seconds": 360_000_000, "left_milli_unit_seconds": 72_000_000,
        "ends_at": "2027-01-01T00:00:00+00:00",
    },
)  # fmt: skip
STOP_LETTER = LetterKind(
    SESSION_STOPS, _stop_letter, {"reason": "quota", "at": "2026-12-01T14:30:00+00:00", "reference": "ABCD2345"}
)
HOME_LETTER = LetterKind(
    HOME_KEPT,
    _home_letter,
    {"site": "cloud", "title": "Community cloud", "why": "access", "until": "2027-03-01T00:00:00+00:00"},
)
READY_LETTER = LetterKind(SESSION_READY, _ready_letter, {"server": "", "site": "hpc", "reference": "ABCD2345"})
