"""The main job, end to end: sign in, start within a quota, run a real analysis, stop, read what it cost."""

import json
import math
import time
from datetime import timedelta
from pathlib import Path

import httpx
import nbformat
import pytest

from federation.persons import find_by_user_name
from quota.statement import Line, statement
from spawners.paying import owner_of
from spawners.sessions import Server
from spawners.tables import EndReason
from tests.support.person import Kernel, Person
from tests.support.service import Service

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorials" / "penguins.ipynb"
EXPECTED = ROOT / "tests" / "data" / "penguins.json"


def lines_of(service: Service, user_name: str) -> list[Line]:
    """The sessions in a person's statement, newest first."""
    house = service.house
    with house.database.read() as connection:
        person = find_by_user_name(connection, user_name)
        assert person is not None
        now = house.clock()
        return list(statement(connection, owner_of(person), now, since=now - timedelta(days=1)).lines)


def wait_for(condition, seconds: float = 30):
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def run_notebook(kernel: Kernel, data: str | None = None) -> dict[str, object]:
    """Run the tutorial's notebook cell by cell; its last line of output is its result."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    output = ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            source = cell.source if data is None else cell.source.replace("DATA = None", f"DATA = {data!r}")
            output = kernel.run(source)
    return dict(json.loads(output.strip().splitlines()[-1]))


def test_a_real_analysis_through_the_hub_gives_the_known_result_and_is_charged(service: Service) -> None:
    person = Person(service.base_url).sign_in("researcher")
    answer = person.start(flavour="small", environment="python")
    assert answer.status_code == 200, answer.text
    person.wait_until_ready()
    kernel = person.kernel()
    expected = json.loads(EXPECTED.read_text())
    result = run_notebook(kernel)
    assert {key: result[key] for key in expected} == expected

    changed = kernel.run(
        "import palmerpenguins, pathlib, re\n"
        "source = next(pathlib.Path(palmerpenguins.__file__).parent.rglob('penguins.csv')).read_text().splitlines()\n"
        "index = next(i for i, row in enumerate(source) if i and 'NA' not in row)\n"
        "source[index] = re.sub(r',(\\d{4}),', ',9999,', source[index], count=1)\n"
        "pathlib.Path('changed.csv').write_text('\\n'.join(source))\n"
        "print(pathlib.Path('changed.csv').resolve())"
    )
    assert run_notebook(kernel, changed.strip()) != result, "one input row was changed, and the result was not"
    kernel.close()

    assert person.stop().status_code == 200
    line = lines_of(service, person.user_name)[0]
    assert line.state == "settled"
    assert line.source == "launcher"
    assert line.started_at is not None
    assert line.ended_at is not None
    assert line.charged == math.ceil((line.ended_at - line.started_at).total_seconds()) * 1000
    folder = service.state.sessions / line.hold
    started = json.loads((folder / "started.json").read_text())["started_at"]
    ended = json.loads((folder / "ended.json").read_text())["ended_at"]
    assert (line.ended_at - line.started_at).total_seconds() == pytest.approx(ended - started, abs=1e-5)
    assert line.started_at.timestamp() == pytest.approx(started, abs=0.1)
    page = person.home().get_text(" ", strip=True)
    assert "You stopped it." in page
    assert service.processes_of_sessions(person.user_name) == []


def test_a_session_of_seconds_costs_its_seconds(service: Service) -> None:
    person = Person(service.base_url).sign_in("trainer")
    person.start(flavour="medium", environment="minimal")
    server = Server("hub", person.user_name, "")
    session = wait_for(lambda: (s := service.house.sessions.open_of(server)) and s.submitted_at and s)
    folder = service.state.sessions / session.attempt
    record = wait_for(lambda: (folder / "started.json").exists() and json.loads((folder / "started.json").read_text()))
    time.sleep(max(0.0, record["started_at"] + 4.4 - time.time()))
    service.terminate(record["pid"])  # it ends by itself: nobody asked the hub
    line = wait_for(lambda: (found := lines_of(service, person.user_name)[0]).state == "settled" and found)
    ended = json.loads((folder / "ended.json").read_text())["ended_at"]
    assert line.charged == math.ceil(ended - record["started_at"]) * 4000 >= 5 * 4000, line
    assert service.house.sessions.get(session.attempt).end_reason in (EndReason.EXITED, EndReason.FAILED)


def test_the_progress_stream_arrives_line_by_line_through_the_proxy(service: Service) -> None:
    person = Person(service.base_url).sign_in("operator")
    person.start(flavour="small", environment="minimal")
    times, events = [], []
    url = f"{service.base_url}hub/api/users/{person.user_name}/server/progress"
    with person.client.stream("GET", url, headers={"Referer": service.base_url + "hub/home"}) as stream:
        assert stream.status_code == 200
        for row in stream.iter_lines():
            if row.startswith("data:"):
                times.append(time.monotonic())
                events.append(json.loads(row.removeprefix("data:")))
    assert events[-1]["ready"] is True
    assert len(events) >= 2
    assert times[-1] - times[0] > 0.3, "everything arrived at once: the proxy held it back"
    assert [e["progress"] for e in events] == sorted(e["progress"] for e in events)
    person.stop()


def test_the_route_of_batchspawner_is_gone(service: Service) -> None:
    person = Person(service.base_url).sign_in("researcher")
    assert person.api("POST", "batchspawner", json={"port": 1}).status_code == 404


def test_an_idle_session_is_stopped_charged_and_explained() -> None:
    from tests.support.service import running_service

    with running_service(idle={"stop_after_minutes": 0.1, "notice_minutes": 10}) as service:
        person = Person(service.base_url).sign_in("researcher")
        person.start(flavour="small", environment="minimal")
        person.wait_until_ready()
        line = wait_for(lambda: (found := lines_of(service, person.user_name)[0]).state == "settled" and found, 60)
        assert line.charged == math.ceil((line.ended_at - line.started_at).total_seconds()) * 1000
        page = person.home().get_text(" ", strip=True)
        assert "nobody used it for 0.1 minutes" in page
        answer = person.client.get(person.user_url + "lab")
        assert "nobody used it" in answer.text


def test_who_watches_sees_refusals_at_the_hub_and_holds_at_the_worker(service: Service) -> None:
    person = Person(service.base_url).sign_in("researcher")
    answer = person.api("POST", f"users/{person.user_name}/server", json={"flavour": "huge"})
    assert answer.status_code == 400, answer.text
    with httpx.Client(trust_env=False, timeout=20) as client:
        token = service.state.secret("worker_token")
        page = client.get(service.base_url + "hub/metrics", headers={"Authorization": f"token {token}"})
        assert page.status_code == 403, "metrics are not for everybody"
        token = service.state.secret("prometheus_token")
        page = client.get(service.base_url + "hub/metrics", headers={"Authorization": f"token {token}"})
        assert page.status_code == 200, page.text[:300]
        assert 'nbfed_refusals_total{code="option-invalid"} 1.0' in page.text
        users = client.get(service.base_url + "hub/api/users", headers={"Authorization": f"token {token}"})
        assert users.status_code == 403
        worker = f"http://127.0.0.1:{service.settings.yaml.listen.worker_port}"
        wait_for(lambda: client.get(f"{worker}/health").json()["jobs"]["reconcile"]["last_success"])
        assert client.get(f"{worker}/health").status_code == 200
        assert "nbfed_worker_leading 1.0" in client.get(f"{worker}/metrics").text
    assert "ok    worker  " in service.nbfed("doctor", check=False).stdout
