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
        f"RAISE EXCEPTION 'rows of {table} are never changed'; END $$"
    )
    op.execute(
        f'CREATE TRIGGER "{table}_is_kept" BEFORE UPDATE OR DELETE ON "{table}" '
        f'FOR EACH ROW EXECUTE FUNCTION "{table}_is_kept"()'
    )
