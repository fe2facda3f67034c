"""Which account of a site a way to a session goes through, where each account signs in for itself."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("forward", sa.Column("account", sa.String(64), server_default="", nullable=False))
