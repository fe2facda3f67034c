"""One account's page of the books within one transaction: pure, in memory.

Every change is an entry, and the balance is the sum of the entries: `post` does both. `quota.shelf` takes pages out of
the database, locked, and puts them back with what was posted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from quota.seal import sealed
from quota.tables import EntryKind

__all__ = ["DEFAULT_KEY", "GrantStanding", "Page"]

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
    EntryKind.CORRECTION: "used",
}


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
    priority: int = 0

    @property
    def spend_order(self) -> tuple[datetime, int, str]:
        """The one that ends first is spent first, then the one of the higher priority."""
        return (self.ends_at, -self.priority, self.id)


@dataclass
class Change:
    """What happened to one grant's part of the books since the page was opened."""

    charged: int = 0
    lapsed: int = 0
    begun: bool = False


@dataclass(kw_only=True)
class Page:
    """See the module. Amounts in milli-unit-seconds.

    Parameters
    ----------
    grants
        All that have begun and are active, or that something is left of, in spend order.
    entries
        New ones, in the order in which they were made.
    changes
        By grant, since the page was opened.
    grant_changed
        Somebody ended a grant meanwhile, which those who wait for the page have to see even where it gave no entry.
    """

    account_id: int
    at: datetime
    actor: str
    granted: int
    used: int
    held: int
    generation: int
    seal: str
    grants: list[GrantStanding]
    entries: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[str, Change] = field(default_factory=dict)
    grant_changed: bool = False

    @property
    def available(self) -> int:
        """What a new hold may take. Below zero while an overrun is not covered."""
        return self.granted - self.used - self.held

    @property
    def left(self) -> int:
        """Of all grants, what is held included."""
        return sum(grant.left for grant in self.grants if grant.taken_in)

    @property
    def owed(self) -> int:
        """What was used without cover, and is still to be paid."""
        return self.left - (self.granted - self.used)

    def post(
        self,
        kind: EntryKind,
        amount: int,
        *,
        hold: str | None = None,
        grant: str | None = None,
        reason: str = "",
        key: str | None = None,
    ) -> None:
        """Add one entry and its amount to the balance."""
        entry = {
            "account_id": self.account_id,
            "hold_id": hold,
            "grant_id": grant,
            "kind": kind.value,
            "amount": amount,
            "at": self.at,
            "actor": self.actor,
            "reason": reason,
            "key": key,
        }
        self.entries.append(entry)
        self.seal = sealed(self.seal, entry)
        column = _COLUMN[kind]
        setattr(self, column, getattr(self, column) + amount)

    def update_grants(self) -> None:
        """Take in grants that have begun, cover overruns from what is free, and let lapse what is left of grants that
        ended and is not held.
        """
        for grant in self.grants:
            if not grant.taken_in:
                self._change(grant, begun=True)
                self.post(EntryKind.GRANT, grant.amount, grant=grant.id, reason=grant.reason)
        self._cover_overruns()
        held = self.held
        for grant in self.grants:
            kept = min(grant.left, held)
            held -= kept
            if not grant.active:
                self.lapse(grant, grant.left - kept)

    def fetch(self, grants: Iterable[GrantStanding]) -> None:
        """Put grants on the page that are not on it: new ones, or some that nothing was left of."""
        known = {grant.id for grant in self.grants}
        more = [grant for grant in grants if grant.id not in known]
        self.grants = sorted([*self.grants, *more], key=lambda grant: grant.spend_order)

    def lapse(self, grant: GrantStanding, amount: int) -> None:
        """Take so much of what is left of a grant out of the balance."""
        if amount > 0:
            self._change(grant, lapsed=amount)
            self.post(EntryKind.LAPSE, -amount, grant=grant.id)

    def charge(self, amount: int, hold: str, cover: int) -> None:
        """Spend `amount` for a hold, in spend order, at most `cover` of it from grants; the rest is an overrun."""
        covered = max(0, min(amount, cover))
        uncovered = amount - covered + self._spend(covered, hold=hold)
        if uncovered:
            self.post(EntryKind.OVERRUN, uncovered, hold=hold, reason="used beyond what was held and left")

    def correct(self, grant: str | None, amount: int, **entry: Any) -> None:
        """Let a grant have paid more, or (below zero) less; or, with None, let more or less be owed."""
        if grant is not None:
            self._change(self.grants[_position(self.grants, grant)], charged=amount)
        self.post(EntryKind.CORRECTION, amount, grant=grant, **entry)

    def _cover_overruns(self) -> None:
        """Pay what was used without cover, once, from what is free now."""
        covered = max(0, min(self.owed, self.left - self.held))
        if covered:
            self._spend(covered, reason="covers an earlier overrun")
            self.post(EntryKind.OVERRUN, -covered, reason="covered now")

    def _spend(self, amount: int, **entry: Any) -> int:
        """Charge an amount to grants, in spend order, and return what they could not pay."""
        for grant in self.grants:
            part = min(grant.left, amount)
            if part:
                self._change(grant, charged=part)
                self.post(EntryKind.CHARGE, part, grant=grant.id, **entry)
                amount -= part
        return amount

    def _change(self, grant: GrantStanding, *, charged: int = 0, lapsed: int = 0, begun: bool = False) -> None:
        change = self.changes.setdefault(grant.id, Change())
        change.charged += charged
        change.lapsed += lapsed
        change.begun = change.begun or begun
        position = _position(self.grants, grant.id)
        now = self.grants[position]
        self.grants[position] = replace(now, left=now.left - charged - lapsed, taken_in=now.taken_in or begun)


def _position(grants: Sequence[GrantStanding], grant_id: str) -> int:
    return next(index for index, grant in enumerate(grants) if grant.id == grant_id)
