"""People on the command line: `nbfed mapping`, and `nbfed person` as far as it is about who may use what."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

import click
from sqlalchemy import select

from federation.commands import (
    MOMENT_END,
    Shop,
    find_person,
    necessary_text,
    operator,
    person_title,
    plain,
    table,
    when,
)
from federation.persons import Person, PersonTable, former_facts
from vetting import decisions, mappings
from vetting.eligibility import Check, Eligibility
from vetting.mappings import Event, MappingError, SiteMapping
from vetting.missing import describe
from vetting.recorded import MappingState
from vetting.settings import Tier
from vetting.tables import EvidenceTable, SuspensionTable

__all__ = ["PeopleShop", "mapping", "person"]

_REASON = click.option(
    "--reason", required=True, callback=necessary_text(2000), help="why; the person and auditors read it"
)
_OVER = (MappingState.REFUSED, MappingState.ENDED)


class PeopleShop(Shop, Protocol):
    """A shop that knows the rules about people."""

    @property
    def site_names(self) -> Collection[str]: ...

    @property
    def tiers(self) -> Mapping[str, Tier]: ...

    def eligibility(self, person: Person) -> Eligibility: ...


# --- nbfed mapping --------------------------------------------------------------------------------------------------


@click.group()
def mapping() -> None:
    """People's accounts at sites: ask a site for one, and write down what it answers."""


@mapping.command()
@click.argument("person")
@click.argument("site")
@click.argument("account")
@click.pass_obj
def add(shop: PeopleShop, person: str, site: str, account: str) -> None:
    """Ask SITE to run sessions of PERSON under its local ACCOUNT.

    An account belongs to one person for ever: it is never given to a second one.
    """
    someone, place = find_person(shop, person), _site(shop, site)
    with _told(), shop.database.write() as connection:
        made = mappings.ask(
            connection, person_id=someone.id, site=place, account=account, by=operator(), now=shop.clock()
        )
    click.echo(_told_of(made, someone))
    if made.state is MappingState.ASKED:
        click.echo(f"When the site has answered: nbfed mapping accept {someone.user_name} {place}, or refuse.")


@mapping.command()
@click.argument("person")
@click.argument("site")
@click.pass_obj
def accept(shop: PeopleShop, person: str, site: str) -> None:
    """Write down that SITE accepts PERSON."""
    _change(shop, person, site, Event.ACCEPT)


@mapping.command()
@click.argument("person")
@click.argument("site")
@_REASON
@click.pass_obj
def refuse(shop: PeopleShop, person: str, site: str, reason: str) -> None:
    """Write down that SITE refuses PERSON, and why."""
    _change(shop, person, site, Event.REFUSE, reason)


@mapping.command()
@click.argument("person")
@click.argument("site")
@_REASON
@click.pass_obj
def end(shop: PeopleShop, person: str, site: str, reason: str) -> None:
    """End the mapping of PERSON at SITE. What runs there keeps its lease."""
    _change(shop, person, site, Event.END, reason)


@mapping.command("list")
@click.argument("person", required=False)
@click.option("--site", help="only this site's")
@click.option("--all", "with_ended", is_flag=True, help="also those that were refused or have ended")
@click.pass_obj
def list_mappings(shop: PeopleShop, person: str | None, site: str | None, *, with_ended: bool) -> None:
    """Show mappings, of PERSON or of everybody, the newest first."""
    someone = find_person(shop, person) if person is not None else None
    with shop.database.read() as connection:
        found = mappings.mappings(connection, person_id=someone.id if someone else None, site=site)
        known = connection.execute(
            select(PersonTable.id, PersonTable.user_name).where(PersonTable.id.in_({m.person_id for m in found}))
        )
        names = {row.id: row.user_name for row in known}
    shown = [each for each in found if with_ended or each.state not in _OVER]
    if not shown:
        click.echo(
            "No mappings." if with_ended else "No mappings that are asked for or accepted; --all shows others, too."
        )
        return
    header = ("PERSON", "SITE", "ACCOUNT", "STATE", "SINCE", "BY", "REASON")
    rows = [
        (names.get(m.person_id, ""), m.site, m.account, m.state, when(m.changed_at), m.changed_by, m.reason)
        for m in shown
    ]
    click.echo(table(header, rows))


def _change(shop: PeopleShop, person: str, site: str, event: Event, reason: str = "") -> None:
    someone, place = find_person(shop, person), _site(shop, site)
    with _told(), shop.database.write() as connection:
        made = mappings.change(
            connection, person_id=someone.id, site=place, event=event, by=operator(), reason=reason, now=shop.clock()
        )
    click.echo(_told_of(made, someone))


def _site(shop: PeopleShop, site: str) -> str:
    if site not in shop.site_names:
        raise click.ClickException(
            f"There is no site {plain(site)!r}; federation.yaml has {', '.join(shop.site_names)}."
        )
    return site


def _told_of(made: SiteMapping, someone: Person) -> str:
    return f"{person_title(someone)} at {made.site}, account {made.account}: {made.state} since {when(made.changed_at)}"


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except MappingError as error:
        raise click.ClickException(f"{error} Nothing was changed.") from error


# --- nbfed person ---------------------------------------------------------------------------------------------------


@click.group()
def person() -> None:
    """People: what is known of them, what they may use and why, and what was decided about them."""


@person.command()
@click.argument("person")
@click.pass_obj
def show(shop: PeopleShop, person: str) -> None:
    """Show who PERSON is, what they may use, and what is missing for the rest."""
    someone = find_person(shop, person)
    click.echo("\n".join(_described(shop, someone)))


@person.command()
@click.argument("person")
@_REASON
@click.pass_obj
def suspend(shop: PeopleShop, person: str, reason: str) -> None:
    """Take every tier and role from PERSON until they are restored.

    What runs keeps its lease and ends with it. The person's pages say that they are suspended, and the reason.
    """
    someone = find_person(shop, person)
    with shop.database.write() as connection:
        done = decisions.suspend(connection, person_id=someone.id, reason=reason, by=operator(), now=shop.clock())
    if not done:
        raise click.ClickException(f"{person_title(someone)} is suspended already; nothing was changed.")
    click.echo(
        f"{person_title(someone)}: suspended. Nothing can be started; what runs ends with its lease, with the reason "
        f"access. nbfed person restore {someone.user_name} takes it back."
    )


@person.command()
@click.argument("person")
@_REASON
@click.pass_obj
def restore(shop: PeopleShop, person: str, reason: str) -> None:
    """End the suspension of PERSON."""
    someone = find_person(shop, person)
    with shop.database.write() as connection:
        done = decisions.restore(connection, person_id=someone.id, reason=reason, by=operator(), now=shop.clock())
    if not done:
        raise click.ClickException(f"{person_title(someone)} is not suspended; nothing was changed.")
    click.echo(f"{person_title(someone)}: restored.")


@person.command()
@click.argument("person")
@click.argument("tier")
@_REASON
@click.option("--end", "ends", is_flag=True, help="take the admission back instead")
@click.pass_obj
def admit(shop: PeopleShop, person: str, tier: str, reason: str, *, ends: bool) -> None:
    """Admit PERSON to TIER, which needs a decision (`vetting: review`). The rest of its rule is asked as before."""
    someone = find_person(shop, person)
    asks = [name for name, rule in shop.tiers.items() if rule.vetting == "review"]
    if tier not in asks and not ends:
        known = f"those that need one are {', '.join(asks)}" if asks else "none needs one"
        raise click.ClickException(f"{plain(tier)!r} is no tier that needs a decision; {known}. Nothing was changed.")
    work = decisions.end_admission if ends else decisions.admit
    with shop.database.write() as connection:
        done = work(connection, person_id=someone.id, tier=tier, reason=reason, by=operator(), now=shop.clock())
    if not done:
        raise click.ClickException(
            f"{person_title(someone)} is {'not admitted' if ends else 'admitted already'}; nothing was changed."
        )
    click.echo(f"{person_title(someone)}: {'no longer admitted' if ends else 'admitted'} to {tier}.")
    if not ends and not shop.eligibility(someone).reaches(tier):
        missing = shop.eligibility(someone).missing(tier)
        click.echo(f"What is still missing for it: {'; '.join(map(describe, missing))}")


@person.group()
def evidence() -> None:
    """Evidence that a reviewer saw, of who somebody is or where they work."""


@evidence.command("add")
@click.argument("person")
@click.option(
    "--what", required=True, callback=necessary_text(2000), help="what was seen; it is removed with the person"
)
@click.option(
    "--until", "ends_at", type=MOMENT_END, required=True, help="how long it counts; a day means its end, in UTC"
)
@click.pass_obj
def add_evidence(shop: PeopleShop, person: str, what: str, ends_at: datetime) -> None:
    """Record evidence about PERSON."""
    someone = find_person(shop, person)
    if ends_at <= shop.clock():
        raise click.UsageError(f"The evidence would have ended at {when(ends_at)}: it would never count.")
    with shop.database.write() as connection:
        made = decisions.record_evidence(
            connection, person_id=someone.id, what=what, ends_at=ends_at, by=operator(), now=shop.clock()
        )
    click.echo(f"{person_title(someone)}: evidence {made} recorded, until {when(ends_at)}.")


@evidence.command("list")
@click.argument("person")
@click.pass_obj
def list_evidence(shop: PeopleShop, person: str) -> None:
    """Show the evidence about PERSON."""
    someone = find_person(shop, person)
    columns = EvidenceTable.__table__.c
    with shop.database.read() as connection:
        rows = connection.execute(
            select(*columns).where(columns.person_id == someone.id).order_by(columns.recorded_at)
        ).all()
    if not rows:
        click.echo("No evidence.")
        return
    now = shop.clock()
    lines = [
        (row.id, row.what, row.recorded_by, when(row.recorded_at), when(row.ended_at or row.ends_at),
         "counts" if row.ended_at is None and now < row.ends_at else "ended")
        for row in rows
    ]  # fmt: skip
    click.echo(table(("EVIDENCE", "WHAT", "BY", "RECORDED", "UNTIL", "STATE"), lines))


@evidence.command("end")
@click.argument("person")
@click.argument("evidence_id")
@_REASON
@click.pass_obj
def end_evidence(shop: PeopleShop, person: str, evidence_id: str, reason: str) -> None:
    """Let evidence count no more."""
    someone = find_person(shop, person)
    with shop.database.write() as connection:
        done = decisions.end_evidence(
            connection, person_id=someone.id, evidence=evidence_id.strip().lower(), reason=reason, by=operator(),
            now=shop.clock(),
        )  # fmt: skip
    if not done:
        raise click.ClickException(
            f"{person_title(someone)} has no evidence {plain(evidence_id)!r} that counts; nothing was changed. "
            f"nbfed person evidence list {someone.user_name} shows it."
        )
    click.echo(f"{person_title(someone)}: evidence {evidence_id} counts no more.")


def _described(shop: PeopleShop, someone: Person) -> Iterator[str]:
    facts = someone.facts
    with shop.database.read() as connection:
        former = former_facts(connection, someone.id)
        places = mappings.mappings(connection, person_id=someone.id)
        suspended = connection.execute(
            select(SuspensionTable.__table__).where(
                SuspensionTable.person_id == someone.id, SuspensionTable.ended_at.is_(None)
            )
        ).one_or_none()
    told = {
        "person": person_title(someone),
        "id": someone.id,
        "key": f"{someone.subject} at {someone.issuer}",
        "provider": facts.provider,
        "e-mail": facts.email,
        "as said": when(someone.facts_at),
        "communities": ", ".join(facts.memberships),
        "assurance": ", ".join(facts.assurance),
        "affiliations": ", ".join(facts.affiliations),
        "not checked": ", ".join(facts.unchecked_affiliations),
        "second factor": "yes" if facts.mfa else "no",
        "not read": ", ".join(facts.not_understood),
    }
    yield from (f"{name + ':':<15}{plain(value) or '-'}" for name, value in told.items())
    for until, names in former:
        yield f"{'until ' + when(until) + ':':<15} {plain(', '.join(names.values()))}"
    if suspended is not None:
        yield f"{'suspended:':<15}{when(suspended.since)} by {suspended.suspended_by}: {plain(suspended.reason)}"
    yield from (f"{'mapping:':<15}{m.site}, account {m.account}: {m.state} since {when(m.changed_at)}" for m in places)
    yield ""
    yield from _tiers(shop.eligibility(someone))


def _tiers(eligibility: Eligibility) -> Iterator[str]:
    rows = [
        (s.tier, "yes" if s.holds else "no", _list(eligibility.given(s.tier)), _list(eligibility.missing(s.tier)))
        for s in eligibility.standings
    ]
    yield table(("TIER", "HOLDS", "BY", "MISSING"), rows)


def _list(checks: tuple[Check, ...]) -> str:
    return "; ".join(map(describe, checks))
