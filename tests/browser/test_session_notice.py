"""Time and quota left inside JupyterLab, the notice before a stop there and on the home page, and the reason after it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from spawners.sessions import Server
from tests.browser.test_first_session import Shoot, sign_in
from tests.support.service import Service, running_service

pytestmark = [pytest.mark.browser, pytest.mark.service]

IDLE_SECONDS = 40
STATUS = "#nbfed-lab"
NOTICE = ".Toastify__toast"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Sessions are stopped when nobody used them for two thirds of a minute; the notice comes at half of it."""
    with running_service(idle={"stop_after_minutes": IDLE_SECONDS / 60, "notice_minutes": 10}) as running:
        yield running


def open_lab(page: Page) -> None:
    """Start a session by the form, and wait until JupyterLab is there."""
    page.get_by_label(re.compile("Environment|Entorno|Ambiente")).select_option("minimal")
    page.get_by_role("button", name=re.compile("Start|Iniciar")).click()
    page.wait_for_url(re.compile("/user/.*/lab"), timeout=90_000)
    expect(page.locator(".jp-Launcher")).to_be_visible(timeout=60_000)


def test_an_idle_session_tells_it_before_and_can_be_kept_and_says_why_after(
    page: Page, service: Service, shoot: Shoot
) -> None:
    sign_in(page, service, "Inês Carvalho")
    open_lab(page)
    status = page.locator(STATUS)
    expect(status).to_contain_text("unit-hours", timeout=30_000)
    expect(status).to_contain_text(re.compile(r"99\.\d+ h left|9\d(\.\d)? h left"))
    shoot(page, "20-lab-status")

    # An open page is no use: nobody touches it, and the notice comes.
    notice = page.locator(NOTICE)
    expect(notice).to_contain_text("Nobody uses this session. It will be stopped at", timeout=60_000)
    expect(notice).not_to_contain_text("{time}")
    expect(status).to_contain_text("Stops at")
    shoot(page, "21-lab-notice")

    before = service.house.sessions.open_on("hub")[0]
    notice.get_by_role("button", name="Keep it").click()
    expect(notice).to_have_count(0, timeout=15_000)
    expect(status).to_contain_text("h left", timeout=15_000)

    # Once more nobody uses it. The home page says the same, and keeps it as well.
    expect(notice).to_contain_text("It will be stopped at", timeout=60_000)
    home = page.context.new_page()
    home.goto(service.base_url + "hub/home")
    told = home.locator(".nb-notice")
    expect(told).to_contain_text("Nobody uses this session. It will be stopped at")
    shoot(home, "22-home-notice")
    told.get_by_role("button", name="Keep it").click()
    expect(home.locator(".nb-until")).to_contain_text("Your quota lasts for")
    expect(home.locator(".nb-notice")).to_have_count(0)
    shoot(home, "23-home-kept")
    assert service.house.sessions.open_on("hub")[0].attempt == before.attempt, "it was kept twice"
    home.close()

    # Nobody keeps it now: it is stopped, and the next page says why.
    server = Server("hub", before.server.user, "")
    page.wait_for_timeout(1000 * IDLE_SECONDS)
    expect.poll if False else None
    for _ in range(60):
        if service.house.sessions.open_of(server) is None:
            break
        page.wait_for_timeout(500)
    page.goto(service.base_url + f"user/{before.server.user}/lab")
    reason = page.locator("#end-reason")
    expect(reason).to_contain_text("It was stopped because nobody used it")
    expect(reason).to_contain_text("Your files are kept.")
    shoot(page, "24-stopped")
    page.goto(service.base_url + "hub/home")
    expect(page.get_by_text("It was stopped because nobody used it")).to_be_visible()
    shoot(page, "25-home-stopped")
