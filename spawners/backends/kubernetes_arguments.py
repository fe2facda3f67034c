"""What a pod gets, computed from the admitted flavour and the settings of its site. Pure.

Everything that matters is passed explicitly, so neither a person's options nor a stray `c.KubeSpawner` line changes it:
limits, image, volumes, labels, and the restricted Pod Security Standard. What is not named here (tolerations, extra
containers) can be set as for any KubeSpawner.
"""

from collections.abc import Callable, Mapping
from typing import Any

from federation.settings import Environment, Flavour, KubernetesSite, in_language
from spawners.backends.kubernetes_pods import Pods, pod_name
from spawners.backends.pods import ATTEMPT, HUB
from spawners.homes import Homes
from spawners.sessions import Session

__all__ = ["GID", "HOME", "SECURITY", "UID", "pod_arguments", "volume_name"]

HOME = "/home/jovyan"
"""As in the Jupyter docker-stacks, whose images run here too: account 1000, group 100."""
UID, GID = 1000, 100
_PORT = 8888
_MAY_REACH_HUB = "hub.jupyter.org/network-access-hub"
"""Label: the network policy of the zero-to-jupyterhub chart lets who has it in at the hub."""


def volume_name(person_id: str) -> str:
    """Of a person's home at a site: by the stored id, which never changes."""
    return f"home-{person_id}"


def pod_arguments(
    session: Session,
    *,
    pods: Pods,
    site: KubernetesSite,
    flavour: Flavour,
    environment: Environment,
    organisation: Callable[[], str],
    homes: Homes,
    home_gib: Callable[[], int],
) -> Mapping[str, Any]:
    """The arguments of `KubernetesSpawner` for one attempt, beside CPU and memory.

    Parameters
    ----------
    organisation
        Says the virtual organisation that the session is reported under, empty if there is none. May block.
    homes
        Where it is recorded that a home is used.
    home_gib
        How large the person's home is to be, where the site has homes. May block.
    """
    assert environment.kubernetes is not None, "placement only offers environments that the site has"
    return {
        "pods": pods,
        "namespace": site.namespace,
        "site_title": in_language(site.title, session.site),
        "environment_title": in_language(environment.title, session.environment),
        "boot_seconds": site.boot_seconds,
        "enable_user_namespaces": False,
        "events_enabled": False,
        "slug_scheme": "safe",
        "pod_name_template": pod_name(session.attempt),
        "pvc_name_template": volume_name(session.person_id),
        "image": environment.kubernetes.image,
        "image_pull_policy": site.image_pull_policy,
        "image_pull_secrets": site.image_pull_secrets,
        "cmd": ["jupyterhub-singleuser"],
        "ip": "0.0.0.0",  # noqa: S104 - of the pod
        "port": _PORT,
        "hub_connect_url": site.hub_url.rstrip("/") if site.hub_url else None,
        "working_dir": HOME,
        "node_selector": site.node_selector,
        "extra_resource_limits": {site.gpu_resource: str(flavour.gpu)} if flavour.gpu else {},
        "extra_labels": {ATTEMPT: session.attempt, HUB: session.server.hub, _MAY_REACH_HUB: "true"},
        # As EGI's accounting of notebooks reads them (egi-notebooks-accounting).
        "extra_annotations": {"egi.eu/flavor": session.flavour},
        "organisation": organisation,
        "homes": homes,
        "home_gib": home_gib,
        **_volumes(site),
        **SECURITY,
    }


def _volumes(site: KubernetesSite) -> dict[str, Any]:
    claimed = {"persistentVolumeClaim": {"claimName": "{pvc_name}"}}
    home = {"name": "home", **(claimed if site.homes else {"emptyDir": {}})}
    return {
        "storage_capacity": f"{site.homes.size_gib}Gi" if site.homes else None,
        "storage_class": site.homes.storage_class if site.homes else None,
        "storage_access_modes": [site.homes.access_mode] if site.homes else [],
        "volumes": [home, {"name": "scratch", "emptyDir": {}}],
        "volume_mounts": [{"name": "home", "mountPath": HOME}, {"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108
    }


SECURITY: dict[str, Any] = {
    "uid": UID,
    "gid": GID,
    "fs_gid": GID,
    "privileged": False,
    "allow_privilege_escalation": False,
    "service_account": None,
    "automount_service_account_token": False,
    "pod_security_context": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "container_security_context": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
    # A container that ended is told of, not started again with the environment of before.
    "extra_pod_config": {"restart_policy": "Never", "enable_service_links": False},
}
