"""The backend against a real API server: what it says of pods, and what is left of them."""

import pytest

from federation.ids import new_id
from spawners.backends.base import Life
from spawners.backends.cluster import ClusterRefused
from spawners.backends.kubernetes_pods import Pods, pod_name
from tests.kubernetes.conftest import OTHERS, Make
from tests.kubernetes.place import Namespace
from tests.services.test_session import wait_for


def is_gone(namespace: Namespace, attempt: str) -> bool:
    return namespace.api("GET", f"pods/{pod_name(attempt)}").status_code == 404


def test_an_attempt_that_never_came_to_be_is_over_and_never_ran(pods: Pods) -> None:
    seen = pods.observe(new_id())
    assert (seen.life, seen.started_at, seen.ended_at) == (Life.ENDED, None, None)


def test_a_pod_from_its_start_to_its_end_and_until_nothing_is_left(
    pods: Pods, namespace: Namespace, make: Make
) -> None:
    attempt = make("print('said', flush=True); import time; time.sleep(600)")
    other_hub = make(hub="another")
    running = wait_for(lambda: (seen := pods.observe(attempt)).life is Life.RUNNING and seen)
    assert pods.address(attempt, "") == (running.host, 8888)
    wait_for(lambda: attempt in pods.living())  # a look is good for a second
    assert other_hub not in pods.living()
    wait_for(lambda: pods.log_tail(attempt, 100) == "said\n")

    ended = pods.end(attempt, patience_seconds=1)
    assert (ended.life, ended.started_at) == (Life.ENDED, running.started_at)
    assert ended.ended_at is not None
    assert pods.end(attempt, patience_seconds=1) == ended, "ending twice is a no-op"
    wait_for(lambda: attempt not in pods.living())

    pods.clear(lambda one: False)
    assert pods.observe(attempt) == ended, "kept until its end is in the books"
    wait_for(lambda: pods.clear(lambda one: one == attempt) or is_gone(namespace, attempt))
    assert not is_gone(namespace, other_hub)


def test_a_pod_that_ended_by_itself_is_kept_and_then_cleared(pods: Pods, namespace: Namespace, make: Make) -> None:
    attempt = make("raise SystemExit(7)")
    seen = wait_for(lambda: (seen := pods.observe(attempt)).life is Life.ENDED and seen)
    assert (seen.exit_code, seen.cause, seen.estimated) == (7, None, False)
    assert seen.started_at is not None
    assert seen.ended_at is not None
    wait_for(lambda: pods.clear(lambda one: one == attempt) or is_gone(namespace, attempt))


def test_a_pod_that_no_node_takes_can_be_ended(pods: Pods, namespace: Namespace, make: Make) -> None:
    attempt = make(nodeSelector={"nobody": "has-this"})
    assert pods.observe(attempt).life is Life.PENDING
    seen = pods.end(attempt, patience_seconds=1)
    assert (seen.life, seen.started_at) == (Life.ENDED, None)
    wait_for(lambda: pods.clear(lambda one: one == attempt) or is_gone(namespace, attempt))


def test_a_finalizer_of_somebody_else_stays(pods: Pods, namespace: Namespace, make: Make) -> None:
    attempt = make("pass", shared=True)
    wait_for(lambda: pods.observe(attempt).life is Life.ENDED)
    wait_for(
        lambda: (
            pods.clear(lambda one: one == attempt)
            or namespace.pod_of(attempt)["metadata"].get("finalizers") == [OTHERS]
        )
    )


def test_what_a_restricted_namespace_refuses_is_a_refusal(pods: Pods) -> None:
    pod = {"metadata": {"name": "nb-root"}, "spec": {"containers": [{"name": "notebook", "image": "x"}]}}
    with pytest.raises(ClusterRefused, match="violates PodSecurity") as refused:
        pods.cluster.ask("create_pod", body=pod)
    assert refused.value.status == 403
