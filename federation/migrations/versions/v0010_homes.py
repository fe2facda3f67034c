"""People's home folders at Kubernetes sites."""

import sqlalchemy as sa
from alembic import op

from federation.database import Moment

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "home",
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("site", sa.String(length=40), nullable=False),
        sa.Column("volume", sa.String(length=63), nullable=False),
        sa.Column("size_gib", sa.Integer(), nullable=False),
        sa.Column("made_at", Moment(), nullable=False),
        sa.Column("used_at", Moment(), nullable=False),
        sa.Column("why_kept", sa.String(length=16), nullable=True),
        sa.Column("kept_until", Moment(), nullable=True),
        sa.Column("removing_at", Moment(), nullable=True),
        sa.Column("removed_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("person_id", "site"),
    )
