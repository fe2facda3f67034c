"""The main job on a real cluster: sign in, start within the default quota, run code, stop, read what it cost."""

import math
from datetime import timedelta

from federation.persons import find_by_user_name
from spawners.backends.kubernetes_arguments import volume_name
from spawners.backends.kubernetes_pods import pod_name
from spawners.backends.pods import ATTEMPT, FINALIZER, HUB
from spawners.sessions import Server, Session
from tests.kubernetes.place import ENVIRONMENT, Namespace
from tests.services.test_session import lines_of, wait_for
from tests.support.person import Kernel, Person
from tests.support.service import Service

PROBE = """
import os, pathlib, urllib.request, urllib.error

def status(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code

def writes(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        return error.strerror

def limits():  # hundredths of a processor, and bytes: by cgroups of version 2, else 1
    root = pathlib.Path("/sys/fs/cgroup")
    if (root / "memory.max").exists():
        quota, period = (root / "cpu.max").read_text().split()
        memory = (root / "memory.max").read_text()
    else:
        quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        memory = (root / "memory" / "memory.limit_in_bytes").read_text()
    return int(quota) * 100 // int(period), int(memory)
"""


def session_of(service: Service, person: Person) -> Session:
    session = service.house.sessions.open_of(Server("hub", person.user_name, ""))
    assert session is not None
    return session


def started(service: Service, persona: str, flavour: str = "small") -> tuple[Person, Kernel]:
    """Somebody with a session that answers, and a kernel in it."""
    person = Person(service.base_url).sign_in(persona)
    answer = person.start(flavour=flavour, environment=ENVIRONMENT)
    assert answer.status_code == 200, answer.text
    person.wait_until_ready(seconds=180)
    return person, person.kernel()


def test_a_session_in_a_pod_runs_code_and_is_charged_by_the_nodes_own_times(
    service: Service, namespace: Namespace
) -> None:
    person, kernel = started(service, "researcher")
    assert kernel.run("import pathlib; pathlib.Path('kept.txt').write_text('kept'); print(6 * 7)").strip() == "42"
    kernel.close()
    assert person.stop().status_code == 200
    line = lines_of(service, person.user_name)[0]
    assert line.state == "settled"
    assert line.started_at is not None
    assert line.ended_at is not None
    assert line.charged == math.ceil((line.ended_at - line.started_at).total_seconds()) * 1000
    assert "You stopped it." in person.home().get_text(" ", strip=True)
    ended = namespace.pod_of(line.hold)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["startedAt"], ended["finishedAt"]) == (
        f"{line.started_at:%Y-%m-%dT%H:%M:%SZ}",
        f"{line.ended_at:%Y-%m-%dT%H:%M:%SZ}",
    )
    # It is in the books, so its pod may go: the worker sees to that once a minute.
    wait_for(lambda: namespace.api("GET", f"pods/{pod_name(line.hold)}").status_code == 404, 90)

    again, kernel = started(service, "researcher")
    assert (
        kernel.run("print(pathlib.Path('kept.txt').read_text())".replace("pathlib.", "__import__('pathlib')."))
        == "kept\n"
    )
    kernel.close()
    again.stop()


def test_a_pod_is_what_was_admitted_whatever_the_options_say_and_has_no_rights(
    service: Service, namespace: Namespace
) -> None:
    person = Person(service.base_url).sign_in("trainer")
    path = f"users/{person.user_name}/server"
    options = {"flavour": "medium", "environment": ENVIRONMENT}
    for stray in ({"mem_limit": "64G"}, {"image": "docker.io/other:1"}, {"privileged": True}, {"extra_pod_config": {}}):
        answer = person.api("POST", path, json=options | stray)
        assert (answer.status_code, answer.reason_phrase) == (400, "option-unknown"), answer.text
    assert person.api("POST", path, json=options).status_code in (201, 202)
    person.wait_until_ready(seconds=180)
    session = session_of(service, person)
    pod = namespace.pod_of(session.attempt)
    (container,) = pod["spec"]["containers"]

    admitted = {"cpu": "1", "memory": str(3 * 2**30)}
    assert container["resources"] == {"limits": admitted, "requests": admitted}
    assert container["image"] == namespace.place.image
    assert pod["metadata"]["labels"][ATTEMPT] == session.attempt
    assert pod["metadata"]["labels"][HUB] == "hub"
    assert pod["metadata"]["finalizers"] == [FINALIZER]
    annotations = pod["metadata"]["annotations"]
    assert annotations["hub.jupyter.org/username"] == person.user_name
    assert (annotations["egi.eu/primary_group"], annotations["egi.eu/flavor"]) == ("demo", "medium")

    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["restartPolicy"] == "Never"
    assert container["securityContext"]["runAsUser"] == 1000
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    kernel = person.kernel()
    said = kernel.run(PROBE + "print(os.getuid(), os.path.exists('/var/run/secrets'), writes('/opt/x'), sep='|')")
    assert said.strip() == "1000|False|Read-only file system"
    assert kernel.run("print(*limits())").split() == ["100", str(3 * 2**30)], "what Linux enforces"
    kernel.close()
    person.stop()


def test_nobody_reaches_the_session_or_the_files_of_another(service: Service, namespace: Namespace) -> None:
    first, first_kernel = started(service, "reviewer-1")
    second, second_kernel = started(service, "reviewer-2")
    session = session_of(service, first)
    url = f"http://{session.host}:{session.port}/user/{first.user_name}/"
    says = f"print(status({url!r} + 'api/contents'), status({url!r} + 'api/kernels'))"
    assert second_kernel.run(PROBE + says).split() == ["403", "403"]
    # A browser of another person is sent away as well.
    assert second.client.get(f"{service.base_url}user/{first.user_name}/api/contents").status_code == 403

    claims = {}
    for person in (first, second):
        pod = namespace.pod_of(session_of(service, person).attempt)
        claims[person] = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        ]
        assert not any("secret" in volume or "hostPath" in volume for volume in pod["spec"]["volumes"])
        with service.house.database.read() as connection:
            row = find_by_user_name(connection, person.user_name)
        assert row is not None
        assert claims[person] == [volume_name(row.id)]
    assert claims[first] != claims[second]
    for person, kernel in ((first, first_kernel), (second, second_kernel)):
        kernel.close()
        person.stop()


def test_a_hub_that_is_killed_during_a_start_takes_the_pod_up_and_makes_no_second(
    service: Service, namespace: Namespace
) -> None:
    person = Person(service.base_url).sign_in("operator")
    person.api("POST", f"users/{person.user_name}/server", json={"flavour": "small", "environment": ENVIRONMENT})
    session = wait_for(
        lambda: (s := service.house.sessions.open_of(Server("hub", person.user_name, ""))) and s.submitted_at and s
    )
    assert session.exchanged_at is not None, "its environment is in its pod"
    service.kill("hub")
    service.wait_for_child("hub")
    service.wait_until_up()
    wait_for(lambda: person.status()["state"] == "ready", 120)
    kernel = person.kernel()
    assert kernel.run("print(6 * 7)").strip() == "42"
    kernel.close()
    assert session_of(service, person).attempt == session.attempt
    pods = [
        pod
        for pod in namespace.all("pods")
        if pod["metadata"]["annotations"]["hub.jupyter.org/username"] == person.user_name
    ]
    assert len(pods) == 1
    person.stop()
    (line,) = lines_of(service, person.user_name)
    assert line.state == "settled"
    assert line.ended_at is not None
    assert line.started_at is not None
    assert line.charged == math.ceil((line.ended_at - line.started_at) / timedelta(seconds=1)) * 1000
