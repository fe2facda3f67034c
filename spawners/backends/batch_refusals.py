"""What people read when a site does not take a session. Pure."""

from federation.errors import Failure
from spawners.errors import SITE_AWAY, SITE_DRAINED, SITE_REFUSED
from spawners.gateway.answers import GatewayError, GatewayRefused, SiteHealth, SiteState
from spawners.gateway.protocol import ErrorCode

__all__ = ["closed_by", "refusal_of"]

_SHOWN_CHARACTERS = 200


def refusal_of(error: GatewayError, site_title: str) -> Failure:
    """Of an error of the gateway or the gate."""
    if not isinstance(error, GatewayRefused):
        return Failure(SITE_AWAY, {"site": site_title})
    if error.code == ErrorCode.DRAINED:
        return Failure(SITE_DRAINED, {"site": site_title})
    why = "".join(c for c in error.detail if c.isprintable())[:_SHOWN_CHARACTERS]
    return Failure(SITE_REFUSED, {"site": site_title, "why": why or "-", "code": error.code})


def closed_by(health: SiteHealth, site_title: str) -> Failure | None:
    """Why a site takes nothing just now, by what the gateway knows of it; None if it may."""
    match health.state:
        case SiteState.OPEN_BREAKER:
            return Failure(SITE_AWAY, {"site": site_title})
        case SiteState.DRAINED:
            return Failure(SITE_DRAINED, {"site": site_title})
        case _:
            return None
