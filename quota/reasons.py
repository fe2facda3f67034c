"""Why the books say no: which resource, how much of it is used, held and allowed, and when it returns."""

from dataclasses import dataclass
from datetime import datetime

from federation.errors import Failure, Problem
from federation.i18n import decimal, moment
from quota.amounts import to_unit_hours

__all__ = ["QUOTA", "Reason"]

QUOTA = "unit-hours"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One reason for a refusal.

    Parameters
    ----------
    problem
        Its kind.
    resource
        `unit-hours` (then the amounts are milli-unit-seconds), or a gauge: sessions, cpu, memory_mib, gpu.
    used, held, limit, needed
        Amounts of the resource.
    returns_at
        When it becomes free by itself, if that is known.
    scope
        What a cap is on, or who pays: the title of a site, a flavour or a pool.
    """

    problem: Problem
    resource: str = QUOTA
    used: int = 0
    held: int = 0
    limit: int = 0
    needed: int = 0
    returns_at: datetime | None = None
    scope: str = ""

    def failure(self, now: datetime) -> Failure:
        """The reason as people read it, in the present language."""
        wait = None
        if self.returns_at is not None and self.problem.status == 429:
            wait = max(1, int((self.returns_at - now).total_seconds()))
        figures = {
            "resource": self.resource,
            "used": self._amount(self.used),
            "held": self._amount(self.held),
            "limit": self._amount(self.limit),
            "needed": self._amount(self.needed),
            "returns": moment(self.returns_at) if self.returns_at else "",
            "ended": moment(self.returns_at) if self.returns_at else "",
            "site": self.scope,
            "scope": self.scope,
        }
        return Failure(self.problem, figures, retry_after_seconds=wait)

    def _amount(self, amount: int) -> str:
        return decimal(float(to_unit_hours(amount)), 3) if self.resource == QUOTA else str(amount)
