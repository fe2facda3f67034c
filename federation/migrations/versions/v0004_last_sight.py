"""When a session was last seen running: what it is charged by if nothing else is left of it."""

import sqlalchemy as sa
from alembic import op

from federation.database import Moment

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session", sa.Column("seen_at", Moment(), nullable=True))
