"""What else there is for programs: the catalogue, who calls, accounts at sites, grants and the audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query

from federation.audit import Act
from federation.errors import Failure
from federation.persons import Person, candidates, persons_by_id
from federation.trail import Wanted, entries
from quota.grant_list import listed_of
from quota.owners import Owner
from quota.statement import standing
from quota.tables import OwnerKind
from vetting.desk.api.shapes import Account, AccountAnswer, AuditEntry, Grants, Limit, Me, Moment, PersonInShort
from vetting.desk.asking_pages import Person as Signed
from vetting.desk.audit_pages import MOST_SEQ
from vetting.desk.catalogue import Catalogue, catalogue_of
from vetting.desk.gate import TheDesk
from vetting.desk.grant_pages import Operator
from vetting.desk.parts import Desk
from vetting.desk.people import person_now
from vetting.desk.rights import Right
from vetting.desk.site_pages import MappingEvent, SiteOperator, answer_for
from vetting.errors import DESK_PAGE_UNKNOWN
from vetting.mappings import SiteMapping, mappings
from vetting.recorded import MappingState

__all__ = ["router"]

_MOST_FOUND = 50
Text = Annotated[str, Query(max_length=256)]

router = APIRouter()


@router.get("/catalogue", tags=["catalogue"])
def catalogue(desk: TheDesk) -> Catalogue:
    """What the federation offers, in the language of `Accept-Language`. It needs no token."""
    return catalogue_of(desk)


@router.get("/me", tags=["me"])
def me(visitor: Signed) -> Me:
    """Who calls, and with which rights."""
    return Me(
        user_name=visitor.user_name, rights=[right.value for right in Right if visitor.may(right)],
        site_operator_of=sorted(visitor.roles.site_operator), is_stale=visitor.is_stale,
    )  # fmt: skip


@router.get("/sites/{site}/accounts", tags=["sites"])
def accounts(
    desk: TheDesk, _visitor: SiteOperator, site: str, state: MappingState | None = None,
    limit: Annotated[Limit, Query()] = 200,
) -> list[Account]:  # fmt: skip
    """Accounts that the site is asked for, gave or refused; the newest first."""
    _known(desk, site)
    with desk.database.read() as connection:
        found = [one for one in mappings(connection, site=site) if state in (None, one.state)][:limit]
        people = persons_by_id(connection, {one.person_id for one in found})
    return [_account(one, people[one.person_id]) for one in found if one.person_id in people]


@router.post("/sites/{site}/accounts/{person_id}/{event}", tags=["sites"])
def answer(
    desk: TheDesk, visitor: SiteOperator, site: str, person_id: str, event: MappingEvent, sent: AccountAnswer
) -> Account:
    """Accept, refuse or end a person's account at one's own site."""
    _known(desk, site)
    after = answer_for(desk, visitor, site, person_id, event, sent.reason)
    with desk.database.read() as connection:
        return _account(after, persons_by_id(connection, {person_id})[person_id])


@router.get("/people", tags=["grants"])
def people(desk: TheDesk, _visitor: Operator, who: Text) -> list[PersonInShort]:
    """Those whom some words may mean: an id, user name, subject or e-mail address, or a part of a name; 50 at the most."""
    with desk.database.read() as connection:
        return [_in_short(one) for one in candidates(connection, who.strip())[:_MOST_FOUND]]


@router.get("/people/{person_id}/grants", tags=["grants"])
def grants(desk: TheDesk, _visitor: Operator, person_id: str) -> Grants:
    """Somebody's account."""
    owner, now = Owner(OwnerKind.USER, person_id), desk.clock()
    with desk.database.read() as connection:
        person = persons_by_id(connection, {person_id}).get(person_id)
        if person is None:
            raise Failure(DESK_PAGE_UNKNOWN)
        what_is, found = standing(connection, owner, now), listed_of(connection, owner, now)
    return Grants(
        person=_in_short(person), left_milli_unit_seconds=what_is.left, held_milli_unit_seconds=what_is.held,
        owed_milli_unit_seconds=what_is.owed, grants=Grants.listed(found),
    )  # fmt: skip


@router.get("/audit", tags=["audit"])
def audit(
    desk: TheDesk, _visitor: Operator, since: Moment | None = None, until: Moment | None = None,
    act: Act | None = None, actor: Text = "", target: Text = "",
    before: Annotated[int | None, Query(ge=1, le=MOST_SEQ, description="rows with a smaller `seq`")] = None,
    limit: Annotated[Limit, Query()] = 100,
) -> list[AuditEntry]:  # fmt: skip
    """Rows of the audit trail, the newest first."""
    wanted = Wanted(since=since, until=until, acts=(act.value,) if act else (), actor=actor, target=target)
    with desk.database.read() as connection:
        return [AuditEntry.of(one) for one in entries(connection, wanted, limit=limit, before=before)]


def _known(desk: Desk, site: str) -> None:
    if site not in desk.offer.sites:
        raise Failure(DESK_PAGE_UNKNOWN)


def _account(mapping: SiteMapping, person: Person) -> Account:
    return Account.of(mapping, person_now(person))


def _in_short(person: Person) -> PersonInShort:
    return PersonInShort(
        id=person.id, user_name=person.user_name, name=person.facts.name, organisation=person.facts.home_organisation
    )
