"""The access desk's pages in process: a browser for each person, and a sign-in that takes their word for it.

The sign-in by a real hub is in `tests/services/test_desk.py`.
"""

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import httpx
from bs4 import BeautifulSoup, Tag
from fastapi import FastAPI
from starlette.routing import Mount

from federation.database import Database
from federation.persons import Facts, Person, remember
from hub_config.look import TEMPLATES_FOLDER, asset, hub_static, hub_style
from hub_config.settings import FederationYaml, parse
from quota.ledger import Ledger
from spawners.sessions import Sessions
from spawners.support import DeskSessions
from tests.support.desk import COMMUNITY
from tests.support.desk import Desk as Store
from vetting.desk.app import application
from vetting.desk.gate import SESSION_COOKIE
from vetting.desk.parts import PREFIX, Departure, Desk, HubAway, Look, Offer, SignInFailed

__all__ = ["ORIGIN", "ROLES", "Browser", "DeskPages", "SignInByWord"]

ORIGIN = "https://notebooks.example.org"
ROLES = {
    "user": (),
    "reviewer": (":role=support",),
    "operator": (":role=operator",),
    "trainer": (":role=trainer",),
    "site operator": (":hpc:role=operator",),
}
"""What stands behind the group in the entitlements of who carries a role."""

_YAML = f"""
federation: {{name: Test federation, base_url: "{ORIGIN}", languages: [en, es, pt], contact: help@example.org}}
identity:
  providers:
    - {{id: idp, issuer: "https://idp.example.org", client_id: x, owns_namespaces: ["urn:mace:example.org"]}}
  roles:
    reviewer: ["{COMMUNITY}:role=support"]
    operator: ["{COMMUNITY}:role=operator"]
    trainer: ["{COMMUNITY}:role=trainer"]
    site_operator: {{hpc: ["{COMMUNITY}:hpc:role=operator"]}}
tiers:
  T1: {{communities: ["{COMMUNITY}"]}}
  T2: {{needs: T1, vetting: review}}
flavours:
  small: {{cpu: 1, memory_gib: 2, weight: 1, title: {{en: Small, es: Pequeño}}}}
  gpu: {{cpu: 8, memory_gib: 32, gpu: 1, weight: 20, tier: T2, title: GPU}}
environments:
  python: {{title: Python, description: numpy and friends, languages: [Python], kubernetes: {{image: "python:1"}},
            batch: {{module: python}}}}
sites:
  cloud: {{kind: kubernetes, title: Cloud, country: PE, namespace: nb, flavours: [small]}}
  hpc: {{kind: batch, title: HPC Andes, country: ES, dialect: slurm, flavours: [small, gpu], nodes: [c1],
         ports: 20000-20009, walltime_hours: 2, login: {{host: login.example.org, host_key_file: hpc.pub}}}}
desk:
  answers:
    which-data:
      title: {{en: Which data, es: Qué datos}}
      text: {{en: "Which data do you need there?", es: "¿Qué datos necesita allí?"}}
defaults: {{T1: {{amount_hours: 100, period: month, flavours: [small]}}}}
"""


class SignInByWord:
    """Signs in whoever a test names. `away` is a hub that does not answer."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self.codes: dict[tuple[str, str], str] = {}
        self.away = False

    def begin(self) -> Departure:
        return Departure(address="/hub/api/oauth2/authorize?state=s1", state="s1", verifier="v1")

    def finish(self, code: str, verifier: str) -> str:
        if self.away:
            raise HubAway("no answer")
        if (code, verifier) not in self.codes:
            raise SignInFailed("no such code")
        return self.codes.pop((code, verifier))

    def user_name(self, token: str, session: str) -> str | None:
        if self.away:
            raise HubAway("no answer")
        return self.tokens.get(token)


class DeskPages:
    """A desk, its store of requests with people in it, and their browsers."""

    def __init__(self, database: Database) -> None:
        self.store = Store(database)
        self.sign_in = SignInByWord()
        self.closed: dict[str, Any] = {}
        self.sessions = Sessions(database, clock=self.store.clock)
        settings: FederationYaml = parse(_YAML, "federation.yaml")
        self.desk = Desk(
            offer=_offer(settings),
            look=Look(templates=TEMPLATES_FOLDER, asset=asset, hub_style=hub_style, hub_static=hub_static),
            database=database,
            requests=self.store.requests,
            ledger=Ledger(database, clock=self.store.clock, actor="desk"),
            sessions=DeskSessions(self.sessions, {}),
            sign_in=self.sign_in,
            clock=self.store.clock,
            key=b"k" * 32,
            closed=lambda: self.closed,
        )
        self.app = application(self.desk)
        self.runner = asyncio.Runner()

    @property
    def api(self) -> FastAPI:
        """The application of the API, which is mounted in the desk's."""
        mounted = (route.app for route in self.app.routes if isinstance(route, Mount))
        return next(app for app in mounted if isinstance(app, FastAPI))

    def person(self, name: str, role: str = "user") -> Person:
        """Somebody with a role; known to the store by their name from then on."""
        self.store.person(name)
        memberships = (COMMUNITY, *(COMMUNITY + part for part in ROLES[role]))
        facts = Facts(
            provider="check-in", name=name.title(), email=f"{name}@example.org", home_organisation="example.org",
            memberships=memberships, assurance=("https://refeds.org/assurance/IAP/medium",),
            affiliations=(f"member@{name}.example.org",), unchecked_affiliations=("staff@elsewhere.example",),
        )  # fmt: skip
        with self.store.database.write() as connection:
            made = remember(
                connection, issuer="https://idp.example.org", subject=name, preferred=name, now=self.store.clock(),
                facts=facts,
            )  # fmt: skip
        self.store.people[name] = made
        return made

    def browser(self, name: str = "", role: str = "user", *, language: str = "en") -> "Browser":
        """A browser; somebody is signed in with it, if they are named."""
        browser = Browser(self, language)
        if name:
            person = self.store.people.get(name) or self.person(name, role)
            self.sign_in.tokens[f"token-of-{name}"] = person.user_name
            browser.client.cookies.set(SESSION_COOKIE, f"token-of-{name}", domain="notebooks.example.org")
        return browser


class Browser:
    """Follows no redirect by itself, and sends forms as they stand on a page."""

    def __init__(self, pages: DeskPages, language: str) -> None:
        self._runner = pages.runner
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=pages.app), base_url=ORIGIN, headers={"Accept-Language": language},
        )  # fmt: skip

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request."""
        return self._runner.run(self.client.request(method, urljoin(PREFIX, path), **options))

    def get(self, path: str = "", **parameters: str) -> httpx.Response:
        """A page of the desk."""
        return self.send("GET", path, params=parameters or None)

    def page(self, path: str = "", **parameters: str) -> BeautifulSoup:
        """A page that is there."""
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, (answer.status_code, answer.headers.get("location"), answer.text[:3000])
        return BeautifulSoup(answer.text, "html.parser")

    def post(self, path: str, fields: dict[str, Any], origin: str | None = ORIGIN) -> httpx.Response:
        """A form's fields, as they are given."""
        headers = {"Origin": origin} if origin is not None else {}
        return self.send("POST", path, data=fields, headers=headers)

    def submit(self, page: BeautifulSoup, form: str, button: str = "", **fields: Any) -> httpx.Response:
        """Send a form of a page, found by a CSS selector, with what stands in it and these fields; press a button."""
        element = page.select_one(form)
        assert element is not None, f"no form {form} on {page.get_text()[:2000]}"
        data: dict[str, Any] = filled(element) | fields
        action = str(element["action"])
        if button:
            pressed = element.select_one(button)
            assert pressed is not None, f"no button {button}"
            action = str(pressed.get("formaction", action))
            if pressed.get("name"):
                data[str(pressed["name"])] = str(pressed["value"])
        return self.post(action, data)


def filled(form: Tag) -> dict[str, Any]:
    """What a browser would send of a form as it stands."""
    data: dict[str, Any] = {}
    for field in form.select("input[name]"):
        kind, name = field.get("type", "text"), str(field["name"])
        if kind == "checkbox":
            if field.has_attr("checked"):
                data.setdefault(name, []).append(str(field.get("value", "on")))
        elif kind != "radio" or field.has_attr("checked"):
            data[name] = str(field.get("value", ""))
    for area in form.select("textarea[name]"):
        data[str(area["name"])] = area.get_text().removeprefix("\n")
    for select in form.select("select[name]"):
        chosen = select.select_one("option[selected]") or select.select_one("option")
        data[str(select["name"])] = str(chosen["value"]) if chosen else ""
    return data


def _offer(settings: FederationYaml) -> Offer:
    return Offer(
        federation=settings.federation, roles=settings.identity.roles, tiers=settings.tiers, flavours=settings.flavours,
        environments=settings.environments, sites=settings.sites, defaults=settings.defaults,
        snapshot=timedelta(days=1), grant_months=settings.desk.grant_months, answers=settings.desk.answers,
    )  # fmt: skip
