"""A real Chromium; each test has a context of its own. Every page that it shows is kept as a picture, and axe finds nothing
against WCAG 2.2 AA on it.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright

from tests.support.missing import skip_or_fail

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_WCAG = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"],
    "resultTypes": ["violations"],
}


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
    """Keep a picture of a page, in desktop and in phone width, and let axe look at both. Pages of JupyterHub's own and
    JupyterLab are not `ours`; JupyterLab is wider than a phone, too.
    """
    SCREENSHOTS.mkdir(exist_ok=True)

    def take(page: Page, name: str, *, ours: bool = True, may_be_wide: bool = False) -> None:
        ours = ours and not may_be_wide
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        found = violations(page) if ours else []
        size = page.viewport_size
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(150)
        page.screenshot(path=SCREENSHOTS / f"{name}-phone.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        found += violations(page) if ours else []
        page.set_viewport_size(size)
        assert may_be_wide or not wide, f"{name} is wider than a phone"
        assert found == [], f"{name}: " + "\n".join(dict.fromkeys(found))

    return take


@pytest.fixture
def illustrate() -> Callable[[Locator, str], None]:
    """Keep a part of a page as a picture for the documentation: `make pictures` puts them there."""
    folder = Path(os.environ.get("NBFED_PICTURES", SCREENSHOTS))

    def take(part: Locator, name: str) -> None:
        folder.mkdir(exist_ok=True)
        part.screenshot(path=folder / f"{name}.png")

    return take


def violations(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 AA; nothing where scripts are off, since axe is one."""
    if not page.evaluate("matchMedia('(scripting: enabled)').matches"):
        return []
    found = Axe().run(page, options=_WCAG).response["violations"]
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]
