"""The queue and one request, as reviewers and others see them; decisions by the forms as they stand on the pages."""

from datetime import timedelta

import httpx
import pytest
from bs4 import BeautifulSoup

from federation.audit import AuditTable
from federation.persons import Facts, remember
from quota.amounts import from_unit_hours
from tests.support.desk import COMMUNITY, DAY, SYSTEM
from tests.support.desk_pages import Browser, DeskPages
from tests.vetting.desk.test_asking import EVIL
from tests.vetting.desk.test_sending import code
from vetting.asking import Actor, Kind
from vetting.desk.parts import PREFIX
from vetting.desk.queue import urgency
from vetting.desk.reviewing import may_decide
from vetting.requests import Request
from vetting.transitions import TABLE, Event, State, Who


def review(browser: Browser, request: Request) -> BeautifulSoup:
    return browser.page(f"review/{request.id}")


def press(browser: Browser, request: Request, event: str, **fields: object) -> httpx.Response:
    """Fill in the decision form as it stands, and press a button."""
    return browser.submit(review(browser, request), "#decision-form", f"[data-event={event}]", **fields)


def state(pages: DeskPages, request: Request) -> State:
    return pages.store.requests.get(request.id, SYSTEM).state


def rows(page: BeautifulSoup) -> list[str]:
    return [str(row["data-request"]) for row in page.select("#queue [data-request]")]


def events(page: BeautifulSoup) -> set[str]:
    return {str(button["data-event"]) for button in page.select("[data-event]")}


# --- the queue ------------------------------------------------------------------------------------------------------


def test_the_queue_has_what_waits_those_first_that_are_due_first(pages: DeskPages) -> None:
    browser = pages.browser("rita", "reviewer")
    first = pages.store.submitted("ana")
    pages.store.clock.move(DAY)
    browser = pages.browser("rita", "reviewer")
    pages.person("rita", "reviewer")
    second, draft = pages.store.submitted("ben"), pages.store.open("cleo")
    page = browser.page("queue")
    assert rows(page) == [first.id, second.id]
    assert draft.id not in str(page)
    text = page.select_one(f"[data-request='{first.id}']").get_text(" ", strip=True)
    for part in ("Ana", "100 unit-hours", "waits for a reviewer", "1 day"):
        assert part in text


def test_the_queue_is_filtered(pages: DeskPages) -> None:
    quota, place = pages.store.submitted("ana"), pages.store.submitted("ben", Kind.SITE, sites=("hpc",), hours=0)
    denied = pages.store.denied("cleo")
    browser = pages.browser("rosa", "reviewer")
    assert rows(browser.page("queue", kind="site")) == [place.id]
    assert rows(browser.page("queue", state="denied")) == [denied.id]
    assert rows(browser.page("queue", state="submitted", kind="quota")) == [quota.id]
    pages.store.open("dora")
    assert rows(browser.page("queue", state="draft")) == [quota.id, place.id]  # a draft is for nobody else
    assert rows(browser.page("queue", state="<b>", kind="<b>")) == [quota.id, place.id]
    assert "Nothing waits here" in browser.page("queue", state="expired").get_text()


def test_a_long_queue_comes_page_by_page(pages: DeskPages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vetting.desk.queue.PAGE", 2)
    all_of_them = []
    for name in ("ana", "ben", "cleo"):
        all_of_them.append(pages.store.submitted(name).id)
        pages.store.clock.move(timedelta(minutes=1))
    browser = pages.browser("rosa", "reviewer")
    first = browser.page("queue")
    assert rows(first) == all_of_them[:2]
    more = first.select_one("main a[href*=offset]")
    assert more is not None
    last = browser.page(str(more["href"]))
    assert rows(last) == all_of_them[2:]
    assert last.select_one("main a[href*=offset]") is None


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        pytest.param(timedelta(0), "", id="new"),
        pytest.param(timedelta(days=2, hours=5), "", id="before-three-quarters"),
        pytest.param(timedelta(days=2, hours=6), "soon", id="three-quarters"),
        pytest.param(timedelta(days=3), "soon", id="due"),
        pytest.param(timedelta(days=3, seconds=1), "late", id="late"),
    ],
)
def test_three_quarters_of_the_target_time_are_a_warning(pages: DeskPages, passed: timedelta, expected: str) -> None:
    request = pages.store.submitted("ana")
    assert urgency(request, timedelta(days=3), pages.store.clock() + passed) == expected


def test_while_the_person_is_asked_nothing_is_late(pages: DeskPages) -> None:
    request = pages.store.in_review("ana")
    asked = pages.store.act(request, Event.ASK, pages.store.reviewer(), text="Which data?")
    assert urgency(asked, timedelta(days=3), pages.store.clock() + 30 * DAY) == ""


# --- several at once ----------------------------------------------------------------------------------------------------


def boxes(page: BeautifulSoup) -> list[str]:
    return [str(box["value"]) for box in page.select("#several input[name=request]")]


def test_what_is_like_the_default_is_approved_together(pages: DeskPages) -> None:
    alike = [pages.store.submitted(name) for name in ("ana", "ben", "cleo")]
    browser = pages.browser("rosa", "reviewer")
    page = browser.page("queue", kind="quota")
    assert boxes(page) == [one.id for one in alike]
    answer = browser.submit(page, "#several", request=[one.id for one in alike[:2]], no_conflict="yes")
    assert answer.status_code == 303
    after = browser.page(answer.headers["location"])
    assert "2 requests are approved" in after.select_one("#approved").get_text()
    assert after.select_one("#kind option[selected]")["value"] == "quota"
    assert [state(pages, one) for one in alike] == [State.APPROVED, State.APPROVED, State.SUBMITTED]
    for one in alike[:2]:
        found = pages.store.requests.get(one.id, SYSTEM)
        assert found.reviewer == f"person:{pages.store.people['rosa'].id}"
        assert found.decision is not None
        assert (found.decision.ends_at, found.decision.amount_milli_unit_seconds) == (
            one.asked.ends_at, one.asked.amount_milli_unit_seconds,
        )  # fmt: skip


def test_what_is_not_like_the_default_has_no_box_and_is_refused_if_sent_all_the_same(pages: DeskPages) -> None:
    usual, larger = pages.store.submitted("ana"), pages.store.submitted("ben", hours=101)
    other_tier = pages.store.submitted("cleo", flavour="gpu")  # a rule does not hold for her
    place = pages.store.submitted("dora", Kind.SITE, sites=("hpc",), hours=0)
    browser = pages.browser("rosa", "reviewer")
    page = browser.page("queue")
    assert boxes(page) == [usual.id]
    sent = [larger.id, other_tier.id, place.id, "nobody's", usual.id]
    answer = browser.submit(page, "#several", request=sent, no_conflict="yes")
    assert answer.status_code == 200
    after = BeautifulSoup(answer.text, "html.parser")
    refused = {str(one["data-refused"]): str(one["data-code"]) for one in after.select("[data-refused]")}
    assert refused == dict.fromkeys(sent[:3], "needs-a-look") | {"nobody's": "request-unknown"}
    assert "1 request is approved" in after.select_one("#approved").get_text()
    assert {state(pages, one) for one in (larger, other_tier, place)} == {State.SUBMITTED}
    assert state(pages, usual) is State.APPROVED


def test_one_s_own_another_s_and_what_is_unsaid_about_conflicts_are_not_approved_together(pages: DeskPages) -> None:
    pages.person("rosa", "reviewer")
    own, another_s, free = pages.store.submitted("rosa"), pages.store.in_review("ana"), pages.store.submitted("ben")
    pages.person("rosa", "reviewer")
    browser = pages.browser("rosa", "reviewer")
    page = browser.page("queue")
    assert boxes(page) == [free.id]
    answer = browser.submit(page, "#several", request=[own.id, another_s.id, free.id])
    found = BeautifulSoup(answer.text, "html.parser").select("[data-refused]")
    assert [one["data-code"] for one in found] == ["needs-a-look", "needs-a-look", "conflict-of-interest"]
    assert [state(pages, one) for one in (own, another_s, free)] == [State.SUBMITTED, State.IN_REVIEW, State.SUBMITTED]


def test_who_does_not_decide_is_offered_no_box_and_gets_nothing_approved(pages: DeskPages) -> None:
    request = pages.store.submitted("ana")
    browser = pages.browser("olga", "operator")
    page = browser.page("queue")
    assert boxes(page) == []
    seal = pages.browser("rosa", "reviewer").page("queue").select_one("#several [name=seal]")["value"]
    answer = browser.post("queue/approve", {"request": request.id, "no_conflict": "yes", "seal": seal})
    assert answer.status_code == 403
    assert state(pages, request) is State.SUBMITTED


# --- one request ----------------------------------------------------------------------------------------------------


def test_a_request_is_told_in_the_order_in_which_it_is_decided(pages: DeskPages) -> None:
    pages.store.denied("ana")
    request = pages.store.submitted("ana", flavour="gpu")
    page = review(pages.browser("rosa", "reviewer"), request)
    assert [heading.get_text() for heading in page.select("main h2")] == [
        "Who asks", "Asked for, and held", "Earlier requests", "Evidence", "What the rules ask",
        "Places, the most fitting first", "Decision", "What happened",
    ]  # fmt: skip
    text = page.get_text(" ", strip=True)
    for part in ("ana@example.org", "Penguins", "Prof. Paz", "What is it for?", "https://idp.example.org | ana"):
        assert part in text


def test_the_checklist_says_yes_no_and_unknown(pages: DeskPages) -> None:
    request = pages.store.submitted("ana", flavour="gpu")

    def answers() -> list[str]:
        rosa = pages.browser("rosa", "reviewer")
        return [str(line["data-answer"]) for line in review(rosa, request).select("#checklist [data-answer]")]

    assert answers() == ["yes", "no"]  # the community; a decision of the support team
    pages.store.clock.move(2 * DAY)
    pages.person("rosa", "reviewer")
    assert answers() == ["unknown", "no"]


def test_what_the_provider_says_now_is_told_where_it_is_something_else(pages: DeskPages) -> None:
    request = pages.store.submitted("ana")
    rosa = pages.browser("rosa", "reviewer")
    assert "something else now" not in review(rosa, request).get_text()
    with pages.store.database.write() as connection:
        remember(
            connection, issuer="https://idp.example.org", subject="ana", preferred="ana", now=pages.store.clock(),
            facts=Facts(name="Ana Moved", memberships=(COMMUNITY,)),
        )  # fmt: skip
    text = review(rosa, request).get_text()
    assert "something else now" in text
    assert "Ana Moved" in text


def test_sites_are_ranked_with_why_not(pages: DeskPages) -> None:
    request = pages.store.submitted("ana", Kind.SITE, sites=("hpc",), hours=0, flavour="small")
    page = review(pages.browser("rosa", "reviewer"), request)
    assert [site["data-site"] for site in page.select("li[data-site]")] == ["cloud", "hpc"]
    assert "the acceptance of the site" in page.select_one("li[data-site=hpc]").get_text()


# --- decisions ------------------------------------------------------------------------------------------------------


def test_a_usual_request_is_approved_in_one_go(pages: DeskPages) -> None:
    request = pages.store.submitted("ana")
    browser = pages.browser("rosa", "reviewer")
    answer = press(browser, request, "approve", no_conflict="yes", words="Enjoy.")
    assert answer.status_code == 303
    after = pages.store.requests.get(request.id, SYSTEM)
    assert (after.state, after.note) == (State.APPROVED, "Enjoy.")
    assert after.decision is not None
    assert after.decision.ends_at == request.asked.ends_at  # to the second, as it was left in the form
    assert after.decision.amount_milli_unit_seconds == request.asked.amount_milli_unit_seconds
    assert after.reviewer == f"person:{pages.store.people['rosa'].id}"


def test_less_is_given_and_for_a_shorter_time(pages: DeskPages) -> None:
    request = pages.store.submitted("ana")
    browser = pages.browser("rosa", "reviewer")
    day = (pages.store.clock() + 30 * DAY).date().isoformat()
    press(browser, request, "approve", no_conflict="yes", hours="12,5", until=day, private="Look again.")
    after = pages.store.requests.get(request.id, SYSTEM)
    assert after.decision is not None
    assert after.decision.amount_milli_unit_seconds == from_unit_hours(25) // 2
    assert (after.decision.ends_at - pages.store.clock()).days == 30
    assert after.private_note == "Look again."


@pytest.mark.parametrize(
    ("event", "fields", "problem"),
    [
        pytest.param("approve", {}, "conflict-of-interest", id="no-declaration"),
        pytest.param("approve", {"no_conflict": "yes", "hours": "101"}, "more-than-asked", id="more"),
        pytest.param("approve", {"no_conflict": "yes", "hours": "much"}, "amount-unreadable", id="no-amount"),
        pytest.param("approve", {"no_conflict": "yes", "hours": "0"}, "nothing-given", id="nothing"),
        pytest.param("deny", {"no_conflict": "yes", "code": "purpose"}, "words-needed", id="no-reason"),
        pytest.param("deny", {"no_conflict": "yes", "words": "No."}, "words-needed", id="no-code"),
        pytest.param("deny", {"no_conflict": "yes", "code": "x", "words": "No."}, "denial-code-unknown", id="no-such-code"),
        pytest.param("ask", {"no_conflict": "yes"}, "words-needed", id="no-question"),
    ],
)  # fmt: skip
def test_what_may_not_be_is_told_and_what_was_typed_stays(
    pages: DeskPages, event: str, fields: dict[str, str], problem: str
) -> None:
    request = pages.store.submitted("ana")
    browser = pages.browser("rosa", "reviewer")
    answer = press(browser, request, event, private="Typed.", **fields)
    assert code(answer) == problem
    assert answer.status_code in (400, 403)
    assert "Typed." in answer.text
    assert state(pages, request) in (State.SUBMITTED, State.IN_REVIEW)


def test_two_people_approve_what_is_above_the_ceiling(pages: DeskPages) -> None:
    request = pages.store.submitted("ana", hours=2000)
    first, second = pages.browser("rosa", "reviewer"), pages.browser("rui", "reviewer")
    assert review(first, request).select_one("#two-people") is not None
    press(first, request, "approve", no_conflict="yes")
    assert state(pages, request) is State.AWAITING_SECOND
    page = review(first, request)
    assert "a second person decides" in page.select_one("#obstacle").get_text()
    assert events(page) == set()
    page = review(second, request)
    assert "2,000 unit-hours" in page.select_one("#decided").get_text()
    assert events(page) == {"approve", "deny"}
    assert code(press(second, request, "approve")) == "conflict-of-interest"
    assert press(second, request, "approve", no_conflict="yes").status_code == 303
    assert state(pages, request) is State.APPROVED


def test_two_reviewers_never_work_on_one_request(pages: DeskPages) -> None:
    request = pages.store.submitted("ana")
    first, second = pages.browser("rosa", "reviewer"), pages.browser("rui", "reviewer")
    seal = review(second, request).select_one("input[name=seal]")["value"]
    press(first, request, "claim", no_conflict="yes")
    page = review(second, request)
    assert "Another reviewer works on this request" in page.select_one("#obstacle").get_text()
    assert events(page) == set()
    answer = second.post(f"review/{request.id}/approve", {"seal": seal, "no_conflict": "yes", "hours": "1"})
    assert answer.status_code in (400, 409)
    assert state(pages, request) is State.IN_REVIEW
    press(first, request, "unclaim")
    assert state(pages, request) is State.SUBMITTED
    assert "approve" in events(review(second, request))


def test_nobody_decides_about_what_is_their_own(pages: DeskPages) -> None:
    browser = pages.browser("rosa", "reviewer")
    request = pages.store.submitted("rosa")
    assert "your own" in browser.page("queue").get_text()
    page = review(browser, request)
    assert events(page) == set()
    assert "Nobody decides about a request of their own" in page.select_one("#obstacle").get_text()
    seal = browser.page("ask", kind="site").select_one("input[name=seal]")["value"]
    for event in ("claim", "approve", "deny", "ask"):
        answer = browser.post(f"review/{request.id}/{event}", {"seal": seal, "no_conflict": "yes", "hours": "100",
                              "until": "2027-01-01", "words": "x", "code": "other"})  # fmt: skip
        assert (answer.status_code, code(answer)) == (403, "own-request")
    assert state(pages, request) is State.SUBMITTED


def test_a_question_and_a_denial(pages: DeskPages) -> None:
    request = pages.store.submitted("ana")
    browser = pages.browser("rosa", "reviewer")
    press(browser, request, "ask", no_conflict="yes", words="Which data?")
    assert state(pages, request) is State.NEEDS_INFO
    assert "Nothing is to be decided here now." in review(browser, request).get_text()
    pages.store.act(request, Event.ANSWER, pages.store.user("ana"), text="Counts.")
    page = review(browser, request)
    assert "Counts." in page.get_text()
    press(browser, request, "deny", words="Ask your community.", code="not-eligible")
    after = pages.store.requests.get(request.id, SYSTEM)
    assert (after.state, after.denial_code, after.note) == (State.DENIED, "not-eligible", "Ask your community.")


def test_what_was_given_is_reduced_suspended_and_restored(pages: DeskPages) -> None:
    request = pages.store.active("ana")
    browser = pages.browser("rosa", "reviewer")
    assert events(review(browser, request)) == {"reduce", "suspend"}
    press(browser, request, "reduce", hours="40", words="Half a year without use.")
    assert pages.store.row(request).given_amount_milli_unit_seconds == from_unit_hours(40)
    press(browser, request, "suspend", words="A look at the load.")
    assert state(pages, request) is State.SUSPENDED
    assert events(review(browser, request)) == {"restore"}
    press(browser, request, "restore", words="All is well.")
    assert state(pages, request) is State.ACTIVE


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "sees", "decides"),
    [
        ("user", False, False), ("trainer", False, False), ("site operator", False, False), ("operator", True, False),
        ("reviewer", True, True),
    ],
)  # fmt: skip
def test_each_role_sees_and_decides_what_is_theirs(pages: DeskPages, role: str, sees: bool, decides: bool) -> None:
    request = pages.store.submitted("ana")
    browser = pages.browser("pat", role)
    for path in ("queue", f"review/{request.id}"):
        assert browser.get(path).status_code == (200 if sees else 403), path
    assert ("Queue" in browser.page().get_text()) is sees
    seal = browser.page("ask", kind="site").select_one("input[name=seal]")["value"]
    answer = browser.post(f"review/{request.id}/claim", {"seal": seal, "no_conflict": "yes"})
    assert answer.status_code == (303 if decides else 403)
    assert state(pages, request) is (State.IN_REVIEW if decides else State.SUBMITTED)
    refused = [row.details["right"] for row in pages.store.rows(AuditTable) if row.act == "desk:page:refused"]
    assert refused == ([] if sees else ["see-requests"] * 2) + ([] if decides else ["decide"])


def test_what_a_page_offers_is_what_the_store_allows(pages: DeskPages) -> None:
    request = pages.store.in_review("ana")
    rules, now = pages.store.requests.rules, pages.store.clock()
    holder, other = pages.store.reviewer(), pages.store.reviewer("rosa")
    assert may_decide(request, holder, rules, now) == (
        frozenset({Event.UNCLAIM, Event.ASK, Event.APPROVE, Event.DENY}), None,
    )  # fmt: skip
    allowed, obstacle = may_decide(request, other, rules, now)
    assert (allowed, obstacle.problem.code if obstacle else "") == (frozenset(), "claimed-by-another")
    operator = Actor(name="person:o", person_id="o", is_reviewer=True, is_operator=True)
    assert may_decide(request, operator, rules, now)[0] == {Event.UNCLAIM}
    assert may_decide(request, pages.store.user("ana"), rules, now) == (frozenset(), None)


def test_every_event_of_reviewers_has_a_button() -> None:
    from vetting.desk.review_pages import ReviewEvent

    assert {event.value for event in ReviewEvent} == {row.event.value for row in TABLE if row.who is Who.REVIEWER}


def test_what_is_written_is_no_markup_for_reviewers_either(pages: DeskPages) -> None:
    evil = {"purpose": EVIL, "contact": EVIL, "evidence": EVIL, "details": EVIL}
    request = pages.store.submitted("ana", Kind.SITE, sites=("hpc",), hours=0, **evil)
    with pages.store.database.write() as connection:
        remember(
            connection, issuer="https://idp.example.org", subject="ana", preferred="ana", now=pages.store.clock(),
            facts=Facts(name=EVIL, email=EVIL, home_organisation=EVIL, memberships=(EVIL,), affiliations=(EVIL,)),
        )  # fmt: skip
    browser = pages.browser("rosa", "reviewer")
    bad = press(browser, request, "deny", words=EVIL, private=EVIL, code=EVIL, no_conflict="yes")
    texts = [bad.text, browser.get("queue").text]
    press(browser, request, "ask", words=EVIL, no_conflict="yes")
    texts.append(browser.get(f"review/{request.id}").text)
    for text in texts:
        page = BeautifulSoup(text, "html.parser")
        assert not page.select("img")
        assert len(page.select("script")) == 1
    assert EVIL in BeautifulSoup(texts[1], "html.parser").get_text()


def test_attempts_at_what_is_for_others_are_written_down(pages: DeskPages) -> None:
    answer = pages.browser("ana").get("queue")
    assert (answer.status_code, code(answer)) == (403, "desk-role-needed")
    (row,) = [row for row in pages.store.rows(AuditTable) if row.act == "desk:page:refused"]
    assert (row.actor, row.target) == (f"person:{pages.store.people['ana'].id}", f"{PREFIX}queue")


@pytest.mark.parametrize("words", ["", "And for how long?"])
def test_an_answer_that_is_ready_is_read_in_the_person_s_language(pages: DeskPages, words: str) -> None:
    """The person read the terms in Spanish; the reviewer reads English."""
    request = pages.store.submitted("ana")
    browser = pages.browser("rosa", "reviewer")
    page = browser.page(f"review/{request.id}")
    assert [option.get_text() for option in page.select("#answer option")] == ["–", "Which data"]
    press(browser, request, "ask", answer="which-data", words=words, no_conflict="yes")
    asked = pages.store.requests.steps(request.id, pages.store.user("ana"))[-1]
    assert asked.text == "\n\n".join(filter(None, ["¿Qué datos necesita allí?", words]))


def test_an_answer_that_there_is_not_says_nothing(pages: DeskPages) -> None:
    request = pages.store.submitted("ana")
    refused = press(pages.browser("rosa", "reviewer"), request, "ask", answer="none", no_conflict="yes")
    assert code(refused) == "words-needed"


# --- pictures -----------------------------------------------------------------------------------------------------


def test_how_long_requests_wait_is_a_picture_with_a_table(pages: DeskPages) -> None:
    browser = pages.browser("rita", "reviewer")
    assert browser.page("queue").select_one("#waited") is None
    for name in ("ana", "ben"):
        pages.store.submitted(name)
    pages.store.clock.move(2 * DAY)
    pages.store.submitted("cleo")
    asked = pages.store.in_review("dora")
    pages.store.act(asked, Event.ASK, pages.store.reviewer(), text="Which data?")
    pages.store.clock.move(timedelta(days=1.5))
    pages.person("rita", "reviewer")
    picture = browser.page("queue").select_one("#waited")
    assert picture is not None
    rows = [[cell.get_text(" ", strip=True) for cell in row.select("td")] for row in picture.select("tbody tr")]
    assert rows == [
        ["less than 1 day", "0"], ["1 to 3 days", "1"], ["3 to 7 days (late)", "2"], ["7 to 14 days (late)", "0"],
        ["14 days and more (late)", "0"],
    ]  # fmt: skip
    assert "3 wait for reviewers, 2 of them" in picture.select_one("desc").get_text()
    assert [column.get("class") for column in picture.select("svg[role=img] rect")][:3] == [
        ["nb-picture-column"], ["nb-picture-column"], ["nb-picture-column", "nb-late"],
    ]  # fmt: skip


def test_what_is_left_over_time_is_a_picture_for_who_decides_and_for_who_has_it(pages: DeskPages) -> None:
    given = pages.store.active("ana")
    pages.store.clock.move(DAY)
    pages.person("ana")
    for browser, path in (
        (pages.browser("ana"), f"requests/{given.id}"),
        (pages.browser("rita", "reviewer"), f"review/{given.id}"),
        (pages.browser("olga", "operator"), f"grants/{pages.store.people['ana'].id}"),
    ):
        picture = browser.page(path).select_one("#course")
        assert picture is not None, path
        assert "100 unit-hours are left today" in picture.select_one("desc").get_text()
        assert picture.select("tbody tr")[-1].select("td")[-1].get_text() == "100"
