"""`nbfed mail`: what waits to be sent, what was given up and why, and what mails look like."""

from typing import Protocol

import click
from sqlalchemy import select, update

from federation.commands import Shop, plain, table, when
from federation.i18n import LANGUAGES, use_language
from federation.letters import Frame, as_html, as_text, letter_kind, letter_kinds
from federation.outbox import OutboxTable
from federation.persons import persons_by_id

__all__ = ["MailShop", "mail"]


class MailShop(Shop, Protocol):
    """A shop that knows what stands around a mail."""

    @property
    def mail_frame(self) -> Frame: ...


@click.group()
def mail() -> None:
    """Mails to people: what waits, what could not be sent, and what they look like."""


@mail.command("list")
@click.option("--all", "everything", is_flag=True, help="also those that were sent")
@click.pass_obj
def list_mails(shop: MailShop, everything: bool) -> None:
    """Show the mails that wait or were given up, the oldest first."""
    query = select(OutboxTable.__table__).order_by(OutboxTable.created_at, OutboxTable.id)
    if not everything:
        query = query.where(OutboxTable.sent_at.is_(None))
    with shop.database.read() as connection:
        found = connection.execute(query).all()
        people = persons_by_id(connection, {row.person_id for row in found})
    if not found:
        click.echo("No mails." if everything else "No mail waits, and none was given up.")
        return
    rows = []
    for row in found:
        state = "sent" if row.sent_at else "given up" if row.given_up_at else "waits"
        next_try = "" if row.sent_at or row.given_up_at else when(row.due_at)
        name = people[row.person_id].user_name if row.person_id in people else ""
        rows.append(
            (row.id, row.kind, name, state, when(row.created_at), next_try, str(row.attempts), row.error)
        )  # fmt: skip
    header = ("MAIL", "KIND", "PERSON", "STATE", "SINCE", "NEXT TRY", "FAILED", "ERROR")
    click.echo(table(header, rows))


@mail.command()
@click.argument("mail_id", metavar="MAIL", required=False)
@click.option("--all", "everything", is_flag=True, help="instead of MAIL: all that were given up or put off")
@click.pass_obj
def retry(shop: MailShop, mail_id: str | None, *, everything: bool) -> None:
    """Let the worker try MAIL again now, also when it was given up."""
    if (mail_id is None) != everything:
        raise click.UsageError("Name one MAIL, or say --all.")
    now = shop.clock()
    mails = update(OutboxTable).where(OutboxTable.sent_at.is_(None))
    if mail_id is not None:
        mails = mails.where(OutboxTable.id == mail_id.strip().lower())
    with shop.database.write() as connection:
        # As if it were new: what waited for too long would be given up again.
        done = connection.execute(mails.values(due_at=now, created_at=now, given_up_at=None, error="")).rowcount
    if not done and mail_id is not None:
        raise click.ClickException(
            f"There is no mail {plain(mail_id)!r} that waits or was given up; `nbfed mail list` shows them."
        )
    click.echo(f"Mails that are tried again: {done}.")


@mail.command()
@click.argument("kind", required=False)
@click.option("--language", type=click.Choice(LANGUAGES), default="en")
@click.option("--html", is_flag=True, help="as HTML instead of plain text")
@click.pass_obj
def preview(shop: MailShop, kind: str | None, language: str, *, html: bool) -> None:
    """Print a mail of KIND as people get it, with made-up figures; without KIND, the kinds that there are."""
    if kind is None:
        click.echo("\n".join(one.kind for one in letter_kinds()))
        return
    known = letter_kind(kind)
    if known is None:
        raise click.ClickException(f"There are no mails of the kind {plain(kind)!r}; `nbfed mail preview` lists them.")
    use_language(language)
    letter = known.write(known.example)
    use = as_html if html else as_text
    text = use(letter, shop.mail_frame, "Ana Ruiz")
    click.echo(text if html else f"Subject: {letter.subject}\n\n{text}", nl=False)
    use_language("en")
