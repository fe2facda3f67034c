"""Time and quota left inside JupyterLab, the notice before a stop there and on the home page, and the reason after it."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from spawners.sessions import Server
from tests.browser.test_first_session import accept_terms, sign_in
from tests.support.service import Service, running_service

pytestmark = [pytest.mark.browser, pytest.mark.service]

STATUS = "#nbfed-lab"
TOAST = ".Toastify__toast"
Shoot = Callable[..., None]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Sessions are stopped when nobody used them for 42 seconds; the notice comes at half of it."""
    with running_service(idle={"stop_after_minutes": 0.7, "notice_minutes": 10}) as running:
        yield running


def open_lab(page: Page) -> None:
    """Start a session by the form, and wait until JupyterLab is there."""
    page.locator("select[name=environment]").select_option("minimal")
    page.locator("#start-form button").click()
    page.wait_for_url(re.compile("/user/.*/lab"), timeout=90_000)
    expect(page.locator(".jp-Launcher")).to_be_visible(timeout=60_000)


def test_an_idle_session_tells_it_before_and_can_be_kept_and_says_why_after(
    page: Page, service: Service, shoot: Shoot
) -> None:
    sign_in(page, service, "Inês Carvalho")
    open_lab(page)
    session = service.house.sessions.open_on("hub")[0]
    status = page.locator(STATUS)
    expect(status).to_have_text(re.compile(r"^9\d(\.\d)? h left · 9\d(\.\d+)? unit-hours$"), timeout=30_000)
    shoot(page, "20-lab-status", may_be_wide=True)

    # An open page is no use: nobody touches it, and the notice comes. JupyterLab has notices of its own.
    notice = page.locator(TOAST).filter(has_text="Nobody is using this session. It will be stopped at")
    expect(notice).to_be_visible(timeout=60_000)
    expect(notice).to_contain_text(re.compile(r"stopped at \d+:\d\d [AP]M UTC unless"))
    expect(status).to_have_text(re.compile(r"^Stops at \d+:\d\d [AP]M UTC · 9\d(\.\d+)? unit-hours left$"))
    home = page.context.new_page()
    home.goto(service.base_url + "hub/home")
    expect(home.locator(".nb-notice")).to_contain_text("Nobody is using this session. It will be stopped at")
    shoot(home, "22-home-notice")
    page.wait_for_timeout(1000)  # it slides in
    shoot(page, "21-lab-notice", may_be_wide=True)

    notice.get_by_role("button", name="Keep it").click()
    expect(notice).to_have_count(0)
    expect(status).to_contain_text("h left", timeout=15_000)
    home.reload()
    expect(home.locator(".nb-until")).to_contain_text("Your quota lasts for another")
    expect(home.locator(".nb-notice")).to_have_count(0)
    shoot(home, "23-home-kept")

    # Nobody keeps it now: it is told once more, then it is stopped, and the next page says why.
    expect(notice).to_be_visible(timeout=60_000)
    server = Server("hub", session.server.user, "")
    for _ in range(120):
        if service.house.sessions.open_of(server) is None:
            break
        page.wait_for_timeout(500)
    expect(status).to_have_text("This session is over. The home page says why.", timeout=30_000)
    page.goto(f"{service.base_url}user/{session.server.user}/lab")
    reason = page.locator("#end-reason")
    expect(reason).to_have_text(
        "It was stopped because nobody used it for 0.7 minutes. Your files are kept. Start a new session when you need one."
    )
    shoot(page, "24-stopped")
    page.goto(service.base_url + "hub/home")
    expect(page.get_by_text("It was stopped because nobody used it for 0.7 minutes.")).to_be_visible()
    shoot(page, "25-home-stopped")


def test_jupyterlab_shows_it_in_the_language_of_the_hubs_pages_and_says_when_the_hub_is_away(
    browser: Browser, service: Service
) -> None:
    context = browser.new_context(locale="es")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(service.base_url)
    page.get_by_role("button", name=re.compile("Sofía Herrera")).click()
    accept_terms(page)
    page.get_by_role("link", name="PT").click()
    expect(page.locator("html")).to_have_attribute("lang", "pt")
    open_lab(page)
    status = page.locator(STATUS)
    expect(status).to_have_text(re.compile("unidades-hora"), timeout=30_000)
    hub = service.child("hub")
    hub.suspend()  # killed, it would be there again too soon
    try:
        expect(status).to_have_text(re.compile("^O serviço não responde"), timeout=60_000)
    finally:
        hub.resume()
    expect(status).not_to_have_text(re.compile("^O serviço não responde"), timeout=60_000)
    context.close()
