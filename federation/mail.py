"""Sends the outbox by SMTP.

- A message is marked as sent after the server has taken it, each in a transaction of its own. So none is lost; one may
  come twice if this process dies between the two, and then with the same Message-ID.
- A server that is away changes nothing: everything waits, and the worker's health says so.
- What a server puts off is tried again, later and later. What it refuses for good, and what has no address, is given up
  with the reason, which `nbfed mail list` shows.
- What waited for more than two weeks is given up: nobody wants a flood of old news when mail is set up.
"""

import logging
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, select, update

from federation.clock import Clock, system_clock
from federation.database import Database
from federation.i18n import use_language
from federation.letters import Frame, Letter, as_html, as_text, letter_kind
from federation.outbox import OutboxTable
from federation.persons import Person, persons_by_id
from federation.plain import plain
from federation.terms import AcceptanceTable
from federation.worker import Away

__all__ = ["MailAway", "MailSender", "Server", "compose", "language_of"]

_AT_ONCE = 200
_TIMEOUT_SECONDS = 30.0
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(hours=6)
_TOO_OLD = timedelta(days=14)
_PERMANENT = 500
_ERROR_CHARACTERS = 500

_log = logging.getLogger("nbfed.worker")


class MailAway(Away):
    """The mail server cannot be used at all; nothing was lost."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """The mail server, as the settings have it; `url` is `smtp://HOST:PORT` or `smtps://HOST:PORT`."""

    url: str
    sender: str
    starttls: bool = False
    user: str = ""
    password: str = ""

    @contextmanager
    def session(self) -> Iterator[smtplib.SMTP]:
        """One connection, signed in.

        Raises
        ------
        MailAway
            If there is none to be had.
        """
        try:
            connection = self._open()
        except (OSError, smtplib.SMTPException) as error:
            raise MailAway(f"the mail server {self.url} is away: {error}") from error
        try:
            yield connection
        finally:
            connection.close()

    def _open(self) -> smtplib.SMTP:
        parts = urlsplit(self.url)
        host, encrypted = parts.hostname or "", parts.scheme == "smtps"
        connection: smtplib.SMTP
        if encrypted:
            connection = smtplib.SMTP_SSL(
                host, parts.port or 465, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context()
            )
        else:
            connection = smtplib.SMTP(host, parts.port or 25, timeout=_TIMEOUT_SECONDS)
        try:
            if self.starttls and not encrypted:
                connection.starttls(context=ssl.create_default_context())
            if self.user:
                connection.login(self.user, self.password)
        except BaseException:
            connection.close()
            raise
        return connection


class MailSender:
    """One round after another. `guard` raises when this process may not go on: called before each mail."""

    def __init__(
        self,
        *,
        database: Database,
        server: Server,
        frame: Frame,
        default_language: str,
        clock: Clock = system_clock,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._server = server
        self._frame = frame
        self._default_language = default_language
        self._clock = clock
        self._guard = guard

    def run_once(self) -> None:
        """Send what is due.

        Raises
        ------
        MailAway
            If the server cannot be used; what is due stays so.
        """
        due = self._due()
        if not due:
            return
        with self._database.read() as connection:
            people = persons_by_id(connection, {row.person_id for row in due})
            languages = {person: language_of(connection, person, self._default_language) for person in people}
        with self._server.session() as session:
            for row in due:
                self._guard()
                person = people.get(row.person_id)
                self._send(session, row, person, languages.get(row.person_id, self._default_language))

    def _due(self) -> list[Row[Any]]:
        query = (
            select(OutboxTable.__table__)
            .where(
                OutboxTable.sent_at.is_(None), OutboxTable.given_up_at.is_(None), OutboxTable.due_at <= self._clock()
            )
            .order_by(OutboxTable.due_at, OutboxTable.id)
            .limit(_AT_ONCE)
        )
        with self._database.read() as connection:
            return list(connection.execute(query))

    def _send(self, session: smtplib.SMTP, row: Row[Any], person: Person | None, language: str) -> None:
        now = self._clock()
        kind = letter_kind(row.kind)
        use_language(language)
        try:
            if now - row.created_at > _TOO_OLD:
                self._give_up(row, f"it waited for more than {_TOO_OLD.days} days")
                return
            if kind is None:
                self._put_off(row, f"there is no text for mails of the kind {row.kind}")
                return
            address = _address(person)
            if person is None or address is None:
                self._give_up(row, "the person has no e-mail address that can be used")
                return
            letter = kind.write(row.figures)
            message = compose(letter, self._frame, person.facts.name, address, self._server.sender, row.id, now)
            session.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, answer = next(iter(error.recipients.values()))
            said = f"{code} {answer.decode(errors='replace')}"
            (self._give_up if code >= _PERMANENT else self._put_off)(row, said)
        except smtplib.SMTPServerDisconnected as error:
            self._put_off(row, str(error))
            raise MailAway(f"the mail server {self._server.url} is away: {error}") from error
        except (smtplib.SMTPException, KeyError, ValueError) as error:
            self._put_off(row, f"{type(error).__name__}: {error}")
        else:
            self._mark(row, sent_at=now, error="")
        finally:
            use_language(self._default_language)

    def _put_off(self, row: Row[Any], error: str) -> None:
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(row.attempts, 20))
        _log.warning("mail %s was not taken, trying again in %s: %s", row.id, wait, plain(error))
        self._mark(row, attempts=row.attempts + 1, error=error, due_at=self._clock() + wait)

    def _give_up(self, row: Row[Any], error: str) -> None:
        _log.error("mail %s is given up: %s", row.id, plain(error))
        self._mark(row, attempts=row.attempts + 1, error=error, given_up_at=self._clock())

    def _mark(self, row: Row[Any], *, error: str, **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(
                update(OutboxTable)
                .where(OutboxTable.id == row.id)
                .values(error=plain(error)[:_ERROR_CHARACTERS], **values)
            )


def compose(
    letter: Letter, frame: Frame, name: str, address: Address, sender: str, message_id: str, now: datetime
) -> EmailMessage:
    """The mail as it leaves, in the present language. The same message always has the same Message-ID.

    Raises
    ------
    ValueError
        If a header would have a line break in it.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(display_name=frame.federation, addr_spec=sender)
    message["To"] = address
    message["Subject"] = plain(letter.subject)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    message.set_content(as_text(letter, frame, name))
    message.add_alternative(as_html(letter, frame, name), subtype="html")
    return message


def language_of(connection: Connection, person_id: str, default: str) -> str:
    """The language in which a person read the terms last; until then that of the federation."""
    newest = (
        select(AcceptanceTable.language)
        .where(AcceptanceTable.person_id == person_id)
        .order_by(AcceptanceTable.accepted_at.desc())
        .limit(1)
    )
    return connection.execute(newest).scalar_one_or_none() or default


def _address(person: Person | None) -> Address | None:
    """Where a person gets mail; None if what their provider said is no address."""
    email = person.facts.email if person else ""
    try:
        return Address(addr_spec=email) if email.isascii() and "@" in email and email.isprintable() else None
    except (ValueError, IndexError):
        return None
