"""Run by Alembic; the connection is handed in by `federation.migrations.upgrade`."""

from alembic import context

from federation.database import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
