"""The access desk in a real browser: from a refusal at the hub to a renewal, as each role sees it; with pictures of all
its pages, each of which axe looks at.
"""

import re
from collections.abc import Callable, Iterator
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.bench.wire import Wire
from tests.browser.desk_story import FIRST, SECOND, SETTINGS, SITE_OPERATOR, Story, Words
from tests.services.test_session import wait_for
from tests.support.mail import Mailbox, running_mailbox
from tests.support.service import Service, running_service
from vetting.transitions import State

pytestmark = [pytest.mark.browser, pytest.mark.service]

Shoot = Callable[..., None]
OPERATOR, NEWCOMER = "Sofía Herrera", "Valentina Quispe"
EVIL = "<script>window.ran = 1</script>\"'><img src=x onerror='window.ran = 1'>"
MOST_BYTES = 100_000


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
    expect(page.locator("#state")).to_contain_text("Waits for a second reviewer")
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

    wait_for(lambda: "Your request is approved" in subjects(mailbox, story), 60)  # months later it would be too old
    story.near_the_end()
    wait_for(lambda: "30 days left of what you were given" in subjects(mailbox, story), 60)
    page = story.own()
    expect(page.get_by_role("button", name="Ask for a renewal")).to_be_visible()
    shoot(page, "67-near-the-end")
    shoot(story.renew(), "68-renewal")
    shoot(story.desk(story.asker, "requests"), "69-requests")
    for told in ("Your request is here", "A question about your request", "Your request is approved"):
        assert subjects(mailbox, story).count(told) == 1, subjects(mailbox, story)


def test_reviewers_decide_together(
    tell: Callable[[str], Story], shoot: Shoot, illustrate: Callable[[Locator, str], None]
) -> None:
    story = tell(SITE_OPERATOR)
    story.ask()
    page = story.desk(FIRST, "queue")
    illustrate(page.locator("main"), "queue")
    row = page.locator(f"[data-request='{story.request_id}']")
    expect(row).to_contain_text(SITE_OPERATOR)
    shoot(page, "70-queue")
    row.get_by_role("link").click()
    expect(page.locator("#two-people")).to_be_visible()
    expect(page.locator("#checklist")).to_be_visible()
    illustrate(page.locator("section", has=page.locator("#who")), "who-asks")
    illustrate(page.locator("section", has=page.locator("#checks")), "what-the-rules-ask")
    illustrate(page.locator("section", has=page.locator("#decision-title")), "decision")
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
    illustrate(page.locator("section", has=page.locator("#decision-title")), "second-of-two")
    shoot(page, "74-second-of-two")
    story.approve_second()
    story.accept()
    story.work()
    page = story.review(FIRST)
    expect(page.locator("section", has=page.locator("#held"))).to_contain_text("403 unit-hours")
    illustrate(page.locator("section", has=page.locator("#story-title")), "story")
    shoot(page, "75-given-and-used")
    story.near_the_end()
    story.renew()
    page = story.review(FIRST)
    expect(page.locator("section", has=page.locator("#earlier"))).to_contain_text("400 unit-hours")
    shoot(page, "76-renewal")


def test_what_is_usual_is_approved_together(browser: Browser, service: Service, shoot: Shoot) -> None:
    first, second, third = (Story(browser, service, name) for name in ("Marta Kowalska", OPERATOR, NEWCOMER))
    for story in (first, second, third):
        story.ask_for_more("2")
    page = first.desk(FIRST, "queue")
    expect(page.locator(f"[data-request='{third.request_id}']")).to_contain_text(NEWCOMER)
    expect(page.get_by_role("checkbox", name=NEWCOMER)).to_have_count(0)  # nobody vouches for her: that needs a look
    for story in (first, second):
        page.get_by_role("checkbox", name=story.asker).check()
    shoot(page, "77-queue-of-usual-ones")
    page.get_by_label("I have no conflict of interest about these people.").check()
    page.get_by_role("button", name="Approve those that are ticked").click()
    expect(page.locator("#approved")).to_contain_text("2 requests are approved")
    shoot(page, "78-queue-approved")
    states = [story.request.state for story in (first, second, third)]
    assert set(states[:2]) <= {State.APPROVED, State.ACTIVE}
    assert states[2] is State.SUBMITTED
    for story in (first, second, third):
        story.close()


def test_a_site_operator_accepts_and_sees_the_use_of_the_own_site(
    tell: Callable[[str], Story], shoot: Shoot, illustrate: Callable[[Locator, str], None]
) -> None:
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
    illustrate(page.locator("section", has=page.locator("#asked")), "site-answer")
    shoot(page, "81-site-waits")
    waits.get_by_role("button", name="Refuse").click()
    expect(page.get_by_role("alert")).to_be_visible()
    shoot(page, "82-site-needs-a-reason")
    story.accept()
    story.work()
    page = story.desk(SITE_OPERATOR, "sites/andes")
    expect(page.locator("#use")).to_contain_text(OPERATOR)
    page.locator(f"details:has(#end-{story.person.id}) summary").click()
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


# --- whatever the browser -------------------------------------------------------------------------------------------


def test_it_is_asked_and_decided_without_javascript(browser: Browser, service: Service, shoot: Shoot) -> None:
    story = Story(browser, service, NEWCOMER, java_script_enabled=False)
    story.ask_at_the_desk()
    story.decide()
    page = story.own()
    expect(page.locator("#state")).to_have_attribute("data-state", "active")
    expect(page.locator("[data-site=andes]")).to_contain_text("The site has accepted you.")
    expect(page.locator("time").first).to_contain_text("UTC")
    shoot(page, "95-without-javascript")
    story.close()


def test_what_people_write_never_runs_not_even_where_no_policy_forbids_it(browser: Browser, service: Service) -> None:
    """The browsers leave out the policy of the pages (CSP): what is written has to be harmless without it."""
    words = Words(**dict.fromkeys(Words.__dataclass_fields__, EVIL))
    story = Story(browser, service, NEWCOMER, words, bypass_csp=True)
    story.ask_at_the_desk()
    story.question()
    story.answer()
    story.approve_first()
    story.approve_second()
    site = story.desk(SITE_OPERATOR, "sites/andes")
    if site.locator(f"#answer-{story.person.id}").count():
        story.accept()
    site.locator(f"details:has(#end-{story.person.id}) summary").click()
    site.locator(f"#end-{story.person.id} [name=reason]").fill(EVIL)
    site.locator(f"#end-{story.person.id} button").click()
    expect(site.get_by_text(EVIL).first).to_be_visible()
    account = story.desk(OPERATOR, f"grants/{story.person.id}")
    form = account.locator("#give-form")
    form.get_by_label("Unit-hours").fill("1")
    form.get_by_label("Reason, for auditors").fill(EVIL)
    form.get_by_role("button", name="Give it").click()
    expect(account.get_by_text(EVIL).first).to_be_visible()
    shown = (
        (NEWCOMER, f"requests/{story.request_id}"), (NEWCOMER, "requests"), (FIRST, f"review/{story.request_id}"),
        (FIRST, "queue"), (OPERATOR, "audit"), (OPERATOR, f"grants/{story.person.id}"), (SITE_OPERATOR, "sites/andes"),
        (OPERATOR, f"grants?{urlencode({'who': EVIL})}"), (OPERATOR, f"audit?{urlencode({'actor': EVIL})}"),
        (NEWCOMER, f"ask?{urlencode({'kind': 'site', 'flavour': EVIL, 'site': EVIL})}"), (NEWCOMER, quote(EVIL)),
    )  # fmt: skip
    for name, path in shown:
        page = story.desk(name, path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.ran") is None, path
        assert page.locator("img[src=x]").count() == 0, path
    story.close()


def test_the_first_page_is_light_and_what_it_needs_is_kept(browser: Browser, service: Service) -> None:
    context = browser.new_context()
    page = context.new_page()
    wire = Wire(context, page)
    page.goto(service.base_url + "services/desk/", wait_until="networkidle")
    first = wire.take()
    assert len(first) >= 4, "a page, two sheets and a script"
    assert sum(answer.received for answer in first) <= MOST_BYTES, [str(answer) for answer in first]
    assert [str(answer) for answer in first if answer.faults()] == []
    page.goto("about:blank")
    page.goto(service.base_url + "services/desk/", wait_until="networkidle")
    asked = [answer for answer in wire.take() if not answer.from_cache]
    assert [answer.path for answer in asked] == ["/services/desk/"]
    context.close()


@pytest.mark.parametrize("language", ["es", "pt"])
def test_every_page_speaks_the_readers_language(
    browser: Browser, service: Service, shoot: Shoot, language: str
) -> None:
    story = Story(browser, service, NEWCOMER)
    story.ask_at_the_desk()
    reading = Story(browser, service, NEWCOMER, locale=language)
    for name, path, picture in (
        (NEWCOMER, "", "catalogue"),
        (NEWCOMER, "ask?kind=site", "ask"),
        (NEWCOMER, f"requests/{story.request_id}", "request"),
        (FIRST, "queue", "queue"),
        (FIRST, f"review/{story.request_id}", "review"),
        (SITE_OPERATOR, "sites/andes", "site"),
        (OPERATOR, f"grants/{story.person.id}", "account"),
        (OPERATOR, f"audit?target=request:{story.request_id}", "audit"),
    ):
        page = reading.desk(name, path)
        expect(page.locator("html")).to_have_attribute("lang", language)
        shoot(page, f"96-{picture}-{language}")
    reading.close()
    story.close()
