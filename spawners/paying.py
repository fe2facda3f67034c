"""Who may pay for a session, in which order, and within which caps. Pure.

The first who can cover the lease pays, and pays alone: a person's own quota, then the pools of the communities that they
are a member of. A pool's caps count only where it pays, so joining a community never makes anybody poorer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from federation.persons import Facts
from federation.settings import Flavour, in_language
from quota.answers import Payer
from quota.capping import Cap, Gauges, Scope
from quota.errors import FLAVOUR_FULL, POOL_FULL, SESSIONS_CAP, SITE_FULL, USER_CAP
from quota.owners import owner_of, pool_owner
from quota.reasons import Reason
from quota.settings import DefaultGrant, Limit, Pool
from vetting import entitlements

__all__ = ["caps_on_all", "caps_on_person", "gauges_of", "owner_of", "pool_owner", "pool_payer", "pools_of"]


def pools_of(facts: Facts, pools: Mapping[str, Pool]) -> dict[str, Pool]:
    """The pools whose community a person is a member of, in the order of the settings."""
    held, _rest = entitlements.parse_all(facts.memberships)
    return {
        name: pool
        for name, pool in pools.items()
        if any(entitlements.grants(one, entitlements.parse(pool.community)) for one in held)
    }


def pool_payer(name: str, pool: Pool, returns_at: datetime) -> Payer:
    """A pool as a payer, with the caps on what it pays for."""
    title = in_language(pool.title, name)
    caps = tuple(_caps(Scope.GROUP, name, pool.limit, Reason(problem=POOL_FULL, scope=title)))
    return Payer(owner=pool_owner(name), caps=caps, title=title, returns_at=returns_at)


def gauges_of(flavour: Flavour) -> Gauges:
    """What a session of a flavour occupies."""
    return Gauges(cpu=flavour.cpu, memory_mib=flavour.memory_gib * 1024, gpu=flavour.gpu)


def caps_on_person(user: str, default: DefaultGrant | None, per_user: Limit) -> Iterator[Cap]:
    """What one person may use at the same time; `user` is their name on the hub."""
    if default is not None and default.sessions is not None:
        reason = Reason(problem=SESSIONS_CAP, resource="sessions")
        yield Cap(scope=Scope.USER, ref=user, gauge="sessions", limit=default.sessions, reason=reason)
    yield from _caps(Scope.USER, user, per_user, Reason(problem=USER_CAP))


def caps_on_all(site: str, site_title: str, at_site: Limit | None, flavour: str, flavour_title: str,
                of_flavour: Limit | None) -> Iterator[Cap]:  # fmt: skip
    """What all people together may use of a site and of a flavour."""
    if at_site is not None:
        yield from _caps(Scope.SITE, site, at_site, Reason(problem=SITE_FULL, scope=site_title))
    if of_flavour is not None:
        yield from _caps(Scope.FLAVOUR, flavour, of_flavour, Reason(problem=FLAVOUR_FULL, scope=flavour_title))


def _caps(scope: Scope, ref: str, limit: Limit, reason: Reason) -> Iterator[Cap]:
    for gauge, most in limit.gauges().items():
        yield Cap(scope=scope, ref=ref, gauge=gauge, limit=most, reason=replace(reason, resource=gauge))
