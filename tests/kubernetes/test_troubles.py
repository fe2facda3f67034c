"""What can go wrong with a pod: each with the right books, and told to the person in their language, without pod names."""

import contextlib
import math
from collections.abc import Iterator

import pytest
from bs4 import BeautifulSoup

from federation.i18n import LANGUAGES
from quota.statement import Line
from spawners.backends.kubernetes_pods import pod_name
from spawners.tables import EndReason
from tests.kubernetes.place import ENVIRONMENT, Namespace
from tests.kubernetes.test_session import session_of, started
from tests.services.test_session import lines_of, wait_for
from tests.support.person import Person
from tests.support.service import Service

FULL = {
    "en": "The cloud has no room for another session",
    "es": "La nube no tiene lugar para otra sesión",
    "pt": "A nuvem não tem lugar para outra sessão",
}
MISSING = {
    "en": "The cloud could not get the environment Missing",
    "es": "La nube no pudo obtener el entorno Missing",
    "pt": "A nuvem não conseguiu obter o ambiente Missing",
}
ENDED = {
    EndReason.EXITED: {
        "en": "It ended by itself.",
        "es": "Terminó por sí sola.",
        "pt": "Terminou por si só.",
    },
    EndReason.MEMORY: {
        "en": "It needed more memory than a session of its size has",
        "es": "Necesitó más memoria de la que tiene una sesión de su tamaño",
        "pt": "Precisou de mais memória do que uma sessão do seu tamanho tem",
    },
    EndReason.EVICTED: {
        "en": "The place where it ran had to end it",
        "es": "El lugar donde corría tuvo que terminarla",
        "pt": "O local onde rodava teve de encerrá-la",
    },
}
"""What the home page says of a session that ended for a reason."""


@contextlib.contextmanager
def used_up(namespace: Namespace) -> Iterator[None]:
    """The namespace may have no more pods."""
    namespace.make("resourcequotas", {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}})
    wait_for(lambda: namespace.api("GET", "resourcequotas/full").json().get("status", {}).get("hard"))
    try:
        yield
    finally:
        namespace.api("DELETE", "resourcequotas/full")


def refused(service: Service, language: str, environment: str) -> tuple[int, str, str]:
    """Status, code and message of a start over REST; of one that takes its time, as the page that waits tells it."""
    person = Person(service.base_url, language=language).sign_in("site-operator")
    before = {line.hold for line in lines_of(service, person.user_name)}
    options = {"flavour": "small", "environment": environment}
    answer = person.api("POST", f"users/{person.user_name}/servers/{language}", json=options)
    status, code = answer.status_code, answer.reason_phrase
    if answer.is_success:
        wait_for(lambda: person.status(language)["state"] == "failed", 60)
        page = person.client.get(f"{service.base_url}hub/spawn-pending/{person.user_name}/{language}")
        refusal = BeautifulSoup(page.text, "html.parser").select_one("#refusal")
        assert refusal is not None, page.text[:2000]
        message = refusal.get_text(" ", strip=True)
        status, code = page.status_code, str(refusal.select_one("a[href*=about]")["href"]).partition("about=")[2]
    else:
        message = answer.json()["message"]
    assert "nb-" not in message, "the name of a pod"

    def own() -> list[Line]:
        return [line for line in lines_of(service, person.user_name) if line.hold not in before]

    wait_for(lambda: {line.state for line in own()} == {"released"})
    assert not any(line.charged for line in own())
    return status, code, message


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_namespace_that_is_full_is_told_and_costs_nothing(
    service: Service, namespace: Namespace, language: str
) -> None:
    with used_up(namespace):
        status, code, message = refused(service, language, ENVIRONMENT)
    assert (status, code) == (429, "place-full")
    assert message.startswith(FULL[language])


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_image_that_cannot_be_had_is_told_and_costs_nothing(service: Service, language: str) -> None:
    status, code, message = refused(service, language, "missing")
    assert (status, code) == (503, "image-not-there")
    assert message.startswith(MISSING[language])


def ended(service: Service, person: Person) -> Line:
    """The line of a session that somebody ended."""
    return wait_for(lambda: (found := lines_of(service, person.user_name)[0]).state == "settled" and found, 60)


def is_told(service: Service, person: Person, attempt: str, reason: EndReason) -> bool:
    """Whether the session ended for that reason, and its person reads so in each language, without the pod's name."""
    assert service.house.sessions.get(attempt).end_reason is reason
    for language in LANGUAGES:
        answer = person.client.get(f"{service.base_url}hub/home", headers={"Accept-Language": language})
        text = BeautifulSoup(answer.text, "html.parser").get_text(" ", strip=True)
        assert ENDED[reason][language] in text, text
        assert "nb-" not in text
    return True


def is_exact(line: Line, namespace: Namespace) -> bool:
    """Whether it was charged by what its pod says."""
    state = namespace.pod_of(line.hold)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert line.started_at is not None
    assert line.ended_at is not None
    times = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (line.started_at, line.ended_at)]
    seconds = math.ceil((line.ended_at - line.started_at).total_seconds())
    return times == [state["startedAt"], state["finishedAt"]] and line.charged == seconds * 1000


def test_a_pod_that_somebody_deletes_is_charged_to_its_last_second(service: Service, namespace: Namespace) -> None:
    """Nothing of it would be left to ask if it were not kept until it is in the books."""
    person, kernel = started(service, "researcher")
    kernel.close()
    attempt = session_of(service, person).attempt
    assert namespace.api("DELETE", f"pods/{pod_name(attempt)}").is_success
    line = ended(service, person)
    assert is_exact(line, namespace)
    assert is_told(service, person, attempt, EndReason.EXITED)
    wait_for(lambda: person.status()["state"] != "ready")


def test_a_session_that_uses_too_much_memory_is_told_so(service: Service, namespace: Namespace) -> None:
    person, kernel = started(service, "trainer")
    attempt = session_of(service, person).attempt
    with contextlib.suppress(Exception):  # the answer never comes
        # The kernel of Linux ends whom it likes best: the server, and with it the session.
        kernel.run(
            "import os, pathlib\n"
            "pathlib.Path(f'/proc/{os.getppid()}/oom_score_adj').write_text('1000')\n"
            "hog = []\n"
            "while True: hog.append(b'x' * 2**26)\n",
            seconds=30,
        )
    line = ended(service, person)
    assert is_exact(line, namespace)
    assert is_told(service, person, attempt, EndReason.MEMORY)


def test_a_session_that_the_cluster_takes_away_is_told_so(service: Service, namespace: Namespace) -> None:
    person, kernel = started(service, "reviewer-1")
    kernel.close()
    attempt = session_of(service, person).attempt
    name = pod_name(attempt)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    assert namespace.api("POST", f"pods/{name}/eviction", body).is_success
    line = ended(service, person)
    assert is_exact(line, namespace)
    assert is_told(service, person, attempt, EndReason.EVICTED)
