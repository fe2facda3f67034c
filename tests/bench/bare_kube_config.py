"""A JupyterHub with KubeSpawner as it comes, for comparison: pods of the same image and size, and the same proxy.

`jupyterhub -f` loads this file. It imports nothing of the product: that would cost the other side time.
"""

import os

c = get_config()  # noqa: F821 - JupyterHub puts it here
c.JupyterHub.bind_url = os.environ["NBFED_BENCH_PUBLIC_URL"]
c.JupyterHub.hub_bind_url = os.environ["NBFED_BENCH_HUB_URL"]
c.JupyterHub.db_url = "sqlite:///" + os.environ["NBFED_BENCH_DATABASE"]
c.JupyterHub.cookie_secret = bytes(32)
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 10}
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.KubeSpawner.namespace = os.environ["NBFED_BENCH_NAMESPACE"]
c.KubeSpawner.image = os.environ["NBFED_BENCH_IMAGE"]
c.KubeSpawner.image_pull_policy = "Never"
c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
c.KubeSpawner.default_url = "/lab"
c.KubeSpawner.cpu_limit = c.KubeSpawner.cpu_guarantee = 1
c.KubeSpawner.mem_limit = c.KubeSpawner.mem_guarantee = "1G"
c.KubeSpawner.uid = 1000
c.KubeSpawner.gid = 100
c.KubeSpawner.container_security_context = {  # the namespace lets no other pods in
    "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ["NBFED_BENCH_PROXY_URL"]
c.ConfigurableHTTPProxy.auth_token = os.environ["NBFED_BENCH_PROXY_TOKEN"]
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["NBFED_BENCH_TOKEN"]}]
c.JupyterHub.load_roles = [
    {"name": "bench", "scopes": ["admin:users", "admin:servers", "list:users"], "services": ["bench"]}
]
