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
    EndReason.WALLTIME: _("The batch system ended it because its walltime was over."),
    EndReason.QUOTA: _("It was stopped because no quota was left to go on."),
    EndReason.ACCESS: _("It was stopped because your access ended."),
    EndReason.REFUSED: _("It was not started."),
    EndReason.FAILED: _("It did not start."),
    EndReason.LOST: _("The service had lost touch with it, so it was ended."),
    EndReason.SERVICE: _("The service was stopped."),
    EndReason.MEMORY: _("It needed more memory than a session of its size has, so it was ended."),
    EndReason.EVICTED: _("The place where it ran had to end it: a machine failed, or was needed for something else."),
    EndReason.SUSPENDED: _("The support team stopped it and suspended your access, for this reason: “{detail}”."),
}

_ADVICE = {
    EndReason.LOST: _("Your files are kept. Start a new session when you need one."),
    EndReason.IDLE: _("Your files are kept. Start a new session when you need one."),
    EndReason.WALLTIME: _("Your files are kept. Choose a longer walltime next time, if the site allows it."),
    EndReason.QUOTA: _("Your files are kept. The page “My access” says how to get more quota."),
    EndReason.ACCESS: _("Your files are kept. The page “My access” says what is missing now."),
    EndReason.MEMORY: _("Your files are kept. Choose a larger size, or load less data at a time."),
    EndReason.EVICTED: _("Your files are kept. Start a new session when you need one."),
    EndReason.SUSPENDED: _("Your files and your quota stay. Write to support if you think that this is a mistake."),
}

_NOTICES = {
    EndReason.IDLE: _(
        "Nobody is using this session. It will be stopped at {time} unless you run something or keep it."
    ),
    EndReason.WALLTIME: _(
        "The walltime of this session is over at {time}; the batch system ends it then. Save your work; your files are"
        " kept."
    ),
    EndReason.QUOTA: _(
        "No quota is left to go on: this session will be stopped at {time}. Save your work; your files are kept."
    ),
    EndReason.ACCESS: _(
        "Your access has ended: this session will be stopped at {time}. Save your work; your files are kept."
    ),
}


def reason_text(reason: EndReason | None, idle_minutes: float | None, detail: str | None = None) -> str:
    """Why a session ended, for the person whose it was. `detail` is what was kept with the reason."""
    figures = {"idle_minutes": decimal(idle_minutes or 0, 1), "detail": detail or ""}
    return gettext(_REASONS[reason or EndReason.EXITED]).format(**figures)


def advice_text(reason: EndReason | None) -> str:
    """What to do next after a stop that the person did not ask for; empty where the reason says enough."""
    return gettext(_ADVICE[reason]) if reason in _ADVICE else ""


def notice_text(reason: EndReason) -> str:
    """What is to come, with `{time}` in it."""
    return gettext(_NOTICES[reason])
