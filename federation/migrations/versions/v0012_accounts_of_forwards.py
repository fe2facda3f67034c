"""Which account of a site a way to a session goes through, where each account signs in for itself; and who has sessions at
a site is found without reading them all.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("forward", sa.Column("account", sa.String(64), server_default="", nullable=False))
    op.create_index("ix_session_site", "session", ["site", "ended_at"])
