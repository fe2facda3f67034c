"""The tables of the books. What the database itself can keep true is a constraint here, not a habit of the code."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
    func,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment

__all__ = [
    "IS_OPEN",
    "OPEN_STATES",
    "AccountTable",
    "BalanceTable",
    "EntryKind",
    "EntryTable",
    "GrantBalanceTable",
    "GrantTable",
    "HoldState",
    "HoldTable",
    "OwnerKind",
    "RateTable",
]

_Serial = BigInteger().with_variant(Integer, "sqlite")


class OwnerKind(StrEnum):
    """Whose account it is."""

    USER = "user"
    GROUP = "group"
    CLASS = "class"
    SITE = "site"


class HoldState(StrEnum):
    """held -> running -> settled | released | expired; `unknown` while the backend cannot be asked."""

    HELD = "held"
    RUNNING = "running"
    UNKNOWN = "unknown"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


OPEN_STATES = (HoldState.HELD, HoldState.RUNNING, HoldState.UNKNOWN)


class EntryKind(StrEnum):
    """What an entry does; its signed amount is added to the column of the balance that is named here."""

    GRANT = "grant"  # granted +
    LAPSE = "lapse"  # granted -: a grant ended or was revoked; its unspent part that is not held goes
    HOLD = "hold"  # held +
    RENEW = "renew"  # held +
    RELEASE = "release"  # held -, once for each hold
    CHARGE = "charge"  # used +, once for each hold and grant
    OVERRUN = "overrun"  # used +, once for each hold: used without cover; used -, of no hold: covered by a charge now
    CORRECTION = "correction"  # used + or -, by an operator, with a reason


_TERMINAL_KINDS = "kind IN ('release', 'charge', 'overrun')"
_OPEN = "state IN ('held', 'running', 'unknown')"


class AccountTable(Base):
    __tablename__ = "account"
    __table_args__ = (UniqueConstraint("owner_kind", "owner_ref", "unit", name="uq_account_owner"),)

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    owner_kind: Mapped[str] = mapped_column(String(16))
    owner_ref: Mapped[str] = mapped_column(String(255))
    unit: Mapped[str] = mapped_column(String(32))


class BalanceTable(Base):
    """The sums of an account's entries, changed by compare-and-swap on `generation`; all in milli-unit-seconds."""

    __tablename__ = "balance"
    __table_args__ = (
        CheckConstraint("used >= 0", name="ck_balance_used"),
        CheckConstraint("held >= 0", name="ck_balance_held"),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True, autoincrement=False)
    granted: Mapped[int] = mapped_column(BigInteger)
    used: Mapped[int] = mapped_column(BigInteger)
    held: Mapped[int] = mapped_column(BigInteger)
    generation: Mapped[int] = mapped_column(BigInteger)
    seal: Mapped[str] = mapped_column(String(64), server_default="")


class GrantTable(Base):
    """An amount for a time. Only `revoked_at` may change; more or less is a revocation and a successor."""

    __tablename__ = "grant"
    __table_args__ = (
        CheckConstraint("amount > 0", name="ck_grant_amount"),
        CheckConstraint("ends_at > starts_at", name="ck_grant_times"),
        Index("ix_grant_account", "account_id", "ends_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    starts_at: Mapped[datetime] = mapped_column(Moment)
    ends_at: Mapped[datetime] = mapped_column(Moment)
    priority: Mapped[int] = mapped_column(Integer)
    request_id: Mapped[str | None] = mapped_column(String(36))
    class_id: Mapped[str | None] = mapped_column(String(36))
    created_by: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime] = mapped_column(Moment)
    reason: Mapped[str] = mapped_column(String(2000))
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)
    follows: Mapped[str | None] = mapped_column(ForeignKey("grant.id"))


class GrantBalanceTable(Base):
    """What is left of a grant that has begun: `amount - charged - lapsed`. Kept so that a settlement costs the same
    however many came before it; the entries are the proof.
    """

    __tablename__ = "grant_balance"
    __table_args__ = (
        CheckConstraint("charged >= 0 AND lapsed >= 0 AND charged + lapsed <= amount", name="ck_grant_balance"),
        Index("ix_grant_balance_left", "account_id", sqlite_where=text("charged + lapsed < amount"),
              postgresql_where=text("charged + lapsed < amount")),
    )  # fmt: skip

    grant_id: Mapped[str] = mapped_column(ForeignKey("grant.id"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    charged: Mapped[int] = mapped_column(BigInteger)
    lapsed: Mapped[int] = mapped_column(BigInteger)


class RateTable(Base):
    """Weights of flavours in thousandths, by version. Insert only; a hold keeps the version that it was admitted with."""

    __tablename__ = "rate_table"
    __table_args__ = (CheckConstraint("weight_milli > 0", name="ck_rate_weight"),)

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    flavour: Mapped[str] = mapped_column(String(40), primary_key=True)
    weight_milli: Mapped[int] = mapped_column(BigInteger)
    valid_from: Mapped[datetime] = mapped_column(Moment)


class HoldTable(Base):
    """An amount reserved for one attempt to run a session; its id is the attempt key.

    `queue_seconds` is how long a batch job may wait, which is free: the lease ends that much later until it runs.
    `earlier_seconds` are those of earlier runs of a job that was requeued; they are charged too.
    """

    __tablename__ = "hold"
    __table_args__ = (
        CheckConstraint("amount > 0", name="ck_hold_amount"),
        Index("uq_hold_open", "hub", "user", "server", unique=True, sqlite_where=text(_OPEN),
              postgresql_where=text(_OPEN)),
        Index("ix_hold_open_lease", "lease_until", sqlite_where=text(_OPEN), postgresql_where=text(_OPEN)),
        Index("ix_hold_open_site", "site", sqlite_where=text(_OPEN), postgresql_where=text(_OPEN)),
        Index("ix_hold_open_user", "user", sqlite_where=text(_OPEN), postgresql_where=text(_OPEN)),
        Index("ix_hold_account", "account_id", "reserved_at"),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    rate_version: Mapped[int] = mapped_column(Integer)
    weight_milli: Mapped[int] = mapped_column(BigInteger)
    flavour: Mapped[str] = mapped_column(String(40))
    gauge_sessions: Mapped[int] = mapped_column(Integer)
    gauge_cpu: Mapped[int] = mapped_column(Integer)
    gauge_memory_mib: Mapped[int] = mapped_column(Integer)
    gauge_gpu: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    reserved_at: Mapped[datetime] = mapped_column(Moment)
    lease_until: Mapped[datetime] = mapped_column(Moment)
    queue_seconds: Mapped[int] = mapped_column(Integer, server_default="0")
    hub: Mapped[str] = mapped_column(String(255))
    user: Mapped[str] = mapped_column(String(255))
    server: Mapped[str] = mapped_column(String(255))
    site: Mapped[str] = mapped_column(String(40))
    backend_ref: Mapped[str | None] = mapped_column(String(255))
    started_at: Mapped[datetime | None] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
    earlier_seconds: Mapped[int] = mapped_column(Integer, server_default="0")
    charged: Mapped[int | None] = mapped_column(BigInteger)
    source: Mapped[str | None] = mapped_column(String(64))


IS_OPEN = HoldTable.state.in_([literal_column(f"'{state.value}'") for state in OPEN_STATES])
"""Written out: of a parameter no database knows that it is what the indexes on open holds are about."""


class EntryTable(Base):
    """The books: insert only (a trigger forbids the rest). `key` makes a correction happen once."""

    __tablename__ = "entry"
    __table_args__ = (
        Index("ix_entry_account", "account_id", "seq"),
        Index("ix_entry_hold", "hold_id"),
        Index("uq_entry_key", "key", unique=True),
        Index("uq_entry_terminal", "hold_id", func.coalesce(text("grant_id"), text("''")), "kind", unique=True,
              sqlite_where=text(_TERMINAL_KINDS), postgresql_where=text(_TERMINAL_KINDS)),
    )  # fmt: skip

    seq: Mapped[int] = mapped_column(_Serial, primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    hold_id: Mapped[str | None] = mapped_column(ForeignKey("hold.id"))
    grant_id: Mapped[str | None] = mapped_column(ForeignKey("grant.id"))
    kind: Mapped[str] = mapped_column(String(16))
    amount: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str] = mapped_column(String(256))
    reason: Mapped[str] = mapped_column(String(2000))
    key: Mapped[str | None] = mapped_column(String(255))
