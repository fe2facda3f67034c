"""Whether a suspension ends what runs at once, and whether a person wants a mail when a session of theirs runs."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("suspension", sa.Column("at_once", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("session", sa.Column("tell_when_ready", sa.Boolean(), server_default=sa.false(), nullable=False))
