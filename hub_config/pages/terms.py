"""The terms of use as a page: their words in the reader's language, and what accepting them does.

The words are Markdown of the federation's own files. HTML in them is shown as text, and pictures are left out: nothing
is fetched from elsewhere, and nothing in a file can act on the page.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from markdown_it import MarkdownIt

from federation import terms
from federation.database import DatabaseUnavailable
from federation.errors import Failure
from federation.i18n import current_language
from federation.terms import TermsInForce
from hub_config.wiring import House
from spawners.options import to_wish
from vetting.errors import TERMS_NOT_ACCEPTED

__all__ = ["Notices", "TermsView", "TermsViews", "as_html"]


@dataclass(frozen=True, kw_only=True)
class TermsView:
    """The page. `accepted_at` is of the present version; `reaccept_by` is set while an acceptance of the one before still
    counts.
    """

    version: str
    since: datetime
    html: str
    language: str
    accepted_at: datetime | None = None
    reaccept_by: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Notices:
    """What a person has to know before anything else: on the home page and on the start form."""

    suspended: str = ""
    suspended_since: datetime | None = None
    terms_needed: bool = False
    reaccept_by: datetime | None = None


class TermsViews:
    """Reads and writes in the books; made in threads."""

    def __init__(self, house: House) -> None:
        self._house = house

    def view(self, user_name: str | None) -> TermsView | None:
        """The page for a person, or for somebody who did not sign in; None where there are no terms."""
        house = self._house
        named = house.settings.yaml.federation.terms
        with house.database.read() as connection:
            in_force = terms.in_force(connection, named.grace_days) if named else None
            said = terms.words(connection)
        if in_force is None:
            return None
        language = self._language(said)
        shown = TermsView(
            version=in_force.version, since=in_force.since, html=as_html(said[language]), language=language
        )
        return shown if user_name is None else self._of_person(shown, in_force, user_name)

    def accept(self, user_name: str, version: str, language: str) -> bool:
        """Write an acceptance down; False if another version is in force by now, so that nothing was accepted."""
        house = self._house
        person = house.admission.person(user_name)
        with house.database.write() as connection:
            in_force = terms.in_force(connection, 0)
            if in_force is None or in_force.version != version or language not in terms.words(connection):
                return False
            terms.accept(connection, person_id=person.id, version=version, language=language, now=house.clock())
        return True

    def notices(self, user_name: str) -> Notices:
        """What a person has to know first."""
        house = self._house
        recorded, in_force = house.admission.recorded(house.admission.person(user_name))
        counts = terms.acceptance_in_force(in_force, recorded.acceptances, house.clock()) if in_force else None
        is_old = counts is not None and in_force is not None and counts.version != in_force.version
        return Notices(
            suspended=recorded.suspended.reason if recorded.suspended else "",
            suspended_since=recorded.suspended.since if recorded.suspended else None,
            terms_needed=in_force is not None and counts is None,
            reaccept_by=in_force.reaccept_by if in_force and is_old else None,
        )

    def keep_from_starting(self, user_name: str, options: dict[str, str]) -> bool:
        """Whether this start would be refused for want of the terms, and for nothing else."""
        admission = self._house.admission
        policy = admission.policy
        try:
            wish = to_wish(options, flavours=policy.flavours, environments=policy.environments, sites=policy.sites)
            admission.place(admission.person(user_name), wish)
        except Failure as failure:
            return failure.problem is TERMS_NOT_ACCEPTED
        except DatabaseUnavailable:
            pass  # the start itself says so
        return False

    def _language(self, said: dict[str, str]) -> str:
        wishes = [current_language(), *self._house.settings.yaml.federation.languages]
        return next((language for language in wishes if language in said), next(iter(said)))

    def _of_person(self, shown: TermsView, in_force: TermsInForce, user_name: str) -> TermsView:
        house = self._house
        recorded, _terms = house.admission.recorded(house.admission.person(user_name))
        counts = terms.acceptance_in_force(in_force, recorded.acceptances, house.clock())
        if counts is None:
            return shown
        is_present = counts.version == in_force.version
        return TermsView(
            **{
                **vars(shown),
                "accepted_at": counts.at if is_present else None,
                "reaccept_by": None if is_present else in_force.reaccept_by,
            }
        )


@lru_cache(maxsize=32)
def as_html(markdown: str) -> str:
    """Markdown as HTML below a heading of the page, safe to put there."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = reader.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    return str(reader.renderer.render(tokens, reader.options, {}))
