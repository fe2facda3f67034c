"""The gateway's forwards: which local port leads to which session of a batch site."""

import sqlalchemy as sa
from alembic import op

from federation.database import Moment

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forward",
        sa.Column("attempt", sa.String(length=36), nullable=False),
        sa.Column("site", sa.String(length=40), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("local_port", sa.Integer(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("attempt"),
    )
    op.create_index("uq_forward_local_port", "forward", ["local_port"], unique=True)
    op.create_index("ix_forward_site", "forward", ["site"])
