"""The access desk in a real browser: from a refusal at the hub to a renewal, as each role sees it; with pictures of all
its pages, each of which axe looks at.
"""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.desk_story import FIRST, SECOND, SETTINGS, SITE_OPERATOR, Story
from tests.services.test_session import wait_for
from tests.support.mail import Mailbox, running_mailbox
from tests.support.service import Service, running_service

pytestmark = [pytest.mark.browser, pytest.mark.service]

Shoot = Callable[..., None]
OPERATOR = "Sofía Herrera"


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as running:
        yield running


@pytest.fixture(scope="module")
def service(mailbox: Mailbox) -> Iterator[Service]:
    """One for all roles. Its clock only goes forward: what was given in one story has ended, or not, in the next."""
    mail = {"smtp": mailbox.url, "sender": "notebooks@example.org"}
    with running_service(**SETTINGS, mail=mail) as running:
        yield running


@pytest.fixture
def tell(browser: Browser, service: Service) -> Iterator[Callable[[str], Story]]:
    """Begins the story of somebody."""
    told: list[Story] = []

    def begin(asker: str) -> Story:
        told.append(Story(browser, service, asker))
        told[-1].begin()
        return told[-1]

    yield begin
    for story in told:
        story.close()


def subjects(mailbox: Mailbox, story: Story) -> list[str]:
    """Of the mails that who asks got."""
    return [str(one["Subject"]) for one in mailbox.messages if one["To"] == story.person.facts.email]


def test_the_pages_of_a_desk_that_nobody_used_say_what_to_do(browser: Browser, service: Service, shoot: Shoot) -> None:
    story = Story(browser, service, "Inês Carvalho")
    page = browser.new_context(viewport={"width": 1200, "height": 900}, locale="en").new_page()
    page.goto(service.base_url + "services/desk/")
    shoot(page, "50-catalogue")
    page.context.close()
    for name, path, picture in (
        ("Inês Carvalho", "requests", "51-requests-empty"),
        ("Inês Carvalho", "ask", "51-ask-what"),
        (FIRST, "queue", "52-queue-empty"),
        (SITE_OPERATOR, "sites", "53-sites-empty"),
        (SITE_OPERATOR, "sites/andes", "53-site-empty"),
        (OPERATOR, "grants?who=nobody", "54-grants-nobody"),
        (OPERATOR, "audit?actor=nobody", "54-audit-nothing"),
        ("Inês Carvalho", "queue", "55-not-for-you"),
        ("Inês Carvalho", "nowhere", "55-no-such-page"),
    ):
        shoot(story.desk(name, path), picture)
    story.close()


def test_a_researcher_is_refused_asks_waits_works_and_asks_again(
    tell: Callable[[str], Story], mailbox: Mailbox, shoot: Shoot
) -> None:
    story = tell("Inês Carvalho")
    page = story.start()
    expect(page.locator("#refusal")).to_contain_text("Andes Computing Centre")
    shoot(page, "60-refused")
    page.locator("#refusal").get_by_role("link", name="Where to ask").click()
    shoot(page, "60-where-to-ask")
    page.get_by_role("link", name="Ask for it at the access desk").click()
    expect(page.get_by_role("checkbox", name="Andes Computing Centre")).to_be_checked()
    expect(page.get_by_label("How many unit-hours?")).to_have_value("400")
    shoot(page, "61-ask")
    story.fill_in()
    page.get_by_role("button", name="Keep it as a draft").click()
    page.get_by_text("What reviewers will see of you").click()
    expect(page.locator("#preview")).to_contain_text("icarvalho")
    shoot(page, "61-draft")
    shoot(story.send(), "62-sent")

    story.question()
    page.reload()
    expect(page.locator("#state")).to_contain_text("Which data do you need")
    shoot(page, "63-question")
    story.answer()
    story.approve_first()
    page.reload()
    expect(page.locator("#state")).to_contain_text("waits for a second reviewer")
    assert FIRST not in page.content()
    story.approve_second()
    page.reload()
    expect(page.locator("#state")).to_contain_text("Welcome. Please tell us what you find.")
    shoot(page, "64-given")
    expect(story.start().locator("#refusal")).to_contain_text("Andes Computing Centre")
    story.accept()
    story.work()
    expect(page.locator("#quota-left")).to_have_text(re.compile("^402"))
    shoot(page, "65-home-used")
    shoot(story.own(), "66-used")

    story.near_the_end()
    wait_for(lambda: "30 days left of what you were given" in subjects(mailbox, story), 60)
    page = story.own()
    expect(page.get_by_role("button", name="Ask for a renewal")).to_be_visible()
    shoot(page, "67-near-the-end")
    shoot(story.renew(), "68-renewal")
    shoot(story.desk(story.asker, "requests"), "69-requests")
    for told in ("Your request has arrived", "A question about your request", "Your request was approved"):
        assert subjects(mailbox, story).count(told) == 1, subjects(mailbox, story)


def test_reviewers_decide_together(tell: Callable[[str], Story], shoot: Shoot) -> None:
    story = tell(SITE_OPERATOR)
    story.ask()
    page = story.desk(FIRST, "queue")
    row = page.locator(f"[data-request='{story.request_id}']")
    expect(row).to_contain_text(SITE_OPERATOR)
    shoot(page, "70-queue")
    row.get_by_role("link").click()
    expect(page.locator("#two-people")).to_be_visible()
    expect(page.locator("#checklist")).to_be_visible()
    shoot(page, "71-review")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("conflict of interest")
    shoot(page, "72-review-refused")
    story.question()
    expect(story.desk(FIRST, "queue").locator(f"[data-request='{story.request_id}']")).to_contain_text("stands still")
    story.answer()
    expect(story.review(FIRST).locator(".nb-story")).to_contain_text("40 GB")
    page = story.approve_first()
    expect(page.locator("#obstacle")).to_be_visible()
    shoot(page, "73-first-of-two")
    page = story.review(SECOND)
    expect(page.locator("#decided")).to_contain_text("400")
    shoot(page, "74-second-of-two")
    story.approve_second()
    story.accept()
    story.work()
    page = story.review(FIRST)
    expect(page.locator("section", has=page.locator("#held"))).to_contain_text("403 unit-hours")
    shoot(page, "75-given-and-used")
    story.near_the_end()
    story.renew()
    page = story.review(FIRST)
    expect(page.locator("section", has=page.locator("#earlier"))).to_contain_text("400 unit-hours")
    shoot(page, "76-renewal")


def test_a_site_operator_accepts_and_sees_the_use_of_the_own_site(tell: Callable[[str], Story], shoot: Shoot) -> None:
    story = tell(OPERATOR)
    story.ask()
    story.question()
    story.answer()
    story.approve_first()
    story.approve_second()
    page = story.desk(SITE_OPERATOR, "sites")
    expect(page.locator("[data-site=andes]")).to_contain_text("1 person waits for an account.")
    shoot(page, "80-sites")
    page.get_by_role("link", name="Andes Computing Centre").click()
    waits = page.locator(f"[data-person='{story.person.id}']")
    expect(waits).to_contain_text(OPERATOR)
    expect(waits).not_to_contain_text("penguins")
    shoot(page, "81-site-waits")
    waits.get_by_role("button", name="Refuse").click()
    expect(page.get_by_role("alert")).to_be_visible()
    shoot(page, "82-site-needs-a-reason")
    story.accept()
    story.work()
    page = story.desk(SITE_OPERATOR, "sites/andes")
    expect(page.locator("#use")).to_contain_text(OPERATOR)
    page.locator(f"#end-{story.person.id}").locator("xpath=..").locator("summary").click()
    shoot(page, "83-site-used")
    story.near_the_end()
    story.renew()


def test_an_operator_follows_it_in_the_books_and_in_the_trail(tell: Callable[[str], Story], shoot: Shoot) -> None:
    story = tell("Marta Kowalska")
    story.ask()
    story.decide()
    story.work()
    page = story.desk(OPERATOR, "grants")
    shoot(page, "90-grants")
    page.get_by_label("Whose?").fill("Kowalska")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#sessions")).to_contain_text("andes")
    page.get_by_text("Change it").first.click()
    shoot(page, "91-account")
    page = story.desk(OPERATOR, f"audit?target=request:{story.request_id}")
    for act in ("submitted", "claimed", "asked", "answered", "approved", "applied"):
        expect(page.locator("#audit")).to_contain_text(f"request:{act}")
    shoot(page, "92-audit-of-a-request")
    shoot(story.desk(OPERATOR, "audit"), "93-audit")
    shoot(story.review(OPERATOR), "94-review-by-an-operator")
    page = story.desk(OPERATOR, f"audit?actor={story.person.user_name}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as JSON Lines").click()
    assert "request:submitted" in download.value.path().read_text()
    story.near_the_end()
    story.renew()
    expect(story.review(OPERATOR).locator("#earlier")).to_be_visible()
