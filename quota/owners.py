"""Whose account it is, and the account that goes with an owner."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from federation.persons import Person
from federation.prepared import kept
from quota.tables import AccountTable, BalanceTable, OwnerKind

__all__ = ["UNIT", "Owner", "account_of", "make_account", "owner_of", "pool_owner"]

UNIT = "milli-unit-seconds"

_FIND = select(AccountTable.id).where(
    AccountTable.owner_kind == bindparam("kind"),
    AccountTable.owner_ref == bindparam("ref"),
    AccountTable.unit == UNIT,
)


@dataclass(frozen=True)
class Owner:
    """A person's id, a group's name, a class's id or a site's name."""

    kind: OwnerKind
    ref: str


def owner_of(person: Person) -> Owner:
    """The account that is a person's own."""
    return Owner(OwnerKind.USER, person.id)


def pool_owner(name: str) -> Owner:
    """The account of a pool."""
    return Owner(OwnerKind.GROUP, name)


def account_of(connection: Connection, owner: Owner) -> int | None:
    """The account's id, if there is one."""
    found = connection.execute(_FIND, {"kind": owner.kind.value, "ref": owner.ref}).scalar_one_or_none()
    return None if found is None else int(found)


def make_account(connection: Connection, owner: Owner) -> int:
    """The account's id; made, with an empty balance, when it is not there."""
    found = account_of(connection, owner)
    if found is not None:
        return found
    try:
        with kept(connection), connection.begin_nested():
            connection.execute(insert(AccountTable).values(owner_kind=owner.kind.value, owner_ref=owner.ref, unit=UNIT))
            found = account_of(connection, owner)
            connection.execute(
                insert(BalanceTable).values(account_id=found, granted=0, used=0, held=0, generation=0, seal="")
            )
    except IntegrityError:  # another process made it in the meantime
        found = account_of(connection, owner)
    assert found is not None
    return found
