"""`nbfed gateway` as a whole, on two real sshd: what hub and worker are told, and what goes on when something dies."""

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from spawners.backends.base import Life
from spawners.gateway.answers import GatewayAway, GatewayRefused, SiteState
from spawners.gateway.link import MasterKind
from spawners.gateway.protocol import JobName, Resources, Row
from tests.support.gateway_rig import Rig, RunningGateway, running_gateway, wait_until
from tests.support.sshd import NODES

pytestmark = [pytest.mark.service, pytest.mark.timeout(200)]

SECRET = "a-secret-of-a-session"


@pytest.fixture(scope="module")
def _gateway(_rig: Rig, tables: Path) -> Iterator[RunningGateway]:
    with running_gateway(_rig, tables) as gateway:
        yield gateway


@pytest.fixture
def gateway(_gateway: RunningGateway, rig: Rig) -> RunningGateway:
    """Running, with both sites in order."""
    for sshd in rig.sshd.values():
        if sshd.process is None:
            sshd.start()
    if _gateway.process is None or _gateway.process.poll() is not None:
        _gateway.start()
    wait_until(lambda: in_order(_gateway), told=lambda: _gateway.log)
    return _gateway


def in_order(gateway: RunningGateway) -> bool:
    return all(
        health.state is SiteState.OK and health.masters == 2 and not health.last_error
        for health in gateway.client.sites().values()
    )


def submit(gateway: RunningGateway, site: str = "andes", attempt: str = "", **wanted: object) -> str:
    attempt = attempt or str(uuid4())
    facts = {
        "account": "ana",
        "secret": SECRET,
        "script": "#!/bin/sh\n",
        "resources": Resources(cpus=1, memory_mib=1, minutes=9),
    }
    gateway.client.submit(site, attempt=attempt, **(facts | wanted))  # type: ignore[arg-type]
    return attempt


class Session:
    """Answers line by line on a node, as long as the connection stands."""

    def __init__(self, node: str = NODES[0]) -> None:
        self.server = socket.create_server((node, 0))
        self.port = int(self.server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(100):
                connection.sendall(data)


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session()
    yield made
    made.server.shutdown(socket.SHUT_RDWR)
    made.server.close()


def answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=5) as connection:
            return says(connection, b"hello")
    except OSError:
        return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def says(connection: socket.socket, words: bytes) -> bool:
    connection.sendall(words)
    return connection.recv(100) == words


# --- the interface ----------------------------------------------------------------------------------------------


def test_a_job_from_submit_to_gone(gateway: RunningGateway, rig: Rig) -> None:
    attempt = submit(gateway)
    wait_until(lambda: gateway.client.job("andes", attempt).life is Life.PENDING)
    (row,) = gateway.client.jobs("andes").jobs
    assert (row.attempt, row.reason) == (attempt, "Priority")
    assert gateway.client.jobs("pampas").jobs == []

    name = JobName(job=row.job, attempt=attempt, account="ana")
    assert [each.job for each in gateway.client.history("andes", [name])] == [row.job]
    assert gateway.client.cancel("andes", name)
    rig.gates["andes"].jobs()
    wait_until(lambda: gateway.client.job("andes", attempt).life is Life.ENDED)
    assert gateway.client.job("andes", attempt).missing_count >= 2


def test_the_same_attempt_twice_is_one_job(gateway: RunningGateway) -> None:
    attempt = submit(gateway)
    again = gateway.client.submit(
        "andes", attempt=attempt, account="ana", secret=SECRET, script="#!/bin/sh\n",
        resources=Resources(cpus=1, memory_mib=1, minutes=9),
    )  # fmt: skip
    assert again.existed


def test_nothing_is_said_of_a_job_by_an_answer_that_failed(gateway: RunningGateway, rig: Rig) -> None:
    attempt = submit(gateway)
    wait_until(lambda: gateway.client.job("andes", attempt).life is Life.PENDING)
    rig.gates["andes"].behave("garbage")
    other = submit_fails(gateway)
    assert other.sent
    wait_until(lambda: gateway.client.job("andes", attempt).life is Life.UNKNOWN)
    view = gateway.client.job("andes", attempt)
    assert view.missing_count == 0
    assert isinstance(view.row, Row)
    rig.gates["andes"].behave("well")
    wait_until(lambda: gateway.client.job("andes", attempt).life is Life.PENDING)


def submit_fails(gateway: RunningGateway, site: str = "andes") -> GatewayAway:
    with pytest.raises(GatewayAway) as caught:
        submit(gateway, site)
    return caught.value


def test_a_refusal_of_the_gate_has_its_code(gateway: RunningGateway, rig: Rig) -> None:
    rig.gates["andes"].behave("refuses")
    with pytest.raises(GatewayRefused) as caught:
        submit(gateway)
    assert (caught.value.code, caught.value.retry) == ("not-mapped", False)
    rig.gates["andes"].behave("well")


def test_what_the_protocol_does_not_allow_is_not_sent_and_not_repeated(gateway: RunningGateway, rig: Rig) -> None:
    with pytest.raises(GatewayRefused) as caught:
        submit(gateway, account="-x; rm", secret=f"{SECRET}\n;")
    assert caught.value.code == "bad-request"
    assert SECRET not in str(caught.value)
    assert not [each for each in rig.gates["andes"].requests() if each["verb"] == "submit"]


def test_a_site_that_is_none_is_refused(gateway: RunningGateway) -> None:
    with pytest.raises(GatewayRefused, match="there is no batch site"):
        gateway.client.jobs("patagonia")


def test_a_gate_that_lies_about_nodes_gets_no_forward(gateway: RunningGateway) -> None:
    with pytest.raises(GatewayRefused, match="forward-refused"):
        gateway.client.open_forward("andes", str(uuid4()), node="127.0.0.1", port=gateway.hub_port)


def test_an_attempt_of_another_site_is_not_closed_by_this_one(gateway: RunningGateway, session: Session) -> None:
    attempt = str(uuid4())
    address = gateway.client.open_forward("andes", attempt, node=NODES[0], port=session.port)
    gateway.client.close_forward("pampas", attempt)
    assert answers(address)
    gateway.client.close_forward("andes", attempt)
    assert not answers(address)


def test_jobs_reach_the_hub_through_the_login_node(gateway: RunningGateway, rig: Rig) -> None:
    url = gateway.client.hub_url("andes")
    assert url == f"http://127.0.0.1:{rig.sshd['andes'].reverse_port}"
    with socket.create_server(("127.0.0.1", gateway.hub_port)) as hub:
        hub.settimeout(20)
        port = int(url.rpartition(":")[2])
        wait_until(lambda: listens(port), told=lambda: gateway.log)
        hub.accept()[0].close()
        with socket.create_connection(("127.0.0.1", port), timeout=20) as job, hub.accept()[0] as seen:
            job.sendall(b"GET /hub/api")
            assert seen.recv(100) == b"GET /hub/api"


def test_the_interface_is_its_owners_alone_and_described(gateway: RunningGateway) -> None:
    assert stat.S_IMODE(gateway.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(gateway.socket.parent.stat().st_mode) == 0o700
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(gateway.socket)), base_url="http://gateway") as http:
        assert http.get("/healthz").text == "ok\n"
        described = http.get("/openapi.json").json()["paths"]
        assert {"/sites", "/sites/{site}/jobs", "/sites/{site}/forwards/{attempt}"} <= set(described)
        metrics = http.get("/metrics").text
    assert 'nbfed_gateway_site_state{site="andes",state="ok"} 1.0' in metrics
    assert 'nbfed_gateway_master_up{kind="data",site="pampas"} 1.0' in metrics
    assert 'nbfed_gateway_polls_total{outcome="answered",site="andes"}' in metrics


def test_status_shows_the_sites(gateway: RunningGateway) -> None:
    shown = gateway.nbfed("gateway", "status")
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[:2] for line in shown.stdout.splitlines()[1:]] == [["andes", "ok"], ["pampas", "ok"]]


def test_a_second_gateway_does_not_start(gateway: RunningGateway) -> None:
    second = gateway.nbfed("gateway")
    assert second.returncode == 1
    assert "Another gateway" in second.stderr
    assert gateway.client.sites()


def test_secrets_are_in_no_log_and_in_no_process_list(gateway: RunningGateway, rig: Rig) -> None:
    rig.gates["andes"].behave("slow")
    seen = list[str]()
    asking = threading.Thread(target=submit, args=(gateway,))
    asking.start()
    while asking.is_alive():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    seen.append((entry / "cmdline").read_bytes().decode(errors="replace"))
    asking.join()
    assert any("nbfed-gate" in words for words in seen)
    assert not [words for words in seen if SECRET in words]
    assert SECRET not in gateway.log
    rig.gates["andes"].behave("well")


# --- what dies ----------------------------------------------------------------------------------------------------


def test_a_killed_gateway_cuts_nothing_and_its_forwards_are_found_again(
    gateway: RunningGateway, session: Session
) -> None:
    attempt = str(uuid4())
    address = gateway.client.open_forward("andes", attempt, node=NODES[0], port=session.port)
    masters = {kind: gateway.master_pid("andes", kind) for kind in MasterKind}
    with socket.create_connection(address, timeout=10) as open_before:
        assert says(open_before, b"before")
        gateway.kill()
        assert says(open_before, b"while it is dead")
        assert answers(address)
        assert gateway.nbfed("gateway", "status").returncode == 1
        with pytest.raises(GatewayAway) as caught:
            gateway.client.sites()
        assert not caught.value.sent
        gateway.start()
        wait_until(lambda: in_order(gateway))
        assert says(open_before, b"after")
    assert {kind: gateway.master_pid("andes", kind) for kind in MasterKind} == masters
    assert gateway.client.open_forward("andes", attempt, node=NODES[0], port=session.port) == address
    assert gateway.client.sites()["andes"].forwards == 1
    gateway.client.close_forward("andes", attempt)


def test_sigterm_ends_it_well_and_leaves_the_connections(gateway: RunningGateway) -> None:
    before = gateway.master_pid("andes", MasterKind.DATA)
    assert gateway.stop() == 0, gateway.log
    assert not gateway.socket.exists()
    assert gateway.master_pid("andes", MasterKind.DATA) == before


def test_a_killed_command_master_costs_nothing(gateway: RunningGateway) -> None:
    first = gateway.master_pid("andes", MasterKind.COMMAND)
    os.kill(first, signal.SIGKILL)
    submit(gateway)
    assert gateway.master_pid("andes", MasterKind.COMMAND) not in (0, first)


def test_a_killed_data_master_comes_back_with_all_forwards_on_their_ports(
    gateway: RunningGateway, session: Session
) -> None:
    attempts = [str(uuid4()) for _ in range(10)]
    found = [gateway.client.open_forward("andes", each, node=NODES[0], port=session.port) for each in attempts]
    os.kill(gateway.master_pid("andes", MasterKind.DATA), signal.SIGKILL)
    wait_until(lambda: all(answers(address) for address in found))
    test_jobs_reach_the_hub_through_the_login_node(gateway, gateway.rig)
    for each in attempts:
        gateway.client.close_forward("andes", each)


def test_a_half_open_link_is_cut_and_sessions_answer_again(gateway: RunningGateway, rig: Rig, session: Session) -> None:
    attempt = str(uuid4())
    address = gateway.client.open_forward("andes", attempt, node=NODES[0], port=session.port)
    before = gateway.master_pid("andes", MasterKind.DATA)
    frozen = rig.sshd["andes"].freeze()
    wait_until(lambda: answers(address), 90, told=lambda: gateway.log)
    # The old sshd has the port that jobs reach the hub by, and it comes back when that one is gone.
    wait_until(lambda: "reach the hub" in gateway.client.sites()["andes"].last_error, told=lambda: gateway.log)
    rig.sshd["andes"].notice(frozen)
    wait_until(lambda: in_order(gateway), 90, told=lambda: gateway.log)
    test_jobs_reach_the_hub_through_the_login_node(gateway, rig)
    assert gateway.master_pid("andes", MasterKind.DATA) not in (0, before)
    gateway.client.close_forward("andes", attempt)


def test_a_dead_site_is_left_alone_and_the_other_one_goes_on(gateway: RunningGateway, rig: Rig) -> None:
    rig.sshd["andes"].stop()
    wait_until(lambda: gateway.client.sites()["andes"].state is SiteState.OPEN_BREAKER, 90, told=lambda: gateway.log)
    assert "Connection refused" in gateway.client.sites()["andes"].last_error
    refused = submit_fails(gateway)
    assert (refused.code, refused.sent, refused.retry) == ("site-away", False, True)
    submit(gateway, "pampas")
    shown = gateway.nbfed("gateway", "status")
    assert shown.returncode == 1
    assert "open-breaker" in shown.stdout
    rig.sshd["andes"].start()
    wait_until(lambda: in_order(gateway), 90)


def test_a_site_with_another_host_key_is_not_believed(gateway: RunningGateway, rig: Rig) -> None:
    sshd = rig.sshd["pampas"]
    kept = [(file, file.read_bytes()) for file in (sshd.folder / "host", sshd.host_key_file)]
    asked = len(rig.gates["pampas"].requests())
    sshd.stop()
    other = sshd.folder / "other"
    other.mkdir(exist_ok=True)
    sshd.new_host_key()
    kept[1][0].write_bytes(kept[1][1])  # what we were given stays the old one
    sshd.start()
    try:
        wait_until(lambda: "Host key verification failed" in gateway.client.sites()["pampas"].last_error)
        assert not submit_fails(gateway, "pampas").sent
        assert len(rig.gates["pampas"].requests()) == asked
    finally:
        sshd.stop()
        for file, content in kept:
            file.write_bytes(content)
        sshd.start()
    wait_until(lambda: in_order(gateway), 90)


def test_a_malicious_site_fills_nothing_and_the_other_one_goes_on(gateway: RunningGateway, rig: Rig) -> None:
    rig.gates["andes"].behave("endless")
    assert "cut off" in str(submit_fails(gateway))
    submit(gateway, "pampas")
    rig.gates["andes"].behave("well")
    wait_until(lambda: in_order(gateway), 90)


def test_a_drained_site_says_so(gateway: RunningGateway, rig: Rig) -> None:
    rig.gates["pampas"].behave("drained")
    gateway.kill()
    gateway.start()  # it looks at once
    wait_until(lambda: gateway.client.sites()["pampas"].state is SiteState.DRAINED)
    rig.gates["pampas"].behave("well")
    gateway.kill()


def test_disconnect_ends_what_outlives_the_gateway(gateway: RunningGateway) -> None:
    assert "Stop it first" in gateway.nbfed("gateway", "disconnect").stderr
    gateway.stop()
    done = gateway.nbfed("gateway", "disconnect")
    assert sorted(done.stdout.splitlines()) == [
        f"{site}: the {kind} connection is ended." for site in ("andes", "pampas") for kind in ("command", "data")
    ]
    assert [gateway.master_pid("andes", kind) for kind in MasterKind] == [0, 0]
    assert gateway.nbfed("gateway", "disconnect").stdout == ""
