"""When people are to be told how far their quota is spent: at 80 % and at 100 % of the grants that count. Pure."""

from quota.statement import Standing

__all__ = ["THRESHOLDS_PERCENT", "threshold_reached"]

THRESHOLDS_PERCENT = (100, 80)


def threshold_reached(standing: Standing) -> int | None:
    """The highest threshold that what is used, held and owed has reached; None below all of them, or without a grant.

    What running sessions hold counts as spent: it is not there for anything else, and most of it will be used.
    """
    spent = standing.granted - standing.left
    reached = (percent for percent in THRESHOLDS_PERCENT if 100 * spent >= percent * standing.granted)
    return next(reached, None) if standing.granted else None
