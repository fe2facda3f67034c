"""The hub itself in a pod of the test cluster, by the values and the chart of `helm-values/`; worker, access desk and
gateway beside, books and hub's records on PostgreSQL, and a batch site behind sshd.

Two things are stood in for. The zero-to-jupyterhub chart lies in a registry of charts: what it makes of our values for
the hub is made by `other_chart.py`. And our cluster has
no names and no service addresses: pods of the federation use the node's network, the names of our chart's services lead
there by a file of hosts, and the proxy runs beside it.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from federation.ids import new_id
from hub_config.children import NODE
from hub_config.proxy_install import PROXY_SCRIPT
from spawners.gateway.client import GatewayClient
from spawners.gateway.door import Door
from tests.helm_values.charts import CHART, FOLDER, merged
from tests.kubernetes import other_chart
from tests.kubernetes.cluster.node import Node
from tests.kubernetes.cluster.parts import API_PORT
from tests.kubernetes.images import prepare_image, tag_of
from tests.kubernetes.place import ENVIRONMENT, Namespace, Place
from tests.services.test_session import wait_for
from tests.support.helm import Helm
from tests.support.postgres import PostgresServer
from tests.support.service import demo_yaml, free_ports
from tests.support.sshd import SshSite, batch_site, free_range

__all__ = ["Deployed", "deployed"]

FILES = ("base.yaml", "postgres.yaml")
HOST_KEY = "batch.pub"
SERVICES = ("nbfed-desk", "nbfed-gateway")
LESS_CPU = """
def less(spawner, pod):
    for container in pod.spec.containers:
        container.resources.requests["cpu"] = "50m"
    return pod

c.KubeSpawner.modify_pod_hook = less
"""
"""Five sessions have to fit on a machine of two cores."""


class Deployed:
    """See the module."""

    def __init__(self, place: Place, node: Node, sessions: Namespace, batch: SshSite, folder: Path) -> None:
        self.place, self.node, self.sessions, self.batch, self.folder = place, node, sessions, batch, folder
        self.name = f"nbfed-test-{new_id()[-12:]}"
        self.public, self.proxy_api, self.hub, self.worker, self.desk, self.sign_in, self.gateway = free_ports(7)
        self.forwards = free_range(10)
        self.base_url = f"http://127.0.0.1:{self.public}/"
        self.token = {name: secrets.token_hex(32) for name in ("cookie", "proxy", "crypt", "demo")}
        self.values_file = folder / "values.yaml"
        self.gateway_volume = Path()
        self.books = ""
        """The address of the federation database, once it is applied."""

    # --- what an operator writes --------------------------------------------------------------------------------

    def federation_yaml(self) -> dict[str, Any]:
        """The demonstration's people; hub and worker find their own cluster by the accounts of their pods."""
        here = self.sessions.site(homes=None)
        del here["kubeconfig_file"]
        content = demo_yaml(
            flavours={"small": {"cpu": 1, "memory_gib": 1, "weight": 1}},
            environments={ENVIRONMENT: {"title": "Minimal", "kubernetes": {"image": self.place.image}}},
        )
        address = self.node.address
        return content | {
            "federation": {"mode": "demo", "base_url": self.base_url},
            "listen": {
                "hub_ip": address, "hub_port": self.hub, "hub_url": f"http://{address}:{self.hub}",
                "proxy_api_url": f"http://127.0.0.1:{self.proxy_api}", "sign_in_port": self.sign_in,
                "worker_ip": "0.0.0.0", "worker_port": self.worker, "worker_url": f"http://{address}:{self.worker}",
                "desk_ip": "0.0.0.0", "desk_port": self.desk, "desk_url": f"http://nbfed-desk:{self.desk}",
            },
            "database": {"url_file": "secrets/database_url", "hub_url_file": "secrets/hub_database_url"},
            "gateway": {
                "url": f"http://nbfed-gateway:{self.gateway}",
                "forward_ports": f"{self.forwards[0]}-{self.forwards[-1]}",
            },
            "sites": {"here": here, self.batch.name: self._batch_site()},
            "tiers": {"T0": {}, "T1": {"communities": ["urn:mace:example.org:group:demo"]}},
            "environments": {ENVIRONMENT: content["environments"][ENVIRONMENT] | {"local": None}},
            "identity": {},
        }  # fmt: skip

    def _batch_site(self) -> dict[str, Any]:
        site: dict[str, Any] = batch_site(self.batch).model_dump(mode="json", exclude_unset=True)
        site["login"]["host_key_file"] = HOST_KEY
        return site

    def write_values(self) -> dict[str, Any]:
        """The file of values beside ours; all of them as Helm merges them."""
        name, _, tag = tag_of("hub").rpartition(":")
        own = {
            "hub": {
                "image": {"name": name, "tag": tag},
                "extraFiles": {
                    "federation": {"stringData": yaml.safe_dump(self.federation_yaml(), sort_keys=False)},
                    "host_key": {
                        "mountPath": f"/etc/nbfed/{HOST_KEY}",
                        "stringData": self.batch.host_key_file.read_text(),
                    },
                },
                "extraConfig": {"of-the-tests": LESS_CPU},
                "extraEnv": {"NBFED_DEMO_CLIENT_SECRET": self.token["demo"]},
            },
            "custom": {"nbfed": {"worker": {"replicas": 1}}},
        }  # fmt: skip
        self.values_file.write_text(yaml.safe_dump(own))
        return merged(*FILES, str(self.values_file))

    # --- what the charts make -----------------------------------------------------------------------------------

    def apply(self, helm: Helm, postgres: PostgresServer) -> None:
        """Namespace, secrets, our chart, and what the other chart makes of the hub's values."""
        values = self.write_values()
        self.place.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})
        self.books, records = (postgres.url(postgres.create()) for _ in range(2))
        self._secret("nbfed-hub", database_url=self.books, hub_database_url=records)
        self.gateway_volume = self.node.add_volume(f"{self.name}-gateway", 1, claim=(self.name, "nbfed-gateway"))
        for name in ("nbfed-worker", "nbfed-desk", "nbfed-gateway"):
            self._secret(name, database_url=self.books)
        services = {name: secrets.token_hex(32) for name in values["hub"]["services"]}
        self.token["gateway"] = services["gateway"]
        kept = {
            "hub.config.JupyterHub.cookie_secret": self.token["cookie"],
            "hub.config.ConfigurableHTTPProxy.auth_token": self.token["proxy"],
            "hub.config.CryptKeeper.keys": self.token["crypt"],
        }
        self._secret("hub", **kept, **other_chart.secret(values, services))
        files = [*(f"{FOLDER}/{file}" for file in FILES), str(self.values_file)]
        for content in helm.render(CHART, files, namespace=self.name):
            if content["kind"] == "Deployment":
                self._onto_the_node(content["spec"]["template"]["spec"])
            self.place.apply(content)
        self._make("ServiceAccount", "hub")
        self._make("ConfigMap", "hub", data=other_chart.config(values, services))
        hub = other_chart.hub(values["hub"], self.name, self.hub)
        self._onto_the_node(hub["spec"]["template"]["spec"])
        self.place.apply(hub)

    def _onto_the_node(self, spec: dict[str, Any]) -> None:
        spec["hostNetwork"] = True
        spec["hostAliases"] = [{"ip": self.node.address, "hostnames": SERVICES}]
        api = {"KUBERNETES_SERVICE_HOST": self.node.address, "KUBERNETES_SERVICE_PORT": str(API_PORT)}
        for container in spec["containers"]:
            container.setdefault("env", []).extend({"name": name, "value": value} for name, value in api.items())

    def _secret(self, name: str, **content: str) -> None:
        self._make("Secret", name, stringData=content)

    def _make(self, kind: str, name: str, **content: Any) -> None:
        metadata = {"name": name, "namespace": self.name}
        self.place.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, **content})

    # --- what is seen -------------------------------------------------------------------------------------------

    def pod(self, label: str, value: str) -> dict[str, Any] | None:
        """The pod of a Deployment that is ready; None if there is none."""
        pods = self.place.api(
            "GET", f"/api/v1/namespaces/{self.name}/pods", params={"labelSelector": f"{label}={value}"}
        )
        for pod in pods.json()["items"]:
            conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
            if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
                return dict(pod)
        return None

    def hub_pod(self) -> dict[str, Any] | None:
        return self.pod("component", "hub")

    def pod_of(self, component: str) -> dict[str, Any] | None:
        """Of our chart: `worker`, `desk`, `gateway`."""
        return self.pod("app.kubernetes.io/component", component)

    def logs(self) -> str:
        """What every container of the federation wrote."""
        root = f"/api/v1/namespaces/{self.name}/pods"
        texts = []
        for pod in self.place.api("GET", root).json()["items"]:
            name = pod["metadata"]["name"]
            texts.append(f"--- {name} {json.dumps(pod['status'])[:1500]}")
            for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
                answer = self.place.api("GET", f"{root}/{name}/log", params={"container": container["name"]})
                texts.append(f"--- {name} {container['name']}\n{answer.text[-4000:]}")
        return "\n".join(texts)

    def nbfed(self, *words: str, component: str = "") -> subprocess.CompletedProcess[str]:
        """A command in the hub's container, or in that of a part of our chart."""
        pod = self.pod_of(component) if component else self.hub_pod()
        assert pod is not None
        return self.node.execute(pod["status"]["containerStatuses"][0]["containerID"], "nbfed", *words)

    @property
    def gateway_client(self) -> GatewayClient:
        """As hub and worker ask it."""
        url = f"http://{self.node.address}:{self.gateway}"
        return GatewayClient(Door(Path(), url, self.token["gateway"]))

    def replace_hub(self) -> None:
        """Delete its pod, and wait for the next one."""
        self._replace(self.hub_pod)

    def replace(self, component: str) -> None:
        """The same with a pod of our chart."""
        self._replace(lambda: self.pod_of(component))

    def _replace(self, find: Callable[[], dict[str, Any] | None]) -> None:
        pod = find()
        assert pod is not None
        self.place.api("DELETE", f"/api/v1/namespaces/{self.name}/pods/{pod['metadata']['name']}")
        wait_for(lambda: (new := find()) and new["metadata"]["uid"] != pod["metadata"]["uid"], 180)


@contextlib.contextmanager
def deployed(
    place: Place, sessions: Namespace, batch: SshSite, helm: Helm, postgres: PostgresServer
) -> Iterator[Deployed]:
    """It, ready, and trusted by the batch site; gone afterwards."""
    assert place.node is not None
    for image in ("hub", "gateway"):
        place.node.load(prepare_image(image))
    with tempfile.TemporaryDirectory(prefix="nbfed-deployment-") as folder, contextlib.ExitStack() as stack:
        made = Deployed(place, place.node, sessions, batch, Path(folder))
        stack.callback(place.api, "DELETE", f"/api/v1/namespaces/{made.name}")
        made.apply(helm, postgres)
        stack.enter_context(_beside(made))
        try:
            wait_for(lambda: made.hub_pod() and all(map(made.pod_of, ("worker", "desk", "gateway"))), 240)
        except AssertionError as error:
            raise AssertionError(made.logs()) from error
        assert made.nbfed("ca", "init", component="gateway").returncode == 0
        batch.trust((made.gateway_volume / "gateway" / "ca.pub").read_text().strip())
        yield made


@contextlib.contextmanager
def _beside(made: Deployed) -> Iterator[None]:
    """Proxy and demo sign-in, on the machine of the node."""
    (made.folder / "federation.yaml").write_text(yaml.safe_dump(made.federation_yaml(), sort_keys=False))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    proxy = [str(NODE), str(PROXY_SCRIPT), "--ip", "127.0.0.1", "--port", str(made.public), "--api-ip", "127.0.0.1",
             "--api-port", str(made.proxy_api), "--log-level", "warn"]  # fmt: skip
    hosts = made.folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{made.node.address} {' '.join(SERVICES)}\n")
    with_names = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
    sign_in = [sys.executable, "-m", "hub_config.cli", "demo-sign-in"]
    of_sign_in = {
        "NBFED_HOME": str(made.folder / "run"), "NBFED_CONFIG": str(made.folder / "federation.yaml"),
        "NBFED_DEMO_CLIENT_SECRET": made.token["demo"],
    }  # fmt: skip
    with (made.folder / "log").open("ab") as log:
        running = [
            subprocess.Popen(command, env=kept | more, cwd=made.folder, stdout=log, stderr=log)
            for command, more in (
                ([*with_names, *proxy], {"CONFIGPROXY_AUTH_TOKEN": made.token["proxy"]}),
                (sign_in, of_sign_in),
            )
        ]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(15)
