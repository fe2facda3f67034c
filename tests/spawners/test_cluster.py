"""One API server, asked: every answer that it may give, and none. The real one is in tests/kubernetes."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spawners.backends.base import Life
from spawners.backends.cluster import Cluster, ClusterAway, ClusterRefused
from spawners.backends.kubernetes_pods import Pods
from tests.support.api_server import ApiServer, kubeconfig


@pytest.fixture
def server() -> Iterator[ApiServer]:
    made = ApiServer()
    yield made
    made.close()


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters, and closes them after the test."""
    made: list[Cluster] = []

    def make(url: str, **options: Any) -> Cluster:
        made.append(Cluster("notebooks", kubeconfig=kubeconfig(tmp_path, url), **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


def test_an_operation_is_asked_of_the_namespace(server: ApiServer, ask) -> None:
    assert ask(server.url).ask("list_pod", label_selector="a=b") == {"items": []}
    assert server.asked == [("/api/v1/namespaces/notebooks/pods?labelSelector=a%3Db", "Bearer first")]


def test_a_refusal_has_the_status_and_the_servers_own_message(server: ApiServer, ask) -> None:
    server.answer = lambda token: (403, {"kind": "Status", "message": "exceeded quota: small"})
    with pytest.raises(ClusterRefused, match="exceeded quota: small") as refused:
        ask(server.url).ask("list_pod")
    assert refused.value.status == 403


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_says_that_it_cannot_answer_is_away(server: ApiServer, ask, status: int) -> None:
    server.answer = lambda token: (status, {"message": "etcdserver: request timed out"})
    with pytest.raises(ClusterAway, match=str(status)):
        ask(server.url).ask("list_pod")


def test_a_token_that_expired_is_read_anew(server: ApiServer, ask, tmp_path: Path) -> None:
    server.answer = lambda token: (
        (200, {"items": []}) if token == "Bearer second" else (401, {"message": "Unauthorized"})
    )
    cluster = ask(server.url)
    with pytest.raises(ClusterRefused, match="401"):
        cluster.ask("list_pod")
    kubeconfig(tmp_path, server.url, "second")
    assert cluster.ask("list_pod") == {"items": []}


def test_a_server_that_hangs_is_away_when_the_time_is_over_and_others_are_told_so_at_once(ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are taken, and nothing is said
        cluster = ask(f"http://127.0.0.1:{silent.getsockname()[1]}", request_seconds=0.3)
        with pytest.raises(ClusterAway, match="TimeoutError"):
            cluster.ask("list_pod")
        with pytest.raises(ClusterAway, match="a moment ago"):
            cluster.ask("list_pod")


def test_after_the_pause_it_is_asked_again(server: ApiServer, ask, tmp_path: Path) -> None:
    cluster = ask("http://127.0.0.1:1", pause_seconds=0.2)
    with pytest.raises(ClusterAway, match="Cannot connect"):
        cluster.ask("list_pod")
    time.sleep(0.3)
    with pytest.raises(ClusterAway, match="Cannot connect"):
        cluster.ask("list_pod")


def test_a_node_that_does_not_give_a_log_does_not_hide_the_cluster(server: ApiServer, ask) -> None:
    """The API server asks the node for it, which may be away by itself."""
    server.answer = lambda token: (200, {"items": []})
    cluster = ask(server.url, request_seconds=0.3)
    server.answer = lambda token: (time.sleep(1), (200, {}))[1]
    with pytest.raises(ClusterAway, match="TimeoutError"):
        cluster.log("nb-0190", "notebook", lines=1)
    server.answer = lambda token: (200, {"items": []})
    assert cluster.ask("list_pod") == {"items": []}


def test_a_kubeconfig_that_is_not_there_is_an_outage_and_no_crash(tmp_path: Path) -> None:
    cluster = Cluster("notebooks", kubeconfig=tmp_path / "none")
    with pytest.raises(ClusterAway):
        cluster.ask("list_pod")
    cluster.close()


def test_one_cluster_that_is_away_does_not_hinder_another(server: ApiServer, tmp_path: Path) -> None:
    for name in ("here", "away"):
        (tmp_path / name).mkdir()
    here = Cluster("notebooks", kubeconfig=kubeconfig(tmp_path / "here", server.url))
    away = Cluster("notebooks", kubeconfig=kubeconfig(tmp_path / "away", "http://127.0.0.1:1"))
    with pytest.raises(ClusterAway):
        away.ask("list_pod")
    assert here.ask("list_pod") == {"items": []}
    here.close()
    away.close()


# --- the backend -------------------------------------------------------------------------------------------------


def test_what_cannot_be_asked_is_unknown_and_nothing_raises(ask) -> None:
    pods = Pods(ask("http://127.0.0.1:1"), "hub")
    assert pods.observe("0190").life is Life.UNKNOWN
    assert pods.address("0190", "hash") is None
    assert list(pods.living()) == []
    assert pods.end("0190", patience_seconds=1).life is Life.UNKNOWN
    assert pods.log_tail("0190", 100) == ""
    pods.clear(lambda attempt: True)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_server_that_does_not_let_us_ask_is_no_evidence_of_an_end(server: ApiServer, ask, status: int) -> None:
    server.answer = lambda token: (status, {"message": "no"})
    assert Pods(ask(server.url, pause_seconds=0), "hub").observe("0190").life is Life.UNKNOWN


def test_one_look_at_all_pods_serves_many_questions(server: ApiServer, ask) -> None:
    pod = {
        "metadata": {"name": "nb-0190", "labels": {"nbfed/attempt": "0190"}},
        "spec": {"containers": []},
        "status": {"phase": "Pending"},
    }
    server.answer = lambda token: (200, {"items": [pod]})
    pods = Pods(ask(server.url), "hub")
    assert [pods.observe("0190").life for _ in range(50)] == [Life.PENDING] * 50
    assert len(server.asked) <= 3, "a look is good for a second"
