"""The way of one wish through real pages: refused, asked for, decided by two, accepted by the site, used, and renewed.

Each act is done in the browser of the person whose act it is; tests look at the pages in between.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

from federation.persons import Person, candidates
from hub_config.wiring import request_rounds
from tests.browser.test_access import arrive
from tests.browser.test_first_session import accept_terms
from tests.services.test_session import wait_for
from tests.support.service import Service
from vetting import mappings
from vetting.asking import Actor
from vetting.mappings import Event as MappingEvent
from vetting.requests import Request
from vetting.transitions import OPEN, Event, State

__all__ = ["FIRST", "SECOND", "SETTINGS", "SITE_OPERATOR", "Story", "Words"]

FIRST, SECOND, SITE_OPERATOR = "Camila Rojas", "Luc Moreau", "Jonas Brandt"
_WITHDRAWN = [state for state in OPEN if state is not State.APPROVED]
_GROUP = "urn:mace:example.org:group:demo"
_OPERATES = [f"{_GROUP}:here:role=operator"]
SETTINGS: dict[str, Any] = {
    "identity": {
        "roles": {
            "reviewer": [f"{_GROUP}:role=support"],
            "operator": [f"{_GROUP}:role=operator"],
            "trainer": [f"{_GROUP}:role=trainer"],
            "site_operator": {"here": _OPERATES, "andes": _OPERATES},
        }
    },
    "tiers": {"T2": {"needs": "T1", "mapping": "accepted"}},
    "flavours": {
        "medium": {
            "cpu": 2, "memory_gib": 6, "weight": 4, "tier": "T2",
            "title": {"en": "Medium", "es": "Mediano", "pt": "Médio"},
        }
    },
    "sites": {
        "andes": {
            "kind": "local", "country": "PE", "flavours": ["medium"],
            "title": {"en": "Andes Computing Centre", "es": "Centro de Cómputo Andes", "pt": "Centro de Cômputo Andes"},
        }
    },
    "defaults": {"T1": {"amount_hours": 3, "period": "month", "sessions": 2, "flavours": ["small", "medium"]}},
    "desk": {"reviewer_ceiling_hours": 200},
}  # fmt: skip
"""Two places that ask for an account, and a ceiling that what is suggested after a refusal lies above."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What people write in it."""

    purpose: str = "How penguins of two colonies find each other after the winter."
    contact: str = "Prof. Lucía Paz, lucia.paz@example.org"
    evidence: str = "https://example.org/penguins"
    question: str = "Which data do you need, and does it lie at Andes already?"
    reply: str = "Counts of penguins since 1990, 40 GB; they lie there already."
    note: str = "Welcome. Please tell us what you find."
    private: str = "A known group."


class Story:
    """One wish of one person, and the browsers of all who have to do with it; `options` are those of the browsers."""

    def __init__(
        self, browser: Browser, service: Service, asker: str, words: Words | None = None, **options: Any
    ) -> None:
        self.service = service
        self.asker = asker
        self.words = words or Words()
        self._options = {"viewport": {"width": 1200, "height": 900}, "locale": "en", **options}
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._pages: dict[str, Page] = {}
        self.request_id = ""

    def close(self) -> None:
        """Close all browsers, and withdraw what still waits: it would be in the way of the next story."""
        for context in self._contexts:
            context.close()
        requests, actor = self.service.house.requests, Actor(name="cli:test", person_id=self.person.id)
        for request in requests.found(states=_WITHDRAWN, person_id=self.person.id):
            requests.act(request.id, Event.WITHDRAW, actor)

    def page(self, name: str) -> Page:
        """Somebody's browser; they sign in with it when it is first asked for."""
        if name not in self._pages:
            self._pages[name] = self._open(name)
        return self._pages[name]

    def desk(self, name: str, path: str = "") -> Page:
        """A page of the desk in somebody's browser."""
        page = self.page(name)
        page.goto(f"{self.service.base_url}services/desk/{path}")
        return page

    @property
    def person(self) -> Person:
        """Who asks."""
        with self.service.house.database.read() as connection:
            return candidates(connection, self.asker)[0]

    @property
    def request(self) -> Request:
        """What was asked for, as the store has it."""
        found = self.service.house.requests.found(person_id=self.person.id)
        return next(one for one in found if one.id == self.request_id)

    # --- the acts, in their order ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Who asks has an account at the first place, so that the flavour is open to them; not at the other."""
        self.page(self.asker)
        house, person = self.service.house, self.person
        with house.database.write() as connection:
            mappings.ask(
                connection, person_id=person.id, site="here", account=person.user_name, by="cli:test",
                now=house.clock(),
            )  # fmt: skip
            mappings.change(
                connection,
                person_id=person.id,
                site="here",
                event=MappingEvent.ACCEPT,
                by="cli:test",
                now=house.clock(),
            )

    def start(self) -> Page:
        """The start that is refused at first, and admitted in the end: the same each time."""
        page = self.page(self.asker)
        page.goto(self.service.base_url + "hub/home")
        page.get_by_role("radio", name=re.compile("Medium")).check()
        page.get_by_label("Environment").select_option("minimal")
        page.get_by_label("Place").select_option("andes")
        page.get_by_role("button", name="Start").click()
        return page

    def open_form(self) -> Page:
        """From the refusal to the form of the desk."""
        page = self.start()
        page.locator("#refusal").get_by_role("link", name="Where to ask").click()
        page.get_by_role("link", name="Ask for it at the access desk").click()
        expect(page.locator("#ask-form")).to_be_visible()
        return page

    def fill_in(self) -> Page:
        """What only the person knows; the rest is in the form already."""
        page = self.page(self.asker)
        page.get_by_label("What is it for?").fill(self.words.purpose)
        page.get_by_label("Who at your home organisation").fill(self.words.contact)
        page.get_by_label("A link that shows it").fill(self.words.evidence)
        return page

    def send(self) -> Page:
        """The request is with the support team."""
        page = self.page(self.asker)
        page.get_by_role("button", name="Send it").click()
        expect(page.locator("#state")).to_have_attribute("data-state", "submitted")
        self.request_id = page.url.rpartition("/")[2]
        return page

    def ask_at_the_desk(self) -> None:
        """Without a refusal: from the catalogue to a request that was sent."""
        page = self.desk(self.asker)
        page.locator("[data-site=andes]").get_by_role("link", name="Ask for an account here").click()
        page.get_by_label("How many unit-hours?").fill("400")
        self.fill_in()
        self.send()

    def ask_for_more(self, hours: str) -> None:
        """Quota without an account anywhere, as much as the tier has by default or less."""
        page = self.desk(self.asker, "ask?kind=quota")
        page.get_by_label("How many unit-hours?").fill(hours)
        self.fill_in()
        self.send()

    def ask(self) -> None:
        """From the refusal to a request that was sent."""
        self.open_form()
        self.fill_in()
        self.send()

    def review(self, name: str) -> Page:
        """The request as a reviewer sees it."""
        return self.desk(name, f"review/{self.request_id}")

    def question(self) -> Page:
        """The first reviewer takes it, and asks something back."""
        page = self.review(FIRST)
        page.get_by_label("I have no conflict of interest").check()
        page.get_by_label("Words for the person").fill(self.words.question)
        page.get_by_role("button", name="Ask the person").click()
        expect(page.locator("#state")).to_have_attribute("data-state", "needs_info")
        return page

    def own(self) -> Page:
        """The request as who asks sees it."""
        return self.desk(self.asker, f"requests/{self.request_id}")

    def answer(self) -> Page:
        """It goes on."""
        page = self.own()
        page.get_by_label("Your answer").fill(self.words.reply)
        page.get_by_role("button", name="Send the answer").click()
        expect(page.locator("#state")).to_have_attribute("data-state", "in_review")
        return page

    def approve_first(self) -> Page:
        """Above the ceiling, it waits for a second reviewer then."""
        page = self.review(FIRST)
        page.get_by_label("Words for the person").fill(self.words.note)
        page.get_by_label("Words for other reviewers only").fill(self.words.private)
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.locator("#state")).to_have_attribute("data-state", "awaiting_second")
        return page

    def approve_second(self) -> Page:
        """It is decided. What the worker does about it is done at once."""
        page = self.review(SECOND)
        page.get_by_label("I have no conflict of interest").check()
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.locator("#state")).to_have_attribute("data-state", re.compile("approved|active"))
        request_rounds(self.service.house).apply_all()
        wait_for(lambda: self.request.state is State.ACTIVE)
        return page

    def accept(self) -> Page:
        """The site gives the account."""
        page = self.desk(SITE_OPERATOR, "sites/andes")
        page.locator(f"#answer-{self.person.id}").get_by_role("button", name="Accept").click()
        expect(page.locator(f"#end-{self.person.id}")).to_have_count(1)
        return page

    def decide(self) -> None:
        """From a request that was sent to an account at the site."""
        self.question()
        self.answer()
        self.approve_first()
        self.approve_second()
        self.accept()

    def work(self) -> None:
        """The same start is admitted at that site; the session runs, is stopped, and is in the books."""
        page = self.start()
        page.wait_for_url(re.compile("/user/.*/lab|/user/.*/tree"), timeout=90_000)
        (session,) = self.service.house.sessions.open_of_person(self.person.id)
        assert session.site == "andes"
        page.goto(self.service.base_url + "hub/home")
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("You stopped it.").first).to_be_visible(timeout=30_000)

    def near_the_end(self) -> None:
        """Three weeks before what was given ends, when the worker looks. What the provider said is too old by then:
        everybody signs in again.
        """
        end = self.service.house.requests.end(self.request_id)
        assert end is not None
        self.service.set_clock(end.at - timedelta(days=21) - datetime.now(UTC))
        for context in self._contexts:
            context.close()
        self._contexts, self._pages = [], {}
        request_rounds(self.service.house).watch_all()

    def renew(self) -> Page:
        """What is asked for again is sent."""
        page = self.own()
        page.get_by_role("button", name="Ask for a renewal").click()
        expect(page.locator("#state")).to_have_attribute("data-state", "draft")
        return self.send()

    def _open(self, name: str) -> Page:
        context = self._browser.new_context(**self._options)
        context.set_default_timeout(30_000)
        self._contexts.append(context)
        page = context.new_page()
        arrive(page, self.service, name)
        accept_terms(page)
        return page
