"""The access desk of a real hub: signing in and out by it, and from a refusal to what is given, with a real worker."""

from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from bs4 import BeautifulSoup

from hub_config.demo.personas import PERSONAS
from tests.services.test_session import wait_for
from tests.support.desk_pages import filled
from tests.support.person import Person
from tests.support.service import Service

pytestmark = pytest.mark.service


def page(answer: httpx.Response) -> BeautifulSoup:
    assert answer.status_code == 200, (answer.status_code, answer.url, answer.text[:2000])
    return BeautifulSoup(answer.text, "html.parser")


def desk(person: Person, path: str = "") -> BeautifulSoup:
    answer = person.client.get(f"{person.base_url}services/desk/{path}")
    assert answer.url.path.startswith("/services/desk/"), answer.url
    return page(answer)


def send(person: Person, shown: BeautifulSoup, form: str, button: str, **fields: Any) -> httpx.Response:
    """Fill in a form and press a button, as a browser does: with the origin of the page."""
    element = shown.select_one(form)
    assert element is not None, f"no form {form}: {shown.get_text()[:2000]}"
    pressed = element.select_one(button)
    assert pressed is not None, f"no button {button}"
    data = filled(element) | fields
    if pressed.get("name"):
        data[str(pressed["name"])] = str(pressed["value"])
    action = urljoin(person.base_url, str(pressed.get("formaction", element["action"])))
    return person.client.post(action, data=data, headers={"Origin": person.base_url.rstrip("/")})


def test_what_there_is_needs_no_sign_in(service: Service) -> None:
    shown = desk(Person(service.base_url))
    assert "This machine" in shown.get_text()
    for address in (tag.get("href") or tag.get("src") for tag in shown.select("head link[href], script[src]")):
        assert httpx.get(urljoin(service.base_url, str(address)), trust_env=False).status_code == 200, address


def test_the_hub_signs_people_in_and_they_come_back_to_where_they_were(service: Service) -> None:
    person = Person(service.base_url)
    asked = person.client.get(f"{service.base_url}services/desk/ask?about=quota-spent&flavour=medium")
    subject = next(one.subject for one in PERSONAS if one.key == "researcher")
    assert subject in asked.text
    back = person.client.post(str(asked.url), data={"sub": subject})
    assert (back.url.path, back.url.query) == ("/services/desk/ask", b"about=quota-spent&flavour=medium")
    assert page(back).select_one("#hours")["value"] == "400"


def test_who_signs_out_at_the_hub_is_signed_out_here(service: Service) -> None:
    person = Person(service.base_url).sign_in("trainer")
    assert "My requests" in desk(person, "requests").get_text()
    kept = dict(person.client.cookies)
    person.client.get(f"{service.base_url}hub/logout")
    asked = person.client.get(f"{service.base_url}services/desk/requests")
    assert asked.url.path != "/services/desk/requests"
    assert "nbfed-desk" in kept


def test_the_desk_may_do_nothing_at_the_hub(service: Service) -> None:
    headers = {"Authorization": f"token {service.state.secret('desk_token')}"}
    for path in ("users", "users/x", "proxy", "services", "groups"):
        answer = httpx.get(f"{service.base_url}hub/api/{path}", headers=headers, trust_env=False)
        assert answer.status_code in (403, 404), path


def test_a_token_for_something_else_opens_nothing(service: Service) -> None:
    person = Person(service.base_url).sign_in("trainer")
    made = person.api("POST", f"users/{person.user_name}/tokens", json={"scopes": ["read:users:name!user"]}).json()
    cookies = {"nbfed-desk": made["token"]}
    answer = httpx.get(f"{service.base_url}services/desk/requests", cookies=cookies, trust_env=False)
    assert answer.status_code == 303
    assert "sign-in" in answer.headers["location"]


def test_programs_bring_a_token_of_the_hub(service: Service) -> None:
    person = Person(service.base_url).sign_in("reviewer-2")

    def token(scope: str) -> str:
        made = person.api("POST", f"users/{person.user_name}/tokens", json={"scopes": [scope]})
        return str(made.json()["token"])

    def call(path: str, token: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.get(f"{service.base_url}services/desk/api/v1/{path}", headers=headers, trust_env=False)

    mine = token("access:services!service=desk")
    me = call("me", mine)
    assert (me.status_code, me.json()["user_name"]) == (200, person.user_name)
    assert "decide" in me.json()["rights"]
    assert call("queue", mine).status_code == 200
    assert call("audit", mine).json()["code"] == "desk-role-needed"
    for wrong in ("", "0" * 32, token("read:users:name!user"), service.state.secret("worker_token")):
        refused = call("me", wrong)
        assert (refused.status_code, refused.json()["code"]) == (401, "desk-token-needed")
    assert call("catalogue").status_code == call("openapi.json").status_code == 200


def test_from_a_request_to_what_is_given(service: Service) -> None:
    asks, decides = Person(service.base_url).sign_in("researcher"), Person(service.base_url).sign_in("reviewer-1")
    sent = send(
        asks, desk(asks, "ask?kind=quota"), "#ask-form", "[value=send]", hours="500", purpose="Penguins",
        contact="Prof. Paz",
    )  # fmt: skip
    shown = page(sent)
    assert shown.select_one("#state")["data-state"] == "submitted"
    request = sent.url.path.rpartition("/")[2]
    row = desk(decides, "queue").select_one(f"[data-request='{request}']")
    assert row is not None
    assert "Inês Carvalho" in row.get_text()
    decided = send(
        decides, desk(decides, f"review/{request}"), "#decision-form", "[data-event=approve]", no_conflict="yes",
        words="Enjoy.",
    )  # fmt: skip
    assert page(decided).select_one("#state")["data-state"] in ("approved", "active")
    wait_for(lambda: desk(asks, f"requests/{request}").select_one("#state")["data-state"] == "active")
    assert "600" in asks.home().get_text()


def test_a_desk_that_dies_is_started_again_and_people_go_on(service: Service) -> None:
    person = Person(service.base_url).sign_in("operator")
    shown = desk(person, "ask?kind=quota")
    service.kill("desk")
    service.wait_for_child("desk")
    wait_for(lambda: person.client.get(f"{service.base_url}services/desk/").status_code == 200)
    kept = send(person, shown, "#ask-form", "[value=keep]", purpose="Kept")
    assert page(kept).select_one("#state")["data-state"] == "draft"
