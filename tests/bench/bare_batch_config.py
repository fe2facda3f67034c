"""A JupyterHub with batchspawner's SlurmSpawner as it comes, for comparison: jobs of the same size in the same environment,
and the same proxy.

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
c.JupyterHub.spawner_class = "batchspawner.SlurmSpawner"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 10}
c.JupyterHub.allow_named_servers = True
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.SlurmSpawner.req_partition = "notebooks"
c.SlurmSpawner.req_nprocs = "1"
c.SlurmSpawner.req_memory = "2048M"
c.SlurmSpawner.req_runtime = "1:00:00"
c.SlurmSpawner.req_srun = ""
c.SlurmSpawner.start_timeout = 3600
c.SlurmSpawner.environment = {"SLURM_CONF": os.environ["SLURM_CONF"]}
# The scheduler's names of nodes are no hosts of this machine.
c.SlurmSpawner.state_exechost_exp = "127.0.0.1"
c.SlurmSpawner.req_prologue = (
    f"export PATH={os.environ['NBFED_BENCH_PREFIX']}/bin:$PATH PYTHONPATH={os.environ['NBFED_BENCH_BATCHSPAWNER']}"
)
c.SlurmSpawner.batchspawner_singleuser_cmd = "python -m batchspawner.singleuser"
c.SlurmSpawner.cmd = ["jupyterhub-singleuser"]
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ["NBFED_BENCH_PROXY_URL"]
c.ConfigurableHTTPProxy.auth_token = os.environ["NBFED_BENCH_PROXY_TOKEN"]
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["NBFED_BENCH_TOKEN"]}]
c.JupyterHub.load_roles = [
    {"name": "bench", "scopes": ["admin:users", "admin:servers", "list:users"], "services": ["bench"]}
]
