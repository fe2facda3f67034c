"""The API: the rights and rules of the pages, problem documents, and nothing changed by what a browser is made to send."""

from typing import Any

import httpx
import pytest

from federation.audit import Act, record
from quota.amounts import from_unit_hours
from quota.owners import Owner
from quota.tables import OwnerKind
from tests.support.desk import DAY
from tests.support.desk_pages import ORIGIN, Browser, DeskPages
from vetting import mappings
from vetting.asking import Kind
from vetting.transitions import Event, State

API = "api/v1/"
HOURS = 3_600_000


class Caller:
    """A program with somebody's token."""

    def __init__(self, pages: DeskPages, name: str = "", role: str = "user") -> None:
        self.browser = Browser(pages, "en")
        self.person = (pages.store.people.get(name) or pages.person(name, role)) if name else None
        if self.person is not None:
            pages.sign_in.tokens[f"api-of-{name}"] = self.person.user_name
            self.browser.client.headers["Authorization"] = f"Bearer api-of-{name}"

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.browser.send(method, API + path, **options)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.call("GET", path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = self.call("POST", path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def refused(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        answer = self.call(method, path, **options)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        document = answer.json()
        assert document["status"] == answer.status_code
        assert document["type"] == f"urn:notebooks-federation:problem:{document['code']}"
        assert document["title"] in document["detail"]
        return answer.status_code, document["code"]


def wish(pages: DeskPages, **changes: Any) -> dict[str, Any]:
    asked = pages.store.asked(hours=500)
    names = ("amount_milli_unit_seconds", "purpose", "contact", "evidence")
    return {"ends_at": asked.ends_at.isoformat(), **{name: getattr(asked, name) for name in names}, **changes}


def test_from_a_wish_to_a_decision(pages: DeskPages) -> None:
    ana, rita = Caller(pages, "ana"), Caller(pages, "rita", "reviewer")
    made = ana.post("requests", {"kind": "quota", "asked": wish(pages), "submit": True}, status=201)
    assert (made["state"], made["asked"]["amount_milli_unit_seconds"]) == ("submitted", 500 * HOURS)
    assert [one["id"] for one in ana.get("requests")] == [made["id"]]
    assert made["events"] == ["withdraw"]
    entry = rita.get("queue", state="submitted", kind="quota")[0]
    assert (entry["id"], entry["person"], entry["is_own"]) == (made["id"], "Ana", False)
    asked = rita.post(f"review/{made['id']}/ask", {"text": "Which data?", "no_conflict": True, "private": "odd"})
    assert (asked["state"], asked["reviewer"], asked["person"]["email"]) == ("needs_info", "Rita", "ana@example.org")
    own = ana.get(f"requests/{made['id']}")
    assert (own["text"], own["events"]) == ("Which data?", ["answer", "withdraw"])
    assert "Rita" not in str(own)
    ana.post(f"requests/{made['id']}/answer", {"text": "Penguins."})
    decided = rita.post(f"review/{made['id']}/approve", {"text": "Enjoy.", "private": "fine"})
    assert (decided["state"], decided["given"]["amount_milli_unit_seconds"]) == ("approved", 500 * HOURS)
    assert "fine" not in str(ana.get(f"requests/{made['id']}"))
    assert rita.refused("POST", f"review/{made['id']}/approve", json={}) == (409, "request-moved-on")


def test_less_than_was_asked_for_is_given(pages: DeskPages) -> None:
    made = pages.store.submitted("ana", hours=500)
    rita = Caller(pages, "rita", "reviewer")
    given = {"amount_milli_unit_seconds": 100 * HOURS, "ends_at": made.asked.ends_at.isoformat()}
    assert rita.refused("POST", f"review/{made.id}/approve", json={"given": given}) == (403, "conflict-of-interest")
    decided = rita.post(f"review/{made.id}/approve", {"given": given, "no_conflict": True})
    assert decided["given"]["amount_milli_unit_seconds"] == 100 * HOURS
    too_much = given | {"amount_milli_unit_seconds": 501 * HOURS}
    other = pages.store.submitted("ben", hours=500)
    refused = rita.refused("POST", f"review/{other.id}/approve", json={"given": too_much, "no_conflict": True})
    assert refused == (400, "more-than-asked")


def test_a_draft_is_kept_changed_and_sent_once(pages: DeskPages) -> None:
    ana = Caller(pages, "ana")
    made = ana.post("requests", {"kind": "quota", "asked": wish(pages, purpose="")}, status=201)
    rita = Caller(pages, "rita", "reviewer")
    assert rita.get("queue", state="draft") == []  # it is for nobody else, by its number neither
    assert rita.refused("GET", f"review/{made['id']}") == (404, "request-unknown")
    again = ana.refused("POST", "requests", json={"kind": "quota", "asked": wish(pages)})
    assert again == (409, "request-open-already")
    assert ana.refused("POST", f"requests/{made['id']}/submit")[1] == "request-incomplete"
    changed = ana.call("PUT", f"requests/{made['id']}", json=wish(pages, purpose="Whales"))
    assert (changed.status_code, changed.json()["asked"]["purpose"]) == (200, "Whales")
    assert ana.post(f"requests/{made['id']}/submit")["state"] == "submitted"
    assert ana.refused("POST", f"requests/{made['id']}/submit") == (409, "request-moved-on")


def test_nobody_gets_what_is_another_s(pages: DeskPages) -> None:
    made, ben = pages.store.submitted("ana"), Caller(pages, "ben")
    assert ben.refused("GET", f"requests/{made.id}") == (404, "request-unknown")
    assert ben.refused("POST", f"requests/{made.id}/withdraw") == (404, "request-unknown")
    assert ben.refused("GET", f"review/{made.id}") == (403, "desk-role-needed")
    for path in ("queue", "audit", "people?who=ana", f"people/{made.person_id}/grants", "sites/hpc/accounts"):
        assert ben.refused("GET", path) == (403, "desk-role-needed"), path
    rita = Caller(pages, "rita", "reviewer")
    assert rita.refused("GET", f"requests/{made.id}") == (404, "request-unknown")  # what is one's own is without a role
    own = pages.store.submitted("rita")
    assert rita.refused("POST", f"review/{own.id}/claim", json={"no_conflict": True}) == (403, "own-request")


def test_a_site_answers_for_itself(pages: DeskPages) -> None:
    request, sam = pages.store.active("ana", Kind.SITE, sites=("hpc",), hours=0), Caller(pages, "sam", "site operator")
    asked = sam.get("sites/hpc/accounts", state="asked")
    assert [(one["person"], one["state"]) for one in asked] == [("Ana", "asked")]
    path = f"sites/hpc/accounts/{request.person_id}"
    assert sam.refused("POST", f"{path}/refuse", json={}) == (400, "words-needed")
    assert sam.post(f"{path}/accept", {})["state"] == "accepted"
    assert sam.refused("POST", f"{path}/accept", json={}) == (409, "mapping-moved-on")
    with pages.store.database.read() as connection:
        assert mappings.mappings(connection, site="hpc")[0].state == "accepted"
    assert sam.refused("GET", "sites/cloud/accounts") == (403, "desk-role-needed")
    assert Caller(pages, "olga", "operator").refused("GET", "sites/hpc/accounts")[0] == 403


def test_operators_read_grants_and_the_audit_trail(pages: DeskPages) -> None:
    ana, olga = pages.person("ana"), Caller(pages, "olga", "operator")
    now = pages.store.clock()
    pages.desk.ledger.grant(
        key="k", owner=Owner(OwnerKind.USER, ana.id), amount=from_unit_hours(100), starts_at=now,
        ends_at=now + 30 * DAY, created_by="cli:ben", reason="a project",
    )  # fmt: skip
    assert [one["id"] for one in olga.get("people", who="ana")] == [ana.id]
    account = olga.get(f"people/{ana.id}/grants")
    assert account["left_milli_unit_seconds"] == 100 * HOURS
    assert [(one["reason"], one["state"]) for one in account["grants"]] == [("a project", "active")]
    with pages.store.database.write() as connection:
        for number in range(3):
            record(connection, at=now, act=Act.PERSON_EXPORTED, actor="cli:ben", target=f"t{number}", reason="")
    rows = olga.get("audit", act=Act.PERSON_EXPORTED.value, limit=2)
    assert [row["target"] for row in rows] == ["t2", "t1"]
    assert [row["target"] for row in olga.get("audit", actor="cli:ben", before=rows[-1]["seq"], target="t0")] == ["t0"]


def test_what_there_is_and_who_calls(pages: DeskPages) -> None:
    nobody = Caller(pages)
    assert [site["name"] for site in nobody.get("catalogue")["sites"]] == ["cloud", "hpc"]
    assert nobody.call("GET", "catalogue", headers={"Accept-Language": "es"}).json()["sites"][0]["country"] == "Perú"
    assert Caller(pages, "sam", "site operator").get("me")["site_operator_of"] == ["hpc"]
    assert Caller(pages, "rita", "reviewer").get("me")["rights"] == ["own", "see-requests", "decide", "support"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param({}, 401, "desk-token-needed", id="none"),
        pytest.param({"Authorization": "Bearer of-nobody"}, 401, "desk-token-needed", id="of-nobody"),
        pytest.param({"Authorization": "Basic eDp5"}, 401, "desk-token-needed", id="another-scheme"),
    ],
)
def test_a_token_is_needed(pages: DeskPages, headers: dict[str, str], status: int, code: str) -> None:
    nobody = Caller(pages)
    for method, path in (("GET", "me"), ("GET", "queue"), ("POST", "requests"), ("POST", "review/x/approve")):
        body = {"kind": "quota", "asked": wish(pages)} if path == "requests" else {}
        options = {"json": body} if method == "POST" else {}
        assert nobody.refused(method, path, headers=headers, **options) == (status, code)
        assert nobody.call(method, path, headers=headers, **options).headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("origin", "has_seal", "code"),
    [
        pytest.param(ORIGIN, True, None, id="our-page"),
        pytest.param(ORIGIN, False, "desk-form-old", id="without-a-seal"),
        pytest.param("https://evil.example.org", True, "desk-form-foreign", id="another-page"),
        pytest.param("", True, "desk-form-foreign", id="nobody-says"),
    ],
)
def test_a_browser_changes_something_only_from_a_page_of_ours(
    pages: DeskPages, origin: str, has_seal: bool, code: str | None
) -> None:
    browser = pages.browser("ana")
    seal = str(browser.page("ask", kind="quota").select_one("[name=seal]")["value"])
    headers = {"Origin": origin, "X-Desk-Seal": seal if has_seal else ""}
    body = {"kind": "quota", "asked": wish(pages)}
    answer = browser.send("POST", API + "requests", json=body, headers=headers)
    if code is None:
        assert answer.status_code == 201
        assert browser.send("GET", API + "requests").json()[0]["id"] == answer.json()["id"]
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, code)
        assert pages.store.requests.found() == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        pytest.param({"amount_milli_unit_seconds": -1}, "amount_milli_unit_seconds", id="less-than-nothing"),
        pytest.param({"amount_milli_unit_seconds": 1.5}, "amount_milli_unit_seconds", id="no-whole-number"),
        pytest.param({"amount_milli_unit_seconds": 2**60}, "amount_milli_unit_seconds", id="too-much"),
        pytest.param({"ends_at": "2027-01-01T00:00:00"}, "ends_at", id="without-a-zone"),
        pytest.param({"ends_at": "9999-12-31T23:59:59-23:00"}, "ends_at", id="after-all-time"),
        pytest.param({"ends_at": "3000-01-01T00:00:00Z"}, "ends_at", id="too-late"),
        pytest.param({"purpose": "x" * 4001}, "purpose", id="too-long"),
        pytest.param({"purpose": "a\0b"}, "purpose", id="nul"),
        pytest.param({"sites": ["hpc"] * 51}, "sites", id="too-many"),
        pytest.param({"extra": 1}, "extra", id="unknown"),
    ],
)
def test_what_does_not_fit_is_said(pages: DeskPages, changes: dict[str, Any], where: str) -> None:
    ana = Caller(pages, "ana")
    answer = ana.call("POST", "requests", json={"kind": "quota", "asked": wish(pages, **changes)})
    assert (answer.status_code, answer.json()["code"]) == (422, "desk-input-unfit")
    assert answer.json()["errors"][0]["where"].startswith(f"body.asked.{where}")
    assert pages.store.requests.found() == []


@pytest.mark.parametrize(
    "path", ["requests?limit=0", "requests?limit=201", "requests?offset=-1", "requests?limit=x", "queue?state=none"]
)
def test_pages_of_lists_are_bounded(pages: DeskPages, path: str) -> None:
    assert Caller(pages, "rita", "reviewer").refused("GET", path) == (422, "desk-input-unfit")


def test_lists_come_in_parts(pages: DeskPages) -> None:
    for name in ("ana", "ben", "cyd"):
        pages.store.submitted(name)
    rita = Caller(pages, "rita", "reviewer")
    parts = [rita.get("queue", limit=2), rita.get("queue", limit=2, offset=2)]
    assert [len(part) for part in parts] == [2, 1]
    assert len({entry["id"] for part in parts for entry in part}) == 3


def test_what_goes_wrong_is_a_problem_document(pages: DeskPages, monkeypatch: pytest.MonkeyPatch) -> None:
    ana = Caller(pages, "ana")
    assert ana.refused("GET", "nothing-here") == (404, "desk-page-unknown")
    assert ana.refused("GET", "requests/a%00b") == (404, "desk-page-unknown")
    assert ana.refused("DELETE", "requests") == (405, "desk-method")
    assert ana.call("DELETE", "requests").headers["allow"]
    assert ana.refused("POST", "requests", content=b"{") == (422, "desk-input-unfit")
    assert ana.refused("POST", "requests", content=b"x" * 300_000) == (413, "desk-too-large")
    pages.sign_in.away = True
    assert ana.refused("GET", "me") == (503, "desk-hub-away")
    pages.sign_in.away = False

    def broken(*_arguments: object) -> Any:
        raise ValueError("the-secret-reason")

    monkeypatch.setattr("vetting.desk.api.reading.catalogue_of", broken)
    answer = ana.call("GET", "catalogue")
    assert (answer.status_code, answer.json()["code"]) == (500, "desk-broken")
    assert "the-secret-reason" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"


def test_too_much_at_once_is_slowed_down(pages: DeskPages) -> None:
    ana = Caller(pages, "ana")
    answers = [ana.call("POST", "requests/x/withdraw") for _ in range(25)]
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "desk-too-fast")
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_the_description_is_whole(pages: DeskPages) -> None:
    described = Caller(pages).get("openapi.json")
    assert described["info"]["title"] == "Access desk"
    operations = [one for path in described["paths"].values() for one in path.values()]
    assert all(one["description"] and "4XX" in one["responses"] for one in operations)
    assert "ProblemDocument" in described["components"]["schemas"]


def test_a_request_that_is_reopened_is_a_new_one(pages: DeskPages) -> None:
    denied, ana = pages.store.denied("ana"), Caller(pages, "ana")
    assert pages.store.row(denied).state == State.DENIED
    anew = ana.post(f"requests/{denied.id}/reopen")
    assert (anew["state"], anew["follows"], anew["id"] != denied.id) == ("draft", denied.id, True)
    assert Event.SUBMIT in anew["events"]
