"""One Alembic chain for the tables of all houses: upgrade, and refuse a database that is older or newer than the code."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text

from federation.database import Database

__all__ = ["OutdatedSchema", "check", "known", "upgrade", "version"]


_UPGRADE = 0x6E626665640001
"""The advisory lock of upgrades on PostgreSQL: "nbfed", and a number."""


class OutdatedSchema(Exception):
    """The tables are not those that this version of the code works with."""


def upgrade(database: Database) -> None:
    """Bring the tables to what the code needs; nothing happens when they are."""
    with database.write() as connection:
        if not database.is_sqlite:
            # One at a time: who comes second waits, and finds nothing to do. A large table may take its time.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE)))
        configuration = _configuration()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")


def check(database: Database) -> None:
    """Compare the tables' version with the code's.

    Raises
    ------
    OutdatedSchema
        If they differ; the message says what to do.
    """
    head = ScriptDirectory.from_config(_configuration()).get_current_head()
    found = version(database)
    if found != head:
        raise OutdatedSchema(
            f"The federation database is at version {found or 'none'}, this program needs {head}. "
            "Make a backup and run `nbfed db upgrade`; if the database is the newer one, install the newer program."
        )


def version(database: Database) -> str | None:
    """The version of the tables; None where there are none."""
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def known() -> frozenset[str]:
    """All versions of the tables that this program can upgrade from, its own included."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_configuration()).walk_revisions())


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent))
    return configuration
