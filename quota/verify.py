"""Everything in the books that cannot be true, found by adding up all entries anew. Reads only; empty if they are right.

- the entries of an account are those that its seal was made of, and add up to its balance
- granted - used - held >= 0, unless an overrun or a correction says why; an overrun only while nothing is free
- each grant's charges, corrections and lapses are those of its entries, and it is as the audit trail says it was given
- each hold's amount, charge and state are those of its entries, and its charge is that of its times and its weight
- terminal entries exactly once; no entry of nothing, of another account's hold or of another account's grant
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, select

from federation.audit import Act, AuditTable
from federation.clock import as_utc
from quota.amounts import run_seconds
from quota.seal import EMPTY, sealed
from quota.tables import (
    OPEN_STATES,
    BalanceTable,
    EntryKind,
    EntryTable,
    GrantBalanceTable,
    GrantTable,
    HoldState,
    HoldTable,
    RateTable,
)

__all__ = ["Counted", "count", "discrepancies"]

_AT_A_TIME = 1000
_TERMINAL = (EntryKind.RELEASE, EntryKind.CHARGE, EntryKind.OVERRUN)


@dataclass
class _Sums:
    """What all entries say."""

    of_account: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    of_hold: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    of_grant: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    owed: Counter[int] = field(default_factory=Counter)
    """By account: overruns and corrections that no grant paid, less what was covered later."""
    seals: dict[int, str] = field(default_factory=dict)
    terminal: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)
    held: Counter[int] = field(default_factory=Counter)
    """By account: what its open holds are."""

    def add(self, entry: Row[Any]) -> None:
        """One entry; those of an account in their order."""
        account, kind, amount = entry.account_id, entry.kind, entry.amount
        self.seals[account] = sealed(self.seals.get(account, EMPTY), entry._asdict())
        self.of_account[account][kind] += amount
        if kind == EntryKind.OVERRUN or (kind == EntryKind.CORRECTION and entry.grant_id is None):
            self.owed[account] += amount
        if entry.grant_id is not None:
            self.of_grant[entry.grant_id][kind] += amount
        if entry.hold_id is not None:
            self.of_hold[entry.hold_id][kind] += amount
            if kind in _TERMINAL:
                self.terminal[entry.hold_id, entry.grant_id, kind] += 1


@dataclass(frozen=True, kw_only=True)
class Counted:
    """How much there is to be checked."""

    accounts: int
    grants: int
    holds: int
    entries: int


def count(connection: Connection) -> Counted:
    """How much `discrepancies` looks at."""
    tables = {"accounts": BalanceTable, "grants": GrantTable, "holds": HoldTable, "entries": EntryTable}
    return Counted(
        **{
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in tables.items()
        }
    )


def discrepancies(connection: Connection) -> Iterator[str]:
    """One sentence for each, with the number or id that it is about; amounts in milli-unit-seconds."""
    grants = {row.id: row for row in connection.execute(select(GrantTable.__table__))}
    accounts = {row.id: row.account_id for row in connection.execute(select(HoldTable.id, HoldTable.account_id))}
    sums = _Sums()
    yield from _of_entries(connection, sums, grants, accounts)
    left = list(connection.execute(select(GrantBalanceTable.__table__)))
    yield from _of_holds(connection, sums)
    yield from _of_grants(left, sums, grants)
    yield from _of_the_audit_trail(connection, grants)
    yield from _of_balances(connection, sums, left)


def _of_entries(
    connection: Connection, sums: _Sums, grants: Mapping[str, Row[Any]], accounts: Mapping[str, int]
) -> Iterator[str]:
    entries = select(EntryTable.__table__).order_by(EntryTable.account_id, EntryTable.seq)
    for entry in connection.execute(entries.execution_options(yield_per=_AT_A_TIME)):
        sums.add(entry)
        if entry.hold_id is not None and accounts.get(entry.hold_id) != entry.account_id:
            yield f"entry {entry.seq} is in another account than its hold {entry.hold_id}"
        grant = grants.get(entry.grant_id) if entry.grant_id is not None else None
        if entry.grant_id is not None and (grant is None or grant.account_id != entry.account_id):
            yield f"entry {entry.seq} is in another account than its grant {entry.grant_id}"
        if entry.amount == 0:
            yield f"entry {entry.seq} says nothing"
    for (hold, _grant, kind), times in sums.terminal.items():
        if times > 1:
            yield f"hold {hold} has {times} entries of the kind {kind} for one grant"


def _of_holds(connection: Connection, sums: _Sums) -> Iterator[str]:
    rates = {(row.version, row.flavour): row.weight_milli for row in connection.execute(select(RateTable.__table__))}
    holds = select(HoldTable.__table__).execution_options(yield_per=_AT_A_TIME)
    for hold in connection.execute(holds):
        of = sums.of_hold[hold.id]
        if rates.get((hold.rate_version, hold.flavour)) != hold.weight_milli:
            yield f"hold {hold.id}: weight {hold.weight_milli} is not that of version {hold.rate_version}"
        set_aside = of[EntryKind.HOLD] + of[EntryKind.RENEW]
        if set_aside != hold.amount:
            yield f"hold {hold.id}: {hold.amount} set aside, entries say {set_aside}"
        given_back, spent = -of[EntryKind.RELEASE], of[EntryKind.CHARGE] + of[EntryKind.OVERRUN]
        if hold.state in OPEN_STATES:
            sums.held[hold.account_id] += hold.amount
            if given_back or spent or hold.charged is not None:
                yield f"hold {hold.id} is {hold.state}, but {given_back} given back, {spent} spent"
            continue
        cost = _cost(hold)
        if not hold.charged == cost == spent or given_back != set_aside:
            yield (
                f"hold {hold.id} is {hold.state} and charged {hold.charged}: its times and weight say {cost}, entries say "
                f"{spent} spent, {given_back} of {set_aside} given back"
            )
        if of[EntryKind.CORRECTION] + spent < 0:
            yield f"hold {hold.id}: more was given back than it cost"


def _cost(hold: Row[Any]) -> int | None:
    if hold.state != HoldState.SETTLED:
        return 0
    try:
        return int((hold.earlier_seconds + run_seconds(hold.started_at, hold.ended_at)) * hold.weight_milli)
    except (ValueError, AttributeError):  # an end before the start, or none
        return None


def _of_grants(left: list[Row[Any]], sums: _Sums, grants: Mapping[str, Row[Any]]) -> Iterator[str]:
    for row in left:
        of = sums.of_grant[row.grant_id]
        said = (of[EntryKind.GRANT], of[EntryKind.CHARGE] + of[EntryKind.CORRECTION], -of[EntryKind.LAPSE])
        if (row.amount, row.charged, row.lapsed) != said:
            yield (
                f"grant {row.grant_id}: of {row.amount}, {row.charged} charged and {row.lapsed} lapsed; entries say "
                f"{said[0]}, {said[1]} and {said[2]}"
            )
        if row.amount != grants[row.grant_id].amount or row.account_id != grants[row.grant_id].account_id:
            yield f"grant {row.grant_id}: {grants[row.grant_id].amount} was given, {row.amount} is in the balance"
    begun = {row.grant_id for row in left}
    yield from (f"grant {grant} has entries, but never began" for grant in sums.of_grant if grant not in begun)


def _of_the_audit_trail(connection: Connection, grants: Mapping[str, Row[Any]]) -> Iterator[str]:
    acts = (Act.GRANT_ADDED.value, Act.GRANT_CHANGED.value)
    given = {
        row.target: row.details
        for row in connection.execute(select(AuditTable.target, AuditTable.details).where(AuditTable.act.in_(acts)))
    }
    revoked = set(
        connection.execute(select(AuditTable.target).where(AuditTable.act == Act.GRANT_REVOKED.value)).scalars()
    ) | {grant.follows for grant in grants.values()}
    for grant in grants.values():
        if grant.id not in given:
            yield f"grant {grant.id} is not in the audit trail"
            continue
        terms = {
            "amount_milli_unit_seconds": grant.amount,
            "starts_at": as_utc(grant.starts_at).isoformat(timespec="microseconds"),
            "ends_at": as_utc(grant.ends_at).isoformat(timespec="microseconds"),
            "priority": grant.priority,
        }
        for name, value in terms.items():
            said = given[grant.id].get(name, value)  # rows of the first version say the amount alone
            if said != value:
                yield f"grant {grant.id}: {name} is {value}, the audit trail says {said}"
        if (grant.revoked_at is not None) != (grant.id in revoked):
            yield f"grant {grant.id}: whether it was revoked is not as the audit trail says"


def _of_balances(connection: Connection, sums: _Sums, left: list[Row[Any]]) -> Iterator[str]:
    left_of = Counter[int]()
    for row in left:
        left_of[row.account_id] += row.amount - row.charged - row.lapsed
    for row in connection.execute(select(BalanceTable.__table__)):
        account, of = row.account_id, sums.of_account.pop(row.account_id, Counter[str]())
        if sums.seals.get(account, EMPTY) != row.seal:
            yield f"account {account}: its entries are not those that its seal was made of"
        said = (
            of[EntryKind.GRANT] + of[EntryKind.LAPSE],
            of[EntryKind.CHARGE] + of[EntryKind.OVERRUN] + of[EntryKind.CORRECTION],
            of[EntryKind.HOLD] + of[EntryKind.RENEW] + of[EntryKind.RELEASE],
        )
        if said != (row.granted, row.used, row.held):
            yield (
                f"account {account}: {row.granted} granted, {row.used} used, {row.held} held; entries say "
                f"{said[0]}, {said[1]} and {said[2]}"
            )
        owed, free = sums.owed[account], left_of[account] - row.held
        if sums.held[account] != row.held:
            yield f"account {account}: open holds of {sums.held[account]}, {row.held} held"
        if owed < 0:
            yield f"account {account}: {-owed} more were covered than ever lacked cover"
        if row.granted - row.used - row.held < -owed:
            yield f"account {account}: more is used and held than granted, and no overrun says why"
        if free < 0:
            yield f"account {account}: {row.held} held, but only {left_of[account]} left of its grants"
        if owed > 0 and free > 0:
            yield f"account {account}: {owed} is owed, although {free} is free"
    yield from (f"account {account} has entries, but no balance" for account in sums.of_account)
