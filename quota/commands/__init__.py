"""The books on the command line: `nbfed grant`, `nbfed statement`, `nbfed ledger` and `nbfed rates`.

Amounts are typed and shown in unit-hours with at most three decimals; what is made for programs also has the
milli-unit-seconds, which are exact.
"""

from quota.commands.books import ledger
from quota.commands.grants import grant
from quota.commands.shared import UNIT_HOURS, BookShop, unit_hours
from quota.commands.statements import statement
from quota.commands.weights import rates

__all__ = ["UNIT_HOURS", "BookShop", "grant", "ledger", "rates", "statement", "unit_hours"]
