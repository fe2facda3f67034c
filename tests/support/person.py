"""A person in front of a browser without a screen: signs in, fills in the real forms, talks to kernels."""

import json
import time
import uuid
from typing import Any
from urllib.parse import urljoin

import httpx
from bs4 import BeautifulSoup
from websockets.sync.client import connect

from hub_config.demo.personas import PERSONAS
from tests.support.certificates import trusted

__all__ = ["Kernel", "Person"]


class Person:
    """One browser session. `client` keeps the cookies."""

    def __init__(self, base_url: str, *, language: str = "en") -> None:
        self.base_url = base_url
        self.client = httpx.Client(
            follow_redirects=True, timeout=60, trust_env=False, headers={"Accept-Language": language}, verify=trusted(),
            event_hooks={"response": [self._loopback_is_secure]},
        )  # fmt: skip

    def sign_in(self, persona: str, *, agrees: bool = True) -> "Person":
        """Go to the hub, be sent to the sign-in page, choose a persona, accept the terms."""
        subject = next(p.subject for p in PERSONAS if p.key == persona)
        page = self.client.get(self.base_url + "hub/home")
        assert subject in page.text, page.text[:2000]
        answer = self.client.post(str(page.url), data={"sub": subject})
        assert answer.status_code == 200, answer.text[:2000]
        assert answer.url.path == "/hub/home", answer.url
        if agrees:
            self.accept_terms()
        return self

    def accept_terms(self) -> httpx.Response | None:
        """Read the terms and accept them, as everybody does once; None where there is nothing to accept."""
        page = BeautifulSoup(self.client.get(self.base_url + "hub/terms").text, "html.parser")
        return self.submit(page, "#accept-terms") if page.select_one("#accept-terms") else None

    def sign_in_with_password(self, user: str, *, page: str = "hub/home", password: str = "password") -> httpx.Response:
        """Go to a page of the hub, be sent to Keycloak, and fill in its form; the answer at the end of the way."""
        asked = self.client.get(self.base_url + page)
        form = BeautifulSoup(asked.text, "html.parser").select_one("#kc-form-login")
        assert form is not None, (asked.url, asked.text[:2000])
        answer = self.client.post(str(form["action"]), data={"username": user, "password": password})
        if answer.is_success:
            self.accept_terms()
        return answer

    @property
    def user_name(self) -> str:
        user = self.api("GET", "user").json()
        return str(user["name"])

    @property
    def user_url(self) -> str:
        return f"{self.base_url}user/{self.user_name}/"

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The hub's REST API, as the pages' own scripts would call it."""
        headers = {"X-XSRFToken": self._xsrf(), "Referer": self.base_url + "hub/home"}
        return self.client.request(method, f"{self.base_url}hub/api/{path}", headers=headers, **options)

    def home(self) -> BeautifulSoup:
        """The home page."""
        answer = self.client.get(self.base_url + "hub/home")
        assert answer.status_code == 200, answer.text[:2000]
        return BeautifulSoup(answer.text, "html.parser")

    def submit(self, page: BeautifulSoup, form: str, **fields: str) -> httpx.Response:
        """Send a form of a page, found by a CSS selector, with what it contains already and these fields."""
        element = page.select_one(form)
        assert element is not None, f"no form {form}"
        data = {field["name"]: field.get("value", "") for field in element.select("input[name]")
                if field.get("type") != "radio"}  # fmt: skip
        data |= {field["name"]: field["value"] for field in element.select("input[type=radio][checked]")}
        for select in element.select("select[name]"):
            chosen = select.select_one("option[selected]") or select.select_one("option")
            data[select["name"]] = chosen["value"] if chosen else ""
        return self.client.post(urljoin(self.base_url, str(element["action"])), data={**data, **fields})

    def start(self, **fields: str) -> httpx.Response:
        """Start a session by the form on the home page."""
        return self.submit(self.home(), "#start-form", **fields)

    def stop(self, server: str = "") -> httpx.Response:
        """Stop a session by the button on the home page."""
        return self.submit(self.home(), f'.nb-session[data-server="{server}"] form[action$="stop"]')

    def status(self, server: str = "") -> dict[str, Any]:
        """What the waiting page asks for."""
        answer = self.client.get(f"{self.base_url}hub/session-status", params={"server": server})
        return dict(answer.json())

    def wait_until_ready(self, server: str = "", seconds: float = 90) -> str:
        """Wait until a session answers; its URL."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.status(server)
            if status["state"] == "ready":
                return urljoin(self.base_url, status["url"])
            assert status["state"] == "starting", (status, self.home().get_text(" ", strip=True))  # says why
            time.sleep(0.2)
        raise AssertionError(f"not ready after {seconds} s")

    def session_api(self, method: str, path: str, server: str = "", **options: Any) -> httpx.Response:
        """The REST API of the single-user server."""
        root = self.user_url + (f"{server}/" if server else "")
        if not any(cookie.path == httpx.URL(root).path for cookie in self.client.cookies.jar):
            self.client.get(root + "lab")  # signs in at the server, as opening the page does
        xsrf = next(
            (c.value for c in self.client.cookies.jar if c.name == "_xsrf" and c.path == httpx.URL(root).path), ""
        )
        return self.client.request(method, root + path, headers={"X-XSRFToken": xsrf or ""}, **options)

    def kernel(self, server: str = "") -> "Kernel":
        """A new Python kernel, over the websocket through the proxy."""
        answer = self.session_api("POST", "api/kernels", server, json={"name": "python3"})
        assert answer.status_code == 201, (answer.status_code, answer.text[:2000])
        root = self.user_url + (f"{server}/" if server else "")
        return Kernel(self, root, answer.json()["id"])

    def cookies_for(self, url: str) -> str:
        """The Cookie header that a browser would send to an address."""
        request = self.client.build_request("GET", url)
        return request.headers.get("cookie", "")

    def _loopback_is_secure(self, _response: httpx.Response) -> None:
        """Browsers send cookies that want https to loopback as well."""
        for cookie in self.client.cookies.jar:
            cookie.secure = False

    def _xsrf(self) -> str:
        return next((c.value or "" for c in self.client.cookies.jar if c.name == "_xsrf" and c.path == "/hub/"), "")


class Kernel:
    """A kernel; `run` gives back what the code printed and its last value."""

    def __init__(self, person: Person, root: str, kernel_id: str) -> None:
        address = root.replace("http", "ws", 1) + f"api/kernels/{kernel_id}/channels"
        ssl_context = trusted() if root.startswith("https") else None
        headers = {"Cookie": person.cookies_for(root), "Origin": person.base_url.rstrip("/")}
        self._socket = connect(
            address, additional_headers=headers, max_size=None, proxy=None, legacy=True, ssl=ssl_context
        )
        self._session = uuid.uuid4().hex

    def run(self, code: str, seconds: float = 120) -> str:
        """Run code and return its text output.

        Raises
        ------
        AssertionError
            If the code raised.
        """
        message_id = uuid.uuid4().hex
        header = {"msg_id": message_id, "msg_type": "execute_request", "username": "", "session": self._session,
                  "version": "5.3", "date": ""}  # fmt: skip
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        self._socket.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content,
                                      "channel": "shell", "buffers": []}))  # fmt: skip
        text, idle, replied = [], False, False
        deadline = time.monotonic() + seconds
        while not (idle and replied):
            message = json.loads(self._socket.recv(timeout=max(0.1, deadline - time.monotonic())))
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, body = message["msg_type"], message["content"]
            if kind == "stream":
                text.append(body["text"])
            elif kind in ("execute_result", "display_data"):
                text.append(body["data"].get("text/plain", ""))
            elif kind == "error":
                raise AssertionError("\n".join(body["traceback"]))
            elif kind == "status" and body["execution_state"] == "idle":
                idle = True
            elif kind == "execute_reply":
                replied = True
        return "".join(text)

    def close(self) -> None:
        self._socket.close()
