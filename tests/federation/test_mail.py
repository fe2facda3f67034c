"""Mail leaves by a real SMTP server: each once, none lost, in the reader's language, safe whatever is in it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

import spawners.letters  # noqa: F401 - registers what mails say
import vetting.letters  # noqa: F401 - the same
from federation.database import Database
from federation.i18n import LANGUAGES, current_language, use_language
from federation.letters import Frame, Letter, LetterKind, as_html, as_text, letter_kind, letter_kinds
from federation.mail import MailAway, MailSender, Server
from federation.outbox import OutboxTable, announce
from federation.persons import Facts, remember
from federation.terms import accept
from spawners.announcer import QUOTA_SPENT, SESSION_READY, SESSION_STOPS
from tests.support.books import Crash, CrashingDatabase, MovableClock
from tests.support.mail import Mailbox, running_mailbox
from vetting.stopping import STOPPED
from vetting.transitions import TABLE

FRAME = Frame(federation="Notebooks", base_url="https://hub.example.org/", contact="help@example.org")
FIGURES = dict(letter_kind("request-approved").example)  # type: ignore[union-attr]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as running:
        yield running


class Post:
    """A sender on a database with people and messages."""

    def __init__(self, database: Database, url: str, **server: Any) -> None:
        self.database = database
        self.clock = MovableClock()
        self.sender = MailSender(
            database=database, server=Server(url=url, sender="notebooks@example.org", **server), frame=FRAME,
            default_language="en", clock=self.clock,
        )  # fmt: skip

    def person(self, name: str = "ana", *, email: str | None = None, language: str = "") -> str:
        facts = Facts(name=name.title(), email=f"{name}@example.org" if email is None else email)
        with self.database.write() as connection:
            made = remember(
                connection,
                issuer="https://idp.example.org",
                subject=name,
                preferred=name,
                facts=facts,
                now=self.clock(),
            )
            if language:
                accept(connection, person_id=made.id, version="1", language=language, now=self.clock())
        return made.id

    def put(self, person: str, event: str = "e", kind: str = "request-approved", **figures: Any) -> None:
        with self.database.write() as connection:
            announce(
                connection, event=event, kind=kind, person_id=person, now=self.clock(), due_at=self.clock(),
                **{**FIGURES, **figures},
            )  # fmt: skip

    def rows(self) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(select(OutboxTable.__table__).order_by(OutboxTable.event)))


@pytest.fixture
def post(database: Database, mailbox: Mailbox) -> Post:
    return Post(database, mailbox.url)


def test_what_is_due_is_sent_once(post: Post, mailbox: Mailbox) -> None:
    post.put(post.person())
    for _ in range(3):
        post.sender.run_once()
    (message,) = mailbox.messages
    assert (message["To"], message["From"]) == ("ana@example.org", "Notebooks <notebooks@example.org>")
    assert message["Subject"] == "Your request is approved"
    assert message["Message-ID"] == f"<{post.rows()[0].id}@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    text, html = (str(part.get_content()) for part in message.iter_parts())
    for part in (text, html):
        assert "Hello Ana," in part
        assert "500 unit-hours" in part
        assert "https://hub.example.org/services/desk/requests/" in part
        assert "help@example.org" in part
    assert post.rows()[0].sent_at == post.clock()


def test_what_is_due_later_waits(post: Post, mailbox: Mailbox) -> None:
    person = post.person()
    with post.database.write() as connection:
        later = post.clock() + MINUTE
        announce(
            connection, event="e", kind="request-approved", person_id=person, now=post.clock(), due_at=later, **FIGURES
        )
    post.sender.run_once()
    assert mailbox.messages == []
    post.clock.move(MINUTE)
    post.sender.run_once()
    assert len(mailbox.messages) == 1


def test_each_reads_it_in_the_language_in_which_they_read_the_terms(post: Post, mailbox: Mailbox) -> None:
    for name, language in (("ana", "es"), ("bea", "pt"), ("cat", "")):
        post.put(post.person(name, language=language), name)
    post.sender.run_once()
    subjects = {str(message["To"]): str(message["Subject"]) for message in mailbox.messages}
    assert subjects["cat@example.org"] == "Your request is approved"
    assert len(set(subjects.values())) == 3
    assert current_language() == "en"


def test_a_server_that_is_away_loses_nothing_and_is_told(database: Database) -> None:
    with running_mailbox() as gone:
        pass
    post = Post(database, gone.url)
    post.put(post.person())
    with pytest.raises(MailAway, match="refused"):
        post.sender.run_once()
    (row,) = post.rows()
    assert (row.sent_at, row.attempts, row.given_up_at) == (None, 0, None)
    post.clock.move(timedelta(days=3))
    with running_mailbox(port=gone.port) as back:
        post.sender.run_once()
        post.sender.run_once()
        assert len(back.messages) == 1


def test_who_is_put_off_comes_again_later_and_keeps_nobody_else_waiting(post: Post, mailbox: Mailbox) -> None:
    post.put(post.person("ana"), "1")
    post.put(post.person("bea"), "2")
    mailbox.refusals["ana@example.org"] = "451 try again later"
    post.sender.run_once()
    assert mailbox.recipients == ["bea@example.org"]
    waits = []
    for _ in range(12):
        row = post.rows()[0]
        waits.append(row.due_at - post.clock())
        assert "451 try again later" in row.error
        post.clock.now = row.due_at
        if _ < 11:
            post.sender.run_once()
    assert waits[:3] == [MINUTE, 2 * MINUTE, 4 * MINUTE]
    assert max(waits) == timedelta(hours=6)
    mailbox.refusals.clear()
    post.sender.run_once()
    assert mailbox.recipients == ["bea@example.org", "ana@example.org"]
    assert post.rows()[0].error == ""


def test_an_address_that_is_none_is_given_up_with_the_reason(post: Post, mailbox: Mailbox) -> None:
    mailbox.refusals["ana@example.org"] = "550 no such mailbox"
    for number, email in enumerate(
        ["ana@example.org", "", "no address", "a@b\r\nBcc: all@example.org", "ä@example.org"]
    ):
        post.put(post.person(f"p{number}", email=email), str(number))
    post.sender.run_once()
    assert mailbox.messages == []
    errors = [row.error for row in post.rows()]
    assert errors[0] == "550 no such mailbox"
    assert set(errors[1:]) == {"the person has no e-mail address that can be used"}
    assert all(row.given_up_at for row in post.rows())


def test_a_message_that_the_server_does_not_want_is_kept(post: Post, mailbox: Mailbox) -> None:
    post.put(post.person())
    mailbox.data_answer = "554 looks like spam"
    post.sender.run_once()
    (row,) = post.rows()
    assert (row.sent_at, row.given_up_at, row.attempts) == (None, None, 1)
    assert "looks like spam" in row.error


def test_what_waited_for_more_than_two_weeks_is_given_up(post: Post, mailbox: Mailbox) -> None:
    post.put(post.person())
    post.clock.move(timedelta(days=14, seconds=1))
    post.sender.run_once()
    assert mailbox.messages == []
    assert "14 days" in post.rows()[0].error


def test_a_kind_without_a_text_waits_for_a_program_that_has_one(post: Post, mailbox: Mailbox) -> None:
    post.put(post.person(), kind="from-tomorrow")
    post.sender.run_once()
    assert (post.rows()[0].given_up_at, mailbox.messages) == (None, [])


def test_a_crash_after_the_server_took_it_sends_it_again_with_the_same_id(databases: Any, mailbox: Mailbox) -> None:
    database = CrashingDatabase(databases.migrated())
    post = Post(database, mailbox.url)
    post.put(post.person())
    mailbox.then = lambda: setattr(database, "crash_at", 0)
    with pytest.raises(Crash):
        post.sender.run_once()
    mailbox.then = None
    post.sender.run_once()
    post.sender.run_once()
    first, second = mailbox.messages
    assert first["Message-ID"] == second["Message-ID"]
    database.dispose()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_server_that_asks_who_it_is_is_told(database: Database) -> None:
    with running_mailbox(wants_sign_in=True) as mailbox:
        for password, number in (("wrong", 0), ("secret", 1)):
            post = Post(database, mailbox.url, user="nbfed", password=password)
            post.put(post.person())
            if number:
                post.sender.run_once()
            else:
                with pytest.raises(MailAway):
                    post.sender.run_once()
            assert len(mailbox.messages) == number


def test_without_tls_nothing_is_sent_where_it_is_asked_for(database: Database, mailbox: Mailbox) -> None:
    post = Post(database, mailbox.url, starttls=True)
    post.put(post.person())
    with pytest.raises(MailAway, match="STARTTLS"):
        post.sender.run_once()
    assert mailbox.messages == []


def test_a_worker_that_leads_no_more_sends_nothing(database: Database, mailbox: Mailbox) -> None:
    post = Post(database, mailbox.url)
    post.put(post.person())

    def lost() -> None:
        raise RuntimeError

    post.sender._guard = lost
    with pytest.raises(RuntimeError):
        post.sender.run_once()
    assert mailbox.messages == []


# --- what mails say ---------------------------------------------------------------------------------------------------

EVIL = '<script>alert(1)</script>\r\nSubject: x\r\n\r\n.\r\n"&'


def test_words_of_others_can_neither_steer_the_mail_nor_the_reader(post: Post, mailbox: Mailbox) -> None:
    post.put(post.person(), kind="request-question", words=EVIL)
    post.sender.run_once()
    (message,) = mailbox.messages
    assert message["Subject"] == "A question about your request"
    text, html = (str(part.get_content()) for part in message.iter_parts())
    assert "> Subject: x" in text
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_subject_stays_one_line(post: Post, mailbox: Mailbox) -> None:
    post.put(post.person(), kind="mapping-accepted", site="here\r\nBcc: all@example.org", account="ana")
    post.sender.run_once()
    (message,) = mailbox.messages
    assert message["Bcc"] is None
    assert "\\x0d\\x0aBcc" in str(message["Subject"])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(letter_kinds()), ids=lambda kind: kind.kind)
def test_every_letter_is_whole_in_every_language(kind: LetterKind, language: str) -> None:
    use_language(language)
    try:
        letter = kind.write(kind.example)
        text, html = as_text(letter, FRAME, "Ana"), as_html(letter, FRAME, "Ana")
    finally:
        use_language("en")
    assert letter.paragraphs
    assert not re.search(r"[{}]", letter.subject + text)
    assert f'lang="{language}"' in html
    assert "Hello" not in text or language == "en"


def test_every_event_that_is_mailed_has_its_letter() -> None:
    kinds = {kind for row in TABLE for kind in (row.mail, row.mail_reviewer) if kind}
    kinds |= {QUOTA_SPENT, SESSION_READY, SESSION_STOPS, STOPPED}
    assert kinds <= {kind.kind for kind in letter_kinds()}


def test_of_each_kind_there_is_one_letter() -> None:
    with pytest.raises(ValueError, match="already"):
        LetterKind("request-approved", lambda _figures: Letter(subject="", paragraphs=()), {})
