"""The stages of a start, as people read them on the page that waits. Each is said when it is so, not before."""

from enum import Enum

__all__ = ["Stage"]


def _(message: str) -> str:
    return message


class Stage(Enum):
    """Pairs of progress in percent, and text."""

    ASKING = (5, _("Asking whether your quota covers it."))
    ADMITTED = (10, _("Your quota covers it; the place for your session is being chosen."))
    SUBMITTING = (25, _("The session is handed to the place that runs it."))
    WAITING = (35, _("The place has no free machine for it right now; waiting until there is one."))
    QUEUED = (35, _("The session waits in the queue of the batch system."))
    STARTING = (45, _("The session is starting."))
    ADOPTING = (60, _("The service was restarted; your session is being taken up again."))
    CONNECTING = (75, _("The session runs; waiting until JupyterLab answers."))

    @property
    def percent(self) -> int:
        return self.value[0]

    @property
    def text(self) -> str:
        return self.value[1]
