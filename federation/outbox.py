"""The outbox: what people are to be told, written in the transaction that made it so.

An event has one key, so it is told once however often it happens to be noticed. The worker sends what is due; pages
show a person their own.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Connection, Index, Integer, String, UniqueConstraint, insert, select, text
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment
from federation.ids import new_id

__all__ = ["OutboxTable", "announce", "announced", "announced_like"]

_UNSENT = "sent_at IS NULL"


class OutboxTable(Base):
    """`event` names what happened, once for all; `kind` chooses the text; `figures` fill it in.

    `due_at` moves on when sending it fails; `given_up_at` is set when trying again is of no use.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("event", name="uq_outbox_event"),
        Index("ix_outbox_unsent", "due_at", sqlite_where=text(_UNSENT), postgresql_where=text(_UNSENT)),
        Index("ix_outbox_person", "person_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    event: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(64))
    person_id: Mapped[str] = mapped_column(String(36))
    figures: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(Moment)
    due_at: Mapped[datetime] = mapped_column(Moment)
    sent_at: Mapped[datetime | None] = mapped_column(Moment)
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str] = mapped_column(String(500), server_default="")
    given_up_at: Mapped[datetime | None] = mapped_column(Moment)


def announce(
    connection: Connection, *, event: str, kind: str, person_id: str, now: datetime, due_at: datetime, **figures: Any
) -> bool:
    """Put one message in; False if this event was announced before.

    Two transactions that announce the same event at the same moment: the second one fails with an `IntegrityError`, and
    its caller tries again.
    """
    if announced(connection, event):
        return False
    connection.execute(
        insert(OutboxTable).values(
            id=new_id(), event=event, kind=kind, person_id=person_id, figures=figures, created_at=now, due_at=due_at
        )
    )
    return True


def announced(connection: Connection, event: str) -> bool:
    """Whether an event was announced before."""
    return connection.execute(select(OutboxTable.id).where(OutboxTable.event == event)).first() is not None


def announced_like(connection: Connection, beginning: str) -> bool:
    """Whether any event was announced whose name begins like this."""
    known = select(OutboxTable.id).where(OutboxTable.event.startswith(beginning, autoescape=True))
    return connection.execute(known.limit(1)).first() is not None
