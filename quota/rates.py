"""Weights of flavours, by version: a price that changes in mid-session does not touch the session."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, insert, select, text

from quota.tables import RateTable

__all__ = ["IN_FORCE", "Version", "in_force", "publish", "versions"]


_VERSION = select(RateTable.version).order_by(RateTable.version.desc()).limit(1).scalar_subquery()
IN_FORCE = select(RateTable.version, RateTable.flavour, RateTable.weight_milli).where(RateTable.version == _VERSION)
"""The newest version: its number, each flavour and its weight in thousandths."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """All weights of a version in thousandths, by flavour, and since when they counted."""

    number: int
    valid_from: datetime
    weights_milli: Mapping[str, int]


def publish(connection: Connection, weights_milli: Mapping[str, int], at: datetime) -> int:
    """Make these the weights from now on: a new version if anything differs, else the one in force.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not weights_milli:
        raise ValueError("no weights: a version has at least one flavour")
    if connection.dialect.name == "postgresql":  # on SQLite whoever writes has the only write lock already
        connection.execute(text("LOCK TABLE rate_table IN SHARE ROW EXCLUSIVE MODE"))
    version, known = in_force(connection)
    if known == dict(weights_milli):
        return version
    rows = [
        {"version": version + 1, "flavour": flavour, "weight_milli": weight, "valid_from": at}
        for flavour, weight in sorted(weights_milli.items())
    ]
    connection.execute(insert(RateTable), rows)
    return version + 1


def in_force(connection: Connection) -> tuple[int, dict[str, int]]:
    """The number of the newest version, 0 if there is none, and its weights in thousandths by flavour."""
    rows = connection.execute(IN_FORCE).all()
    return (rows[0].version if rows else 0), {row.flavour: row.weight_milli for row in rows}


def versions(connection: Connection) -> list[Version]:
    """All that there were, the one in force first."""
    rows = connection.execute(select(RateTable.__table__).order_by(RateTable.version.desc(), RateTable.flavour))
    found = []
    for number, group in groupby(rows, key=lambda row: row.version):
        of_version = list(group)
        weights = {row.flavour: row.weight_milli for row in of_version}
        found.append(Version(number=number, valid_from=of_version[0].valid_from, weights_milli=weights))
    return found
