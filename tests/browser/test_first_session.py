"""The first session of a researcher, in a real browser, with a picture of every page."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.service import Service

pytestmark = [pytest.mark.browser, pytest.mark.service]

Shoot = Callable[[Page, str], None]


def sign_in(page: Page, service: Service, name: str) -> None:
    page.goto(service.base_url)
    page.get_by_role("button", name=re.compile(name)).click()
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    accept_terms(page)


def accept_terms(page: Page) -> None:
    """As everybody does once; back to the home page."""
    if page.locator("#terms-needed").count():
        page.locator("#terms-needed a").click()
        page.locator("#accept-terms button").click()
        page.wait_for_url(re.compile("/hub/home$"))


def _bytes(frame: str | bytes) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame


def test_a_researcher_starts_works_stops_and_reads_the_cost(page: Page, service: Service, shoot: Shoot) -> None:
    page.goto(service.base_url)
    shoot(page, "01-sign-in")
    sign_in(page, service, "Inês Carvalho")
    shoot(page, "02-home-empty")

    page.get_by_role("radio", name=re.compile("Small")).check()
    page.get_by_label("Environment").select_option("python")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Your session is starting")).to_be_visible()
    shoot(page, "03-starting")
    page.wait_for_url(re.compile("/user/.*/lab"), timeout=90_000)
    expect(page.locator(".jp-Launcher")).to_be_visible(timeout=60_000)
    page.screenshot(path="screenshots/04-jupyterlab.png")

    # JupyterLab shows a kernel as idle before it is connected, and drops what is run until then.
    with page.expect_websocket(lambda socket: "/channels" in socket.url, timeout=60_000) as kernel:
        page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    kernel.value.wait_for_event("framereceived", lambda frame: b"kernel_info_reply" in _bytes(frame), timeout=60_000)
    cell = page.locator(".jp-Notebook .cm-content").first
    cell.click()
    expect(page.locator(".jp-Notebook .cm-editor.cm-focused")).to_be_visible()
    page.keyboard.insert_text("import palmerpenguins as p; print('rows', len(p.load_penguins()))")
    expect(cell).to_contain_text("palmerpenguins")
    page.get_by_role("button", name="Run this cell and advance").click()
    expect(page.locator(".jp-OutputArea-output")).to_contain_text("rows 344", timeout=60_000)
    page.screenshot(path="screenshots/05-notebook.png")

    page.goto(service.base_url + "hub/home")
    expect(page.get_by_text("Running for")).to_be_visible()
    first = page.locator(".nb-elapsed").inner_text()
    page.wait_for_timeout(2100)
    assert page.locator(".nb-elapsed").inner_text() != first, "the time stands still"
    shoot(page, "06-home-running")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("You stopped it.")).to_be_visible(timeout=30_000)
    shoot(page, "07-home-ended")


def test_someone_without_access_reads_what_is_missing(page: Page, service: Service, shoot: Shoot) -> None:
    sign_in(page, service, "Valentina Quispe")
    expect(page.get_by_text("You have no quota for notebooks yet.")).to_be_visible()
    shoot(page, "08-home-newcomer")
    page.get_by_role("link", name="See what is missing").click()
    expect(page.locator("[data-site=here] [data-flavour=small]")).to_contain_text("urn:mace:example.org:group:demo")
    shoot(page, "09-where-to-ask")
    page.goto(f"{service.base_url}hub/spawn")
    shoot(page, "10-spawn-newcomer")


def test_a_refusal_is_told_on_the_form(page: Page, service: Service, shoot: Shoot) -> None:
    sign_in(page, service, "Marta Kowalska")
    for name in ("one", "two"):
        page.get_by_label("Name of the session").fill(name)
        page.get_by_label("Environment").select_option("minimal")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url(re.compile("spawn-pending|/user/"))
        page.goto(service.base_url + "hub/home")
    page.get_by_label("Name of the session").fill("three")
    page.get_by_role("button", name="Start").click()
    refusal = page.locator("#refusal")
    expect(refusal).to_contain_text("You already have 2 of 2 sessions")
    expect(refusal.get_by_role("link", name="Where to ask")).to_be_visible()
    shoot(page, "11-refusal")
    page.goto(service.base_url + "hub/home")
    for _ in range(2):
        page.get_by_role("button", name="Stop").first.click()
        page.wait_for_load_state()


@pytest.mark.parametrize("language", ["es", "pt"])
def test_every_page_speaks_the_readers_language(
    browser: Browser, service: Service, shoot: Shoot, language: str
) -> None:
    context = browser.new_context(locale=language)
    page = context.new_page()
    page.goto(service.base_url)
    shoot(page, f"12-sign-in-{language}")
    page.get_by_role("button", name=re.compile("Sofía Herrera")).click()
    page.wait_for_url(re.compile("/hub/home"))
    assert page.locator("html").get_attribute("lang") == language
    assert "Your quota" not in page.content()
    shoot(page, f"13-home-{language}")
    context.close()


def test_the_language_can_be_changed_and_is_remembered(page: Page, service: Service) -> None:
    sign_in(page, service, "Sofía Herrera")
    page.get_by_role("link", name="PT").click()
    expect(page.locator("html")).to_have_attribute("lang", "pt")
    page.goto(service.base_url + "hub/ask")
    expect(page.locator("html")).to_have_attribute("lang", "pt")


def test_the_page_that_waits_survives_a_restart_of_the_hub(page: Page, service: Service) -> None:
    sign_in(page, service, "Camila Rojas")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("spawn-pending"))
    service.kill("hub")
    expect(page.locator("#stage")).to_contain_text(re.compile("does not answer|restarted"), timeout=15_000)
    page.wait_for_url(re.compile("/user/.*/lab"), timeout=90_000)
    expect(page.locator(".jp-Launcher")).to_be_visible(timeout=60_000)
    page.goto(service.base_url + "hub/home")
    page.get_by_role("button", name="Stop").click()


def test_it_works_without_javascript(service: Service, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, service, "Jonas Brandt")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("spawn-pending"))
    page.goto(service.base_url + "hub/home")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("You stopped it.")).to_be_visible(timeout=30_000)
    context.close()


def test_hub_pages_of_jupyterhub_itself_still_work(page: Page, service: Service, shoot: Shoot) -> None:
    sign_in(page, service, "Luc Moreau")
    page.goto(service.base_url + "hub/token")
    expect(page.get_by_role("button", name=re.compile("token", re.IGNORECASE))).to_be_visible()
    shoot(page, "14-tokens", ours=False)
    page.goto(service.base_url + "hub/nowhere")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    shoot(page, "15-not-found")
    page.goto(service.base_url + "hub/home")
    page.get_by_role("link", name="Sign out").click()
    shoot(page, "16-signed-out")
