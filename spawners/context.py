"""What the hub's spawner works with: made once at start-up by `hub_config`, handed to the class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from federation.clock import Clock
from federation.database import Database
from federation.errors import Failure
from quota.ledger import Ledger
from spawners.admission import Admission
from spawners.adoption import OpenAttempts
from spawners.backends.base import Backend
from spawners.backends.child import Child
from spawners.sessions import Session, Sessions

__all__ = ["Context", "SiteBackend"]


@dataclass(frozen=True, kw_only=True)
class SiteBackend:
    """One site's place to run: what is asked about sessions, and which child spawner starts them.

    Parameters
    ----------
    asks
        The backend as hub and worker ask it.
    child_class
        A JupyterHub spawner for one session.
    child_arguments
        What its constructor needs beside what every child gets, for an attempt. Called in the hub's loop: does not block.
    stop_seconds
        How long an ending session may take before it is ended by force.
    handover_seconds
        How long it may take to hand an attempt over; one that is meant for longer belongs to a hub that died.
    closed
        Why the place takes nothing just now; None where it may. Blocks.
    ends_with_service
        Whether sessions there end when the service is stopped; else they go on, and the next start takes them up.
    """

    asks: Backend
    child_class: type[Child]
    child_arguments: Callable[[Session], Mapping[str, object]]
    stop_seconds: float = 15.0
    handover_seconds: float = 60.0
    closed: Callable[[], Failure | None] = lambda: None
    ends_with_service: bool = True


@dataclass(frozen=True, kw_only=True)
class Context:
    """The collaborators of every spawner of this hub."""

    hub: str
    database: Database
    ledger: Ledger
    admission: Admission
    sessions: Sessions
    open_attempts: OpenAttempts
    backends: Mapping[str, SiteBackend]
    ask_url: str
    clock: Clock
