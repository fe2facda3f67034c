"""Attacks on a real sshd with what the gateway holds: what one certificate opens, and what it does not.

A strict site is set up as `site init` says. A lax one left every restriction out: there the certificate alone restricts.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from spawners.gateway.ca import CertificateAuthority, new_key
from spawners.gateway.link import Link
from tests.support.gateway_rig import Rig, wait_until
from tests.support.sshd import NODES, SshSite, free_port, running_sshd

PING = '{"v": 1, "id": "test", "verb": "ping"}\n'


@pytest.fixture(scope="module")
def lax(_rig: Rig) -> Iterator[SshSite]:
    strict = _rig.sshd["andes"]
    with running_sshd("andes", strict.user, strict.gate, _rig.authority.public_keys(), strict=False) as site:
        yield site


def sign_in(
    link: Link, *words: str, options: tuple[str, ...] = (), stdin: str = PING
) -> subprocess.CompletedProcess[str]:
    """As somebody who took the gateway's key and certificate would, with a client that asks for anything."""
    login = link.settings.login
    own = {
        "IdentityFile": link.key, "CertificateFile": f"{link.key}-cert.pub", "UserKnownHostsFile": link.known_hosts,
        "IdentitiesOnly": "yes", "BatchMode": "yes", "StrictHostKeyChecking": "yes",
    }  # fmt: skip
    pairs = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]
    return subprocess.run(
        ["ssh", "-F", "none", *pairs, *options, "-p", str(login.port), f"{login.user}@{login.host}", *words],
        input=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def ready(rig: Rig, sshd: SshSite) -> Link:
    """The gateway's files for a site, with a fresh certificate."""
    link = rig.link("andes")
    login = link.settings.login.model_copy(update={"port": sshd.port})
    link = replace(link, settings=link.settings.model_copy(update={"login": login}))
    rig.credentials(link, host_key_file=sshd.host_key_file).renew()
    return link


@pytest.fixture
def agent() -> Iterator[tuple[str, ...]]:
    """A real agent, and the options that ask the site to take it on."""
    path = f"/tmp/nbfed-agent-{free_port()}"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(Path(path).exists)
            yield ("-A", "-o", f"IdentityAgent={path}")
        finally:
            process.terminate()


@pytest.fixture(params=["strict", "lax"])
def link(request: pytest.FixtureRequest, rig: Rig, lax: SshSite) -> Link:
    return ready(rig, lax if request.param == "lax" else rig.sshd["andes"])


def test_the_certificate_runs_the_gate(link: Link) -> None:
    assert '"ok": true' in sign_in(link).stdout


def test_whatever_is_asked_for_the_gate_runs(link: Link) -> None:
    done = sign_in(link, "/bin/cat", "/etc/passwd")
    assert '"ok": true' in done.stdout
    assert "root:" not in done.stdout


def test_no_shell(link: Link) -> None:
    done = sign_in(link, stdin="echo from-a-shell; id\n")
    assert "from-a-shell" not in done.stdout
    assert "uid=" not in done.stdout


def test_no_terminal(link: Link) -> None:
    assert "PTY allocation request failed" in sign_in(link, "x", options=("-tt",)).stderr


def test_no_subsystem(link: Link) -> None:
    assert "subsystem request failed" in sign_in(link, "sftp", options=("-s",)).stderr


def test_no_agent(rig: Rig, link: Link, agent: tuple[str, ...]) -> None:
    assert '"ok": true' in sign_in(link, "x", options=agent).stdout
    assert "SSH_AUTH_SOCK" not in rig.gates["andes"].environment()


def test_no_x11(rig: Rig, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", "127.0.0.1:63")
    done = sign_in(link, "x", options=("-v", "-Y"))
    assert "X11 forwarding request failed" in done.stderr
    assert "DISPLAY" not in rig.gates["andes"].environment()


def test_the_same_attacks_succeed_at_a_lax_site_with_a_certificate_that_restricts_nothing(
    rig: Rig, lax: SshSite, agent: tuple[str, ...]
) -> None:
    link = ready(rig, lax)
    everything = ["-s", str(rig.folder / "ca"), "-I", "x", "-n", link.principal, "-V", "+5m"]
    subprocess.run(["ssh-keygen", "-q", *everything, f"{link.key}.pub"], check=True)
    assert "root:" in sign_in(link, "/bin/cat", "/etc/passwd").stdout
    assert "from-a-shell" in sign_in(link, stdin="echo from-a-shell\n").stdout
    assert "SSH_AUTH_SOCK" in sign_in(link, "env", options=agent).stdout
    assert "PTY allocation request failed" not in sign_in(link, "true", options=("-tt",)).stderr


def test_a_strict_site_forwards_to_its_nodes_and_nowhere_else(rig: Rig) -> None:
    link = ready(rig, rig.sshd["andes"])
    with listening(NODES[0]) as node, listening("127.0.0.1") as other:
        assert b"hello" in through(link, NODES[0], node)
        assert through(link, "127.0.0.1", other) == b""


def test_a_strict_site_forwards_back_from_its_one_port_and_no_other(rig: Rig) -> None:
    sshd = rig.sshd["andes"]
    link = ready(rig, sshd)
    own, other = f"127.0.0.1:{sshd.reverse_port}:127.0.0.1:1", f"127.0.0.1:{free_port()}:127.0.0.1:1"
    exits = ("-o", "ExitOnForwardFailure=yes")
    assert '"ok": true' in sign_in(link, "x", options=(*exits, "-R", own)).stdout
    assert "remote port forwarding failed" in sign_in(link, "x", options=(*exits, "-R", other)).stderr
    everywhere = f"*:{sshd.reverse_port}:127.0.0.1:1"
    assert "remote port forwarding failed" in sign_in(link, "x", options=(*exits, "-R", everywhere)).stderr


def test_a_strict_site_forwards_no_unix_sockets(rig: Rig) -> None:
    link = ready(rig, rig.sshd["andes"])
    options = ("-o", "ExitOnForwardFailure=yes", "-R", f"/tmp/nbfed-{free_port()}:127.0.0.1:1")
    assert "remote port forwarding failed" in sign_in(link, "x", options=options).stderr


def test_an_expired_certificate_opens_nothing(rig: Rig, link: Link) -> None:
    expired = ["-s", str(rig.folder / "ca"), "-I", "x", "-n", link.principal, "-V", "-2h:-1h"]
    subprocess.run(["ssh-keygen", "-q", *expired, "-O", "clear", f"{link.key}.pub"], check=True)
    assert "Permission denied" in sign_in(link).stderr


def test_a_certificate_for_another_site_opens_nothing(rig: Rig, link: Link) -> None:
    other = rig.link("pampas")
    rig.authority.sign(Path(f"{link.key}.pub"), other.grant(minutes=5, serial=1))
    assert "Permission denied" in sign_in(link).stderr


def test_a_certificate_of_another_authority_opens_nothing(rig: Rig, link: Link, tmp_path: Path) -> None:
    foreign = CertificateAuthority(tmp_path)
    foreign.init()
    foreign.sign(Path(f"{link.key}.pub"), link.grant(minutes=5, serial=1))
    assert "Permission denied" in sign_in(link).stderr


def test_a_key_without_a_certificate_opens_nothing(rig: Rig, link: Link) -> None:
    Path(f"{link.key}-cert.pub").unlink()
    assert "Permission denied" in sign_in(link).stderr


def test_a_certificate_without_its_key_opens_nothing(rig: Rig, link: Link) -> None:
    own = link.key.rename(link.key.with_name("elsewhere"))
    try:
        new_key(link.key, "other")
        assert "Permission denied" in sign_in(link).stderr
    finally:
        link.key.unlink()
        Path(f"{link.key}.pub").unlink()
        own.rename(link.key)
        subprocess.run(f"ssh-keygen -y -f {link.key} > {link.key}.pub", shell=True, check=True)


def test_both_keys_of_a_rotation_open_a_site_that_trusts_both(rig: Rig, link: Link, tmp_path: Path) -> None:
    sshd = rig.sshd["andes"]
    authority = CertificateAuthority(tmp_path)
    authority.init()
    authority.prepare_rotation()
    with running_sshd("andes", sshd.user, sshd.gate, authority.public_keys()) as site:
        own = ready(rig, site)
        for _step in range(2):
            authority.sign(Path(f"{own.key}.pub"), own.grant(minutes=5, serial=1))
            assert '"ok": true' in sign_in(own).stdout
            if _step == 0:
                authority.complete_rotation()


# --- what forwards lead to ------------------------------------------------------------------------------------------


@contextmanager
def listening(host: str) -> Iterator[int]:
    """Somebody who says hello, once for each connection."""
    import threading

    server = socket.create_server((host, 0))

    def greet() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello")

    threading.Thread(target=greet, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def through(link: Link, host: str, port: int) -> bytes:
    """What comes out of a forward to there."""
    done = sign_in(link, options=("-W", f"{host}:{port}"), stdin="")
    return done.stdout.encode()
