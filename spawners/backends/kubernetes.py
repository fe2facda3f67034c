"""Sessions as pods: the child spawner.

kubespawner makes the manifests of pod and volume; whether a pod lives is asked of the cluster itself (`Pods`), by hub
and worker alike. kubespawner's own way keeps a copy of all pods by watching, which ends for good when an API server is
away for a minute, and is believed for ever (kubespawner 7.1, `reflector.py`). So a start here asks about its pod until
it answers, and no copy can be wrong.

The environment of a session is part of its pod. From the moment before the pod is made it counts as exchanged: a hub
that restarts during the start adopts the pod, and makes nothing anew.
"""

import asyncio
import hashlib
from functools import partial
from typing import Any

from kubernetes_asyncio.client import V1Pod
from kubespawner import KubeSpawner
from traitlets import Callable, Instance, Integer, Unicode

from federation.errors import Failure
from spawners.backends.base import Life, Observation
from spawners.backends.child import Child
from spawners.backends.cluster import ClusterAway, ClusterRefused
from spawners.backends.kubernetes_failures import Failures
from spawners.backends.kubernetes_homes import Volumes
from spawners.backends.kubernetes_pods import Pods
from spawners.backends.pods import FINALIZER, Trouble, read_pod, trouble_in
from spawners.backends.probing import answers
from spawners.errors import STOPPED_MEANWHILE
from spawners.homes import Homes
from spawners.stages import Stage
from spawners.tables import SessionState

__all__ = ["KubernetesSpawner"]

_LOOK_SECONDS = 0.25
_LOG_CHARACTERS = 400
_NONCE = "pod"
"""Nobody exchanges the secret of a pod, and nobody may: its place is taken."""

ORGANISATION = "egi.eu/primary_group"
"""Annotation: as EGI's accounting of notebooks reads it."""


class KubernetesSpawner(Child, KubeSpawner):  # type: ignore[misc]  # kubespawner has no types
    """Starts one session as a pod, and waits until it answers."""

    pods = Instance(Pods)
    boot_seconds = Integer(600)
    site_title = Unicode()
    environment_title = Unicode()
    extra_annotations: dict[str, str]
    storage_capacity: str | None
    organisation = Callable(help="says the virtual organisation that the session is reported under; may block")
    homes = Instance(Homes)
    home_gib = Callable(help="says how large the person's home is to be; may block")

    def __init__(self, **arguments: Any) -> None:
        """KubeSpawner's own would load one configuration for all clusters of the process, and make a client of it."""
        super(KubeSpawner, self).__init__(**arguments)
        self.pod_name = self._expand_user_properties(self.pod_name_template)
        self.dns_name = self.dns_name_template.format(namespace=self.namespace, name=self.pod_name)
        self.secret_name = self._expand_user_properties(self.secret_name_template)
        self.pvc_name = self._expand_user_properties(self.pvc_name_template)

    async def start(self) -> str:
        """Make the pod unless it was made, wait until the server answers, and return its URL.

        Raises
        ------
        Failure
            If it cannot be started, ends before it answers, or does not answer in time.
        """
        if self.session.state is SessionState.INTENT:
            self.stage = Stage.SUBMITTING
            await self.in_thread(self._prepare)
            pod = await self._manifest()
            await self.in_thread(partial(self._make_pod, pod))
        self.stage = Stage.STARTING
        deadline = asyncio.get_running_loop().time() + self.boot_seconds
        trouble: Trouble | None = None
        while asyncio.get_running_loop().time() < deadline:
            seen, trouble = await asyncio.to_thread(self._look)
            if seen.life is Life.ENDED:
                log = await asyncio.to_thread(self.pods.log_tail, self.session.attempt, _LOG_CHARACTERS)
                raise self._failures.ended(seen, log)
            if failure := self._failures.at_once(trouble):
                raise failure
            self.stage = Stage.WAITING if trouble else self.stage
            address = await asyncio.to_thread(self._find, seen)
            if address is not None and await asyncio.to_thread(answers, address, self.server.base_url):
                await asyncio.to_thread(self.sessions.answered, self.session.attempt)
                return f"http://{_host(address[0])}:{address[1]}"
            await asyncio.sleep(_LOOK_SECONDS)
        raise self._failures.in_the_end(trouble)

    async def stop(self, now: bool = False) -> None:
        """Sessions are ended by attempt, by FederatedSpawner."""

    async def poll(self) -> int | None:
        """Sessions are asked about by attempt, by FederatedSpawner."""
        return None

    @property
    def _failures(self) -> Failures:
        return Failures(self.site_title, self.environment_title, self.boot_seconds)

    # --- making -----------------------------------------------------------------------------------------------

    async def _manifest(self) -> V1Pod:
        pod: V1Pod = await self.get_pod_manifest()
        if self.modify_pod_hook:
            changed = self.modify_pod_hook(self, pod)
            pod = await changed if asyncio.iscoroutine(changed) else changed
        pod.metadata.finalizers = [*(pod.metadata.finalizers or ()), FINALIZER]
        return pod

    def _prepare(self) -> None:
        if organisation := self.organisation():
            annotations: dict[str, str] = self.extra_annotations
            self.extra_annotations = {**annotations, ORGANISATION: organisation}
        self._make_home()

    def _make_home(self) -> None:
        if self.storage_capacity is None:
            return
        size_gib = self.home_gib()
        self.storage_capacity = f"{size_gib}Gi"
        try:
            has_gib = Volumes(self.pods.cluster).ensure(self.pvc_name, self.get_pvc_manifest(), size_gib)
        except ClusterRefused as refused:
            self.log.error("A volume was refused by the cluster: %s", refused)
            raise self._failures.no_home() from refused
        except ClusterAway as error:
            self.log.error("No volume can be asked for: %s", error)
            raise self._failures.away() from error
        self.homes.used(self.session.person_id, self.session.site, volume=self.pvc_name, size_gib=has_gib)

    def _make_pod(self, pod: V1Pod) -> None:
        """The mark comes first. A hub that dies between the two finds no pod, and gives the reservation back."""
        attempt, secret_hash = self.session.attempt, hashlib.sha256(self.secret.encode()).hexdigest()
        self.sessions.claim(attempt, secret_hash, _NONCE)
        if not self.sessions.confirm(attempt, secret_hash, _NONCE):
            raise Failure(STOPPED_MEANWHILE)
        try:
            self.pods.cluster.ask("create_pod", body=pod)
        except ClusterRefused as refused:
            self.log.error("Attempt %s was refused by the cluster: %s", attempt, refused)
            raise self._failures.refused(refused) from refused
        except ClusterAway as error:
            self.log.error("Attempt %s cannot be handed over: %s", attempt, error)
            raise self._failures.away() from error
        self.sessions.submitted(attempt, f"pod {self.pod_name}")

    # --- waiting ----------------------------------------------------------------------------------------------

    def _look(self) -> tuple[Observation, Trouble | None]:
        try:
            pod = self.pods.read(self.session.attempt)
        except (ClusterAway, ClusterRefused) as error:
            self.log.warning("Attempt %s cannot be asked about: %s", self.session.attempt, error)
            return Observation(life=Life.UNKNOWN), None
        if pod is None:
            return Observation(life=Life.ENDED), None
        return read_pod(pod), trouble_in(pod)

    def _find(self, seen: Observation) -> tuple[str, int] | None:
        if seen.life is not Life.RUNNING or seen.started_at is None or seen.host is None or seen.port is None:
            return None
        if self.stage is not Stage.CONNECTING:
            self.stage = Stage.CONNECTING
            attempt = self.session.attempt
            self.ledger.started(attempt, started_at=seen.started_at)
            self.sessions.located(attempt, host=seen.host, port=seen.port, started_at=seen.started_at)
        return seen.host, seen.port


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
