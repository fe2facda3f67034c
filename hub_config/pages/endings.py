"""What people read about the end of a session: before it comes, and afterwards; why, and what to do next.

Notices say when with the placeholder `{time}`, for which each page puts the moment in the reader's own zone.
"""

from federation.i18n import decimal, gettext
from spawners.tables import EndReason

__all__ = ["advice_text", "notice_text", "reason_text"]


def _(message: str) -> str:
    return message


_REASONS = {
    EndReason.STOPPED: _("You stopped it."),
    EndReason.EXITED: _("It ended by itself."),
    EndReason.IDLE: _("It was stopped because nobody used it for {idle_minutes} minutes."),
    EndReason.QUOTA: _("It was stopped because no quota was left to go on."),
    EndReason.ACCESS: _("It was stopped because your access ended."),
    EndReason.REFUSED: _("It was not started."),
    EndReason.FAILED: _("It did not start."),
    EndReason.LOST: _("The service had lost touch with it, so it was ended."),
    EndReason.SERVICE: _("The service was stopped."),
}

_ADVICE = {
    EndReason.LOST: _("Your files are kept. Start a new session when you need one."),
    EndReason.IDLE: _("Your files are kept. Start a new session when you need one."),
    EndReason.QUOTA: _("Your files are kept. The page “My access” says how to get more quota."),
    EndReason.ACCESS: _("Your files are kept. The page “My access” says what is missing now."),
}

_NOTICES = {
    EndReason.IDLE: _(
        "Nobody is using this session. It will be stopped at {time} unless you run something or keep it."
    ),
    EndReason.QUOTA: _(
        "No quota is left to go on: this session will be stopped at {time}. Save your work; your files are kept."
    ),
    EndReason.ACCESS: _(
        "Your access has ended: this session will be stopped at {time}. Save your work; your files are kept."
    ),
}


def reason_text(reason: EndReason | None, idle_minutes: float | None) -> str:
    """Why a session ended, for the person whose it was."""
    return gettext(_REASONS[reason or EndReason.EXITED]).format(idle_minutes=decimal(idle_minutes or 0, 1))


def advice_text(reason: EndReason | None) -> str:
    """What to do next after a stop that the person did not ask for; empty where the reason says enough."""
    return gettext(_ADVICE[reason]) if reason in _ADVICE else ""


def notice_text(reason: EndReason) -> str:
    """What is to come, with `{time}` in it."""
    return gettext(_NOTICES[reason])
