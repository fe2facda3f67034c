"""Where the tests of this folder run sessions: a cluster of one node of their own, or the one that `KUBECONFIG` names."""

import contextlib
import os
import shutil
import ssl
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from federation.ids import new_id
from spawners.backends.kubernetes_pods import pod_name
from tests.kubernetes.cluster.node import Node, running_node
from tests.kubernetes.cluster.programs import ClusterMissing
from tests.kubernetes.images import prepare_image, tag_of

__all__ = ["ENVIRONMENT", "Namespace", "Place", "running_place"]

ENVIRONMENT = "minimal"
"""Whose image sessions of tests run."""

SITE_FILE = Path(__file__).parents[2] / "helm-values" / "site" / "namespace.yaml"

_PLURALS = {
    "ConfigMap": "configmaps", "Deployment": "deployments", "Secret": "secrets", "Service": "services",
    "Namespace": "namespaces", "ServiceAccount": "serviceaccounts", "Role": "roles", "RoleBinding": "rolebindings",
    "PersistentVolumeClaim": "persistentvolumeclaims", "ResourceQuota": "resourcequotas", "LimitRange": "limitranges",
    "NetworkPolicy": "networkpolicies",
}  # fmt: skip
_NEEDED = {
    "NBFED_TEST_IMAGE": "an image of images/singleuser that the cluster can pull",
    "NBFED_TEST_HUB_IP": "an address of this machine that the cluster's pods reach",
}


@dataclass
class Place:
    """A cluster, as its administrator sees it.

    Parameters
    ----------
    hub_ip
        Where a hub has to listen so that pods reach it.
    node
        The cluster of our own; None for somebody's.
    """

    kubeconfig: Path
    image: str
    hub_ip: str
    node: Node | None = None
    _client: httpx.Client | None = field(default=None, repr=False)

    def api(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """One request with the rights of the kubeconfig."""
        if self._client is None:
            self._client = _client(self.kubeconfig)
        return self._client.request(method, path, json=body, **options)

    @contextlib.contextmanager
    def namespace(self, *, homes: int = 0) -> Iterator["Namespace"]:
        """A namespace of its own, as the how-to makes one, with the rights that it gives to a hub; gone afterwards."""
        name = f"nbfed-test-{new_id()[-12:]}"
        namespace = Namespace(self, name, Path(tempfile.mkdtemp(prefix="nbfed-site-")))
        for content in yaml.safe_load_all(SITE_FILE.read_text().replace("notebooks", name)):
            self.apply(content)
        namespace.write_kubeconfig()
        for number in range(homes if self.node else 0):
            assert self.node is not None
            self.node.add_volume(f"{name}-{number}", 1)
        try:
            yield namespace
        finally:
            namespace.remove()

    def apply(self, content: dict[str, Any]) -> None:
        """What `kubectl apply` does with a new object."""
        group = content["apiVersion"]
        root = f"/api/{group}" if group == "v1" else f"/apis/{group}"
        within = "" if content["kind"] == "Namespace" else f"/namespaces/{content['metadata']['namespace']}"
        made = self.api("POST", f"{root}{within}/{_PLURALS[content['kind']]}", content)
        assert made.is_success, (content, made.text)


@dataclass
class Namespace:
    """One namespace of a place."""

    place: Place
    name: str
    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """How a hub reaches it: with the rights of its service account."""
        return self.folder / "kubeconfig"

    def write_kubeconfig(self) -> None:
        """As the how-to says."""
        asked = self.api("POST", "serviceaccounts/nbfed/token", {"spec": {"expirationSeconds": 24 * 3600}})
        assert asked.is_success, asked.text
        token = asked.json()["status"]["token"]
        content = yaml.safe_load(self.place.kubeconfig.read_text())
        content["users"] = [{"name": "nbfed", "user": {"token": token}}]
        for context in content["contexts"]:
            context["context"]["user"] = "nbfed"
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(yaml.safe_dump(content))

    def api(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """One request below the namespace: `pods`, `pods/NAME/log`."""
        return self.place.api(method, f"/api/v1/namespaces/{self.name}/{path}", body, **options)

    def make(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make an object."""
        answer = self.api("POST", path, body)
        assert answer.is_success, (path, answer.status_code, answer.text)
        return dict(answer.json())

    def all(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        answer = self.api("GET", kind)
        assert answer.is_success, answer.text
        return list(answer.json()["items"])

    def site(self, **changes: Any) -> dict[str, Any]:
        """What an operator writes into federation.yaml for it."""
        return {
            "kind": "kubernetes", "title": {"en": "The cloud", "es": "La nube", "pt": "A nuvem"},
            "namespace": self.name, "kubeconfig_file": str(self.kubeconfig), "flavours": ["small", "medium"],
            "image_pull_policy": "Never" if self.place.node else "IfNotPresent", "homes": {"size_gib": 1},
        } | changes  # fmt: skip

    def pod_of(self, attempt: str) -> dict[str, Any]:
        """The pod of an attempt."""
        answer = self.api("GET", f"pods/{pod_name(attempt)}")
        assert answer.is_success, answer.text
        return dict(answer.json())

    def keep(self, attempt: str) -> None:
        """Keep the pod of an attempt readable until the namespace goes: the worker lets go of it when it likes."""
        patch = [{"op": "add", "path": "/metadata/finalizers/-", "value": "example.org/tests"}]
        kind = {"Content-Type": "application/json-patch+json"}
        answer = self.api("PATCH", f"pods/{pod_name(attempt)}", patch, headers=kind)
        assert answer.is_success, answer.text

    def force_away(self, pod: str) -> None:
        """Remove a pod, whoever wants to keep it."""
        patch = [{"op": "remove", "path": "/metadata/finalizers"}]
        self.api("PATCH", f"pods/{pod}", patch, headers={"Content-Type": "application/json-patch+json"})
        self.api("DELETE", f"pods/{pod}", params={"gracePeriodSeconds": 0})

    def remove(self) -> None:
        """With all that is in it; finalizers of pods would keep it for ever."""
        for pod in self.all("pods"):
            self.force_away(pod["metadata"]["name"])
        self.place.api("DELETE", f"/api/v1/namespaces/{self.name}")
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running_place() -> Iterator[Place]:
    """A cluster that takes sessions.

    Raises
    ------
    ClusterMissing
        If there is none to be had here.
    """
    if given := os.environ.get("KUBECONFIG"):
        missing = [f"{name} ({what})" for name, what in _NEEDED.items() if not os.environ.get(name)]
        if missing:
            raise ClusterMissing(f"KUBECONFIG is set, but not {' and '.join(missing)}")
        yield Place(Path(given).absolute(), os.environ["NBFED_TEST_IMAGE"], os.environ["NBFED_TEST_HUB_IP"])
        return
    image = f"singleuser-{ENVIRONMENT}"
    archive = prepare_image(image)
    with running_node() as node:
        node.load(archive)
        yield Place(node.kubeconfig, tag_of(image), node.address, node)


def _client(kubeconfig: Path) -> httpx.Client:
    """For a kubeconfig with certificates or a token in it, or in files that it names."""
    content = yaml.safe_load(kubeconfig.read_text())
    context = next(one["context"] for one in content["contexts"] if one["name"] == content["current-context"])
    cluster = next(one["cluster"] for one in content["clusters"] if one["name"] == context["cluster"])
    user = next(one["user"] for one in content["users"] if one["name"] == context["user"])
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    with tempfile.TemporaryDirectory() as folder:
        trust = ssl.create_default_context(cafile=_file(cluster, "certificate-authority", folder))
        if certificate := _file(user, "client-certificate", folder):
            trust.load_cert_chain(certificate, _file(user, "client-key", folder))
    return httpx.Client(base_url=cluster["server"], verify=trust, headers=headers, trust_env=False, timeout=30)


def _file(part: dict[str, Any], key: str, folder: str) -> str | None:
    if f"{key}-data" not in part:
        return part.get(key)
    file = Path(folder) / key
    file.write_bytes(b64decode(part[f"{key}-data"]))
    return str(file)
