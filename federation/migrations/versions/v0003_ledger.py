"""The whole ledger: seals, corrections, queue times and requeued runs; and the outbox."""

import hashlib
import json
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

from federation.database import Moment
from federation.migrations.triggers import close_holes

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SEALED = ("account_id", "hold_id", "grant_id", "kind", "amount", "at", "actor", "reason", "key")
_OPEN = sa.text("state IN ('held', 'running', 'unknown')")


def upgrade() -> None:
    op.add_column("entry", sa.Column("key", sa.String(length=255), nullable=True))
    op.create_index("uq_entry_key", "entry", ["key"], unique=True)
    close_holes(
        "entry",
        "seq = NEW.seq",
        "hold_id = NEW.hold_id AND coalesce(grant_id, '') = coalesce(NEW.grant_id, '') AND kind = NEW.kind "
        "AND kind IN ('release', 'charge', 'overrun')",
        '"key" = NEW."key"',
    )
    op.add_column("balance", sa.Column("seal", sa.String(length=64), server_default="", nullable=False))
    op.add_column("hold", sa.Column("queue_seconds", sa.Integer(), server_default="0", nullable=False))
    op.add_column("hold", sa.Column("earlier_seconds", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_hold_open_user", "hold", ["user"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    _seal_what_is_there()
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("due_at", Moment(), nullable=False),
        sa.Column("sent_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event", name="uq_outbox_event"),
    )
    unsent = sa.text("sent_at IS NULL")
    op.create_index("ix_outbox_unsent", "outbox", ["due_at"], sqlite_where=unsent, postgresql_where=unsent)
    op.create_index("ix_outbox_person", "outbox", ["person_id", "created_at"])


def _seal_what_is_there() -> None:
    """Of the entries that were made before there were seals, as quota/seal.py makes them; here as it was then."""
    if op.get_context().as_sql:
        return  # printed, not run: nothing is there
    connection = op.get_bind()
    entry = sa.table("entry", *(sa.column(name, Moment() if name == "at" else None) for name in _SEALED))
    rows = connection.execute(sa.select(entry).order_by(entry.c.account_id, sa.column("seq"))).mappings()
    by_account = groupby(rows, lambda row: row["account_id"])
    seals = [{"account": account, "seal": _seal(of_one)} for account, of_one in by_account]
    if seals:
        connection.execute(sa.text("UPDATE balance SET seal = :seal WHERE account_id = :account"), seals)


def _seal(entries: Any) -> str:
    seal = ""
    for entry in entries:
        facts = [entry["at"].isoformat(timespec="microseconds") if name == "at" else entry[name] for name in _SEALED]
        seal = hashlib.sha256(f"{seal}\n{json.dumps(facts, ensure_ascii=True)}".encode()).hexdigest()
    return seal
