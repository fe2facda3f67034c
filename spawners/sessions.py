"""The sessions store: what was meant, submitted, exchanged, seen and ended, one row for each attempt.

The row is committed before anything is submitted, so that whatever a crash leaves behind can be found by its attempt.
Calls block; the hub makes them in threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from federation.clock import Clock, system_clock
from federation.database import Database, Moment
from federation.ids import read_reference, reference
from spawners.tables import EndReason, SessionState, SessionTable

__all__ = ["Server", "Session", "SessionExists", "Sessions", "Sight"]

_DETAIL_CHARACTERS = 2000


class SessionExists(Exception):
    """The server has an attempt that has not ended."""


@dataclass(frozen=True)
class Server:
    """Which server of whom, on which hub; the default server's name is empty."""

    hub: str
    user: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Session:
    """One attempt, as its row says.

    Parameters
    ----------
    account
        The account at the site that it runs under, where people have one of their own there.
    backend_ref
        What the place calls it, from its submission on: the id of a job.
    why_there
        The other places that the wish allowed, in the order in which they were looked at, each with the code and the
        figures of why not.
    tell_when_ready
        Whether the person wants a mail when it runs.
    """

    attempt: str
    session_id: str
    server: Server
    person_id: str
    site: str
    flavour: str
    environment: str
    options: Mapping[str, Any]
    state: SessionState
    secret_hash: str
    exchanged_at: datetime | None
    token_ids: tuple[int, ...]
    host: str | None
    port: int | None
    created_at: datetime
    submitted_at: datetime | None
    started_at: datetime | None
    ready_at: datetime | None
    ended_at: datetime | None
    end_reason: EndReason | None
    end_detail: str | None
    seen_at: datetime | None = None
    account: str | None = None
    backend_ref: str | None = None
    why_there: Sequence[Mapping[str, Any]] = ()
    tell_when_ready: bool = False


class Sight(NamedTuple):
    """An attempt was seen running: since when it runs, and when it was seen, both by the clock of the place."""

    attempt: str
    started_at: datetime
    seen_at: datetime


class Sessions:
    """The store."""

    def __init__(self, database: Database, *, clock: Clock = system_clock) -> None:
        self._database = database
        self._clock = clock

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, attempt: str) -> Session | None:
        """One attempt."""
        return self._one(SessionTable.attempt == attempt)

    def open_of(self, server: Server) -> Session | None:
        """The attempt of this server that has not ended."""
        return self._one(*_is(server), SessionTable.ended_at.is_(None))

    def last_of(self, server: Server) -> Session | None:
        """The newest attempt of this server."""
        with self._database.read() as connection:
            row = connection.execute(
                select(SessionTable.__table__).where(*_is(server)).order_by(SessionTable.created_at.desc()).limit(1)
            ).one_or_none()
        return _session(row) if row else None

    def open_on(self, hub: str) -> list[Session]:
        """All attempts of a hub that have not ended, oldest first."""
        return self._all(SessionTable.hub == hub, SessionTable.ended_at.is_(None))

    def open_of_person(self, person_id: str) -> list[Session]:
        """A person's attempts that have not ended, oldest first."""
        return self._all(SessionTable.person_id == person_id, SessionTable.ended_at.is_(None))

    def ended_of_person(self, person_id: str, *, limit: int) -> list[Session]:
        """A person's last attempts that ended and were not merely refused, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(SessionTable.__table__)
                .where(SessionTable.person_id == person_id, SessionTable.ended_at.is_not(None))
                .where(or_(SessionTable.end_reason.is_(None), SessionTable.end_reason != EndReason.REFUSED.value))
                .order_by(SessionTable.created_at.desc())
                .limit(limit)
            ).all()
        return [_session(row) for row in rows]

    def recent(self, *, person_id: str | None = None, site: str | None = None, ended: int = 0) -> list[Session]:
        """Attempts that have not ended, then the last `ended` of those that have; each part newest first."""
        wanted = [SessionTable.person_id == person_id] if person_id is not None else []
        wanted += [SessionTable.site == site] if site is not None else []
        of_these = select(SessionTable.__table__).where(*wanted)
        newest = SessionTable.created_at.desc()
        still_open = of_these.where(SessionTable.ended_at.is_(None)).order_by(newest)
        over = of_these.where(SessionTable.ended_at.is_not(None)).order_by(SessionTable.ended_at.desc()).limit(ended)
        with self._database.read() as connection:
            return [_session(row) for query in (still_open, over) for row in connection.execute(query)]

    def accounts_at(self, site: str, *, ended_after: datetime) -> frozenset[str]:
        """The accounts at a site whose attempts have not ended, or ended after that moment."""
        table = SessionTable
        with self._database.read() as connection:
            found = connection.execute(
                select(table.account)
                .where(table.site == site, table.account.is_not(None))
                .where(or_(table.ended_at.is_(None), table.ended_at > ended_after))
                .distinct()
            ).scalars()
            return frozenset(account for account in found if account is not None)

    def with_reference(self, code: str) -> list[Session]:
        """The attempts whose short reference this is, however people wrote it; two are possible and most unlikely."""
        wanted = read_reference(code)
        with self._database.read() as connection:
            attempts = connection.execute(select(SessionTable.attempt)).scalars()
            found = [attempt for attempt in attempts if reference(attempt) == wanted]
        return self._all(SessionTable.attempt.in_(found)) if found else []

    # --- writing --------------------------------------------------------------------------------------------

    def intend(
        self,
        *,
        attempt: str,
        server: Server,
        person_id: str,
        site: str,
        flavour: str,
        environment: str,
        options: Mapping[str, Any],
        secret_hash: str,
        token_ids: Sequence[int] = (),
        account: str | None = None,
        why_there: Sequence[Mapping[str, Any]] = (),
    ) -> Session:
        """Record that we mean to start this. `token_ids` are tokens that the hub made for it.

        Raises
        ------
        SessionExists
            If the server has an attempt that has not ended.
        """
        values = {
            "attempt": attempt, "session_id": attempt, "hub": server.hub, "user": server.user, "server": server.name,
            "person_id": person_id, "site": site, "flavour": flavour, "environment": environment,
            "options": dict(options), "state": SessionState.INTENT.value, "secret_hash": secret_hash,
            "token_ids": list(token_ids), "account": account, "why_there": list(why_there),
            "created_at": self._clock(),
        }  # fmt: skip
        try:
            with self._database.write() as connection:
                connection.execute(insert(SessionTable).values(values))
                row = connection.execute(select(SessionTable.__table__).where(SessionTable.attempt == attempt)).one()
        except IntegrityError as error:
            raise SessionExists(attempt) from error
        return _session(row)

    def add_token(self, attempt: str, token_id: int) -> None:
        """Remember a token that the hub made for this attempt, so that it can be deleted at the end."""
        session = self.get(attempt)
        if session is not None and token_id not in session.token_ids:
            self._update(attempt, token_ids=[*session.token_ids, token_id])

    def submitted(self, attempt: str, backend_ref: str) -> None:
        """The backend has it."""
        self._update(
            attempt,
            SessionTable.state == SessionState.INTENT.value,
            state=SessionState.SUBMITTED.value,
            submitted_at=self._clock(),
            backend_ref=backend_ref,
        )

    def claim(self, attempt: str, secret_hash: str, nonce: str) -> bool:
        """Bind the exchange to one launcher. True for that launcher again and again, until it is ready; else False.

        What is to end gets nothing.
        """
        return self._update(
            attempt,
            SessionTable.secret_hash == secret_hash,
            SessionTable.ended_at.is_(None),
            SessionTable.end_reason.is_(None),
            SessionTable.ready_at.is_(None),
            or_(SessionTable.nonce.is_(None), SessionTable.nonce == nonce),
            nonce=nonce,
        )

    def confirm(self, attempt: str, secret_hash: str, nonce: str) -> bool:
        """The launcher has its environment. From now on nothing is minted again for this attempt. False if it is to end."""
        return self._update(
            attempt,
            SessionTable.secret_hash == secret_hash,
            SessionTable.ended_at.is_(None),
            SessionTable.end_reason.is_(None),
            SessionTable.nonce == nonce,
            exchanged_at=self._clock(),
        )

    def is_confirmed(self, attempt: str, secret_hash: str, nonce: str) -> bool:
        """Whether this launcher confirmed before; its answer may have been lost."""
        return (
            self._one(
                SessionTable.attempt == attempt,
                SessionTable.secret_hash == secret_hash,
                SessionTable.nonce == nonce,
                SessionTable.exchanged_at.is_not(None),
                SessionTable.ended_at.is_(None),
            )
            is not None
        )

    def located(self, attempt: str, *, host: str, port: int, started_at: datetime | None) -> None:
        """Where it listens, and since when it runs by the backend's clock."""
        self._update(attempt, SessionTable.ended_at.is_(None), host=host, port=port, started_at=started_at)

    def answered(self, attempt: str) -> None:
        """It answered: it runs."""
        self._update(
            attempt,
            SessionTable.ended_at.is_(None),
            state=SessionState.RUNNING.value,
            ready_at=self._clock(),
        )

    def tell_when_ready(self, server: Server, *, wanted: bool) -> bool:
        """Note whether the person wants a mail when the open attempt of a server runs; False if there is none."""
        session = self.open_of(server)
        return session is not None and self._update(
            session.attempt, SessionTable.ended_at.is_(None), tell_when_ready=wanted
        )

    def seen(self, sights: Sequence[Sight]) -> None:
        """These run: kept so that they are charged even if nothing is left of them where they ran. One transaction."""
        if not sights:
            return
        table = SessionTable
        seen_at, started_at = bindparam("seen", type_=Moment), bindparam("started", type_=Moment)
        with self._database.write() as connection:
            connection.execute(
                update(table)
                .where(table.attempt == bindparam("of"), table.ended_at.is_(None))
                .values(seen_at=seen_at, started_at=func.coalesce(table.started_at, started_at)),
                [{"of": sight.attempt, "seen": sight.seen_at, "started": sight.started_at} for sight in sights],
            )

    def ending(self, attempt: str, reason: EndReason, detail: str = "") -> bool:
        """Write why it will be ended, before it is. The first reason stays; False if there was one."""
        return self._update(
            attempt,
            SessionTable.ended_at.is_(None),
            SessionTable.end_reason.is_(None),
            end_reason=reason.value,
            end_detail=detail[:_DETAIL_CHARACTERS],
        )

    def ended(self, attempt: str, *, started_at: datetime | None, ended_at: datetime) -> None:
        """It is over and in the books. Twice is once."""
        self._update(
            attempt,
            SessionTable.ended_at.is_(None),
            state=SessionState.ENDED.value,
            started_at=started_at,
            ended_at=ended_at,
        )

    def _update(self, attempt: str, *conditions: Any, **values: Any) -> bool:
        with self._database.write() as connection:
            changed = connection.execute(
                update(SessionTable).where(SessionTable.attempt == attempt, *conditions).values(**values)
            )
            return changed.rowcount == 1

    def _one(self, *conditions: Any) -> Session | None:
        with self._database.read() as connection:
            row = connection.execute(select(SessionTable.__table__).where(*conditions)).one_or_none()
        return _session(row) if row else None

    def _all(self, *conditions: Any) -> list[Session]:
        with self._database.read() as connection:
            rows = connection.execute(
                select(SessionTable.__table__).where(*conditions).order_by(SessionTable.created_at)
            ).all()
        return [_session(row) for row in rows]


def _is(server: Server) -> tuple[Any, ...]:
    return (
        SessionTable.hub == server.hub,
        SessionTable.user == server.user,
        SessionTable.server == server.name,
    )


def _session(row: Row[Any]) -> Session:
    return Session(
        attempt=row.attempt,
        session_id=row.session_id,
        server=Server(row.hub, row.user, row.server),
        person_id=row.person_id,
        site=row.site,
        flavour=row.flavour,
        environment=row.environment,
        options=row.options,
        state=SessionState(row.state),
        secret_hash=row.secret_hash,
        exchanged_at=row.exchanged_at,
        token_ids=tuple(row.token_ids),
        host=row.host,
        port=row.port,
        created_at=row.created_at,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        ready_at=row.ready_at,
        ended_at=row.ended_at,
        end_reason=EndReason(row.end_reason) if row.end_reason else None,
        end_detail=row.end_detail,
        seen_at=row.seen_at,
        account=row.account,
        backend_ref=row.backend_ref,
        why_there=tuple(row.why_there or ()),
        tell_when_ready=row.tell_when_ready,
    )
