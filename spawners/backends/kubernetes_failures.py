"""What people are told when a pod cannot be had: in the words of the catalogue, without names of pods. Pure."""

from dataclasses import dataclass
from http import HTTPStatus

from federation.errors import Failure
from spawners.backends.base import Cause, Observation
from spawners.backends.cluster import ClusterRefused
from spawners.backends.pods import Trouble
from spawners.errors import (
    ENDED_BEFORE_ANSWER,
    EVICTED_BEFORE_ANSWER,
    HOME_NOT_THERE,
    IMAGE_NOT_THERE,
    MEMORY_BEFORE_ANSWER,
    NO_ANSWER_IN_TIME,
    NO_ROOM_IN_TIME,
    PLACE_BROKEN,
    PLACE_FULL,
    SITE_AWAY,
)

__all__ = ["Failures"]

_RETRY_SECONDS = 60


@dataclass(frozen=True)
class Failures:
    """Of one start: where, with which environment, and how long it may take. Titles are in the reader's language."""

    site: str
    environment: str
    seconds: int

    def at_once(self, trouble: Trouble | None) -> Failure | None:
        """Of a trouble that does not go away by itself; None of another one."""
        match trouble:
            case Trouble.IMAGE:
                return Failure(IMAGE_NOT_THERE, {"site": self.site, "environment": self.environment})
            case Trouble.BROKEN:
                return Failure(PLACE_BROKEN, {"site": self.site})
        return None

    def in_the_end(self, trouble: Trouble | None) -> Failure:
        """When the time is over; `trouble` is what was in the way last."""
        match trouble:
            case Trouble.FULL:
                return Failure(NO_ROOM_IN_TIME, {"site": self.site, "seconds": self.seconds})
            case Trouble.HOME:
                return self.no_home()
        return Failure(NO_ANSWER_IN_TIME, {"seconds": self.seconds})

    def ended(self, seen: Observation, log: str) -> Failure:
        """Of a pod that ended before it answered."""
        match seen.cause:
            case Cause.MEMORY:
                return Failure(MEMORY_BEFORE_ANSWER)
            case Cause.EVICTED:
                return Failure(EVICTED_BEFORE_ANSWER, {"site": self.site})
        return Failure(ENDED_BEFORE_ANSWER, {"exit_code": seen.exit_code, "log": log.strip() or "-"})

    def refused(self, refused: ClusterRefused) -> Failure:
        """Of a pod that the cluster does not take."""
        if is_over_quota(refused):
            return Failure(PLACE_FULL, {"site": self.site})
        return Failure(PLACE_BROKEN, {"site": self.site})

    def no_home(self) -> Failure:
        """Of a volume that cannot be had."""
        return Failure(HOME_NOT_THERE, {"site": self.site})

    def away(self) -> Failure:
        """Of a cluster that does not answer."""
        return Failure(SITE_AWAY, {"site": self.site}, retry_after_seconds=_RETRY_SECONDS)


def is_over_quota(refused: ClusterRefused) -> bool:
    """Whether a ResourceQuota of the namespace is used up (kubernetes, `admission/plugin/resourcequota`)."""
    return refused.status == HTTPStatus.FORBIDDEN and "exceeded quota" in str(refused)
