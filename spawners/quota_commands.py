"""`nbfed quota explain`: why a person may start a flavour now, or why not, line by line."""

import json
from typing import Any, Protocol

import click

from federation.commands import find_person, person_title, plain, table, when
from federation.errors import Failure
from quota.commands import BookShop
from spawners.admission import Admission
from spawners.explaining import Explanation, Line, explain
from spawners.findings import find

__all__ = ["PolicyShop", "quota"]


class PolicyShop(BookShop, Protocol):
    """A shop that knows the rules."""

    @property
    def admission(self) -> Admission: ...

    @property
    def hub(self) -> str:
        """The hub's name in the books."""


@click.group()
def quota() -> None:
    """Effective quota: what counts for somebody, and why."""


@quota.command("explain")
@click.argument("person")
@click.argument("flavour")
@click.option("--site", help="on this site; default: the first that fits")
@click.option("--json", "as_json", is_flag=True, help="for programs; with exact amounts")
@click.pass_obj
def explain_(shop: PolicyShop, person: str, flavour: str, site: str | None, as_json: bool) -> None:
    """Say whether PERSON could start FLAVOUR now, who would pay, and every figure that decides.

    A start is tried by the code of a real one, and taken back. What a start would give is given: this period's default.
    """
    policy = shop.admission.policy
    _check_known("flavour", flavour, policy.flavours)
    if site is not None:
        _check_known("site", site, policy.sites)
    someone = find_person(shop, person)
    try:
        found = find(
            shop.admission, shop.database, hub=shop.hub, person=someone, flavour=flavour, site=site, now=shop.clock()
        )
    except KeyError as error:
        raise click.ClickException(
            f"The flavour {flavour} has no weight in the books yet; `nbfed up` takes it from federation.yaml when it "
            "starts. `nbfed rates` shows those there are."
        ) from error
    except Failure as failure:
        raise click.ClickException(str(failure)) from failure
    said = explain(found)
    if as_json:
        who = {"id": someone.id, "user_name": someone.user_name}
        click.echo(json.dumps({"person": who, "flavour": flavour, **_as_json(said)}, indent=2, ensure_ascii=False))
        return
    click.echo(f"{person_title(someone)}, {when(said.at)}\n{_as_text(said)}")


def _check_known(what: str, name: str, known: Any) -> None:
    if name not in known:
        raise click.ClickException(f"There is no {what} {plain(name)!r}. Those of federation.yaml: {', '.join(known)}.")


def _as_text(said: Explanation) -> str:
    parts = [said.answer, *(f"- {plain(reason.message)}" for reason in said.reasons)]
    for part in said.parts:
        parts += ["", table((part.title.upper(), "", ""), [_row(line) for line in part.lines])]
    return "\n".join(parts)


def _row(line: Line) -> tuple[str, str, str]:
    return (line.heading, f"{line.figure} (!)" if line.is_obstacle else line.figure, line.note)


def _as_json(said: Explanation) -> dict[str, Any]:
    return {
        "at": said.at.isoformat(),
        "admitted": said.admitted,
        "answer": said.answer,
        "reasons": [{"code": reason.problem.code, "text": reason.message} for reason in said.reasons],
        "parts": [{"code": part.code, "lines": [_line_as_json(line) for line in part.lines]} for part in said.parts],
    }


def _line_as_json(line: Line) -> dict[str, Any]:
    exact = {} if line.amount is None else {"milli_unit_seconds": line.amount}
    facts = {"code": line.code, "heading": line.heading, "figure": line.figure, "note": line.note}
    return {**facts, **exact, "obstacle": line.is_obstacle}
