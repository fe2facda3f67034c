"""The volumes of people's homes at one Kubernetes site: made, grown, looked at and removed.

Hub and worker may make and grow them there, and remove none (helm-values/site/namespace.yaml): an operator does, with
rights of their own.
"""

import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from federation.ids import new_id
from federation.settings import KubernetesSite
from spawners.backends.cluster import Cluster, ClusterAway, ClusterRefused
from spawners.backends.kubernetes_arguments import GID, HOME, SECURITY, UID

__all__ = ["Usage", "Volumes", "gib_of"]

_log = logging.getLogger("nbfed.kubernetes")

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([kKMGTP]?i?)")
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30,
            "Ti": 2**40, "Pi": 2**50}  # fmt: skip
_CONTAINER = "usage"
_LOOK_SECONDS = 0.5
_PROGRAM = """
import json, os, sys
seen, size, files = set(), 0, 0
for path, folders, names in os.walk(sys.argv[1], onerror=lambda error: sys.exit(str(error))):
    for name in [*folders, *names]:
        found = os.lstat(os.path.join(path, name))
        if (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            size += found.st_blocks * 512
            files += 1
print(json.dumps({"size_bytes": size, "files": files}))
"""


@dataclass(frozen=True)
class Usage:
    """What is in a home: the room that it takes on the disk, and files and folders together."""

    size_bytes: int
    files: int


class Volumes:
    """See the module. All calls block, and raise `ClusterAway` if the cluster cannot be asked."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def ensure(self, name: str, claim: Any, size_gib: int) -> int:
        """Make a volume unless it is there, and let one grow that is smaller; how large it is.

        Raises
        ------
        ClusterRefused
            If there is none, and none is made.
        """
        try:
            self._cluster.ask("create_persistent_volume_claim", body=claim)
        except ClusterRefused as refused:
            there = self._there(name, refused)
            return self._grown(name, gib_of(there["spec"]["resources"]["requests"]["storage"]), size_gib)
        return size_gib

    def remove(self, name: str) -> None:
        """Remove a volume; one that is not there is removed.

        Raises
        ------
        ClusterRefused
            If this account may not.
        """
        try:
            self._cluster.ask("delete_persistent_volume_claim", name=name)
        except ClusterRefused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise

    def usage(self, name: str, *, site: KubernetesSite, image: str, seconds: float) -> Usage:
        """Look at what is in a volume, from a pod that may read it and nothing else, and is gone afterwards.

        Raises
        ------
        ClusterRefused
            If the pod may not be made, or ended without an answer.
        TimeoutError
            If it was not done in time: the volume may be in use on another node.
        """
        pod = f"{name[:40]}-usage-{new_id()[-12:]}"
        self._cluster.ask("create_pod", body=_looker(pod, name, site, image, seconds))
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                phase = self._cluster.ask("read_pod", name=pod)["status"].get("phase")
                if phase in ("Succeeded", "Failed"):
                    said = self._cluster.log(pod, _CONTAINER, lines=20)
                    if phase == "Failed":
                        raise ClusterRefused(HTTPStatus.INTERNAL_SERVER_ERROR, said.strip() or "its pod failed")
                    return Usage(**json.loads(said))
                time.sleep(_LOOK_SECONDS)
        finally:
            self._cluster.ask("delete_pod", name=pod, grace_period_seconds=0)
        raise TimeoutError(f"{name} was not looked at within {seconds:.0f} s")

    def _there(self, name: str, refused: ClusterRefused) -> Mapping[str, Any]:
        """The one that was made before. A quota is looked at before the name is (403 instead of 409)."""
        if refused.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT):
            raise refused
        try:
            there: Mapping[str, Any] = self._cluster.ask("read_persistent_volume_claim", name=name)
        except ClusterRefused:
            raise refused from None
        return there

    def _grown(self, name: str, has_gib: int, wanted_gib: int) -> int:
        """Its size in the end. Not every storage class lets volumes grow; nobody is kept from a session by that."""
        if has_gib >= wanted_gib:
            return has_gib
        patch = [{"op": "replace", "path": "/spec/resources/requests/storage", "value": f"{wanted_gib}Gi"}]
        try:
            self._cluster.ask("patch_persistent_volume_claim", name=name, body=patch)
        except (ClusterRefused, ClusterAway) as error:
            _log.warning("%s stays at %d GiB instead of %d: %s", name, has_gib, wanted_gib, error)
            return has_gib
        return wanted_gib


def gib_of(quantity: str) -> int:
    """Whole GiB of an amount as Kubernetes writes it: `20Gi`, `500M`.

    Raises
    ------
    ValueError
        If it is none.
    """
    found = _QUANTITY.fullmatch(quantity)
    if found is None or found[2] not in _FACTORS:
        raise ValueError(f"{quantity!r} is no amount of storage")
    return int(float(found[1]) * _FACTORS[found[2]]) // 2**30


def _looker(pod: str, volume: str, site: KubernetesSite, image: str, seconds: float) -> dict[str, Any]:
    """As restricted as a session, and its volume cannot be written."""
    container = {
        "name": _CONTAINER,
        "image": image,
        "imagePullPolicy": site.image_pull_policy,
        "command": ["python3", "-c", _PROGRAM, HOME],
        "securityContext": {"allowPrivilegeEscalation": False, **SECURITY["container_security_context"]},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "volumeMounts": [{"name": "home", "mountPath": HOME, "readOnly": True}],
    }
    return {
        "metadata": {"name": pod, "labels": {"component": "home-usage"}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": round(seconds),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "nodeSelector": site.node_selector,
            "imagePullSecrets": [{"name": name} for name in site.image_pull_secrets],
            "securityContext": {"runAsUser": UID, "runAsGroup": GID, **SECURITY["pod_security_context"]},
            "containers": [container],
            "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": volume, "readOnly": True}}],
        },
    }
