"""A real Chromium; each test has a context of its own, and every page that it shows is kept as a picture."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.missing import skip_or_fail

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # For one module: as long as Playwright runs, no other test of this thread can run an event loop.
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        skip_or_fail("no chromium is installed (on Debian as root, `make setup-test` installs it)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1200, "height": 900}, locale="en")
    made.set_default_timeout(30_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def shoot() -> Callable[..., None]:
    """Keep a picture of a page, in desktop and in phone width; JupyterLab itself is wider than a phone."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def take(page: Page, name: str, *, may_be_wide: bool = False) -> None:
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        size = page.viewport_size
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(150)
        page.screenshot(path=SCREENSHOTS / f"{name}-phone.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        page.set_viewport_size(size)
        assert may_be_wide or not wide, f"{name} is wider than a phone"

    return take
