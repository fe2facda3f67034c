"""What operators and reviewers decide about a person: suspend, restore, admit to a tier, record evidence, end it.

Each decision and its audit row are one transaction. Doing it again says so and changes nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from federation.audit import Act, record
from federation.database import Base
from federation.ids import new_id
from vetting.tables import AdmissionTable, EvidenceTable, SuspensionTable

__all__ = ["admit", "end_admission", "end_evidence", "record_evidence", "restore", "suspend", "suspend_at_once"]


def suspend(connection: Connection, *, person_id: str, reason: str, by: str, now: datetime) -> bool:
    """Suspend a person: no tier and no role is theirs. False if they are suspended already."""
    row = {"person_id": person_id, "reason": reason, "suspended_by": by, "since": now}
    return _put(connection, SuspensionTable, row) and _audited(
        connection, Act.PERSON_SUSPENDED, person_id, by, reason, now
    )


def suspend_at_once(
    connection: Connection, *, person_id: str, reason: str, by: str, now: datetime, ends: Sequence[str]
) -> bool:
    """Suspend a person so that what runs ends now, in the place of a suspension that let it run; False if such a one is in
    force already.

    Parameters
    ----------
    ends
        The references of what runs, for auditors.
    """
    of_this = SuspensionTable.person_id == person_id
    _end(connection, SuspensionTable, now, of_this, SuspensionTable.at_once.is_(False))
    row = {"person_id": person_id, "reason": reason, "suspended_by": by, "since": now, "at_once": True}
    return _put(connection, SuspensionTable, row) and _audited(
        connection, Act.PERSON_STOPPED, person_id, by, reason, now, sessions=list(ends)
    )


def restore(connection: Connection, *, person_id: str, reason: str, by: str, now: datetime) -> bool:
    """End a suspension; False if there is none."""
    return _end(connection, SuspensionTable, now, SuspensionTable.person_id == person_id) and _audited(
        connection, Act.PERSON_RESTORED, person_id, by, reason, now
    )


def admit(connection: Connection, *, person_id: str, tier: str, reason: str, by: str, now: datetime) -> bool:
    """Admit a person to a tier with `vetting: review`; False if they were already."""
    row = {"person_id": person_id, "tier": tier, "reason": reason, "admitted_by": by, "admitted_at": now}
    return _put(connection, AdmissionTable, row) and _audited(
        connection, Act.TIER_ADMITTED, person_id, by, reason, now, tier=tier
    )


def end_admission(connection: Connection, *, person_id: str, tier: str, reason: str, by: str, now: datetime) -> bool:
    """Take an admission back; False if there is none."""
    of_this = (AdmissionTable.person_id == person_id, AdmissionTable.tier == tier)
    return _end(connection, AdmissionTable, now, *of_this) and _audited(
        connection, Act.TIER_ENDED, person_id, by, reason, now, tier=tier
    )


def record_evidence(
    connection: Connection, *, person_id: str, what: str, ends_at: datetime, by: str, now: datetime
) -> str:
    """Write down that somebody saw evidence, which counts until `ends_at`; its id. The text stays out of the audit
    trail: it can be removed, and that cannot.
    """
    evidence = new_id()
    connection.execute(
        insert(EvidenceTable).values(
            id=evidence, person_id=person_id, what=what, recorded_by=by, recorded_at=now, ends_at=ends_at
        )
    )
    _audited(connection, Act.EVIDENCE_RECORDED, person_id, by, "", now, evidence=evidence, until=ends_at.isoformat())
    return evidence


def end_evidence(connection: Connection, *, person_id: str, evidence: str, reason: str, by: str, now: datetime) -> bool:
    """Let evidence of a person count no more; False if there is none of this id that counts."""
    of_this = (EvidenceTable.id == evidence, EvidenceTable.person_id == person_id, EvidenceTable.ends_at > now)
    return _end(connection, EvidenceTable, now, *of_this) and _audited(
        connection, Act.EVIDENCE_ENDED, person_id, by, reason, now, evidence=evidence
    )


def _put(connection: Connection, table: type[Base], row: dict[str, Any]) -> bool:
    """Add a row, unless one like it is in force: an index of the table says what that means."""
    names = [name for name in ("person_id", "tier") if name in row]
    of_this = [getattr(table, name) == row[name] for name in names]
    if connection.execute(select(table.id).where(*of_this, table.ended_at.is_(None))).first():  # type: ignore[attr-defined]
        return False
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(id=new_id(), **row))
    except IntegrityError:
        return False  # somebody else was the first
    return True


def _end(connection: Connection, table: type[Base], now: datetime, *of_this: Any) -> bool:
    in_force = table.ended_at.is_(None)  # type: ignore[attr-defined]
    return connection.execute(update(table).where(in_force, *of_this).values(ended_at=now)).rowcount > 0


def _audited(
    connection: Connection, act: Act, person_id: str, by: str, reason: str, now: datetime, **details: Any
) -> bool:
    """Write the row of the audit trail. True, since it was done."""
    record(connection, at=now, act=act, actor=by, target=f"person:{person_id}", reason=reason, **details)
    return True
