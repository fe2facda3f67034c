"""What the rules ask of who wants something, each line answered: yes, no, or unknown. What eligibility says, no more."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.persons import Facts, Person
from federation.terms import TermsInForce, in_force
from vetting.asking import Kind
from vetting.desk.parts import Desk
from vetting.eligibility import Check, Eligibility, derive
from vetting.missing import describe
from vetting.recorded import Recorded
from vetting.requests import Request

__all__ = ["CheckShown", "Checked", "checked", "terms_of"]

_OF_THE_PROVIDER = ("communities", "assurance", "affiliation", "mfa", "any", "tier")


@dataclass(frozen=True, kw_only=True)
class CheckShown:
    """One line of the checklist: "yes", "no", or "unknown" where what the provider said is too old."""

    text: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What counts of a person now, and the checklist of one request of theirs."""

    eligibility: Eligibility
    checklist: Sequence[CheckShown]


def terms_of(desk: Desk, connection: Connection) -> TermsInForce | None:
    """The terms that everybody has to accept now."""
    terms = desk.offer.federation.terms
    return in_force(connection, terms.grace_days) if terms is not None else None


def checked(desk: Desk, request: Request, person: Person, recorded: Recorded, terms: TermsInForce | None) -> Checked:
    """The checklist of a request of this person. Pure."""
    now, offer = desk.clock(), desk.offer
    is_stale = now - person.facts_at > offer.snapshot
    eligibility = derive(
        Facts() if is_stale else person.facts, recorded, offer.tiers, sites=offer.sites, terms=terms, now=now
    )
    checks = _checks(desk, request, eligibility)
    return Checked(eligibility=eligibility, checklist=[_shown(check, is_stale=is_stale) for check in checks])


def _checks(desk: Desk, request: Request, eligibility: Eligibility) -> tuple[Check, ...]:
    """What the rules ask for of who wants this: the tier, or that of the flavour, at the site that is asked for, if it is
    one; and the terms.
    """
    offer, asked = desk.offer, request.asked
    flavour = offer.flavours.get(asked.flavour)
    tier = asked.tier if request.kind is Kind.TIER else flavour.tier if flavour else eligibility.tier
    site = asked.sites[0] if len(asked.sites) == 1 and asked.sites[0] in offer.sites else None
    checks = (*eligibility.given(tier, site), *eligibility.missing(tier, site)) if tier in offer.tiers and tier else ()
    terms = (eligibility.terms,) if eligibility.terms is not None else ()
    return tuple(dict.fromkeys((*checks, *terms)))


def _shown(check: Check, *, is_stale: bool) -> CheckShown:
    unknown = is_stale and not check.holds and check.field in _OF_THE_PROVIDER
    return CheckShown(text=describe(check), answer="unknown" if unknown else "yes" if check.holds else "no")
