"""What a slow line costs people: bytes, requests and seconds to the home page and to JupyterLab, first and second visit.

A real Chromium on an emulated line of 1 Mbit/s with 300 ms latency; each run has a browser profile of its own.
"""

import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from playwright.sync_api import TimeoutError as PageTimeoutError

from tests.bench.report import Report, progress
from tests.bench.wire import Answer, Wire
from tests.support.person import Person
from tests.support.service import Service, running_service

__all__ = ["measure"]

_ARGUMENTS = [
    "--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_PERSONA, _PERSONA_NAME = "researcher", "Inês Carvalho"
_PATIENCE_MS = 180_000
_LAUNCHER = ".jp-Launcher"
ENVIRONMENT = "python"


@dataclass(frozen=True)
class Visit:
    """One page, reached: how long it took, and all answers until the line fell silent."""

    seconds: float
    answers: list[Answer]


def measure(runs: int, seed: int) -> Report:
    """Run the part; the order is that of a person, so the seed decides nothing."""
    report = Report("bytes: a line of 1 Mbit/s with 300 ms")
    executable = shutil.which("chromium")
    if executable is None:
        report.find("not measured: no chromium is installed")
        return report
    visits: dict[str, list[Visit]] = {}
    with running_service() as service, sync_playwright() as playwright:
        person = Person(service.base_url).sign_in(_PERSONA)
        person.start(flavour="small", environment=ENVIRONMENT)
        person.wait_until_ready()
        browser = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        try:
            for run in range(runs):
                progress(f"bytes, run {run + 1}")
                for page, visit in _one_run(browser, service, person.user_url).items():
                    visits.setdefault(page, []).append(visit)
        finally:
            browser.close()
            person.stop()
    for page, found in visits.items():
        _add(report, page, found)
    _find_faults(report, {page: found[0] for page, found in visits.items()})
    return report


def _one_run(browser: Browser, service: Service, user_url: str) -> dict[str, Visit]:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, locale="en")
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    wire = Wire(context, page)
    wire.slow_down()
    home, lab = service.base_url + "hub/home", user_url + "lab"
    try:
        return {
            "sign-in page": _visit(page, wire, lambda: page.goto(service.base_url)),
            "home after sign-in, first": _visit(page, wire, lambda: _sign_in(page)),
            "home, second visit": _again(page, wire, lambda: page.goto(home)),
            "JupyterLab, first visit": _again(page, wire, lambda: _open_lab(page, lab)),
            "JupyterLab, second visit": _again(page, wire, lambda: _open_lab(page, lab)),
        }
    finally:
        _close(context)


def _sign_in(page: Page) -> None:
    page.get_by_role("button", name=re.compile(_PERSONA_NAME)).click()
    page.wait_for_url(re.compile("/hub/home"), wait_until="load")


def _open_lab(page: Page, address: str) -> None:
    page.goto(address, wait_until="commit")
    page.locator(_LAUNCHER).first.wait_for(state="visible")


def _again(page: Page, wire: Wire, go: Callable[[], object]) -> Visit:
    """From an empty page: going to where one is already would be a reload."""
    page.goto("about:blank")
    return _visit(page, wire, go)


def _visit(page: Page, wire: Wire, go: Callable[[], object]) -> Visit:
    wire.take()
    begun = time.monotonic()
    go()
    seconds = time.monotonic() - begun
    with suppress(PageTimeoutError):  # then it goes on asking; what it asked until now counts
        page.wait_for_load_state("networkidle", timeout=20_000)
    return Visit(seconds, wire.take())


def _close(context: BrowserContext) -> None:
    for page in context.pages:
        page.close(run_before_unload=False)
    context.close()


def _add(report: Report, page: str, visits: list[Visit]) -> None:
    report.add(f"{page}: until it can be used", "s", [visit.seconds for visit in visits])
    sent = [[answer for answer in visit.answers if not answer.from_cache] for visit in visits]
    report.add(f"{page}: received", "kB", [sum(a.received for a in answers) / 1000 for answers in sent])
    report.add(f"{page}: requests", "", [len(answers) for answers in sent])
    report.add(
        f"{page}: answered by the cache", "", [len(v.answers) - len(s) for v, s in zip(visits, sent, strict=True)]
    )


def _find_faults(report: Report, visits: dict[str, Visit]) -> None:
    """Each fault of each address once, where it is first met."""
    known = set()
    for page, visit in visits.items():
        for answer in visit.answers:
            for fault in answer.faults():
                if (answer.path, fault) not in known:
                    report.find(f"{page}: {answer}: {fault}")
                known.add((answer.path, fault))
