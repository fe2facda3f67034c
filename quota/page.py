"""One account's page of the books, open for writing within one transaction.

Every change is an entry, and the balance is the sum of the entries: `post` does both. The page is locked when it is
opened and saved by compare-and-swap on the balance's generation, so that no two writers can build on the same sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from quota.tables import AccountTable, BalanceTable, EntryKind, EntryTable, GrantBalanceTable, GrantTable, OwnerKind

__all__ = ["DEFAULT_KEY", "UNIT", "GrantStanding", "Owner", "Page", "account_of", "open_page", "standing_of_grants"]

UNIT = "milli-unit-seconds"
DEFAULT_KEY = "default:"
"""Keys of grants that nobody asked for begin with this (`quota.defaults`)."""

_COLUMN = {
    EntryKind.GRANT: "granted",
    EntryKind.LAPSE: "granted",
    EntryKind.HOLD: "held",
    EntryKind.RENEW: "held",
    EntryKind.RELEASE: "held",
    EntryKind.CHARGE: "used",
    EntryKind.OVERRUN: "used",
}


@dataclass(frozen=True)
class Owner:
    """Whose account: a person's id, a group's name, a class's id or a site's name."""

    kind: OwnerKind
    ref: str


@dataclass(frozen=True, kw_only=True)
class GrantStanding:
    """One grant that has begun; `active` says whether new holds may count on what is left of it, `taken_in` whether it
    is in the balance already.
    """

    id: str
    amount: int
    left: int
    starts_at: datetime
    ends_at: datetime
    active: bool
    taken_in: bool
    is_default: bool
    reason: str


class Page:
    """See the module. Made by `open_page`."""

    def __init__(self, connection: Connection, account_id: int, at: datetime, actor: str) -> None:
        self.connection = connection
        self.account_id = account_id
        self.at = at
        self.actor = actor
        row = connection.execute(
            select(BalanceTable.__table__).where(BalanceTable.account_id == account_id).with_for_update()
        ).one()
        self.granted: int = row.granted
        self.used: int = row.used
        self.held: int = row.held
        self._generation: int = row.generation
        self._written = False

    @property
    def available(self) -> int:
        """What a new hold may take, in milli-unit-seconds. Below zero while an overrun is not covered."""
        return self.granted - self.used - self.held

    def post(
        self, kind: EntryKind, amount: int, *, hold: str | None = None, grant: str | None = None, reason: str = ""
    ) -> None:
        """Add one entry and its amount to the balance."""
        self.connection.execute(
            insert(EntryTable).values(
                account_id=self.account_id,
                hold_id=hold,
                grant_id=grant,
                kind=kind.value,
                amount=amount,
                at=self.at,
                actor=self.actor,
                reason=reason,
            )
        )
        column = _COLUMN[kind]
        setattr(self, column, getattr(self, column) + amount)
        self._written = True

    def update_grants(self) -> None:
        """Take in grants that have begun, cover overruns from what is free, and let lapse what is left of grants that
        ended and is not held.
        """
        self._begin_grants()
        grants = self.grants_left()
        if self._cover_overruns(grants):
            grants = self.grants_left()
        held = self.held
        for grant in grants:
            kept = min(grant.left, held)
            held -= kept
            if not grant.active and grant.left > kept:
                self._change_grant(grant.id, lapsed=grant.left - kept)
                self.post(EntryKind.LAPSE, kept - grant.left, grant=grant.id)

    def charge(self, amount: int, hold: str, cover: int) -> None:
        """Spend `amount` for a hold, in spend order, at most `cover` of it from grants; the rest is an overrun."""
        covered = max(0, min(amount, cover))
        uncovered = amount - covered + self._spend(self.grants_left(), covered, hold=hold)
        if uncovered:
            self.post(EntryKind.OVERRUN, uncovered, hold=hold, reason="used beyond what was held and left")

    def grants(self) -> list[GrantStanding]:
        """All grants that are active or that something is left of, in spend order."""
        return standing_of_grants(self.connection, self.account_id, self.at)

    def grants_left(self) -> list[GrantStanding]:
        """Those that something is left of."""
        return [grant for grant in self.grants() if grant.left]

    def save(self) -> None:
        """Write the balance, if there is a new entry, and nobody else wrote it since the page was opened."""
        if not self._written:
            return
        written = self.connection.execute(
            update(BalanceTable)
            .where(BalanceTable.account_id == self.account_id, BalanceTable.generation == self._generation)
            .values(granted=self.granted, used=self.used, held=self.held, generation=self._generation + 1)
        )
        if written.rowcount != 1:
            raise RuntimeError(f"account {self.account_id} was changed by another transaction")

    def _begin_grants(self) -> None:
        begun = self.connection.execute(
            select(GrantTable.id, GrantTable.amount, GrantTable.reason)
            .outerjoin(GrantBalanceTable, GrantBalanceTable.grant_id == GrantTable.id)
            .where(GrantTable.account_id == self.account_id)
            .where(GrantTable.starts_at <= self.at, GrantTable.revoked_at.is_(None))
            .where(GrantBalanceTable.grant_id.is_(None))
        ).all()
        for grant in begun:
            self.connection.execute(
                insert(GrantBalanceTable).values(
                    grant_id=grant.id, account_id=self.account_id, amount=grant.amount, charged=0, lapsed=0
                )
            )
            self.post(EntryKind.GRANT, grant.amount, grant=grant.id, reason=grant.reason)

    def _cover_overruns(self, grants: list[GrantStanding]) -> int:
        """Pay what was used without cover, once, from what is free now, and return how much that was."""
        left = sum(grant.left for grant in grants)
        owed = left - (self.granted - self.used)
        covered = max(0, min(owed, left - self.held))
        if covered:
            self._spend(grants, covered, reason="covers an earlier overrun")
            self.post(EntryKind.OVERRUN, -covered, reason="covered now")
        return covered

    def _spend(self, grants: list[GrantStanding], amount: int, *, hold: str | None = None, reason: str = "") -> int:
        """Charge an amount to grants, in their order, and return what they could not pay."""
        for grant in grants:
            part = min(grant.left, amount)
            if part:
                self._change_grant(grant.id, charged=part)
                self.post(EntryKind.CHARGE, part, hold=hold, grant=grant.id, reason=reason)
                amount -= part
        return amount

    def _change_grant(self, grant_id: str, *, charged: int = 0, lapsed: int = 0) -> None:
        self.connection.execute(
            update(GrantBalanceTable)
            .where(GrantBalanceTable.grant_id == grant_id)
            .values(charged=GrantBalanceTable.charged + charged, lapsed=GrantBalanceTable.lapsed + lapsed)
        )


@contextmanager
def open_page(connection: Connection, account_id: int, at: datetime, actor: str) -> Iterator[Page]:
    """The page of an account with its grants up to date; saved at the end of the block."""
    page = Page(connection, account_id, at, actor)
    page.update_grants()
    yield page
    page.update_grants()
    page.save()


def standing_of_grants(connection: Connection, account_id: int, at: datetime) -> list[GrantStanding]:
    """Grants that have begun, in spend order: the one that ends first, then the higher priority.

    Those that no write has taken in yet count as well: what people read does not wait for their next start.
    """
    taken_in = GrantBalanceTable.grant_id.is_not(None)
    begun = and_(GrantTable.starts_at <= at, GrantTable.revoked_at.is_(None))
    spent = func.coalesce(GrantBalanceTable.charged + GrantBalanceTable.lapsed, 0)
    left = GrantTable.amount - spent
    rows = connection.execute(
        select(GrantTable.__table__, left.label("left"), taken_in.label("taken_in"))
        .outerjoin_from(GrantTable, GrantBalanceTable, GrantBalanceTable.grant_id == GrantTable.id)
        .where(GrantTable.account_id == account_id, or_(taken_in, begun))
        .where(or_(GrantTable.ends_at > at, left > 0))
        .order_by(GrantTable.ends_at, GrantTable.priority.desc(), GrantTable.id)
    )
    return [
        GrantStanding(
            id=row.id,
            amount=row.amount,
            left=row.left,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            active=row.ends_at > at and row.revoked_at is None,
            taken_in=row.taken_in,
            is_default=row.key.startswith(DEFAULT_KEY),
            reason=row.reason,
        )
        for row in rows
    ]


def account_of(connection: Connection, owner: Owner, *, create: bool = True) -> int | None:
    """The account's id; made, with an empty balance, when it is not there and `create` is set."""
    where = (
        AccountTable.owner_kind == owner.kind.value,
        AccountTable.owner_ref == owner.ref,
        AccountTable.unit == UNIT,
    )
    found = connection.execute(select(AccountTable.id).where(*where)).scalar_one_or_none()
    if found is not None or not create:
        return found
    try:
        with connection.begin_nested():
            connection.execute(insert(AccountTable).values(owner_kind=owner.kind.value, owner_ref=owner.ref, unit=UNIT))
            made = connection.execute(select(AccountTable.id).where(*where)).scalar_one()
            connection.execute(insert(BalanceTable).values(account_id=made, granted=0, used=0, held=0, generation=0))
    except IntegrityError:  # another process made it in the meantime
        made = connection.execute(select(AccountTable.id).where(*where)).scalar_one()
    return made
