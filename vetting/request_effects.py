"""What is done with an event beside the new state: each effect says which columns of the request change.

Effects run inside the transaction of their event. What they do elsewhere (the grant, the tier, mappings) goes through
that part's own calls, which know what was done before: an effect that runs again does nothing more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from federation.errors import Failure
from federation.persons import PersonTable
from quota import granting
from quota.granting import Terms
from quota.owners import Owner
from quota.tables import OwnerKind
from vetting import decisions, mappings
from vetting.asking import Asked, Decision, Kind
from vetting.ends import End, effective_end
from vetting.errors import REQUEST_MOVED_ON
from vetting.guards import DeskRules, Situation
from vetting.recorded import MappingState
from vetting.request_tables import RequestTable
from vetting.tables import SiteAccountTable
from vetting.transitions import Effect, State

__all__ = ["EFFECTS", "Work", "account_at", "asked_columns", "end_of", "snapshot"]

_ACCOUNT_CHARACTERS = 32


@dataclass(frozen=True, kw_only=True)
class Work:
    """One event that is being carried out on a request."""

    row: Row[Any]
    situation: Situation
    step: str

    @property
    def now(self) -> datetime:
        return self.situation.now

    @property
    def key(self) -> str:
        """What the grant of the request is known by, for ever."""
        return f"request:{self.row.id}"

    @property
    def decision(self) -> Decision:
        assert self.situation.decision is not None, "what is approved was decided"
        return self.situation.decision


def asked_columns(asked: Asked) -> dict[str, Any]:
    """What is asked for, as the table has it."""
    return {**vars(asked), "sites": list(asked.sites)}


def snapshot(connection: Connection, person_id: str) -> dict[str, Any]:
    """What the person's provider said of them last."""
    person = connection.execute(
        select(PersonTable.issuer, PersonTable.subject, PersonTable.facts, PersonTable.facts_at).where(
            PersonTable.id == person_id
        )
    ).one()
    return {
        "claims": {"issuer": person.issuer, "subject": person.subject, **person.facts},
        "claims_at": person.facts_at,
    }


def end_of(connection: Connection, row: Row[Any], rules: DeskRules) -> End | None:
    """The effective end of what was given for a request; None before anything was."""
    if row.given_ends_at is None:
        return None
    gone = row.membership_gone_at
    return effective_end(
        grant=granting.newest(connection, row.grant_id).over_at if row.grant_id else row.given_ends_at,
        membership=gone + rules.membership_grace if gone else None,
        mapping=_mappings_ended_at(connection, row) if row.kind == Kind.SITE else None,
    )


def account_at(connection: Connection, person_id: str, site: str) -> str:
    """The account that a site is asked for: the one that is the person's there already, else made of their user name."""
    known = connection.execute(
        select(SiteAccountTable.account)
        .where(SiteAccountTable.site == site, SiteAccountTable.person_id == person_id)
        .order_by(SiteAccountTable.since.desc())
        .limit(1)
    ).scalar_one_or_none()
    if known is not None:
        return str(known)
    name = connection.execute(select(PersonTable.user_name).where(PersonTable.id == person_id)).scalar_one()
    return (name if name[0].isalpha() else f"u{name}")[:_ACCOUNT_CHARACTERS]


# --- the effects ------------------------------------------------------------------------------------------------------


def _keep_asked(_connection: Connection, work: Work) -> Mapping[str, Any]:
    assert work.situation.given.asked is not None, "a draft says what it asks for"
    return asked_columns(work.situation.given.asked)


def _snapshot(connection: Connection, work: Work) -> Mapping[str, Any]:
    return snapshot(connection, work.row.person_id)


def _start_clock(_connection: Connection, work: Work) -> Mapping[str, Any]:
    return {"submitted_at": work.now, "due_at": work.now + work.situation.rules.target_answer}


def _stop_clock(_connection: Connection, work: Work) -> Mapping[str, Any]:
    return {"paused_at": work.now}


def _resume_clock(_connection: Connection, work: Work) -> Mapping[str, Any]:
    return {"paused_at": None, "due_at": work.row.due_at + (work.now - work.row.paused_at)}


def _take(_connection: Connection, work: Work) -> Mapping[str, Any]:
    return {"reviewer": work.situation.actor.name}


def _let_go(_connection: Connection, _work: Work) -> Mapping[str, Any]:
    return {"reviewer": ""}


def _decide(_connection: Connection, work: Work) -> Mapping[str, Any]:
    given, decision = work.situation.given, work.situation.given.decision
    assert decision is not None, "a guard asks for it"
    return {
        "given_amount_milli_unit_seconds": decision.amount_milli_unit_seconds,
        "given_ends_at": decision.ends_at,
        "given_sites": list(decision.sites),
        "note": given.text,
        "private_note": given.private,
    }


def _second(_connection: Connection, work: Work) -> Mapping[str, Any]:
    return {"second": work.situation.actor.name}


def _refuse(_connection: Connection, work: Work) -> Mapping[str, Any]:
    given = work.situation.given
    assert given.code is not None, "a guard asks for it"
    return {"denial_code": given.code.value, "note": given.text, "private_note": given.private}


def _say_why(_connection: Connection, work: Work) -> Mapping[str, Any]:
    return {"note": work.situation.given.text}


def _give(connection: Connection, work: Work) -> Mapping[str, Any]:
    row, decision = work.row, work.decision
    grant = _grant(connection, work) if decision.amount_milli_unit_seconds and decision.ends_at > work.now else None
    for site in decision.sites:
        _ask_site(connection, work, site)
    if row.kind == Kind.TIER:
        decisions.admit(
            connection,
            person_id=row.person_id,
            tier=row.tier,
            reason=f"request {row.id}",
            by=row.reviewer,
            now=work.now,
        )
    return {"grant_id": grant, "error": ""}


def _grant(connection: Connection, work: Work) -> str:
    owner = Owner(OwnerKind.USER, work.row.person_id)
    amount = work.decision.amount_milli_unit_seconds
    return granting.known_as(connection, work.key, owner, amount) or granting.give(
        connection, key=work.key, owner=owner, now=work.now, created_by=work.row.reviewer,
        terms=Terms(amount=amount, starts_at=work.now, ends_at=work.decision.ends_at),
        reason=f"request {work.row.id}", request_id=work.row.id,
    )  # fmt: skip


def _ask_site(connection: Connection, work: Work, site: str) -> None:
    person_id = work.row.person_id
    known = mappings.newest(connection, person_id, site)
    if known is not None and known.state in (MappingState.ASKED, MappingState.ACCEPTED):
        return
    mappings.ask(
        connection, person_id=person_id, site=site, account=account_at(connection, person_id, site),
        by=work.row.reviewer, now=work.now,
    )  # fmt: skip


def _reduce(connection: Connection, work: Work) -> Mapping[str, Any]:
    row, given = work.row, work.situation.given
    now_given = given.amount_milli_unit_seconds
    grant = granting.newest(connection, row.grant_id)
    if grant.revoked_at is not None or grant.ends_at <= work.now:  # the worker did not end the request yet
        raise Failure(REQUEST_MOVED_ON)
    rest = grant.amount - (row.given_amount_milli_unit_seconds - now_given)
    by = work.situation.actor.name
    if rest > 0:
        granting.change(
            connection, grant.id, key=f"{work.key}:{work.step}", now=work.now, actor=by, reason=given.text,
            terms=Terms(amount=rest, starts_at=max(grant.starts_at, work.now), ends_at=grant.ends_at),
        )  # fmt: skip
    else:
        granting.revoke(connection, grant.id, now=work.now, actor=by, reason=given.text)
    return {"given_amount_milli_unit_seconds": now_given}


def _take_back(connection: Connection, work: Work) -> Mapping[str, Any]:
    row, by = work.row, work.situation.actor.name
    reason = f"the end of request {row.id}"
    if row.grant_id is not None:
        grant = granting.newest(connection, row.grant_id)
        if grant.over_at > work.now:
            granting.revoke(connection, grant.id, now=work.now, actor=by, reason=reason)
    if row.kind == Kind.TIER and not _another_admits(connection, row):
        decisions.end_admission(
            connection, person_id=row.person_id, tier=row.tier, reason=reason, by=by, now=work.now
        )  # fmt: skip
    return {}


EFFECTS: Mapping[Effect, Callable[[Connection, Work], Mapping[str, Any]]] = {
    Effect.KEEP_ASKED: _keep_asked,
    Effect.SNAPSHOT: _snapshot,
    Effect.START_CLOCK: _start_clock,
    Effect.STOP_CLOCK: _stop_clock,
    Effect.RESUME_CLOCK: _resume_clock,
    Effect.TAKE: _take,
    Effect.LET_GO: _let_go,
    Effect.DECIDE: _decide,
    Effect.SECOND: _second,
    Effect.REFUSE: _refuse,
    Effect.SAY_WHY: _say_why,
    Effect.GIVE: _give,
    Effect.REDUCE: _reduce,
    Effect.TAKE_BACK: _take_back,
}
"""All but `FOLLOW`, which makes another request and leaves this one alone."""


def _mappings_ended_at(connection: Connection, row: Row[Any]) -> datetime | None:
    """When the last of the mappings that a request is about was ended; None while one may still be used, or was refused:
    a site that says no is simply absent.
    """
    found = [mappings.newest(connection, row.person_id, site) for site in row.given_sites]
    ends = [one.changed_at for one in found if one is not None and one.state is MappingState.ENDED]
    return max(ends) if ends and len(ends) == len(row.given_sites) else None


def _another_admits(connection: Connection, row: Row[Any]) -> bool:
    """Whether a renewal goes on with the tier."""
    others = select(RequestTable.id).where(
        RequestTable.person_id == row.person_id,
        RequestTable.kind == row.kind,
        RequestTable.tier == row.tier,
        RequestTable.id != row.id,
        RequestTable.state.in_([State.ACTIVE.value, State.SUSPENDED.value]),
    )
    return connection.execute(others.limit(1)).first() is not None
