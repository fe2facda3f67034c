"""What a database is made of, and all that is in it, of either kind: to be compared before and after."""

import re
from typing import Any

from sqlalchemy import Connection, text

from federation.database import Database

__all__ = ["Rows", "dump", "structure", "tables_of"]

Rows = dict[str, list[tuple[Any, ...]]]

_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
}
_POSTGRESQL_PARTS = """
    SELECT 'column', table_name || '.' || column_name, concat_ws(' ', data_type, character_maximum_length, is_nullable,
           column_default, identity_generation) FROM information_schema.columns WHERE table_schema = current_schema()
    UNION ALL
    SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = current_schema()::regnamespace
    UNION ALL
    SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()
    UNION ALL
    SELECT 'trigger', tgname, pg_get_triggerdef(oid) || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace
"""


_CASTS = re.compile(r"::(character varying|text)(\[\])?|[()]")
"""PostgreSQL reads its own definitions back with other casts and brackets than those that it wrote."""


def tables_of(connection: Connection) -> list[str]:
    """The names of all tables, Alembic's own included."""
    return list(connection.execute(text(_TABLES[connection.dialect.name])).scalars())


def dump(database: Database) -> Rows:
    """Every row of every table."""
    with database.read() as connection:
        return {name: _rows(connection, name) for name in tables_of(connection)}


def structure(database: Database) -> set[tuple[str, str, str]]:
    """Kind, name and definition of each table or column, constraint, index, trigger and function, in one way of
    writing; Alembic's own table is left out.
    """
    with database.read() as connection:
        if connection.dialect.name == "sqlite":
            parts = connection.execute(
                text("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND sql IS NOT NULL")
            ).all()
        else:
            parts = connection.execute(text(_POSTGRESQL_PARTS)).all()
    return {(kind, name, _normal(sql)) for kind, name, sql in parts if not name.startswith("alembic_version")}


def _rows(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(map(repr, row)) for row in connection.execute(text(f'SELECT * FROM "{table}"')))


def _normal(sql: str) -> str:
    """SQL without line breaks and needless quotes; the parts of a table in the order of the alphabet."""
    sql = re.sub(r"\s+", " ", sql.replace('"', "")).strip()
    head, bracket, body = sql.partition("(")
    if not head.startswith("CREATE TABLE"):
        return _CASTS.sub("", sql)
    parts = re.split(r", (?![^(]*\))", body.removesuffix(")").strip())
    return f"{head}{bracket}{', '.join(sorted(parts))})"
