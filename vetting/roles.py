"""Which roles a person carries: from their entitlements, by the role rules of federation.yaml. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.persons import Facts
from vetting.entitlements import Entitlement, grants, parse_all
from vetting.settings import RoleRules

__all__ = ["Roles", "roles_of"]


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What a person may act as, beside being a user; `site_operator` names the sites."""

    operator: bool = False
    reviewer: bool = False
    trainer: bool = False
    site_operator: frozenset[str] = frozenset()


def roles_of(facts: Facts, rules: RoleRules, *, suspended: bool = False) -> Roles:
    """The roles whose rule names an entitlement that the person holds. Who is suspended has none."""
    if suspended:
        return Roles()
    held, _rest = parse_all(facts.memberships)
    return Roles(
        operator=_carries(held, rules.operator),
        reviewer=_carries(held, rules.reviewer),
        trainer=_carries(held, rules.trainer),
        site_operator=frozenset(site for site, rule in rules.site_operator.items() if _carries(held, rule)),
    )


def _carries(held: Iterable[Entitlement], rule: Iterable[Entitlement]) -> bool:
    return any(grants(one, required) for one in held for required in rule)
