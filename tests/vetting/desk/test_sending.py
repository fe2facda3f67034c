"""What is sent to the desk: nothing is changed by what no page of ours sent, is too large, or too much at once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.support.desk_pages import ORIGIN, DeskPages
from vetting.desk import seal
from vetting.desk.app import PAGES
from vetting.desk.pace import Pace
from vetting.desk.shield import MOST_BYTES

CHANGES = {"POST", "PUT", "PATCH", "DELETE"}


def routes(*, changing: bool) -> list[str]:
    """The addresses of all pages, or of all that change something, with something in the place of each name."""
    found = [route for router in PAGES for route in router.routes if isinstance(route, APIRoute)]
    kept = [route for route in found if bool(route.methods & CHANGES) is changing]
    return [route.path.removeprefix("/").format_map(_Names()) for route in kept]


class _Names(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return {"site": "hpc", "event": "withdraw"}.get(name, "019ab000-0000-7000-8000-000000000000")


def code(answer: Any) -> str:
    """The code of the error that a page tells."""
    return str(answer.text.partition('data-code="')[2].partition('"')[0])


def test_every_page_that_changes_something_passes_the_gate(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    assert routes(changing=True)
    for path in routes(changing=True):
        answer = browser.post(path, {"seal": "x"})
        assert (answer.status_code, code(answer)) == (403, "desk-form-old"), path


def test_no_page_that_changes_something_is_there_for_get(pages: DeskPages) -> None:
    only_changing = set(routes(changing=True)) - set(routes(changing=False))
    browser = pages.browser("ana")
    for path in only_changing:
        assert browser.get(path).status_code in (404, 405), path


@pytest.mark.parametrize(
    ("origin", "problem"),
    [
        pytest.param(ORIGIN, "desk-form-old", id="ours"),
        pytest.param("https://evil.example.org", "desk-form-foreign", id="another"),
        pytest.param("http://notebooks.example.org", "desk-form-foreign", id="another-scheme"),
        pytest.param("https://notebooks.example.org.evil.example.org", "desk-form-foreign", id="looks-like-ours"),
        pytest.param("null", "desk-form-foreign", id="null"),
        pytest.param(None, "desk-form-foreign", id="none"),
    ],
)
def test_a_form_comes_from_a_page_of_ours(pages: DeskPages, origin: str | None, problem: str) -> None:
    answer = pages.browser("ana").post("ask", {"seal": "x"}, origin)
    assert (answer.status_code, code(answer)) == (403, problem)


def test_a_seal_holds_for_its_own_sign_in_only() -> None:
    key, other = b"k" * 32, b"l" * 32
    made = seal.seal(key, "token")
    assert seal.holds(key, "token", made)
    assert made != seal.seal(key, "token")
    assert not seal.holds(key, "token2", made)
    assert not seal.holds(other, "token", made)
    assert not seal.holds(key, "", seal.seal(key, ""))
    for wrong in ("", ".", "x", made[:-1], made.partition(".")[2], "." + made.partition(".")[2], "é.é"):
        assert not seal.holds(key, "token", wrong)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        pytest.param(b"seal=%ff%fe", "application/x-www-form-urlencoded", 400, id="no-utf-8"),
        pytest.param(b"seal=\xff", "application/x-www-form-urlencoded", 400, id="no-ascii"),
        pytest.param(b"&".join([b"a=1"] * 400), "application/x-www-form-urlencoded", 400, id="too-many-fields"),
        pytest.param(b"{}", "application/json", 403, id="json"),
        pytest.param(b"seal=x", "text/plain", 403, id="text"),
        pytest.param(b"a=" + b"x" * MOST_BYTES, "application/x-www-form-urlencoded", 413, id="too-large"),
    ],
)
def test_what_no_page_of_ours_would_send_is_refused(pages: DeskPages, content: bytes, kind: str, status: int) -> None:
    headers = {"Origin": ORIGIN, "Content-Type": kind}
    answer = pages.browser("ana").send("POST", "ask", content=content, headers=headers)
    assert answer.status_code == status
    assert code(answer)


def test_a_body_that_lies_about_its_length_is_bounded_as_well(pages: DeskPages) -> None:
    headers = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"a" * 65536

    answer = pages.browser("ana").send("POST", "ask", content=parts(), headers=headers)
    assert answer.status_code == 413


def test_too_much_at_once_is_slowed_down(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    answers = [browser.post("ask", {"seal": "x"}) for _ in range(25)]
    last = answers[-1]
    assert (last.status_code, code(last)) == (429, "desk-too-fast")
    assert int(last.headers["retry-after"]) >= 1
    assert pages.browser("ben").post("ask", {"seal": "x"}).status_code == 403  # others are not


def test_a_pace_fills_up_steadily_and_forgets_who_was_silent() -> None:
    now = [0.0]
    pace = Pace(per_minute=6, burst=2, now=lambda: now[0])
    assert [pace.wait_seconds("a") for _ in range(3)] == [0, 0, 10]
    now[0] = 9.0
    assert pace.wait_seconds("a") == 1
    now[0] = 10.0
    assert [pace.wait_seconds("a") for _ in range(2)] == [0, 10]
    for number in range(10_000):
        pace.wait_seconds(str(number))
    assert pace.wait_seconds("a") == 0
