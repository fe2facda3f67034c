"""What FederatedSpawner asks of the child spawner of any kind of site."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any

from jupyterhub.utils import url_path_join
from traitlets import HasTraits, Instance, Unicode

from quota.ledger import Ledger
from spawners.sessions import Session, Sessions
from spawners.stages import Stage

__all__ = ["Child"]

_ANSWER_SECONDS = 2.0


class Child(HasTraits):
    """What is put in front of a JupyterHub spawner class to make it the child of FederatedSpawner.

    A child belongs to one attempt, which `attach` names. Its `get_env` is what the exchange hands to the launcher.
    """

    sessions = Instance(Sessions)
    ledger = Instance(Ledger)
    secret = Unicode(help="of an attempt that is not submitted yet; empty when we only re-attach")
    stage = Stage.ADMITTED
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

    def answers(self, address: tuple[str, int]) -> bool:
        """Whether the single-user server answers there. Blocks."""
        connection = HTTPConnection(*address, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", url_path_join(self.server.base_url, "api"))
            return connection.getresponse().status < HTTPStatus.INTERNAL_SERVER_ERROR
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
