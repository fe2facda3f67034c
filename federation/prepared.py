"""Statements that are composed once, for calls that are made all the time.

SQLAlchemy composes a statement at each use; of a short one that takes several times as long as SQLite needs to run it.
The text of a `Prepared`, the order of its parameters and their conversions are worked out at its first use on each kind
of database, and `run` hands them to the driver. Whatever else is SQLAlchemy's stays so: the transaction is the
connection's, `before_cursor_execute` happens, errors are those of `sqlalchemy.exc`.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import psycopg
from sqlalchemy import Connection, Dialect, Executable, Select
from sqlalchemy.types import TypeEngine

from federation.pipeline import Pipeline, Statement, StatementFailed

__all__ = ["Call", "Prepared", "kept", "run"]

_Convert = Callable[[Any], Any]
_STYLES = {"sqlite": "qmark", "postgresql": "numeric_dollar"}
"""How each driver wants parameters to be marked."""
_PIPELINE = "pipeline"
"""Under which name a connection keeps its own."""


class Prepared:
    """A statement; called with its parameters, it is a `Call` of it for `run`.

    Parameters
    ----------
    statement
        Of SQLAlchemy, with a `bindparam` for whatever differs from call to call. Lists within it have fixed lengths.
        Rows are those of a `select`; of text there are none.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement: Any = statement
        self._composed: dict[str, _Composed] = {}

    def __call__(self, **parameters: Any) -> "Call":
        return Call(self, parameters)

    def composed(self, dialect: Dialect) -> "_Composed":
        """For this kind of database."""
        found = self._composed.get(dialect.name)
        if found is None:
            found = self._composed[dialect.name] = _compose(self._statement, dialect)
        return found


@dataclass(frozen=True, slots=True)
class Call:
    """A statement and its parameters by name."""

    statement: Prepared
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Composed:
    """What is worked out once: the text, its parameters in their order, and how to convert them and the rows."""

    text: str
    parameters: tuple[tuple[str, _Convert | None], ...]
    constants: Mapping[str, Any]
    row: Callable[..., Any] | None
    columns: tuple[tuple[int, _Convert], ...]

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """As the driver takes them, in their order."""
        if self.constants:
            given = {**self.constants, **given}
        return [convert(given[name]) if convert else given[name] for name, convert in self.parameters]

    def rows(self, found: Sequence[Sequence[Any]]) -> list[Any]:
        """As the types of the columns say, by name."""
        if self.row is None or not found:
            return []
        if not self.columns:
            return [self.row(*values) for values in found]
        rows = []
        for each in found:
            values = list(each)
            for index, convert in self.columns:
                values[index] = convert(values[index])
            rows.append(self.row(*values))
        return rows


def _compose(statement: Any, dialect: Dialect) -> _Composed:
    make: Any = type(dialect)
    compiled = statement.compile(dialect=make(paramstyle=_STYLES[dialect.name]))
    order: Sequence[str] = compiled.positiontup or ()
    bound = compiled.binds
    columns = list(statement.selected_columns) if isinstance(statement, Select) else []
    reading = [(index, _reading(column.type, dialect)) for index, column in enumerate(columns)]
    return _Composed(
        text=str(compiled),
        parameters=tuple((name, _binding(bound[name].type, dialect)) for name in order),
        constants={name: value for name, value in compiled.params.items() if not bound[name].required},
        row=namedtuple("Row", [column.name for column in columns]) if columns else None,
        columns=tuple((index, convert) for index, convert in reading if convert),
    )


def _binding(kind: TypeEngine[Any], dialect: Dialect) -> _Convert | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _reading(kind: TypeEngine[Any], dialect: Dialect) -> _Convert | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def run(connection: Connection, calls: Sequence[Call], *, commit: bool = False) -> list[list[Any]]:
    """Run statements in their order; the rows that each found, by name. None runs after one that failed.

    On PostgreSQL all go to the server at once, so none of them costs a way of its own.

    Parameters
    ----------
    commit
        On PostgreSQL the commit goes with them, if none fails. Nothing may follow in the transaction.
    """
    dialect = connection.dialect
    composed = [call.statement.composed(dialect) for call in calls]
    statements = [(each.text, each.values(call.parameters)) for each, call in zip(composed, calls, strict=True)]
    raw: Any = connection.connection.dbapi_connection
    if dialect.name == "postgresql":
        _tell(connection, [*statements, ("COMMIT", [])] if commit else statements)
        found = _at_once(connection, raw, statements, commit=commit)
    else:
        _tell(connection, statements)
        found = _one_by_one(connection, raw, statements)
    return [each.rows(rows) for each, rows in zip(composed, found, strict=True)]


def _tell(connection: Connection, statements: Sequence[Statement]) -> None:
    """Whoever listens to what is sent."""
    listening = connection.dispatch.before_cursor_execute
    if listening:
        for text, values in statements:
            listening(connection, None, text, values, None, False)


def _one_by_one(connection: Connection, raw: sqlite3.Connection, statements: Sequence[Statement]) -> list[list[Any]]:
    found = []
    for text, values in statements:
        try:
            found.append(raw.execute(text, values).fetchall())
        except sqlite3.Error as error:
            _raise(connection, error, text, values)
    return found


def _at_once(
    connection: Connection, raw: "psycopg.Connection[Any]", statements: Sequence[Statement], *, commit: bool
) -> list[list[Any]]:
    info = connection.info
    line: Pipeline | None = info.get(_PIPELINE)
    if line is None:
        line = info[_PIPELINE] = Pipeline(raw)
    usable = False
    try:
        found = line.run(statements, commit=commit)
        usable = True
    except StatementFailed as failed:
        usable = True
        _raise(connection, failed.error, *failed.statement)
    except psycopg.Error as error:
        _raise(connection, error, "", ())
    finally:
        if not usable and not connection.invalidated:  # the next one would take answers for its own that are under way
            connection.invalidate()
    return found


class kept:  # noqa: N801 - a generator would take longer, at each transaction
    """A block of a transaction that is rolled back when it fails: then psycopg may have the server throw away all that it
    has prepared for the connection, and the next use has to ask what is there.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        """Nothing is to be done."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self._connection.invalidated and _PIPELINE in self._connection.info:
            self._connection.info[_PIPELINE].forget()


def _raise(connection: Connection, error: Exception, text: str, values: Sequence[Any]) -> NoReturn:
    """Raise what SQLAlchemy raises for it; a connection that is lost is given up, as it does."""
    connection._handle_dbapi_exception(error, text, tuple(values), None, None)
