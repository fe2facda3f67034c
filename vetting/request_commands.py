"""`nbfed request`: what people ask for, and what is decided about it, on the command line.

Who uses it acts as `cli:` and their login name: as a reviewer, and as an operator. What the table of transitions asks of
reviewers holds here, too: nobody decides about what they filed, and two people about what is above the ceiling.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

import click

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
from federation.errors import Failure
from federation.ids import read_reference, reference
from federation.persons import Person, persons_by_id
from quota.commands.shared import UNIT_HOURS, end_of_grant, unit_hours
from vetting.asking import Actor, Asked, Decision, DenialCode, Given, Kind
from vetting.request_tables import LONG_TEXT, SHORT_TEXT
from vetting.requests import Request, Requests
from vetting.transitions import Event, State

__all__ = ["RequestShop", "request"]

_WAITING = (State.SUBMITTED, State.IN_REVIEW, State.NEEDS_INFO, State.AWAITING_SECOND, State.APPROVED)
_NO_CONFLICT = click.option(
    "--no-conflict", is_flag=True, help="you declare to have no conflict of interest about this person"
)
_REASON = click.option("--reason", required=True, callback=necessary_text(2000), help="why; the person reads it")
_CLAIMS = (
    "name", "email", "home_organisation", "provider", "assurance", "affiliations", "unchecked_affiliations",
    "memberships", "mfa", "issuer", "subject",
)  # fmt: skip


class RequestShop(Shop, Protocol):
    """A shop that has the requests."""

    @property
    def requests(self) -> Requests: ...

    @property
    def grant_months(self) -> int:
        """How long what is asked for lasts, where nobody says."""


@click.group()
def request() -> None:
    """Requests for more: see them, decide about them, file one for somebody who wrote."""


@request.command("list")
@click.argument("person", required=False)
@click.option("--all", "everything", is_flag=True, help="also drafts, what is active, and what is over")
@click.option("--state", "states", multiple=True, type=click.Choice([state.value for state in State]))
@click.pass_obj
def list_requests(shop: RequestShop, person: str | None, everything: bool, states: tuple[str, ...]) -> None:
    """Show the requests that wait for somebody, those first that are due first; of PERSON or of everybody."""
    someone = find_person(shop, person) if person is not None else None
    wanted = [State(state) for state in states] or (list(State) if everything else list(_WAITING))
    found = shop.requests.found(states=wanted, person_id=someone.id if someone else None, limit=None)
    if not found:
        click.echo("No requests." if everything or states else "No requests that wait; --all shows others, too.")
        return
    with shop.database.read() as connection:
        people = persons_by_id(connection, {one.person_id for one in found})
    header = ("REQUEST", "PERSON", "KIND", "STATE", "ASKED FOR", "DUE", "REVIEWER", "TROUBLE")
    rows = [
        (one.reference, people[one.person_id].user_name, one.kind, one.state, _amount(one), _due(shop, one), one.reviewer,
         one.error)
        for one in found
    ]  # fmt: skip
    click.echo(table(header, rows))


@request.command()
@click.argument("request_id", metavar="REQUEST")
@click.pass_obj
def show(shop: RequestShop, request_id: str) -> None:
    """Show REQUEST: what is asked for, what the provider said of the person, what was decided, and its story."""
    one = _find(shop, request_id)
    click.echo("\n".join(_described(shop, one)))


@request.command()
@click.argument("person")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), required=True)
@click.option("--hours", "amount", type=UNIT_HOURS, default=None, help="unit-hours of quota")
@click.option("--tier", default="", help="the tier to be admitted to")
@click.option("--site", "sites", multiple=True, help="a site to be mapped to; may be given several times")
@click.option(
    "--until", "ends_at", type=MOMENT_END, help="a day means its end, in UTC; default: as desk.grant_months says"
)
@click.option("--purpose", required=True, callback=necessary_text(LONG_TEXT), help="what it is for")
@click.option("--contact", required=True, callback=necessary_text(SHORT_TEXT), help="who at home can confirm it")
@click.option("--evidence", default="", help="a link that shows it")
@click.pass_obj
def add(
    shop: RequestShop, person: str, kind: str, amount: int | None, tier: str, sites: tuple[str, ...],
    ends_at: datetime | None, purpose: str, contact: str, evidence: str,
) -> None:  # fmt: skip
    """File a request for PERSON, who wrote to you. Somebody else decides about it."""
    someone = find_person(shop, person)
    actor, now = Actor(name=operator(), person_id=someone.id), shop.clock()
    asked = Asked(
        ends_at=ends_at or end_of_grant(now, None, shop.grant_months, now), tier=tier,
        amount_milli_unit_seconds=amount or 0,
        sites=sites, purpose=purpose, contact=contact, evidence=evidence,
    )  # fmt: skip
    draft = shop.requests.open(actor, person_id=someone.id, kind=Kind(kind), asked=asked)
    try:
        sent = shop.requests.act(draft.id, Event.SUBMIT, actor)
    except Failure:
        shop.requests.act(draft.id, Event.WITHDRAW, actor)
        raise
    click.echo(
        f"{person_title(someone)}: request {sent.reference} is {sent.state}, an answer is wanted by {when(sent.due_at)}. "
        f"Another reviewer decides: nbfed request approve {sent.reference}, or deny."
    )


@request.command()
@click.argument("request_id", metavar="REQUEST")
@click.option("--hours", "amount", type=UNIT_HOURS, help="less than was asked for")
@click.option("--until", "ends_at", type=MOMENT_END, help="earlier than was asked for")
@click.option("--site", "sites", multiple=True, help="instead of the sites that were asked for")
@click.option("--note", default="", help="words for the person")
@click.option("--private-note", default="", help="words for other reviewers")
@_NO_CONFLICT
@click.pass_obj
def approve(
    shop: RequestShop, request_id: str, amount: int | None, ends_at: datetime | None, sites: tuple[str, ...], note: str,
    private_note: str, no_conflict: bool,
) -> None:  # fmt: skip
    """Approve REQUEST as it was asked for, or less of it. The worker then gives it within a minute.

    Above desk.reviewer_ceiling_hours a second person has to approve it as well, as the first one decided.
    """
    one = _claimed(shop, _find(shop, request_id), no_conflict=no_conflict)
    decision = Decision(
        ends_at=ends_at or one.asked.ends_at,
        amount_milli_unit_seconds=one.asked.amount_milli_unit_seconds if amount is None else amount,
        sites=sites or one.asked.sites,
    )
    second = one.state is State.AWAITING_SECOND
    given = Given(decision=None if second else decision, text=note, private=private_note, no_conflict=no_conflict)
    after = shop.requests.act(one.id, Event.APPROVE, _reviewer(), given)
    if after.state is State.AWAITING_SECOND:
        click.echo(f"Request {after.reference}: more than one person approves alone; a second one has to, too.")
    else:
        click.echo(f"Request {after.reference}: approved. The worker gives it within a minute.")


@request.command()
@click.argument("request_id", metavar="REQUEST")
@click.option("--code", type=click.Choice([code.value for code in DenialCode]), required=True, help="for the count")
@_REASON
@click.option("--private-note", default="", help="words for other reviewers")
@_NO_CONFLICT
@click.pass_obj
def deny(shop: RequestShop, request_id: str, code: str, reason: str, private_note: str, no_conflict: bool) -> None:
    """Deny REQUEST. The person reads the reason, and may open the request anew."""
    one = _claimed(shop, _find(shop, request_id), no_conflict=no_conflict)
    given = Given(code=DenialCode(code), text=reason, private=private_note, no_conflict=no_conflict)
    after = shop.requests.act(one.id, Event.DENY, _reviewer(), given)
    click.echo(f"Request {after.reference}: denied.")


@request.command()
@click.argument("request_id", metavar="REQUEST")
@click.option("--question", required=True, callback=necessary_text(LONG_TEXT), help="the person reads it")
@_NO_CONFLICT
@click.pass_obj
def ask(shop: RequestShop, request_id: str, question: str, *, no_conflict: bool) -> None:
    """Ask the person of REQUEST something by mail; until they answer, the time for ours stands still."""
    one = _claimed(shop, _find(shop, request_id), no_conflict=no_conflict)
    _done(shop, one.id, Event.ASK, Given(text=question))


@request.command()
@click.argument("request_id", metavar="REQUEST")
@click.option("--text", required=True, callback=necessary_text(LONG_TEXT), help="what the person answered")
@click.pass_obj
def answer(shop: RequestShop, request_id: str, text: str) -> None:
    """Write down what the person of REQUEST answered to a question."""
    one = _find(shop, request_id)
    actor = Actor(name=operator(), person_id=one.person_id)
    after = shop.requests.act(one.id, Event.ANSWER, actor, Given(text=text))
    click.echo(f"Request {after.reference}: {after.state}.")


@request.command()
@click.argument("request_id", metavar="REQUEST")
@click.pass_obj
def unclaim(shop: RequestShop, request_id: str) -> None:
    """Put REQUEST back into the queue, also when another reviewer, who is away, works on it."""
    _done(shop, request_id, Event.UNCLAIM, Given())


@request.command()
@click.argument("request_id", metavar="REQUEST")
@_REASON
@click.pass_obj
def suspend(shop: RequestShop, request_id: str, reason: str) -> None:
    """Suspend the person of REQUEST. What runs keeps its lease; what was given stays, and waits."""
    _done(shop, request_id, Event.SUSPEND, Given(text=reason))


@request.command()
@click.argument("request_id", metavar="REQUEST")
@_REASON
@click.pass_obj
def restore(shop: RequestShop, request_id: str, reason: str) -> None:
    """End the suspension by REQUEST."""
    _done(shop, request_id, Event.RESTORE, Given(text=reason))


@request.command()
@click.argument("request_id", metavar="REQUEST")
@click.option("--hours", "amount", type=UNIT_HOURS, required=True, help="what it is to be altogether")
@_REASON
@click.pass_obj
def reduce(shop: RequestShop, request_id: str, amount: int, reason: str) -> None:
    """Reduce what was given for REQUEST."""
    _done(shop, request_id, Event.REDUCE, Given(text=reason, amount_milli_unit_seconds=amount))


def _done(shop: RequestShop, request_id: str, event: Event, given: Given) -> None:
    after = shop.requests.act(_find(shop, request_id).id, event, _reviewer(), given)
    click.echo(f"Request {after.reference}: {after.state}.")


def _claimed(shop: RequestShop, one: Request, *, no_conflict: bool) -> Request:
    """The request, claimed if nobody works on it."""
    if one.state is not State.SUBMITTED:
        return one
    return shop.requests.act(one.id, Event.CLAIM, _reviewer(), Given(no_conflict=no_conflict))


def _reviewer() -> Actor:
    return Actor(name=operator(), is_reviewer=True, is_operator=True)


def _find(shop: RequestShop, text: str) -> Request:
    """The request with this id or reference."""
    wanted = text.strip()
    everything = shop.requests.found(limit=None)
    found = [one for one in everything if wanted.lower() == one.id or read_reference(wanted) == one.reference]
    if not found:
        raise click.ClickException(f"There is no request {plain(wanted)!r}; `nbfed request list --all` shows them.")
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise click.ClickException(f"{plain(wanted)!r} may be any of these; name one by its id: {ids}")
    return found[0]


# --- what is shown ----------------------------------------------------------------------------------------------------


def _amount(one: Request) -> str:
    asked = one.asked
    parts = [
        f"tier {asked.tier}" if asked.tier else "",
        f"{unit_hours(asked.amount_milli_unit_seconds)} unit-hours" if asked.amount_milli_unit_seconds else "",
        f"at {', '.join(asked.sites)}" if asked.sites else "",
    ]
    return plain(", ".join(filter(None, parts)))


def _due(shop: RequestShop, one: Request) -> str:
    if one.due_at is None or one.state not in _WAITING:
        return ""
    if one.paused_at is not None:
        return "waits for the person"
    return f"{when(one.due_at)}{', late' if one.due_at < shop.clock() else ''}"


def _described(shop: RequestShop, one: Request) -> Iterator[str]:
    with shop.database.read() as connection:
        person: Person = persons_by_id(connection, {one.person_id})[one.person_id]
    asked, end = one.asked, shop.requests.end(one.id)
    told = {
        "request": f"{one.reference} ({one.id}), about {one.kind}",
        "state": one.state.value,
        "person": person_title(person),
        "filed by": one.filed_by,
        "follows": f"{reference(one.follows)} ({one.follows})" if one.follows else "",
        "asks for": f"{_amount(one)}, until {when(asked.ends_at)}",
        "flavour": asked.flavour,
        "purpose": asked.purpose,
        "contact": asked.contact,
        "evidence": asked.evidence,
        "details": asked.details,
        "due": _due(shop, one),
        "reviewer": ", ".join(filter(None, (one.reviewer, one.second))),
        "denied": one.denial_code or "",
        "note": one.note,
        "private": one.private_note,
        "ends": f"{when(end.at)}, by its {end.cause}" if end else "",
        "trouble": one.error,
    }
    if one.decision is not None:
        given = one.decision
        at = f", at {', '.join(given.sites)}" if given.sites else ""
        told["given"] = f"{unit_hours(given.amount_milli_unit_seconds)} unit-hours until {when(given.ends_at)}{at}"
    yield from (f"{name + ':':<15}{plain(value)}" for name, value in told.items() if value)
    if one.claims_at is not None:
        yield f"\nWhat the provider had said when it was sent (as of {when(one.claims_at)}):"
        yield from (f"  {name + ':':<25}{plain(_text(one.claims.get(name)))}" for name in _CLAIMS)
    yield "\nWhat happened:"
    reviewer = Actor(name=operator(), is_reviewer=True)
    steps = [(when(s.at), s.event, s.state, s.actor, s.text) for s in shop.requests.steps(one.id, reviewer)]
    yield table(("AT", "WHAT", "THEN", "BY", "WORDS"), steps)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value or "-")
