"""Many statements in one way to PostgreSQL's server and back, by libpq's pipeline mode.

psycopg's cursors wait for each answer, for that of BEGIN too, and need longer for a statement than the server does. This
works on the layer below them, `psycopg.pq`; parameters and rows are converted as psycopg does it. The server prepares
each statement at its first use, under a name that is made of its text.
"""

import hashlib
import select
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import psycopg
from psycopg import IsolationLevel, pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

__all__ = ["Pipeline", "Statement", "StatementFailed"]

Statement = tuple[str, Sequence[Any]]
"""Its text, and the parameters that are `$1`, `$2`, ... in it."""

_DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
_COMMIT: Statement = ("COMMIT", ())


class StatementFailed(Exception):
    """The server refused a statement. The connection is as good as before; the transaction can only be rolled back."""

    def __init__(self, error: psycopg.Error, statement: Statement) -> None:
        super().__init__(str(error))
        self.error = error
        self.statement = statement


class Pipeline:
    """The pipeline of a connection, and what is kept for it: the names of what its server has prepared."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection
        self._server = connection.pgconn
        self._convert = Transformer(connection)
        self._prepared: set[bytes] | None = None

    def forget(self) -> None:
        """Psycopg may have had the server throw away what it prepared, as it does at a rollback: ask it again."""
        self._prepared = None

    def run(self, statements: Sequence[Statement], *, commit: bool) -> list[list[tuple[Any, ...]]]:
        """The rows that each statement found. A transaction is begun where there is none.

        Parameters
        ----------
        commit
            End the transaction with them, unless one of them fails.

        Raises
        ------
        StatementFailed
            For the first one that failed; none after it has run.
        psycopg.OperationalError
            If the connection is lost.
        """
        if self._prepared is None:
            rows = self._connection.execute("SELECT name FROM pg_prepared_statements").fetchall()
            self._prepared = {name.encode() for (name,) in rows}
        begins = self._server.transaction_status == pq.TransactionStatus.IDLE
        begin = [(_begin(self._connection.isolation_level, self._connection.read_only), ())] if begins else []
        found = self._exchange([*begin, *statements, _COMMIT] if commit else [*begin, *statements], self._prepared)
        return found[len(begin) : len(begin) + len(statements)]

    def _exchange(self, statements: Sequence[Statement], prepared: set[bytes]) -> list[list[tuple[Any, ...]]]:
        values = [self._dumped(statement) for statement in statements]
        server, convert = self._server, self._convert
        server.enter_pipeline_mode()
        new: set[bytes] = set()
        for statement, dumped in zip(statements, values, strict=True):
            name = _name(statement[0])
            if name not in prepared and name not in new:
                server.send_prepare(name, statement[0].encode())
                new.add(name)
            server.send_query_prepared(name, dumped)
        server.pipeline_sync()
        results = _answers(server, len(new) + len(statements))
        server.exit_pipeline_mode()
        found = []
        for statement in statements:
            name = _name(statement[0])
            if name in new:
                _check(next(results), statement)
                new.remove(name)
                prepared.add(name)
            result = _check(next(results), statement)
            number = result.ntuples
            if number:
                convert.set_pgresult(result)
            found.append(convert.load_rows(0, number, tuple) if number else [])
        return found

    def _dumped(self, statement: Statement) -> Sequence[Any]:
        values = statement[1]
        try:
            return self._convert.dump_sequence(values, [PyFormat.TEXT] * len(values))
        except psycopg.Error as error:
            raise StatementFailed(error, statement) from error


def _check(result: pq.abc.PGresult, statement: Statement) -> pq.abc.PGresult:
    if result.status not in _DONE:
        raise StatementFailed(error_from_result(result), statement)
    return result


def _answers(server: pq.abc.PGconn, number: int) -> Iterator[pq.abc.PGresult]:
    """So many results, when all have come, and the pipeline's end. Those after one that failed only say that they were
    not run.
    """
    socket = select.poll()
    socket.register(server.socket, select.POLLIN | select.POLLOUT)
    while server.flush():
        _wait(server, socket)
    socket.modify(server.socket, select.POLLIN)
    results = []
    for _ in range(number):
        results.append(_next(server, socket))
        server.get_result()  # None: there is one of each
    end = _next(server, socket)
    if end.status == pq.ExecStatus.FATAL_ERROR:  # the server ends the connection, and says why
        raise error_from_result(end)
    if end.status != pq.ExecStatus.PIPELINE_SYNC:
        raise psycopg.OperationalError("the server's answers do not match what it was asked")
    return iter(results)


def _next(server: pq.abc.PGconn, socket: select.poll) -> pq.abc.PGresult:
    while server.is_busy():
        _wait(server, socket)
    result = server.get_result()
    if result is None or server.status != pq.ConnStatus.OK:
        raise psycopg.OperationalError(server.get_error_message())
    return result


def _wait(server: pq.abc.PGconn, socket: select.poll) -> None:
    socket.poll()  # other threads run meanwhile: libpq's own waiting would let none of them
    server.consume_input()


@cache
def _name(text: str) -> bytes:
    return b"nbfed_" + hashlib.sha256(text.encode()).hexdigest()[:24].encode()


@cache
def _begin(level: IsolationLevel | None, read_only: bool | None) -> str:
    """As psycopg begins a transaction."""
    words = ["BEGIN"]
    if level is not None:
        words.append(f"ISOLATION LEVEL {level.name.replace('_', ' ')}")
    if read_only is not None:
        words.append("READ ONLY" if read_only else "READ WRITE")
    return " ".join(words)
