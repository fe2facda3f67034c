"""What `jupyterhub -f` loads. Everything that is decided here is decided in functions with tests."""

from hub_config.configure import configure
from hub_config.settings import load

configure(get_config(), load())  # type: ignore[name-defined]  # noqa: F821 - JupyterHub puts get_config here
