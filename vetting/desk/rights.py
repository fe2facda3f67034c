"""Who may do what at the access desk: one table. Pure.

Rights open pages and actions; what may be done with one request is the table of transitions' (`vetting/transitions.py`),
which is asked as well.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from vetting.roles import Roles

__all__ = ["Right", "may"]


class Right(StrEnum):
    """What a page or an action asks for."""

    OWN = "own"  # what is one's own: see it, ask, answer, withdraw
    SEE_REQUESTS = "see-requests"  # those of others, with what the provider said of them
    DECIDE = "decide"  # about requests of others
    SUPPORT = "support"  # see sessions of others, and stop somebody now
    ANSWER_FOR_SITE = "answer-for-site"  # accept and refuse accounts at one's own site
    OPERATE = "operate"  # grants of everybody, and the audit trail


_TABLE: Mapping[Right, Callable[[Roles, str | None], bool]] = {
    Right.OWN: lambda _roles, _site: True,
    Right.SEE_REQUESTS: lambda roles, _site: roles.reviewer or roles.operator,
    Right.DECIDE: lambda roles, _site: roles.reviewer,
    Right.SUPPORT: lambda roles, _site: roles.reviewer or roles.operator,
    Right.ANSWER_FOR_SITE: lambda roles, site: (
        site in roles.site_operator if site is not None else bool(roles.site_operator)
    ),
    Right.OPERATE: lambda roles, _site: roles.operator,
}


def may(roles: Roles, right: Right, site: str | None = None) -> bool:
    """Whether somebody who signed in and carries these roles has a right; at a site, or at any where none is named."""
    return _TABLE[right](roles, site)
