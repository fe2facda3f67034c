"""Sessions at sites where people have accounts of their own: whose account, and why there and not elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session", sa.Column("account", sa.String(length=255), nullable=True))
    op.add_column("session", sa.Column("why_there", sa.JSON(), nullable=True))
