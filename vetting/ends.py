"""When what was given to a person ends: at the earliest of all that it stands on. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["Cause", "End", "effective_end"]


class Cause(StrEnum):
    """What ends first."""

    GRANT = "grant"
    MEMBERSHIP = "membership"
    MAPPING = "mapping"
    CLASS = "class"


@dataclass(frozen=True)
class End:
    """When it ends, and because of what."""

    at: datetime
    cause: Cause


def effective_end(
    *,
    grant: datetime,
    membership: datetime | None = None,
    mapping: datetime | None = None,
    of_class: datetime | None = None,
) -> End:
    """The earliest of the ends; None sets none. Of several at the same moment the one that is named first counts."""
    ends = {Cause.GRANT: grant, Cause.MEMBERSHIP: membership, Cause.MAPPING: mapping, Cause.CLASS: of_class}
    known = {cause: at for cause, at in ends.items() if at is not None}
    first = min(known, key=lambda cause: known[cause])
    return End(known[first], first)
