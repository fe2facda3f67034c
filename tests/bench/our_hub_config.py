"""What the hub loads in a measurement: the product's own configuration, watched, with stubs on one site."""

from tests.bench.in_hub import configure_measured

configure_measured(get_config())  # noqa: F821 - JupyterHub puts get_config here
