"""The files of `helm-values/` as Helm puts them together, and what is known of the chart that most of them are for."""

import copy
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CHART", "CLOSED", "COMBINATIONS", "FOLDER", "ROOT", "leaves", "merged", "unpack"]

ROOT = Path(__file__).parents[2]
FOLDER = "helm-values"
CHART = f"{FOLDER}/chart"

COMBINATIONS = {
    "check-in": ("base.yaml", "postgres.yaml", "egi-check-in.yaml"),
    "redclara": ("base.yaml", "postgres.yaml", "redclara-example.yaml"),
    "dev": ("base.yaml", "dev.yaml"),
}
"""Which files belong together, as `-f`, in their order."""

_POD = "nodeSelector tolerations resources containerSecurityContext image extraPodSpec revisionHistoryLimit pdb"
CLOSED = {
    path: frozenset(keys.split())
    for path, keys in {
        "": "enabled fullnameOverride nameOverride imagePullSecret imagePullSecrets hub proxy singleuser scheduling "
        "ingress prePuller custom cull debug rbac global httpRoute",
        "hub": "config extraFiles baseUrl command args cookieSecret networkPolicy db labels initContainers extraEnv "
        "extraConfig fsGid service existingSecret activeServerLimit allowNamedServers annotations "
        "authenticatePrometheus concurrentSpawnLimit consecutiveFailureLimit podSecurityContext deploymentStrategy "
        "extraContainers extraVolumeMounts extraVolumes livenessProbe readinessProbe namedServerLimitPerUser "
        f"redirectToServer lifecycle services loadRoles shutdownOnLogout templatePaths templateVars serviceAccount {_POD}",
        "hub.service": "type ports annotations extraPorts loadBalancerIP",
        "hub.image": "name tag pullPolicy pullSecrets",
        "hub.db": "type pvc upgrade url password",
        "hub.networkPolicy": "enabled ingress egress egressAllowRules interNamespaceAccessLabels allowedIngressPorts",
        "proxy": "chp secretToken service https traefik labels annotations deploymentStrategy secretSync",
        "proxy.service": "type labels annotations nodePorts disableHttpPort extraPorts loadBalancerIP "
        "loadBalancerSourceRanges",
        "singleuser": "networkPolicy podNameTemplate cpu memory image initContainers profileList extraFiles extraEnv "
        "nodeSelector extraTolerations extraNodeAffinity extraPodAffinity extraPodAntiAffinity cloudMetadata cmd "
        "defaultUrl events extraAnnotations extraContainers extraLabels extraPodConfig extraResource fsGid "
        "lifecycleHooks networkTools serviceAccountName startTimeout storage allowPrivilegeEscalation uid",
        "singleuser.image": "name tag pullPolicy pullSecrets",
        "singleuser.cloudMetadata": "blockWithIptables ip",
        "singleuser.storage": "capacity dynamic extraLabels extraVolumeMounts extraVolumes homeMountPath static type",
        "singleuser.networkPolicy": "enabled ingress egress egressAllowRules interNamespaceAccessLabels "
        "allowedIngressPorts",
        "scheduling": "userScheduler podPriority userPlaceholder corePods userPods",
        "scheduling.userScheduler": "enabled replicas labels annotations logLevel plugins pluginConfig serviceAccount "
        f"{_POD}",
        "ingress": "enabled annotations ingressClassName hosts pathSuffix pathType tls",
        "prePuller": "revisionHistoryLimit labels annotations resources extraTolerations hook continuous "
        "pullProfileListImages extraImages containerSecurityContext pause",
        "prePuller.hook": "enabled pullOnlyOnChanges podSchedulingWaitDuration nodeSelector tolerations "
        "containerSecurityContext image resources serviceAccount",
        "prePuller.continuous": "enabled",
        "cull": "enabled users adminUsers removeNamedServers timeout every concurrency maxAge",
        "rbac": "enabled create",
    }.items()
}
"""Where the zero-to-jupyterhub chart refuses keys that it does not know, and those that it does (its
jupyterhub/values.schema.yaml).
"""


def merged(*files: str) -> dict[str, Any]:
    """As Helm merges files of values: mappings key by key, all else as a whole, the later file first."""
    content: dict[str, Any] = {}
    for file in files:
        _merge(content, yaml.safe_load((ROOT / FOLDER / file).read_text()))
    return content


def _merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def leaves(values: Any, path: str = "") -> list[str]:
    """The dotted names of all values that are no mappings; an empty mapping counts as one."""
    if isinstance(values, dict) and values:
        return [leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}" if path else str(key))]
    return [path]


def unpack(values: dict[str, Any], root: Path) -> None:
    """Lay `hub.extraFiles` below a folder that stands for the file system of the hub's container."""
    for file in values["hub"]["extraFiles"].values():
        path = root / file["mountPath"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["stringData"])
