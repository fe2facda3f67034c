"""What FederatedSpawner asks of the child spawner of any kind of site."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from traitlets import HasTraits, Instance, Unicode

from federation.errors import Failure
from quota.ledger import Ledger
from spawners.sessions import Session, Sessions
from spawners.stages import Stage

__all__ = ["Child", "NotSubmitted", "Wait"]


class NotSubmitted(Exception):
    """The place did not take the session, and certainly has nothing of it: another place may."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Why a session is not there yet, where its stage alone does not say it.

    Parameters
    ----------
    reason
        The scheduler's own word.
    expected_start_at
        When it thinks that the job will run.
    silent
        The site does not answer at the moment.
    """

    reason: str = ""
    expected_start_at: datetime | None = None
    silent: bool = False


class Child(HasTraits):
    """What is put in front of a JupyterHub spawner class to make it the child of FederatedSpawner.

    A child belongs to one attempt, which `attach` names. Its `get_env` is what the exchange hands to the launcher.
    """

    sessions = Instance(Sessions)
    ledger = Instance(Ledger)
    secret = Unicode(help="of an attempt that is not submitted yet; empty when we only re-attach")
    stage = Stage.ADMITTED
    wait: Wait | None = None
    may_exchange = True
    """Whether `get_env` can be asked already."""
    exchanged_with = Unicode(help="nonce of the launcher that the exchange gave this start's environment to")

    session: Session
    step: "asyncio.Task[Any] | None" = None

    # JupyterHub's part, as far as we use it.
    api_token: str
    handler: Any
    cert_paths: Any
    server: Any
    start: Callable[[], Awaitable[str]]
    get_env: Callable[[], dict[str, str]]

    def attach(self, session: Session, secret: str) -> None:
        """Work on this attempt."""
        self.session, self.secret = session, secret

    async def in_thread(self, work: Callable[[], None]) -> None:
        """Run a step that a cancelled start must not tear: it goes on, and FederatedSpawner.stop() waits for it."""
        self.step = asyncio.ensure_future(asyncio.to_thread(work))
        await asyncio.shield(self.step)
