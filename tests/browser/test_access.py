"""Terms, My access and refusals, in a real browser: there and back, per persona, in three languages, with pictures."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from federation import terms
from federation.persons import candidates
from tests.services.test_session import wait_for
from tests.support.desk import asked
from tests.support.service import Service
from vetting.asking import Actor, Given, Kind
from vetting.transitions import Event, State

pytestmark = [pytest.mark.browser, pytest.mark.service]

Shoot = Callable[..., None]
PERSONAS = {
    "newcomer": "Valentina Quispe",
    "researcher": "Inês Carvalho",
    "trainer": "Marta Kowalska",
    "reviewer": "Camila Rojas",
    "site-operator": "Jonas Brandt",
    "operator": "Sofía Herrera",
}
ACCEPT = {"en": "I accept the terms of use", "es": "Acepto las condiciones de uso", "pt": "Aceito os termos de uso"}
ROLES = {"trainer": "trainer", "reviewer": "reviewer", "operator": "operator of the federation"}
NOT_OPEN = {
    "en": "This is not open to you",
    "es": "No tiene acceso a esto",
    "pt": "Acesso não permitido",
}


def arrive(page: Page, service: Service, name: str) -> None:
    """One click, as whoever tries the demonstration does."""
    page.goto(service.base_url)
    page.get_by_role("button", name=re.compile(name)).click()
    page.wait_for_url(re.compile("/hub/home"))


def in_language(browser: Browser, language: str) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, locale=language)
    context.set_default_timeout(30_000)
    return context


@pytest.mark.parametrize("language", ["en", "es", "pt"])
def test_the_terms_come_first_and_lead_back(browser: Browser, service: Service, shoot: Shoot, language: str) -> None:
    context = in_language(browser, language)
    page = context.new_page()
    arrive(page, service, {"en": "Inês Carvalho", "es": "Camila Rojas", "pt": "Luc Moreau"}[language])
    expect(page.locator("#terms-needed")).to_be_visible()
    expect(page.locator("#start-form")).to_have_count(0)
    shoot(page, f"30-home-before-the-terms-{language}")
    page.locator("#terms-needed a").click()
    expect(page.locator("article")).to_have_attribute("lang", language)
    shoot(page, f"31-terms-{language}")
    page.get_by_role("button", name=ACCEPT[language]).click()
    page.wait_for_url(re.compile("/hub/home$"))
    expect(page.locator("#terms-needed")).to_have_count(0)
    expect(page.locator("#quota-left")).to_have_text("100")
    expect(page.locator("#start-form")).to_be_visible()
    page.goto(service.base_url + "hub/terms")
    expect(page.locator("#accepted")).to_be_visible()
    shoot(page, f"32-terms-accepted-{language}")
    context.close()


@pytest.mark.parametrize("language", ["en", "es", "pt"])
@pytest.mark.parametrize("persona", PERSONAS)
def test_my_access(browser: Browser, service: Service, shoot: Shoot, persona: str, language: str) -> None:
    context = in_language(browser, language)
    page = context.new_page()
    arrive(page, service, PERSONAS[persona])
    page.goto(service.base_url + "hub/access")
    expect(page.locator("h1")).to_have_text({"en": "My access", "es": "Mi acceso", "pt": "Meu acesso"}[language])
    tier = page.locator("[data-tier=T1]")
    expect(tier).to_contain_text("100")
    small = page.locator("[data-site=here] [data-flavour=small]")
    if persona == "newcomer":
        expect(small).to_contain_text("urn:mace:example.org:group:demo")
        expect(small.get_by_role("link")).to_have_attribute("href", re.compile("about=not-eligible"))
    if language == "en" and persona in ROLES:
        expect(page.locator(".nb-facts")).to_contain_text(ROLES[persona])
    shoot(page, f"33-my-access-{persona}-{language}")
    context.close()


@pytest.mark.parametrize("language", ["en", "es", "pt"])
def test_what_is_not_open_says_so_and_leads_to_my_access(
    browser: Browser, service: Service, shoot: Shoot, language: str
) -> None:
    context = in_language(browser, language)
    page = context.new_page()
    arrive(page, service, PERSONAS["newcomer"])
    page.goto(service.base_url + "hub/admin")
    expect(page.locator("h1")).to_have_text(NOT_OPEN[language])
    shoot(page, f"35-not-open-{language}")
    page.locator(".nb-card a[href$='/hub/access']").click()
    expect(page.locator("#places-title")).to_be_visible()
    context.close()


def test_who_has_nothing_is_told_what_is_missing_wherever_they_go(page: Page, service: Service, shoot: Shoot) -> None:
    arrive(page, service, "Valentina Quispe")
    page.goto(service.base_url + "hub/access")
    page.locator("[data-site=here] [data-flavour=small]").get_by_role("link", name="Ask for this").click()
    expect(page.get_by_role("heading", name="Ask for more")).to_be_visible()
    shoot(page, "34-ask-for-this")


def test_a_start_that_wants_the_terms_leads_there_and_back_with_what_was_chosen(page: Page, service: Service) -> None:
    """The form was open when the terms changed, twice: the person is asked for them, and finds the form as it was."""
    arrive(page, service, "Marta Kowalska")
    page.locator("#terms-needed a").click()
    page.get_by_role("button", name=ACCEPT["en"]).click()
    page.goto(service.base_url + "hub/spawn")
    page.get_by_role("radio", name=re.compile("Medium")).check()
    page.get_by_label("Environment").select_option("minimal")
    publish(service, "2026-12")
    publish(service, "2027-01")
    try:
        page.get_by_role("button", name="Start").click()
        page.wait_for_url(re.compile("/hub/terms"))
        page.get_by_role("button", name=ACCEPT["en"]).click()
        page.wait_for_url(re.compile("/hub/spawn[/?]"))
        expect(page.get_by_role("radio", name=re.compile("Medium"))).to_be_checked()
        expect(page.get_by_label("Environment")).to_have_value("minimal")
    finally:
        publish(service, "2026-11")


def test_after_a_change_the_old_acceptance_counts_until_a_date(page: Page, service: Service, shoot: Shoot) -> None:
    arrive(page, service, "Jonas Brandt")
    page.goto(service.base_url + "hub/terms")
    if page.locator("#accept-terms").count():
        page.get_by_role("button", name=ACCEPT["en"]).click()
    publish(service, "2027-02")
    try:
        page.goto(service.base_url + "hub/home")
        expect(page.locator("#terms-changed")).to_contain_text("What you accepted before counts until")
        expect(page.locator("#start-form")).to_be_visible()
        shoot(page, "36-terms-changed")
        page.get_by_role("link", name="Read the new terms").click()
        page.get_by_role("button", name=ACCEPT["en"]).click()
        expect(page.locator("#terms-changed")).to_have_count(0)
    finally:
        publish(service, "2026-11")


def test_a_suspended_person_reads_why_and_is_restored(page: Page, service: Service, shoot: Shoot) -> None:
    arrive(page, service, "Luc Moreau")
    service.nbfed("person", "suspend", "Luc Moreau", "--reason", "A session of yours mined currency on 12 March.")
    page.reload()
    expect(page.locator("#suspended")).to_contain_text("A session of yours mined currency on 12 March.")
    expect(page.locator("#start-form")).to_have_count(0)
    shoot(page, "37-suspended")
    page.goto(service.base_url + "hub/access")
    expect(page.locator("#suspended")).to_be_visible()
    shoot(page, "38-my-access-suspended")
    service.nbfed("person", "restore", "Luc Moreau", "--reason", "It was somebody else.")
    page.reload()
    expect(page.locator("#suspended")).to_have_count(0)


def test_a_request_is_followed_on_my_access(page: Page, service: Service, shoot: Shoot) -> None:
    """Somebody wrote to the support team, which asks something back, then approves; the real worker gives it."""
    arrive(page, service, "Marta Kowalska")
    page.goto(service.base_url + "hub/terms")
    if page.locator("#accept-terms").count():
        page.get_by_role("button", name=ACCEPT["en"]).click()
    house = service.house
    with house.database.read() as connection:
        (marta,) = candidates(connection, "mkowalska")
    actor = Actor(name="cli:olga", person_id=marta.id)
    wish = asked(house.clock() + timedelta(days=365), 500)
    request = house.requests.open(actor, person_id=marta.id, kind=Kind.QUOTA, asked=wish)
    house.requests.act(request.id, Event.SUBMIT, actor)
    question = "Which data do you need, and does it lie at one of the sites already?"
    service.nbfed("request", "ask", request.reference, "--question", question, "--no-conflict")
    page.goto(service.base_url + "hub/access")
    shown = page.locator(f"[data-request='{request.reference}']")
    expect(shown).to_contain_text("waits for your answer")
    expect(shown).to_contain_text(question)
    shoot(page, "39-my-access-question")
    house.requests.act(request.id, Event.ANSWER, actor, Given(text="Penguins; no."))
    service.nbfed("request", "approve", request.reference, "--note", "Enjoy.", "--no-conflict")
    wait_for(lambda: house.requests.get(request.id, actor).state is State.ACTIVE)
    page.reload()
    expect(shown).to_contain_text("approved and given")
    expect(shown).to_contain_text("Enjoy.")
    expect(page.locator("#quota-left")).to_have_text("600")
    shoot(page, "39-my-access-given")


def test_a_person_downloads_what_is_kept_about_them(page: Page, service: Service) -> None:
    arrive(page, service, "Sofía Herrera")
    page.get_by_role("link", name="My access").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download my data").click()
    content = json.loads(Path(download.value.path()).read_text())
    assert download.value.suggested_filename == "notebooks-my-data.json"
    assert content["person"]["facts"]["name"] == "Sofía Herrera"
    assert "secret" not in json.dumps(content)


def test_it_works_without_javascript(browser: Browser, service: Service) -> None:
    context = browser.new_context(java_script_enabled=False, locale="en")
    page = context.new_page()
    arrive(page, service, "Valentina Quispe")
    page.goto(service.base_url + "hub/terms")
    page.get_by_role("button", name=ACCEPT["en"]).click()
    page.goto(service.base_url + "hub/access")
    expect(page.locator(".nb-facts")).to_contain_text("accepted on")
    context.close()


def publish(service: Service, version: str) -> None:
    """The terms change, with the words as they are."""
    with service.house.database.write() as connection:
        terms.publish(connection, version, terms.words(connection), service.house.clock())
