"""A forward of the gateway beside plain `ssh -L` to the same login node and the same program behind it."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from federation.ids import new_id
from federation.settings import port_range
from hub_config import gateway_wiring
from spawners.gateway.answers import GatewayAway
from spawners.gateway.link import Link
from tests.bench.bare_hub import until
from tests.bench.batch_sides import SITE
from tests.bench.report import Report, in_turn, percentile, progress
from tests.support.federation import Federation
from tests.support.service import free_ports
from tests.support.sshd import NODES

__all__ = ["measure_ways"]

BYTES = 64 << 20
QUESTIONS = 500
_WAYS = ("the gateway's forward", "ssh -L")
_SECONDS = 60


def measure_ways(report: Report, federation: Federation, runs: int, seed: int) -> None:
    """Many bytes, then many small questions, both ways in turn."""
    with _both(federation) as (ours, plain):
        connections = dict(zip(_WAYS, (_connected(ours), _connected(plain)), strict=True))
        for connection in connections.values():
            _asked(connection, BYTES)
        rates: dict[str, list[float]] = {way: [] for way in _WAYS}
        for run, way in in_turn(_WAYS, 2 * runs, seed):
            progress(f"site, bytes, run {run + 1}, {way}")
            rates[way].append(BYTES / _asked(connections[way], BYTES) / 1e6)
        answers: dict[str, list[float]] = {way: [] for way in _WAYS}
        for _, way in in_turn(_WAYS, QUESTIONS * runs, seed):
            answers[way].append(1e6 * _asked(connections[way], 1))
        for connection in connections.values():
            connection.close()
    for way in _WAYS:
        report.add(f"{way}: bytes", "MB/s", rates[way])
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    report.add("  of ssh -L, pair by pair", "ratio", ratios, 0.9, at_least=True)
    for way in _WAYS:
        report.add(f"{way}: question and answer", "us", answers[way])
    more = percentile(answers[_WAYS[0]], 50) - percentile(answers[_WAYS[1]], 50)
    report.add("  more than ssh -L, of the medians", "us", [more], 50)


@contextlib.contextmanager
def _both(federation: Federation) -> Iterator[tuple[int, int]]:
    """Two local ports that lead to the same program at the site."""
    node, local = NODES[list(federation.slurm).index(SITE)], free_ports(1)[0]
    ports = port_range(federation.service.settings.yaml.sites[SITE].ports)
    port = next(each for each in ports if not _listens(node, each))
    with contextlib.ExitStack() as stack:
        _running(stack, [sys.executable, str(Path(__file__).with_name("byte_server.py")), node, str(port)])
        until(lambda: _listens(node, port))
        attempt, found = new_id(), list[int]()
        stack.callback(federation.client.close_forward, SITE, attempt)

        def is_open() -> bool:
            with contextlib.suppress(GatewayAway):  # as the hub does, try again
                found.append(federation.client.open_forward(SITE, attempt, node=node, port=port)[1])
            return bool(found)

        until(is_open)
        _running(stack, [*_plain_words(federation), "-N", "-L", f"127.0.0.1:{local}:{node}:{port}", "127.0.0.1"])
        until(lambda: _listens("127.0.0.1", local))
        yield found[0], local


def _plain_words(federation: Federation) -> list[str]:
    """ssh with a certificate as the gateway's, without a master, and without its options."""
    settings = federation.service.settings
    running = gateway_wiring.links(settings)[SITE]
    folder = federation.service.root / "plain"
    link = Link(hub=running.hub, site=SITE, settings=running.settings, folder=folder)
    gateway_wiring.credentials(settings, link).renew()
    login = link.settings.login
    options = {
        "IdentityFile": link.key, "CertificateFile": f"{link.key}-cert.pub", "UserKnownHostsFile": link.known_hosts,
        "ControlPath": "none", "Port": login.port, "User": login.user,
    }  # fmt: skip
    return ["ssh", "-F", "none", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def _running(stack: contextlib.ExitStack, words: list[str]) -> None:
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)

    def end() -> None:
        process.terminate()
        process.wait(10)

    stack.callback(end)


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _asked(connection: socket.socket, count: int) -> float:
    """Seconds until so many bytes have come."""
    begun = time.monotonic()
    connection.sendall(b"%d\n" % count)
    while count:
        heard = connection.recv(min(count, 1 << 20))
        if not heard:
            raise RuntimeError("the connection was closed")
        count -= len(heard)
    return time.monotonic() - begun
