"""Rows that are written once: triggers that forbid changing them, on SQLite and PostgreSQL."""

import sqlalchemy as sa
from alembic import op

__all__ = ["forbid_changes"]


def forbid_changes(table: str, *, but: str | None = None) -> None:
    """Forbid deleting rows of a table and changing them, except for the one column `but`."""
    if op.get_context().dialect.name == "sqlite":
        _sqlite(table, but)
    else:
        _postgresql(table, but)


def _sqlite(table: str, but: str | None) -> None:
    columns = ""
    if but is not None:
        names = [row[1] for row in op.get_bind().execute(sa.text(f'PRAGMA table_info("{table}")'))]
        columns = " OF " + ", ".join(f'"{name}"' for name in names if name != but)
    for event in (f"UPDATE{columns}", "DELETE"):
        op.execute(
            f'CREATE TRIGGER "{table}_no_{event.split()[0].lower()}" BEFORE {event} ON "{table}" '
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
        )


def _postgresql(table: str, but: str | None) -> None:
    same = f"AND to_jsonb(OLD) - '{but}' = to_jsonb(NEW) - '{but}'" if but is not None else "AND false"
    op.execute(
        f'CREATE FUNCTION "{table}_is_kept"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN '
        f"IF TG_OP = 'UPDATE' {same} THEN RETURN NEW; END IF; "
        f"RAISE EXCEPTION 'rows of {table} are never changed' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        f'CREATE TRIGGER "{table}_is_kept" BEFORE UPDATE OR DELETE ON "{table}" '
        f'FOR EACH ROW EXECUTE FUNCTION "{table}_is_kept"()'
    )


def close_holes(table: str, *keys: str) -> None:
    """Forbid what gets past `forbid_changes`, whose triggers the table has: `INSERT OR REPLACE` on SQLite, `TRUNCATE` on
    PostgreSQL. Call it again, with all keys, when the table gets another unique index.

    Parameters
    ----------
    keys
        One SQL condition for each primary key and unique index: which rows have the same key as the row NEW.
    """
    if op.get_context().dialect.name == "sqlite":
        _close_sqlite(table, keys)
    else:
        _close_postgresql(table)


def _close_sqlite(table: str, keys: tuple[str, ...]) -> None:
    # REPLACE deletes the rows that are in the way without asking the triggers for that, unless the client has set
    # recursive_triggers; so an INSERT for which any is in the way is refused as a whole, ON CONFLICT DO NOTHING too.
    # Every row also has a number, its rowid. In a row that is not given one, NEW.rowid is -1, which no row has.
    same_key = " OR ".join(f"({key})" for key in ("rowid = NEW.rowid", *keys))
    in_the_way = f'SELECT 1 FROM "{table}" WHERE {same_key}'  # noqa: S608 - the words of our own migrations
    op.execute(f'DROP TRIGGER IF EXISTS "{table}_no_replace"')
    op.execute(
        f'CREATE TRIGGER "{table}_no_replace" BEFORE INSERT ON "{table}" '
        f"WHEN EXISTS ({in_the_way}) BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
    )
    # UPDATE OR REPLACE could give a row the number of another one.
    op.execute(f'DROP TRIGGER IF EXISTS "{table}_no_move"')
    op.execute(
        f'CREATE TRIGGER "{table}_no_move" BEFORE UPDATE ON "{table}" WHEN OLD.rowid IS NOT NEW.rowid '
        f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
    )


def _close_postgresql(table: str) -> None:
    op.execute(f'DROP TRIGGER IF EXISTS "{table}_is_not_emptied" ON "{table}"')
    op.execute(
        f'CREATE OR REPLACE FUNCTION "{table}_is_not_emptied"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN '
        f"RAISE EXCEPTION 'rows of {table} are never changed' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        f'CREATE TRIGGER "{table}_is_not_emptied" BEFORE TRUNCATE ON "{table}" '
        f'FOR EACH STATEMENT EXECUTE FUNCTION "{table}_is_not_emptied"()'
    )
    # Also for clients that have set session_replication_role, which turns other triggers off.
    for trigger in ("is_kept", "is_not_emptied"):
        op.execute(f'ALTER TABLE "{table}" ENABLE ALWAYS TRIGGER "{table}_{trigger}"')
