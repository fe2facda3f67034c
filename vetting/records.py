"""Reads what is recorded of a person, as eligibility wants it: one statement, by indexes, asked at every look."""

from typing import Any

from sqlalchemy import Connection, Row, String, literal, select, type_coerce, union_all

from federation.database import Moment
from federation.terms import Acceptance, AcceptanceTable
from vetting.recorded import Evidence, MappingState, Recorded, Suspension
from vetting.tables import AdmissionTable, EvidenceTable, MappingTable, SuspensionTable

__all__ = ["recorded_of"]

_OPEN = (MappingState.ASKED.value, MappingState.ACCEPTED.value)


def recorded_of(connection: Connection, person_id: str) -> Recorded:
    """Everything that counts of a person; what has ended is left out, apart from mappings, whose state says it."""
    rows = connection.execute(_everything(person_id)).all()
    of_kind = {kind: [row for row in rows if row.kind == kind] for kind in ("terms", "evidence", "tier", "mapping")}
    suspended = next((row for row in rows if row.kind == "suspension"), None)
    return Recorded(
        acceptances=tuple(Acceptance(version=row.name, language=row.said, at=row.at) for row in of_kind["terms"]),
        evidence=tuple(Evidence(ends_at=row.at) for row in of_kind["evidence"]),
        mappings=_newest_mappings(of_kind["mapping"]),
        admitted=frozenset(row.name for row in of_kind["tier"]),
        suspended=Suspension(since=suspended.at, reason=suspended.said) if suspended else None,
    )


def _newest_mappings(rows: list[Row[Any]]) -> dict[str, MappingState]:
    """Of each site the open one, else the one that was asked for last."""
    ordered = sorted(rows, key=lambda row: (row.said in _OPEN, row.at))
    return {row.name: MappingState(row.said) for row in ordered}


def _everything(person_id: str) -> Any:
    """All of it as rows of one shape: kind, name, said, at."""
    evidence, tier, mapping, suspension = EvidenceTable, AdmissionTable, MappingTable, SuspensionTable
    return union_all(
        _rows("terms", AcceptanceTable.version, AcceptanceTable.language, AcceptanceTable.accepted_at).where(
            AcceptanceTable.person_id == person_id
        ),
        _rows("evidence", literal(""), literal(""), evidence.ends_at).where(
            evidence.person_id == person_id, evidence.ended_at.is_(None)
        ),
        _rows("tier", tier.tier, literal(""), tier.admitted_at).where(
            tier.person_id == person_id, tier.ended_at.is_(None)
        ),
        _rows("mapping", mapping.site, mapping.state, mapping.asked_at).where(mapping.person_id == person_id),
        _rows("suspension", literal(""), suspension.reason, suspension.since).where(
            suspension.person_id == person_id, suspension.ended_at.is_(None)
        ),
    )


def _rows(kind: str, name: Any, said: Any, at: Any) -> Any:
    return select(
        literal(kind).label("kind"), type_coerce(name, String).label("name"), type_coerce(said, String).label("said"),
        type_coerce(at, Moment).label("at"),
    )  # fmt: skip
