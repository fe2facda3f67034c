"""The pods of one site, as hub and worker ask about them.

An attempt is one pod, which carries its name. What is over can be told by its pod until its end is in the books: a
finalizer keeps a pod that somebody deleted, or whose node was drained, until `clear`. So a pod that cannot be found
never came to be, or was taken by force.

A look at all pods serves every question of the next second. Only "it is not there" is asked again of the pod itself.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from spawners.backends.base import Life, Observation
from spawners.backends.cluster import Cluster, ClusterAway, ClusterRefused
from spawners.backends.pods import ATTEMPT, CONTAINER, FINALIZER, HUB, attempt_of, read_pod
from spawners.backends.session_files import printable_tail

__all__ = ["Pods", "pod_name"]

_log = logging.getLogger("nbfed.kubernetes")

_GONE = 404
_FRESH_SECONDS = 1.0
_LOOK_SECONDS = 0.2
_FORCE_SECONDS = 10.0
_LOG_LINES = 50


def pod_name(attempt: str) -> str:
    """Of an attempt."""
    return f"nb-{attempt}"


class Pods:
    """See the module. All calls block.

    Parameters
    ----------
    cluster
        Where they are.
    hub
        This installation's name; pods of others in the same namespace are not looked at.
    """

    def __init__(self, cluster: Cluster, hub: str) -> None:
        self.cluster = cluster
        self._selector = f"{HUB}={hub}"
        self._lock = threading.Lock()
        self._pods: Mapping[str, Mapping[str, Any]] = {}
        self._looked_at = float("-inf")

    def observe(self, attempt: str) -> Observation:
        """What the cluster says about one attempt; `Life.UNKNOWN` if it cannot be asked."""
        try:
            pod = self._all().get(attempt) or self.read(attempt)
        except (ClusterAway, ClusterRefused) as error:
            _log.debug("attempt %s cannot be asked about: %s", attempt, error)
            return Observation(life=Life.UNKNOWN)
        return Observation(life=Life.ENDED) if pod is None else read_pod(pod)

    def read(self, attempt: str) -> Mapping[str, Any] | None:
        """The pod of an attempt as it is now; None if there is none.

        Raises
        ------
        ClusterAway, ClusterRefused
            If the cluster does not say.
        """
        try:
            pod: Mapping[str, Any] = self.cluster.ask("read_pod", name=pod_name(attempt))
        except ClusterRefused as refused:
            if refused.status == _GONE:
                return None
            raise
        return pod

    def address(self, attempt: str, secret_hash: str) -> tuple[str, int] | None:
        """Where its server listens. The cluster says it, not the session, so no proof is needed."""
        seen = self.observe(attempt)
        return (seen.host, seen.port) if seen.host is not None and seen.port is not None else None

    def living(self) -> Collection[str]:
        """The attempts whose pods have not ended; none if the cluster cannot be asked."""
        try:
            pods = self._all()
        except (ClusterAway, ClusterRefused) as error:
            _log.warning("namespace %s cannot be listed: %s", self.cluster.namespace, error)
            return []
        return [attempt for attempt, pod in pods.items() if read_pod(pod).life is not Life.ENDED]

    def end(self, attempt: str, *, patience_seconds: float) -> Observation:
        """Delete its pod: the node tells it to end, and ends it by force when the patience is over.

        The answer is what was seen afterwards; the node needs a moment to write down when its container ended.
        """
        try:
            self._delete(attempt, max(1, round(patience_seconds)))
            deadline = time.monotonic() + patience_seconds + _FORCE_SECONDS
            while (seen := self._now(attempt)).life is not Life.ENDED and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
        except (ClusterAway, ClusterRefused) as error:
            _log.warning("attempt %s cannot be ended: %s", attempt, error)
            return Observation(life=Life.UNKNOWN)
        return seen

    def log_tail(self, attempt: str, characters: int) -> str:
        """The end of what the session wrote, safe to show; empty if the cluster does not say."""
        try:
            log = self.cluster.log(pod_name(attempt), CONTAINER, lines=_LOG_LINES)
        except (ClusterAway, ClusterRefused):
            return ""
        return printable_tail(log.encode(), characters)

    def clear(self, is_over: Callable[[str], bool]) -> None:
        """Let go of the pods of attempts that are over in the books."""
        try:
            for attempt, pod in self._all().items():
                if read_pod(pod).life is Life.ENDED and is_over(attempt):
                    self._let_go(attempt, pod)
        except (ClusterAway, ClusterRefused) as error:
            _log.warning("pods of namespace %s cannot be cleared: %s", self.cluster.namespace, error)

    def _let_go(self, attempt: str, pod: Mapping[str, Any]) -> None:
        finalizers = pod["metadata"].get("finalizers", [])
        if FINALIZER in finalizers:
            at = f"/metadata/finalizers/{finalizers.index(FINALIZER)}"
            # Somebody else's finalizer may have come or gone meanwhile: then this is refused, and tried again.
            patch = [{"op": "test", "path": at, "value": FINALIZER}, {"op": "remove", "path": at}]
            self._unless_gone("patch_pod", name=pod_name(attempt), body=patch)
        self._delete(attempt, 0)

    def _delete(self, attempt: str, grace_seconds: int) -> None:
        self._unless_gone("delete_pod", name=pod_name(attempt), grace_period_seconds=grace_seconds)

    def _unless_gone(self, operation: str, **arguments: Any) -> None:
        try:
            self.cluster.ask(operation, **arguments)
        except ClusterRefused as refused:
            if refused.status != _GONE:
                raise

    def _now(self, attempt: str) -> Observation:
        pod = self.read(attempt)
        return Observation(life=Life.ENDED) if pod is None else read_pod(pod)

    def _all(self) -> Mapping[str, Mapping[str, Any]]:
        with self._lock:
            if time.monotonic() - self._looked_at > _FRESH_SECONDS:
                asked_at = time.monotonic()
                items = self.cluster.ask("list_pod", label_selector=self._selector)["items"]
                self._pods = {attempt_of(pod): pod for pod in items if ATTEMPT in pod["metadata"]["labels"]}
                self._looked_at = asked_at
            return self._pods
