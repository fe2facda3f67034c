"""What the ledger is asked with, and what it answers. Amounts in milli-unit-seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from quota.capping import Cap
from quota.owners import Owner
from quota.reasons import Reason
from quota.tables import HoldState

__all__ = ["Admitted", "Corrected", "Denied", "NotRenewed", "Payer", "Place", "Renewed", "Settlement"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which server of whom runs where; one open hold for each (hub, user, server)."""

    hub: str
    user: str
    server: str
    site: str


@dataclass(frozen=True, kw_only=True)
class Payer:
    """An account that may pay. `caps` are those that only count where this account pays: its group's.

    `title` is what people call a group's account; a person's own has none.
    """

    owner: Owner
    caps: Sequence[Cap] = ()
    title: str = ""
    returns_at: datetime | None = None
    """When new quota comes by itself; it goes into the refusal."""


@dataclass(frozen=True)
class Admitted:
    """The hold exists; the session may be started and may run until `lease_until`."""

    hold: str
    lease_until: datetime
    weight_milli: int
    payer: Owner | None = field(default=None, compare=False)
    """None when the attempt was admitted before."""


@dataclass(frozen=True)
class Denied:
    """Nothing was changed; these are all the reasons, the first one first to be told."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Renewed:
    """The lease now runs until then; `short` when there was less left than was asked for."""

    lease_until: datetime
    short: bool


@dataclass(frozen=True)
class NotRenewed:
    """The lease stays as it is: nothing is left, or the hold is closed."""

    lease_until: datetime
    closed: bool


@dataclass(frozen=True)
class Settlement:
    """How a hold ended."""

    hold: str
    state: HoldState
    charged: int
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Corrected:
    """What a correction did: `amount` more (or, below zero, less) was used for the hold than before; of what was given
    back, `lapsed` went at once, because the grants that had paid are over.
    """

    hold: str
    amount: int
    lapsed: int
