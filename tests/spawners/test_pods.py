"""Reading pods. The pods here are shortened answers of a Kubernetes 1.34 API server."""

from datetime import UTC, datetime
from typing import Any

import pytest

from spawners.backends.base import Cause, Life
from spawners.backends.pods import ATTEMPT, Trouble, attempt_of, read_pod, trouble_in

BEGAN, ENDED = "2026-11-24T10:00:00Z", "2026-11-24T10:05:09Z"
STARTED_AT, ENDED_AT = datetime(2026, 11, 24, 10, tzinfo=UTC), datetime(2026, 11, 24, 10, 5, 9, tzinfo=UTC)


def pod(state: dict[str, Any] | None = None, *, node: str | None = "n1", **status: Any) -> dict[str, Any]:
    """A pod with one notebook container in a state, and beside it another that never ends."""
    other = {"name": "sidecar", "state": {"running": {"startedAt": "2026-11-24T09:00:00Z"}}}
    statuses = [] if state is None else [other, {"name": "notebook", "state": state}]
    ports = [{"name": "metrics", "containerPort": 9}, {"name": "notebook-port", "containerPort": 8888}]
    return {
        "metadata": {"name": "nb-1", "labels": {ATTEMPT: "0190"}},
        "spec": {"containers": [{"name": "notebook", "ports": ports}], **({"nodeName": node} if node else {})},
        "status": {"phase": "Running", "containerStatuses": statuses, **status},
    }


def terminated(**values: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": BEGAN, "finishedAt": ENDED, **values}}


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(node=None, phase="Pending", conditions=[condition])


def test_the_attempt_is_a_label() -> None:
    assert attempt_of(pod()) == "0190"


@pytest.mark.parametrize("state", [None, {}, {"waiting": {"reason": "ContainerCreating"}}])
def test_a_pod_whose_container_does_not_run_yet_is_pending(state) -> None:
    seen = read_pod(pod(state, phase="Pending"))
    assert (seen.life, seen.started_at, seen.host) == (Life.PENDING, None, None)


def test_a_running_container_runs_since_its_own_start_and_listens_at_the_notebook_port() -> None:
    seen = read_pod(pod({"running": {"startedAt": BEGAN}}, podIP="10.244.0.12"))
    assert (seen.life, seen.started_at, seen.host, seen.port) == (Life.RUNNING, STARTED_AT, "10.244.0.12", 8888)


def test_a_pod_that_is_being_deleted_runs_until_its_container_has_ended() -> None:
    leaving = pod({"running": {"startedAt": BEGAN}})
    leaving["metadata"]["deletionTimestamp"] = ENDED
    assert read_pod(leaving).life is Life.RUNNING


def test_an_ended_container_has_the_times_that_its_node_wrote_down() -> None:
    seen = read_pod(pod(terminated(exitCode=3, reason="Error"), phase="Failed"))
    assert (seen.life, seen.started_at, seen.ended_at) == (Life.ENDED, STARTED_AT, ENDED_AT)
    assert (seen.exit_code, seen.cause, seen.estimated) == (3, None, False)


def test_an_end_without_a_time_is_estimated() -> None:
    """Kubernetes writes `ContainerStatusUnknown` where a node came back without the container."""
    lost = pod(terminated(reason="ContainerStatusUnknown", exitCode=137, finishedAt=None), phase="Failed")
    lost["metadata"]["deletionTimestamp"] = ENDED
    seen = read_pod(lost)
    assert (seen.life, seen.started_at, seen.ended_at, seen.estimated) == (Life.ENDED, STARTED_AT, ENDED_AT, True)


def test_a_container_that_never_came_to_run_has_no_times() -> None:
    never = pod(terminated(reason="StartError", exitCode=128, startedAt="1970-01-01T00:00:00Z"), phase="Failed")
    assert (read_pod(never).started_at, read_pod(never).ended_at) == (None, None)


def test_a_container_that_was_killed_for_its_memory_says_so() -> None:
    assert read_pod(pod(terminated(exitCode=137, reason="OOMKilled"), phase="Failed")).cause is Cause.MEMORY


@pytest.mark.parametrize(
    "status",
    [
        {"reason": "Evicted"},
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": ENDED}]},
    ],
)
def test_a_pod_that_the_cluster_took_away_says_so(status) -> None:
    seen = read_pod(pod(terminated(exitCode=137, reason="Error"), phase="Failed", **status))
    assert seen.cause is Cause.EVICTED


def test_a_pod_of_a_node_that_is_gone_ended_when_the_cluster_gave_it_up() -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": ENDED}
    seen = read_pod(pod({"running": {"startedAt": BEGAN}}, phase="Failed", conditions=[condition]))
    assert (seen.life, seen.started_at, seen.ended_at) == (Life.ENDED, STARTED_AT, ENDED_AT)
    assert (seen.estimated, seen.cause) == (True, Cause.EVICTED)


def test_a_pod_that_was_refused_by_its_node_never_ran() -> None:
    seen = read_pod(pod(phase="Failed", reason="OutOfmemory"))
    assert (seen.life, seen.started_at, seen.ended_at, seen.estimated) == (Life.ENDED, None, None, False)


def test_a_pod_that_was_deleted_before_it_had_a_node_is_over() -> None:
    """Nobody else would say so: there is no node to do it."""
    deleted = unscheduled("0/3 nodes are available: 3 Insufficient memory.")
    deleted["metadata"]["deletionTimestamp"] = ENDED
    assert (read_pod(deleted).life, read_pod(deleted).started_at) == (Life.ENDED, None)


@pytest.mark.parametrize(
    ("reason", "trouble"),
    [
        ("ContainerCreating", None),
        ("PodInitializing", None),
        ("ErrImagePull", None),  # tried again at once
        ("ImagePullBackOff", Trouble.IMAGE),
        ("ErrImageNeverPull", Trouble.IMAGE),
        ("InvalidImageName", Trouble.IMAGE),
        ("CreateContainerConfigError", Trouble.BROKEN),
        ("RunContainerError", Trouble.BROKEN),
    ],
)
def test_what_a_container_waits_for(reason, trouble) -> None:
    assert trouble_in(pod({"waiting": {"reason": reason}}, phase="Pending")) is trouble


@pytest.mark.parametrize(
    ("message", "trouble"),
    [
        ("0/3 nodes are available: 3 Insufficient memory.", Trouble.FULL),
        ("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.", Trouble.HOME),
        ('persistentvolumeclaim "home-1" not found', Trouble.HOME),
    ],
)
def test_why_a_pod_has_no_node(message, trouble) -> None:
    assert trouble_in(unscheduled(message)) is trouble


def test_a_running_pod_has_no_trouble() -> None:
    scheduled = {"type": "PodScheduled", "status": "True"}
    assert trouble_in(pod({"running": {"startedAt": BEGAN}}, conditions=[scheduled])) is None
