"""Signing in with a real browser: the choice of a provider, Keycloak's own form, refusals, signing out."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.support.keycloak import Keycloak, federation_with
from tests.support.provider import CLIENT_SECRET, Provider, running_provider
from tests.support.service import Service

pytestmark = [pytest.mark.service, pytest.mark.browser]
Shoot = Callable[[Page, str], None]

LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><circle cx="20" cy="20" r="18" fill="#1d6fa5"/>'
    '<path d="M12 26 20 10l8 16z" fill="#fff"/></svg>'
)


@pytest.fixture(scope="module")
def second() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def service(keycloak: Keycloak, second: Provider) -> Iterator[Service]:
    """Keycloak, another provider, and one that is away."""
    with running_provider() as gone:
        away = gone.issuer
    common = {"client_id": "notebooks", "client_secret_file": "secrets/others", "logo": "logo.svg"}
    providers = [
        keycloak.provider(title="EGI Check-in"),
        {"id": "andes", "issuer": second.issuer, "owns_namespaces": ["urn:mace:example.org"],
         "title": {"en": "Andean universities", "es": "Universidades andinas", "pt": "Universidades andinas"}} | common,
        {"id": "gone", "issuer": away, "owns_namespaces": ["urn:mace:example.net"],
         "title": "Federação do Litoral"} | common,
    ]  # fmt: skip
    with federation_with(keycloak, identity={"providers": providers}, start=False) as running:
        (running.root / "logo.svg").write_text(LOGO)
        (running.root / "secrets" / "others").write_text(CLIENT_SECRET)
        running.start()
        yield running


def enter(page: Page, user: str) -> None:
    """Keycloak's own form. Its page may load itself anew while it is filled in, and forgets what was typed."""
    for last in (False, False, True):
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password", exact=True).fill("password")
        page.get_by_role("button", name="Sign In").click()
        try:
            page.wait_for_url(re.compile("/hub/"), timeout=15_000)
            return
        except PlaywrightTimeout:
            if last:
                raise


def test_from_the_choice_to_keycloak_and_back_and_out_again(page: Page, service: Service, shoot: Shoot) -> None:
    page.goto(service.base_url + "hub/token")
    expect(page.get_by_text("Federação do Litoral does not answer at the moment")).to_be_visible()
    shoot(page, "20-sign-in")
    page.get_by_role("link", name="EGI Check-in").click()
    page.wait_for_url(re.compile("/auth/realms/egi/"))
    enter(page, "ines")
    expect(page).to_have_url(re.compile("/hub/token$"))
    page.goto(service.base_url)
    expect(page.get_by_role("heading", name="Welcome, Inês Carvalho")).to_be_visible()
    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    shoot(page, "21-signed-out")
    page.goto(service.base_url)
    first = page.locator("#providers a").first
    expect(first).to_contain_text("EGI Check-in")
    expect(first).to_contain_text("used last")
    first.click()
    expect(page.get_by_label("Username")).to_be_visible()


def test_someone_without_access_is_told(page: Page, service: Service, shoot: Shoot) -> None:
    page.goto(service.base_url)
    page.get_by_role("link", name="EGI Check-in").click()
    enter(page, "valentina")
    expect(page.get_by_text("You have no quota for notebooks yet.")).to_be_visible()
    shoot(page, "22-without-access")


def test_a_provider_that_is_away_is_told_in_words(page: Page, service: Service) -> None:
    page.goto(service.base_url)
    page.get_by_role("link", name="Federação do Litoral").click()
    expect(page.get_by_text("Federação do Litoral does not answer at the moment")).to_be_visible()
    expect(page.get_by_role("link", name="EGI Check-in")).to_be_visible()


def test_a_refused_sign_in_is_told_in_words(page: Page, service: Service, second: Provider, shoot: Shoot) -> None:
    second.id_claims_of = lambda claims: {**claims, "nonce": "another"}
    try:
        page.goto(service.base_url)
        page.get_by_role("link", name="Andean universities").click()
        expect(page.get_by_role("heading", name="You are not signed in")).to_be_visible()
        expect(page.get_by_text("could not be verified")).to_be_visible()
        expect(page.get_by_text("Reference:")).to_be_visible()
        shoot(page, "23-refused")
    finally:
        second.reset()


@pytest.mark.parametrize("language", ["es", "pt"])
def test_the_choice_speaks_the_readers_language(
    browser: Browser, service: Service, shoot: Shoot, language: str
) -> None:
    context = browser.new_context(locale=language)
    page = context.new_page()
    page.goto(service.base_url)
    assert page.locator("html").get_attribute("lang") == language
    expect(page.get_by_role("link", name="Universidades andinas")).to_be_visible()
    assert "does not answer" not in page.content()
    shoot(page, f"20-sign-in-{language}")
    context.close()


def test_it_works_without_javascript(browser: Browser, service: Service) -> None:
    context = browser.new_context(java_script_enabled=False, locale="en")
    page = context.new_page()
    page.goto(service.base_url)
    page.get_by_role("link", name="Andean universities").click()
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    context.close()
