"""A real SMTP server for tests: it keeps what it takes, and can be told to refuse, to put off, or to be away."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

__all__ = ["Mailbox", "running_mailbox"]


class Mailbox:
    """What the server took, and how it answers.

    Parameters
    ----------
    refusals
        What is answered to a recipient, by address: `550 no such mailbox`.
    then
        Called after a message was taken and before that is answered.
    """

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.refusals: dict[str, str] = {}
        self.data_answer = "250 taken"
        self.then: Any = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def recipients(self) -> list[str]:
        return [str(message["To"]) for message in self.messages]

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.data_answer.startswith("250"):
            message = message_from_bytes(envelope.content, policy=default)
            assert isinstance(message, EmailMessage)
            self.messages.append(message)
        if self.then:
            self.then()
        return self.data_answer


def _authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"nbfed", b"secret")
    return AuthResult(success=right, handled=False)  # so that the server answers a refusal, too


@contextmanager
def running_mailbox(*, port: int = 0, wants_sign_in: bool = False) -> Iterator[Mailbox]:
    """Listen on loopback until the end of the block; on a port of its own choice."""
    mailbox, ready = Mailbox(), threading.Event()
    loop = asyncio.new_event_loop()
    options: dict[str, Any] = {}
    if wants_sign_in:
        options = {"authenticator": _authenticate, "auth_required": True, "auth_require_tls": False}

    async def serve() -> asyncio.Server:
        server = await loop.create_server(lambda: SMTP(mailbox, **options), "127.0.0.1", port)
        mailbox.port = server.sockets[0].getsockname()[1]
        return server

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(serve())
        ready.set()
        loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    try:
        yield mailbox
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
