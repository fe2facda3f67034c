"""What a running session asks again and again: time and quota left, and whether it will be stopped soon, as JSON.

Texts are ready in the reader's language, so that whoever shows them (JupyterLab, through `spawners/lab`) needs none of
its own. `{time}` in a text stands for `stop_at`, which the browser writes in the reader's zone.
"""

from datetime import datetime, timedelta
from math import floor
from typing import Any

from federation.i18n import current_language, decimal, gettext
from federation.settings import in_language
from hub_config.pages.endings import notice_text, reason_text
from hub_config.wiring import House
from quota.amounts import charge, to_unit_hours
from spawners.outlook import Outlook
from spawners.sessions import Server, Session
from spawners.tables import SessionState

__all__ = ["ASK_AGAIN_SECONDS", "SessionViews", "hours"]

ASK_AGAIN_SECONDS = 60
_SHORTEST_SECONDS = 1


class SessionViews:
    """Makes the answers. Reads block; made in threads."""

    def __init__(self, house: House) -> None:
        self._house = house

    def answer(
        self, user_name: str, server: str, *, hub_has_it: bool, last_activity: datetime | None
    ) -> dict[str, Any] | None:
        """What is known of the newest session of a person's server; None if there never was one.

        Raises
        ------
        Failure, federation.database.DatabaseUnavailable
            If the books are away, or the person is not known.
        """
        house = self._house
        session = house.sessions.last_of(Server(house.settings.yaml.federation.hub, user_name, server))
        if session is None:
            return None
        now = house.clock()
        outlook = house.outlooks.of(session, now, hub_has_it=hub_has_it, last_activity=last_activity)
        facts = {
            "server": server,
            "state": _state(session),
            "language": current_language(),
            "last_activity": _iso(last_activity),
            "ask_again_seconds": self._pace(),
            "texts": _texts(),
        }
        if outlook is None:
            idle = house.settings.yaml.idle.stop_after_minutes
            ended = reason_text(session.end_reason, idle, session.end_detail) if session.end_reason else ""
            return {
                **facts,
                "status": ended,
                "detail": "",
                "notice": None,
                "stop_at": None,
                "reason": session.end_reason,
            }
        return {**facts, **self._running(session, outlook, now)}

    def _running(self, session: Session, outlook: Outlook, now: datetime) -> dict[str, Any]:
        left = floor(to_unit_hours(outlook.left) * 100) / 100  # what is left is never rounded up
        flavour = self._house.settings.yaml.flavours.get(session.flavour)
        stop, notice = outlook.notice or outlook.stop, outlook.notice
        started = session.started_at
        cost = float(to_unit_hours(charge(outlook.weight_milli, started, now))) if started else 0.0
        shown_left, shown_hours = decimal(left, 2), decimal(hours(outlook.lasts), 1)
        status = (
            gettext("Stops at {time} · {left} unit-hours left")
            if notice
            else gettext("{hours} h left · {left} unit-hours")
        )
        return {
            "flavour": in_language(flavour.title, session.flavour) if flavour else session.flavour,
            "started_at": _iso(started),
            "elapsed_seconds": int((now - started).total_seconds()) if started else 0,
            "cost_unit_hours": round(cost, 4),
            "left_unit_hours": left,
            "lasts_hours": hours(outlook.lasts),
            "runs_until": _iso(outlook.runs_until),
            "stop_at": _iso(stop.at) if stop else None,
            "reason": stop.reason if stop else None,
            "notice": {"reason": notice.reason, "text": notice_text(notice.reason)} if notice else None,
            "status": status.replace("{hours}", shown_hours).replace("{left}", shown_left),
            "detail": gettext("This session has cost {cost} unit-hours so far.").format(cost=decimal(cost, 4)),
        }

    def _pace(self) -> float:
        """How many seconds to wait before asking again: often enough to see the notice of the idle stop that is set."""
        idle = self._house.settings.yaml.idle.stop_after_minutes
        often_enough = idle * 60 / 6 if idle is not None else ASK_AGAIN_SECONDS
        return max(_SHORTEST_SECONDS, min(ASK_AGAIN_SECONDS, often_enough))


def hours(duration: timedelta) -> float:
    """In hours, never rounded up."""
    return floor(duration / timedelta(hours=1) * 10) / 10


def _state(session: Session) -> str:
    if session.ended_at is not None:
        return "ended"
    if session.end_reason is not None:
        return "ending"
    return "running" if session.state is SessionState.RUNNING else "starting"


def _texts() -> dict[str, str]:
    """For what the hub cannot say at the moment when it is needed, and for buttons."""
    return {
        "home": gettext("Home page"),
        "keep": gettext("Keep it"),
        "away": gettext("The service does not answer at the moment; trying again…"),
        "over": gettext("This session is over. The home page says why."),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
