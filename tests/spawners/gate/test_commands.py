"""`nbfed site init` and `nbfed site gate`: what a site's administrator gets from the federation."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spawners.gate_file import assemble
from tests.hub_config.test_cli import Commands

ANDES: dict[str, Any] = {
    "kind": "batch", "title": {"en": "HPC Andes"}, "dialect": "slurm", "flavours": ["node", "small"],
    "login": {"host": "login.example.org", "host_key_file": "andes.pub"}, "nodes": ["c[001-064]"],
    "ports": "20000-29999", "partition": "notebooks", "walltime_hours": 12,
}  # fmt: skip
COSTA: dict[str, Any] = {
    **ANDES, "access": "user-certificate", "notebook_to_hub": "direct", "login": {**ANDES["login"], "port": 2222},
}  # fmt: skip
FLAVOURS = {"node": {"cpu": 32, "memory_gib": 120, "gpu": 2, "weight": 32}}


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands(
        tmp_path,
        monkeypatch,
        flavours=FLAVOURS,
        sites={"andes": ANDES, "costa": COSTA},
    )
    yield commands
    commands.close()


def test_init_writes_what_the_site_installs(nbfed: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "for-andes"
    said = nbfed("site", "init", "andes", str(folder))
    assert said.exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "accounts", "policy.json", "principals", "site-gate", "sshd.conf", "sudoers",
    ]  # fmt: skip
    assert "nbfed ca init" in said.output
    assert (folder / "site-gate").read_text() == assemble("slurm", "andes")
    assert (folder / "site-gate").stat().st_mode & 0o777 == 0o755
    policy = json.loads((folder / "policy.json").read_text())
    assert policy["limits"] == {"minutes": 720, "cpus": 32, "memory_mib": 122_880, "gpus": 2}
    assert policy["partitions"] == ["notebooks"]
    assert not [line for line in (folder / "accounts").read_text().splitlines() if not line.startswith("#")]
    for place in ("/etc/nbfed/andes/site-gate", "/etc/nbfed/andes/policy.json", "/etc/sudoers.d/nbfed-andes"):
        assert place in said.output


def test_what_sshd_gets_names_nodes_gate_and_authority(nbfed: Commands, tmp_path: Path) -> None:
    (key,) = nbfed("ca", "init").stdout.splitlines()
    nbfed("site", "init", "andes", str(tmp_path / "files"))
    assert (tmp_path / "files" / "ca.pub").read_text() == f"{key}\n"
    assert (tmp_path / "files" / "principals").read_text() == "nbfed-andes\n"
    head, *lines = (tmp_path / "files" / "sshd.conf").read_text().splitlines()
    assert head == "Match User nbfed"
    assert all(line.startswith("    ") for line in lines), "nothing changes for other accounts"
    opened = next(line for line in lines if "PermitOpen" in line).split()[1:]
    assert (len(opened), opened[0], opened[-1]) == (64, "c001:*", "c064:*")
    assert "    ForceCommand /usr/bin/sudo -n /etc/nbfed/andes/site-gate" in lines
    assert "    TrustedUserCAKeys /etc/nbfed/andes/ca.pub" in lines
    assert "    PermitListen login.example.org:18081" in lines


def test_the_line_for_sudoers_is_one_that_sudo_understands(nbfed: Commands, tmp_path: Path) -> None:
    nbfed("site", "init", "andes", str(tmp_path / "files"))
    file = tmp_path / "files" / "sudoers"
    assert file.read_text().splitlines()[1:] == ['nbfed ALL=(root) NOPASSWD: /etc/nbfed/andes/site-gate ""']
    assert file.stat().st_mode & 0o777 == 0o440
    visudo = shutil.which("visudo", path="/usr/sbin:/usr/bin")
    if visudo:
        subprocess.run([visudo, "--check", "--file", file], check=True, capture_output=True)


def test_a_site_that_refuses_sudo_needs_none(nbfed: Commands, tmp_path: Path) -> None:
    nbfed("site", "init", "costa", str(tmp_path / "files"))
    assert not (tmp_path / "files" / "sudoers").exists()
    assert json.loads((tmp_path / "files" / "policy.json").read_text())["log"] == "syslog"


def test_where_each_account_signs_in_for_itself_sshd_serves_them_at_a_port_of_its_own(
    nbfed: Commands, tmp_path: Path
) -> None:
    nbfed("ca", "init")
    nbfed("site", "init", "costa", str(tmp_path / "files"))
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [
        "accounts", "ca.pub", "policy.json", "site-gate", "sshd.conf",
    ]  # fmt: skip
    head, *lines = (tmp_path / "files" / "sshd.conf").read_text().splitlines()
    assert head == "Match LocalPort 2222"
    assert all(line.startswith("    ") for line in lines), "nothing changes at other ports"
    for line in (
        "PermitRootLogin no", "AuthorizedPrincipalsFile /etc/nbfed/costa/principals/%u", "AllowTcpForwarding local",
        "ForceCommand /etc/nbfed/costa/site-gate", "AuthorizedKeysFile none",
    ):  # fmt: skip
        assert f"    {line}" in lines
    assert not [line for line in lines if "PermitListen" in line or "sudo" in line]


def test_init_again_changes_nothing_that_the_site_changed(nbfed: Commands, tmp_path: Path) -> None:
    nbfed("site", "init", "andes", str(tmp_path / "files"))
    (tmp_path / "files" / "accounts").write_text("alice\n")
    said = nbfed("site", "init", "andes", str(tmp_path / "files"))
    assert "accounts is there already, and stays as it is" in said.output
    assert (tmp_path / "files" / "accounts").read_text() == "alice\n"


def test_gate_prints_the_program_alone(nbfed: Commands) -> None:
    assert nbfed("site", "gate", "andes").output == assemble("slurm", "andes")


@pytest.mark.parametrize("command", ["init", "gate"])
def test_a_site_that_is_not_in_the_settings_is_named_with_those_that_are(nbfed: Commands, command: str) -> None:
    said = nbfed("site", command, "ande")
    assert said.exit_code == 1
    assert "no batch site 'ande'. Batch sites are: andes, costa." in said.output
