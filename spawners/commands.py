"""Sessions on the command line: `nbfed sessions`, and `nbfed lab-wheel` for the environments that they run in."""

from datetime import datetime
from pathlib import Path
from typing import Protocol

import click

from federation.commands import DEFAULT_SERVER, Shop, find_person, plain, table, when
from federation.ids import reference
from spawners.lab.wheel import build
from spawners.sessions import Session, Sessions
from spawners.tables import SessionState

__all__ = ["SessionShop", "lab_wheel", "sessions"]

_LAST_ENDED = 50


class SessionShop(Shop, Protocol):
    """A shop that knows the sessions."""

    @property
    def sessions(self) -> Sessions: ...


@click.command()
@click.option("--person", help="of this person: user name, id, subject, e-mail or part of a name")
@click.option("--site", help="on this site")
@click.option("--all", "with_ended", is_flag=True, help=f"the last {_LAST_ENDED} that ended, too")
@click.option("--reference", "code", help="everything about the session that an error message refers to")
@click.pass_obj
def sessions(shop: SessionShop, person: str | None, site: str | None, with_ended: bool, code: str | None) -> None:
    """Show the sessions that are open, the newest first."""
    if code is not None:
        if person or site or with_ended:
            raise click.UsageError("--reference names one session by itself; leave the other options away.")
        click.echo("\n\n".join(_details(session) for session in _referred(shop, code)))
        return
    someone = find_person(shop, person) if person is not None else None
    found = shop.sessions.recent(
        person_id=someone.id if someone else None, site=site, ended=_LAST_ENDED if with_ended else 0
    )
    if not found:
        where = f" of {someone.user_name}" if someone else ""
        where += f" on {plain(site)!r}" if site is not None else ""
        click.echo(f"No sessions{where}." if with_ended else f"No open sessions{where}; --all shows ended ones, too.")
        return
    header = ("REFERENCE", "PERSON", "SERVER", "SITE", "FLAVOUR", "STATE", "SINCE", "ENDED BECAUSE")
    click.echo(table(header, [_row(session) for session in found]))


@click.command("lab-wheel")
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def lab_wheel(folder: Path) -> None:
    """Write the wheel for notebook environments into FOLDER, and say where it is.

    Installed beside JupyterLab, it shows time and quota left, tells before a session is stopped, and sees to it that
    only use counts as activity. In the environment: pip install --no-deps FILE. It needs Python 3.8, and no Node.
    """
    click.echo(build(folder))


def _referred(shop: SessionShop, code: str) -> list[Session]:
    found = shop.sessions.with_reference(code)
    if not found:
        raise click.ClickException(
            f"No session has the reference {plain(code)!r}. A reference has eight letters and digits; "
            "one that this database does not know may be from another installation."
        )
    return found


def _row(session: Session) -> tuple[str, ...]:
    state, since = _state(session)
    return (
        reference(session.attempt), session.server.user, session.server.name or DEFAULT_SERVER, session.site,
        session.flavour, state, when(since), session.end_reason or "",
    )  # fmt: skip


def _state(session: Session) -> tuple[str, datetime | None]:
    """The state in one word, and since when; of one that is ending, since when it had its state before."""
    since = {
        SessionState.INTENT: session.created_at,
        SessionState.SUBMITTED: session.submitted_at,
        SessionState.RUNNING: session.ready_at,
        SessionState.ENDED: session.ended_at,
    }[session.state]
    is_ending = session.end_reason is not None and session.state is not SessionState.ENDED
    return "ending" if is_ending else session.state.value, since


def _details(session: Session) -> str:
    """Everything about one session that support may ask for; no secrets."""
    server = session.server
    facts = {
        "reference": reference(session.attempt),
        "attempt": session.attempt,
        "person": f"{server.user} (id {session.person_id})",
        "server": f"{server.name or DEFAULT_SERVER} on {server.hub}",
        "site": session.site,
        "flavour": session.flavour,
        "environment": session.environment,
        "state": _state(session)[0],
        "created": when(session.created_at),
        "submitted": when(session.submitted_at),
        "exchanged": when(session.exchanged_at),
        "started": when(session.started_at),
        "ready": when(session.ready_at),
        "address": f"{session.host}:{session.port}" if session.host else "",
        "ended": when(session.ended_at),
        "ended because": session.end_reason or "",
        "detail": session.end_detail or "",
    }
    return "\n".join(f"{name + ':':<15}{plain(value) or '-'}" for name, value in facts.items())
