"""The commands about a person that need several houses: `nbfed person stop`, which ends what runs; `export` and `remove`,
since every house keeps personal data.
"""

import json
from pathlib import Path
from typing import Protocol

import click

from federation.audit import Act, record
from federation.commands import find_person, necessary_text, operator, person_title
from federation.persons import REMOVED
from hub_config.personal import StillRuns, exported, remove
from hub_config.wiring import House
from spawners.stopping import mark
from vetting.commands import PeopleShop, person
from vetting.stopping import stop_now

__all__ = ["person"]


class DataShop(PeopleShop, Protocol):
    """A shop that has all houses, and the hub at hand."""

    @property
    def house(self) -> House: ...

    def forget_at_hub(self, user_name: str) -> None:
        """Have the hub remove its own record of a user.

        Raises
        ------
        OSError
            If it cannot be reached, or refuses.
        """


@person.command()
@click.argument("person_")
@click.option("--reason", required=True, callback=necessary_text(2000), help="why; the person and auditors read it")
@click.pass_obj
def stop(shop: DataShop, person_: str, reason: str) -> None:
    """Stop PERSON now, for misuse: suspend them, and end what runs of theirs, jobs that wait included.

    The worker ends it within ten seconds, wherever it runs. What it cost until then is charged.
    """
    someone = find_person(shop, person_)
    with shop.database.write() as connection:
        ends = stop_now(connection, mark, person_id=someone.id, reason=reason, by=operator(), now=shop.clock())
    if ends is None:
        raise click.ClickException(f"{person_title(someone)} was stopped already; nothing was changed.")
    what = f"the worker ends what runs ({', '.join(ends)})" if ends else "nothing runs"
    click.echo(
        f"{person_title(someone)}: stopped. Nothing can be started, and {what}. "
        f"nbfed person restore {someone.user_name} takes the suspension back."
    )


@person.command()
@click.argument("person_")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="a new file for it, which you alone may read"
)
@click.pass_obj
def export(shop: DataShop, person_: str, output: Path | None) -> None:
    """Print everything that is kept about PERSON, as JSON."""
    someone = find_person(shop, person_)
    text = json.dumps(exported(shop.house, someone), indent=2, ensure_ascii=False)
    if output is not None:
        try:
            output.touch(mode=0o600, exist_ok=False)
            output.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{output} cannot be written: {error.strerror}. Choose a new file.") from error
    with shop.database.write() as connection:
        record(
            connection, at=shop.clock(), act=Act.PERSON_EXPORTED, actor=operator(), target=f"person:{someone.id}",
            reason="",
        )  # fmt: skip
    click.echo(text if output is None else f"{output}: everything about {person_title(someone)}. Keep it to yourself.")


@person.command("remove")
@click.argument("person_")
@click.option(
    "--reason", required=True, callback=necessary_text(2000), help="why; it stays in the audit trail: no names"
)
@click.option("--yes", is_flag=True, help="do not ask")
@click.pass_obj
def remove_(shop: DataShop, person_: str, reason: str, *, yes: bool) -> None:
    """Remove the personal data of PERSON. It cannot be undone.

    What they used stays in the books, under a name that leads to nobody. The service has to be up: the hub removes its
    own record, too.
    """
    someone = find_person(shop, person_)
    if someone.issuer == REMOVED:
        click.echo(f"{someone.user_name} was removed before; nothing was changed.")
        return
    click.echo(_what_will_happen(person_title(someone), someone.user_name))
    if not yes:
        click.confirm("Remove it?", abort=True)
    try:
        name = _removed(shop, person_, reason)
    except StillRuns as error:
        raise click.ClickException(
            f"A session of {someone.user_name} is not over yet; nothing was removed. nbfed sessions {someone.user_name} "
            "shows it. Suspend the person, or stop it, and come back when it has ended."
        ) from error
    click.echo(f"Removed. In the books the person is {name} now.")


def _removed(shop: DataShop, text: str, reason: str) -> str:
    someone = find_person(shop, text)
    if shop.house.sessions.open_of_person(someone.id):
        raise StillRuns
    try:
        shop.forget_at_hub(someone.user_name)
    except OSError as error:
        raise click.ClickException(
            f"The hub cannot remove its own record: {error}. Nothing was removed. Start the service and try again."
        ) from error
    return remove(shop.house, someone, by=operator(), reason=reason)


def _what_will_happen(title: str, user_name: str) -> str:
    return "\n".join(
        (
            f"{title}",
            "  goes:   name, e-mail address, institution, memberships and all else that the provider said; earlier names;",
            "          issuer and subject; the user name, also in sessions and reservations; names of sessions; what was",
            "          seen as evidence; reasons of decisions; notices; the hub's record with its tokens",
            "  stays:  sessions, charges and grants, under a name that leads to nobody; which terms were accepted, when;",
            "          accounts at sites, so that nobody else is given them; the audit trail with its reasons",
            f"  is not touched: files, here and at the sites (homes/{user_name} in the state folder), logs, and backups",
            "Whoever signs in as before afterwards is somebody new.",
        )
    )
