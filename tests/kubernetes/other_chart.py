"""What the zero-to-jupyterhub chart 4.4 makes of our values for the hub, in short: its templates/hub/deployment.yaml,
secret.yaml, and files/hub/jupyterhub_config.py. The chart itself lies in a registry of charts.
"""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["config", "hub", "secret"]

_FOLDER = "/usr/local/etc/jupyterhub"
_CONFIG = """
import json
from tornado.httpclient import AsyncHTTPClient
AsyncHTTPClient.configure("tornado.curl_httpclient.CurlAsyncHTTPClient")
values = json.load(open("/usr/local/etc/jupyterhub/values.json"))
tokens = json.load(open("/usr/local/etc/jupyterhub/tokens.json"))
c = get_config()
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.cleanup_servers = False
c.JupyterHub.services = [{"name": name, "api_token": token} for name, token in tokens.items()]
for name, section in values["hub"]["config"].items():
    c[name].update(section)
for name, code in sorted(values["hub"]["extraConfig"].items()):
    exec(code)
"""


def config(values: Mapping[str, Any], services: Mapping[str, str]) -> dict[str, str]:
    """The content of the hub's ConfigMap; `services` are their tokens."""
    return {"jupyterhub_config.py": _CONFIG, "values.json": json.dumps(values), "tokens.json": json.dumps(services)}


def secret(values: Mapping[str, Any], services: Mapping[str, str]) -> dict[str, str]:
    """Tokens and files in the secret `hub`."""
    return {
        **{f"hub.services.{name}.apiToken": token for name, token in services.items()},
        **{name: file["stringData"] for name, file in values["hub"]["extraFiles"].items()},
    }


def hub(values: Mapping[str, Any], namespace: str, port: int) -> dict[str, Any]:
    """The Deployment, of the part `hub` of the values."""
    container = {
        "name": "hub",
        "image": f"{values['image']['name']}:{values['image']['tag']}",
        "args": ["jupyterhub", "--config", f"{_FOLDER}/jupyterhub_config.py", "--upgrade-db"],
        "env": [
            {"name": name, **(value if isinstance(value, dict) else {"value": value})}
            for name, value in values["extraEnv"].items()
        ],
        "volumeMounts": [
            {"name": "config", "mountPath": _FOLDER},
            *values["extraVolumeMounts"],
            *(
                {"name": "secret", "subPath": name, "mountPath": file["mountPath"]}
                for name, file in values["extraFiles"].items()
            ),
        ],
        "securityContext": values["containerSecurityContext"],
        "resources": values["resources"],
        "readinessProbe": {"httpGet": {"path": "/hub/health", "port": port}, "periodSeconds": 2},
    }
    spec = {
        "serviceAccountName": "hub",
        "securityContext": values["podSecurityContext"],
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": "hub"}},
            {"name": "secret", "secret": {"secretName": "hub"}},
            *values["extraVolumes"],
        ],
    }
    labels = {"app": "jupyterhub", "component": "hub"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "hub", "namespace": namespace},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
