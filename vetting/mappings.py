"""Accounts at sites: a person is mapped to one, and the site accepts or refuses that.

    (nothing) --ask--> asked --accept--> accepted --end--> ended
                       asked --refuse--> refused  --end--> ended
                       asked --end--> ended

Anything that is not in this table is an error and changes nothing. After a refusal or an end a person may be asked for
anew. An account of a site belongs to one person for ever, whatever becomes of the mapping; root and the accounts of the
system are nobody's. Every change writes its audit row in the same transaction.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, case, insert, select, update
from sqlalchemy.exc import IntegrityError

from federation.audit import Act, record
from federation.ids import new_id
from vetting.recorded import MappingState
from vetting.tables import MappingTable, SiteAccountTable

__all__ = ["TRANSITIONS", "Event", "MappingError", "SiteMapping", "ask", "change", "mappings", "why_no_account"]

_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# Debian's base-passwd, Red Hat's setup, and what the software of computing centres runs under.
_SYSTEM_ACCOUNTS = """
root toor daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nfsnobody adm
shutdown halt operator ftp sshd messagebus dbus polkitd rpc rpcuser ntp chrony postfix apache nginx mysql postgres
redis docker containerd slurm slurmrestd munge pbs pbsdata sge gridengine condor nslcd sssd ldap admin administrator
sudo wheel staff users jupyter jupyterhub nbfed _apt _chrony _rpc
"""
_OF_THE_SYSTEM = frozenset(_SYSTEM_ACCOUNTS.split())


class Event(StrEnum):
    """What happens to a mapping that is there."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    END = "end"


TRANSITIONS: dict[tuple[MappingState, Event], MappingState] = {
    (MappingState.ASKED, Event.ACCEPT): MappingState.ACCEPTED,
    (MappingState.ASKED, Event.REFUSE): MappingState.REFUSED,
    (MappingState.ASKED, Event.END): MappingState.ENDED,
    (MappingState.ACCEPTED, Event.END): MappingState.ENDED,
    (MappingState.REFUSED, Event.END): MappingState.ENDED,
}
_ACTS = {
    Event.ACCEPT: Act.MAPPING_ACCEPTED,
    Event.REFUSE: Act.MAPPING_REFUSED,
    Event.END: Act.MAPPING_ENDED,
}

_OPEN = (MappingState.ASKED.value, MappingState.ACCEPTED.value)


class MappingError(Exception):
    """It cannot be done, and nothing was changed; the message says why, to operators."""


@dataclass(frozen=True, kw_only=True)
class SiteMapping:
    """One mapping as it is now; `changed_at` says since when, `reason` why."""

    id: str
    person_id: str
    site: str
    account: str
    state: MappingState
    reason: str
    changed_by: str
    asked_at: datetime
    changed_at: datetime


def why_no_account(account: str) -> str:
    """Why nobody can be mapped to an account of this name; "" if somebody can. The forms are those of POSIX tools."""
    if not _ACCOUNT.fullmatch(account):
        return "an account begins with a letter or _, and has at most 32 of a-z, 0-9, _ and -"
    if account in _OF_THE_SYSTEM or account.startswith("systemd-"):
        return "it is an account of the system"
    return ""


def ask(connection: Connection, *, person_id: str, site: str, account: str, by: str, now: datetime) -> SiteMapping:
    """Ask a site for an account for a person. The same again, while it is open, is that mapping.

    Raises
    ------
    MappingError
        If there is no such account, it is or was another person's, or the person has another mapping there.
    """
    if why := why_no_account(account):
        raise MappingError(f"{account!r} cannot be mapped: {why}.")
    open_one = _newest(connection, person_id, site, only_open=True)
    if open_one is not None:
        return _the_same(open_one, account)
    _take(connection, site, account, person_id, now)
    row = {
        "id": new_id(), "person_id": person_id, "site": site, "account": account, "state": MappingState.ASKED.value,
        "reason": "", "changed_by": by, "asked_at": now, "changed_at": now,
    }  # fmt: skip
    try:
        with connection.begin_nested():
            connection.execute(insert(MappingTable).values(row))
    except IntegrityError as error:
        raise MappingError(f"Somebody else asked {site} for this person just now; look again.") from error
    _audit(connection, Act.MAPPING_ASKED, _mapping(row), by, "", now)
    return _mapping(row)


def change(
    connection: Connection, *, person_id: str, site: str, event: Event, by: str, reason: str = "", now: datetime
) -> SiteMapping:
    """Let something happen to the newest mapping of a person at a site.

    Raises
    ------
    MappingError
        If there is none, or its state does not know the event.
    """
    found = _newest(connection, person_id, site)
    if found is None:
        raise MappingError(f"There is no mapping at {site}.")
    state = TRANSITIONS.get((found.state, event))
    if state is None:
        raise MappingError(f"The mapping at {site} is {found.state}: it cannot be changed by '{event}'.")
    changed = connection.execute(
        update(MappingTable)
        .where(MappingTable.id == found.id, MappingTable.state == found.state.value)
        .values(state=state.value, reason=reason, changed_by=by, changed_at=now)
    ).rowcount
    if not changed:
        raise MappingError(f"Somebody else changed the mapping at {site} just now; look again.")
    after = SiteMapping(**{**vars(found), "state": state, "reason": reason, "changed_by": by, "changed_at": now})
    _audit(connection, _ACTS[event], after, by, reason, now)
    return after


def mappings(connection: Connection, *, person_id: str | None = None, site: str | None = None) -> list[SiteMapping]:
    """All mappings, or those of one person, or of one site; the newest first."""
    query = select(MappingTable.__table__).order_by(MappingTable.asked_at.desc(), MappingTable.id.desc())
    if person_id is not None:
        query = query.where(MappingTable.person_id == person_id)
    if site is not None:
        query = query.where(MappingTable.site == site)
    return [_mapping(row._mapping) for row in connection.execute(query)]


def _take(connection: Connection, site: str, account: str, person_id: str, now: datetime) -> None:
    """Make the account the person's, for ever, unless it is another's."""
    of_this = (SiteAccountTable.site == site, SiteAccountTable.account == account)
    owner = connection.execute(select(SiteAccountTable.person_id).where(*of_this)).scalar_one_or_none()
    if owner is None:
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(SiteAccountTable).values(site=site, account=account, person_id=person_id, since=now)
                )
            return
        except IntegrityError:
            owner = connection.execute(select(SiteAccountTable.person_id).where(*of_this)).scalar_one()
    if owner != person_id:
        raise MappingError(
            f"The account {account} at {site} is or was another person's, and is never given to a second one."
        )


def _the_same(known: SiteMapping, account: str) -> SiteMapping:
    if known.account != account:
        raise MappingError(
            f"There is a mapping at {known.site} already, to {known.account} ({known.state}); end it first."
        )
    return known


def _newest(connection: Connection, person_id: str, site: str, *, only_open: bool = False) -> SiteMapping | None:
    """The open one, else the one that was asked for last: clocks may have been set back since."""
    query = (
        select(MappingTable.__table__)
        .where(MappingTable.person_id == person_id, MappingTable.site == site)
        .order_by(case((MappingTable.state.in_(_OPEN), 0), else_=1), MappingTable.asked_at.desc())
        .limit(1)
    )
    if only_open:
        query = query.where(MappingTable.state.in_(_OPEN))
    row: Row[Any] | None = connection.execute(query).one_or_none()
    return _mapping(row._mapping) if row else None


def _mapping(row: Any) -> SiteMapping:
    return SiteMapping(**{**row, "state": MappingState(row["state"])})


def _audit(connection: Connection, act: Act, mapping: SiteMapping, by: str, reason: str, now: datetime) -> None:
    record(
        connection, at=now, act=act, actor=by, target=f"person:{mapping.person_id}", reason=reason,
        mapping=mapping.id, site=mapping.site, account=mapping.account,
    )  # fmt: skip
