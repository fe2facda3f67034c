"""A JupyterHub without anything of ours, for comparison: the same proxy arrangement, stub sessions, a stub sign-in.

`jupyterhub -f` loads this file. It imports nothing of the product: that would cost the other side time.
"""

import os

from jupyterhub.spawner import SimpleLocalProcessSpawner

STUB_PORT = int(os.environ["NBFED_BENCH_STUB_PORT"])


class StubSpawner(SimpleLocalProcessSpawner):
    """Whoever asks is told that it runs, at the stub server."""

    async def start(self):
        return "127.0.0.1", STUB_PORT

    async def poll(self):
        return None

    async def stop(self, now=False):
        """Nothing runs."""


c = get_config()  # noqa: F821 - JupyterHub puts it here
c.JupyterHub.bind_url = os.environ["NBFED_BENCH_PUBLIC_URL"]
c.JupyterHub.hub_bind_url = os.environ["NBFED_BENCH_HUB_URL"]
c.JupyterHub.db_url = "sqlite:///" + os.environ["NBFED_BENCH_DATABASE"]
c.JupyterHub.cookie_secret = bytes(32)
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = StubSpawner
c.JupyterHub.allow_named_servers = True
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ["NBFED_BENCH_PROXY_URL"]
c.ConfigurableHTTPProxy.auth_token = os.environ["NBFED_BENCH_PROXY_TOKEN"]
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["NBFED_BENCH_TOKEN"]}]
c.JupyterHub.load_roles = [
    {"name": "bench", "scopes": ["admin:users", "admin:servers", "list:users"], "services": ["bench"]}
]
