"""Reading pods: whether a session lives, since when, until when, and what keeps it from starting. Pure.

A pod is a mapping as the API server sends it. Its times are the node's, in whole seconds (Kubernetes API reference,
`ContainerState`). One container counts: `notebook`, as kubespawner names it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from spawners.backends.base import Cause, Life, Observation

__all__ = ["ATTEMPT", "CONTAINER", "FINALIZER", "HUB", "PORT_NAME", "Trouble", "attempt_of", "read_pod", "trouble_in"]

ATTEMPT = "nbfed/attempt"
"""Label: which attempt a pod is; the hold in the books has the same id."""
HUB = "nbfed/hub"
"""Label: whose it is, where several installations share a namespace."""
FINALIZER = "nbfed/books"
"""Keeps a deleted pod readable until its end is in the books, as `batch.kubernetes.io/job-tracking` does for jobs."""
CONTAINER = "notebook"
PORT_NAME = "notebook-port"

Pod = Mapping[str, Any]

_ENDED_PHASES = ("Succeeded", "Failed")
_IMAGE_REASONS = ("ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName", "ImageInspectError")
_BROKEN_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff")
_EVICTED_REASONS = ("Evicted", "Preempted", "Terminated", "NodeShutdown")


class Trouble(Enum):
    """What keeps a pod from starting."""

    IMAGE = "its image cannot be had"
    FULL = "no node has room for it"
    HOME = "its volume cannot be had"
    BROKEN = "its container cannot be made"


def attempt_of(pod: Pod) -> str:
    """Which attempt a pod is."""
    return str(pod["metadata"]["labels"][ATTEMPT])


def read_pod(pod: Pod) -> Observation:
    """What a pod says of its session."""
    status = pod.get("status", {})
    state = _state(status)
    ip = status.get("podIP")
    if ended := state.get("terminated"):
        return _ended(pod, ended)
    running = state.get("running")
    started_at = _moment(running.get("startedAt")) if running else None
    if status.get("phase") in _ENDED_PHASES:
        # Its node is gone, or never took it: nobody wrote down when its container ended.
        return Observation(
            life=Life.ENDED, started_at=started_at, ended_at=_taken_away_at(pod) if started_at else None,
            estimated=started_at is not None, cause=_cause(pod, {}),
        )  # fmt: skip
    if started_at is None:
        # Nobody says of a pod without a node that it is over.
        is_over = "deletionTimestamp" in pod["metadata"] and not pod["spec"].get("nodeName")
        return Observation(life=Life.ENDED if is_over else Life.PENDING)
    return Observation(life=Life.RUNNING, started_at=started_at, host=ip, port=_port(pod) if ip else None)


def trouble_in(pod: Pod) -> Trouble | None:
    """What keeps it from starting now; None if it is on its way."""
    status = pod.get("status", {})
    reason = _state(status).get("waiting", {}).get("reason", "")
    if reason in _IMAGE_REASONS:
        return Trouble.IMAGE
    if reason in _BROKEN_REASONS:
        return Trouble.BROKEN
    for condition in status.get("conditions", ()):
        if (condition["type"], condition["status"], condition.get("reason")) == (
            "PodScheduled",
            "False",
            "Unschedulable",
        ):
            # The scheduler gives no other sign of it (kubernetes 1.34, plugins/volumebinding).
            return Trouble.HOME if "persistentvolumeclaim" in condition.get("message", "").lower() else Trouble.FULL
    return None


def _ended(pod: Pod, ended: Mapping[str, Any]) -> Observation:
    started_at, ended_at = _moment(ended.get("startedAt")), _moment(ended.get("finishedAt"))
    estimated = started_at is not None and ended_at is None
    if estimated:
        ended_at = _taken_away_at(pod)
    return Observation(
        life=Life.ENDED,
        started_at=started_at,
        ended_at=ended_at if started_at else None,
        estimated=estimated,
        exit_code=ended.get("exitCode"),
        cause=_cause(pod, ended),
    )


def _cause(pod: Pod, ended: Mapping[str, Any]) -> Cause | None:
    if ended.get("reason") == "OOMKilled":
        return Cause.MEMORY
    status = pod.get("status", {})
    disrupted = any(
        one["type"] == "DisruptionTarget" and one["status"] == "True" for one in status.get("conditions", ())
    )
    return Cause.EVICTED if disrupted or status.get("reason") in _EVICTED_REASONS else None


def _taken_away_at(pod: Pod) -> datetime | None:
    """When the cluster gave up on it."""
    disrupted = (
        one.get("lastTransitionTime")
        for one in pod.get("status", {}).get("conditions", ())
        if one["type"] == "DisruptionTarget" and one["status"] == "True"
    )
    return _earliest([*disrupted, pod["metadata"].get("deletionTimestamp")])


def _earliest(times: Iterable[str | None]) -> datetime | None:
    return min((moment for time in times if (moment := _moment(time)) is not None), default=None)


def _state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in status.get("containerStatuses", ()):
        if container["name"] == CONTAINER:
            state: Mapping[str, Any] = container.get("state", {})
            return state
    return {}


def _port(pod: Pod) -> int | None:
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", ()):
            if port.get("name") == PORT_NAME:
                return int(port["containerPort"])
    return None


def _moment(time: str | None) -> datetime | None:
    """None also for the beginning of 1970, which stands for a container that never came to run."""
    moment = datetime.fromisoformat(time).astimezone(UTC) if time else None
    return moment if moment is not None and moment.timestamp() > 0 else None
