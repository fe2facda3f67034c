"""Requests and their steps; and in the outbox how sending fares."""

import sqlalchemy as sa
from alembic import op

from federation.database import Moment

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_LONG_TEXT, _SHORT_TEXT = 4000, 500


def upgrade() -> None:
    _request()
    op.create_table(
        "request_step",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("text", sa.String(length=_LONG_TEXT), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_request_step_request", "request_step", ["request_id"])
    op.create_index("ix_request_step_person", "request_step", ["person_id"])
    op.add_column("outbox", sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
    op.add_column("outbox", sa.Column("error", sa.String(length=500), server_default="", nullable=False))
    op.add_column("outbox", sa.Column("given_up_at", Moment(), nullable=True))


def _request() -> None:
    op.create_table(
        "request",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("filed_by", sa.String(length=256), nullable=False),
        sa.Column("follows", sa.String(length=36), nullable=True),
        sa.Column("tier", sa.String(length=255), nullable=False),
        sa.Column("amount_milli_unit_seconds", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", Moment(), nullable=False),
        sa.Column("flavour", sa.String(length=40), nullable=False),
        sa.Column("sites", sa.JSON(), nullable=False),
        sa.Column("purpose", sa.String(length=_LONG_TEXT), nullable=False),
        sa.Column("contact", sa.String(length=_SHORT_TEXT), nullable=False),
        sa.Column("evidence", sa.String(length=_SHORT_TEXT), nullable=False),
        sa.Column("details", sa.String(length=_LONG_TEXT), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=False),
        sa.Column("claims_at", Moment(), nullable=True),
        sa.Column("reviewer", sa.String(length=256), nullable=False),
        sa.Column("second", sa.String(length=256), nullable=False),
        sa.Column("given_amount_milli_unit_seconds", sa.BigInteger(), nullable=True),
        sa.Column("given_ends_at", Moment(), nullable=True),
        sa.Column("given_sites", sa.JSON(), nullable=False),
        sa.Column("denial_code", sa.String(length=32), nullable=False),
        sa.Column("note", sa.String(length=_LONG_TEXT), nullable=False),
        sa.Column("private_note", sa.String(length=_LONG_TEXT), nullable=False),
        sa.Column("opened_at", Moment(), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        sa.Column("submitted_at", Moment(), nullable=True),
        sa.Column("due_at", Moment(), nullable=True),
        sa.Column("paused_at", Moment(), nullable=True),
        sa.Column("grant_id", sa.String(length=36), nullable=True),
        sa.Column("error", sa.String(length=_SHORT_TEXT), nullable=False),
        sa.Column("membership_gone_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("amount_milli_unit_seconds >= 0", name="ck_request_amount"),
    )
    op.create_index("ix_request_person", "request", ["person_id", "opened_at"])
    op.create_index("ix_request_state", "request", ["state", "due_at"])
    is_open = sa.text("state IN ('draft', 'submitted', 'in_review', 'needs_info', 'awaiting_second', 'approved')")
    op.create_index(
        "uq_request_open", "request", ["person_id", "kind"], unique=True,
        sqlite_where=is_open, postgresql_where=is_open,
    )  # fmt: skip
