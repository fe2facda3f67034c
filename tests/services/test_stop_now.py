"""Somebody is stopped at the desk, or on the command line: what runs ends within ten seconds, with no way back in."""

import math
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from websockets.exceptions import WebSocketException

from federation.audit import Act, AuditTable
from federation.outbox import OutboxTable
from spawners.sessions import Session
from spawners.tables import EndReason
from tests.services.test_desk import desk, page, send
from tests.services.test_session import lines_of, wait_for
from tests.services.test_session_end import open_session
from tests.support.books import discrepancies
from tests.support.person import Person
from tests.support.service import Service

pytestmark = pytest.mark.service

WITHIN = timedelta(seconds=10)
WHY = "Your session attacks other machines."


def running(service: Service, persona: str) -> tuple[Person, Session]:
    person = Person(service.base_url).sign_in(persona)
    person.start(flavour="small", environment="minimal")
    person.wait_until_ready()
    return person, open_session(service, person)


def over(service: Service, session: Session) -> Session:
    return wait_for(lambda: (found := service.house.sessions.get(session.attempt)).ended_at and found)


def stopped_at(service: Service, session: Session) -> datetime:
    """When that was decided, as the audit trail says."""
    with service.house.database.read() as connection:
        rows = connection.execute(
            select(AuditTable.at, AuditTable.act, AuditTable.reason, AuditTable.target)
            .where(AuditTable.act.in_([Act.SESSION_STOPPED.value, Act.PERSON_STOPPED.value]))
            .where(AuditTable.target.in_([f"session:{session.attempt}", f"person:{session.person_id}"]))
        ).all()
    assert sorted((row.act, row.reason) for row in rows) == [(Act.PERSON_STOPPED, WHY), (Act.SESSION_STOPPED, WHY)]
    assert len({row.at for row in rows}) == 1
    return rows[0].at


def api(service: Service, token: str, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"token {token}"}
    return httpx.request(method, f"{service.base_url}hub/api/{path}", headers=headers, trust_env=False, **options)


def test_support_stops_somebody_at_the_desk(service: Service) -> None:
    eve, session = running(service, "researcher")
    own_token = eve.api("POST", f"users/{eve.user_name}/tokens", json={}).json()["token"]
    kernel, form = eve.kernel(), eve.home()
    of_session = kernel.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    rita = Person(service.base_url).sign_in("reviewer-1")
    shown = desk(rita, "sessions")
    assert shown.select_one(f"[data-session='{session.attempt}']") is not None
    sent = send(
        rita, desk(rita, f"sessions/{session.attempt}"), "#stop-form", "[data-event=stop]", reason=WHY
    )  # fmt: skip
    assert page(sent).select_one("#suspended-title") is not None

    ended = over(service, session)
    assert (ended.end_reason, ended.end_detail) == (EndReason.SUSPENDED, WHY)
    assert ended.ended_at - stopped_at(service, session) <= WITHIN
    assert service.processes_of_sessions(eve.user_name) == []
    with pytest.raises(WebSocketException):
        kernel.run("print(1)", 10)

    # The route and the token of the session are gone; the person reads why.
    wait_for(lambda: WHY in eve.client.get(eve.user_url + "lab").text)
    assert eve.client.get(eve.user_url + "api/status").status_code in (404, 424, 503)
    wait_for(lambda: api(service, of_session, "GET", "user").status_code == 403)
    assert WHY in eve.home().get_text()

    # No way back in: not by the form, and not with a token of one's own.
    refused = eve.submit(form, "#start-form", flavour="small", environment="minimal")
    assert "Your access is suspended" in refused.text
    assert WHY in refused.text
    by_token = api(service, own_token, "POST", f"users/{eve.user_name}/server", json={"flavour": "small"})
    assert by_token.status_code == 403
    assert WHY in by_token.json()["message"]
    assert service.house.sessions.open_of_person(session.person_id) == []

    assert eve.home().select_one("#start-form") is None

    line = next(line for line in lines_of(service, eve.user_name) if line.hold == session.attempt)
    assert line.charged == math.ceil(round((ended.ended_at - ended.started_at).total_seconds(), 6)) * 1000
    assert discrepancies(service.house.database) == []
    with service.house.database.read() as connection:
        mails = connection.execute(
            select(OutboxTable.person_id, OutboxTable.figures).where(OutboxTable.kind == "access-stopped")
        ).all()
    assert [(row.person_id, row.figures["words"]) for row in mails] == [(session.person_id, WHY)]

    shown = desk(rita, f"sessions/{session.attempt}")
    assert page(send(rita, shown, "#restore-form", "[data-event=restore]", reason="a mistake"))
    assert eve.home().select_one("#start-form") is not None


def test_it_does_not_wait_for_a_hub_that_hangs(service: Service) -> None:
    _tom, session = running(service, "trainer")
    hub = service.child("hub")
    hub.suspend()
    try:
        said = service.nbfed("person", "stop", session.server.user, "--reason", WHY)
        assert "the worker ends what runs" in said.stdout
        ended = over(service, session)
        assert ended.ended_at - stopped_at(service, session) <= WITHIN
        assert service.processes_of_sessions(session.server.user) == []
    finally:
        hub.resume()
    again = service.nbfed("person", "stop", session.server.user, "--reason", WHY, check=False)
    assert (again.returncode, "stopped already" in again.stderr) == (1, True)
    assert discrepancies(service.house.database) == []
