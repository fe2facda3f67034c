"""“Why?” in a real browser: beside each flavour, in the reader's language, without JavaScript, at the width of a phone."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_first_session import sign_in
from tests.support.service import Service, running_service

pytestmark = [pytest.mark.browser, pytest.mark.service]

Shoot = Callable[[Page, str], None]
POOL = {
    "title": {"en": "Demo community", "es": "Comunidad de demostración", "pt": "Comunidade de demonstração"},
    "community": "urn:mace:example.org:group:demo",
    "amount_hours": 20,
    "flavours": ["small"],
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """With a pool, a limit and a flavour that is closed to most."""
    with running_service(
        pools={"demo": POOL},
        limits={"per_site": {"here": {"memory_gib": 64}}},
        tiers={"T2": {"needs": "T1", "evidence": "recorded"}},
        flavours={
            "large": {
                "cpu": 8,
                "memory_gib": 32,
                "weight": 16,
                "tier": "T2",
                "title": {"en": "Large", "es": "Grande", "pt": "Grande"},
            }
        },
    ) as running:
        yield running


def test_a_researcher_reads_why_and_how_long_it_lasts(page: Page, service: Service, shoot: Shoot) -> None:
    sign_in(page, service, "Inês Carvalho")
    expect(page.get_by_text("Demo community, for all members together: 20 of 20 unit-hours left")).to_be_visible()
    page.get_by_label("Environment").select_option("minimal")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("/user/.*"), timeout=90_000)
    page.goto(service.base_url + "hub/home")
    expect(page.locator("#quota-lasts")).to_contain_text("At the present pace it lasts until")
    shoot(page, "40-home-with-a-pool")
    page.get_by_role("link", name="Why? – Small").click()
    expect(page.locator("#answer")).to_contain_text("A session of the flavour Small would be started now.")
    expect(page.get_by_text("1 of 2 in use")).to_be_visible()
    shoot(page, "41-why-small")
    page.goto(service.base_url + "hub/home")
    page.get_by_role("link", name="Why? – Large").click()
    expect(page.locator("#answer")).to_contain_text("would not be started now")
    expect(page.get_by_text("This is in the way.").first).to_be_visible()
    shoot(page, "42-why-not-large")
    page.goto(service.base_url + "hub/home")
    page.get_by_role("button", name="Stop").click()
    page.goto(service.base_url + "hub/why?flavour=huge")
    expect(page.get_by_text("There is no flavour with this name.")).to_be_visible()


@pytest.mark.parametrize("language", ["es", "pt"])
def test_a_newcomer_reads_in_their_language_without_javascript_what_is_in_the_way(
    browser: Browser, service: Service, shoot: Shoot, language: str
) -> None:
    context = browser.new_context(locale=language, java_script_enabled=False)
    page = context.new_page()
    page.goto(service.base_url)
    page.get_by_role("button", name=re.compile("Valentina Quispe")).click()
    page.wait_for_url(re.compile("/hub/home"))
    shoot(page, f"43-home-newcomer-{language}")
    page.locator("a.nb-why").first.click()
    answer = {"es": "no se iniciaría ahora", "pt": "não seria iniciada agora"}[language]
    expect(page.locator("#answer")).to_contain_text(answer)
    assert page.locator("html").get_attribute("lang") == language
    shoot(page, f"44-why-newcomer-{language}")
    context.close()
