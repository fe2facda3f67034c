"""`nbfed ca`: what an operator types, and what the sites are given."""

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from hub_config.cli import Installation, main
from tests.support.service import demo_yaml

SITE = {
    "kind": "batch",
    "title": "HPC Andes",
    "flavours": ["small"],
    "dialect": "slurm",
    "login": {"host": "login.example.org", "host_key_file": "andes.pub"},
    "nodes": ["c[001-064]"],
    "ports": "20000-29999",
    "walltime_hours": 12,
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a path that is short enough for sockets, whatever the test is called."""
    with tempfile.TemporaryDirectory(prefix="nbfed-") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def installation(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites = demo_yaml()["sites"] | {"andes": SITE}
    (place / "federation.yaml").write_text(yaml.safe_dump(demo_yaml() | {"sites": sites}))
    (place / "andes.pub").write_text("ssh-ed25519 AAAAkey root@login\n")
    monkeypatch.setenv("NBFED_CONFIG", str(place / "federation.yaml"))
    monkeypatch.setenv("NBFED_HOME", str(place / "run"))


def nbfed(*words: str) -> Result:
    return CliRunner().invoke(main, words, obj=Installation())


def test_init_prints_on_its_output_what_the_sites_trust_and_nothing_else(place: Path) -> None:
    done = nbfed("ca", "init")
    assert done.exit_code == 0
    assert done.stdout == (place / "run" / "gateway" / "ca.pub").read_text()
    assert "TrustedUserCAKeys" in done.stderr
    assert stat.S_IMODE((place / "run" / "gateway").stat().st_mode) == 0o700


def test_init_twice_changes_nothing_and_says_what_to_do() -> None:
    nbfed("ca", "init")
    done = nbfed("ca", "init")
    assert done.exit_code == 1
    assert "nbfed ca rotate" in done.stderr


def test_sign_makes_a_certificate_pins_the_host_key_and_says_how_to_try_it(place: Path) -> None:
    nbfed("ca", "init")
    done = nbfed("ca", "sign", "andes")
    folder = place / "run" / "gateway" / "sites" / "andes"
    assert done.exit_code == 0
    assert (folder / "id-cert.pub").exists()
    assert (folder / "known_hosts").read_text() == "login.example.org ssh-ed25519 AAAAkey root@login\n"
    assert "nbfed@login.example.org" in done.stdout
    assert "/usr/bin/sudo -n /etc/nbfed/andes/site-gate" in done.stdout


def test_sign_names_the_sites_that_there_are() -> None:
    done = nbfed("ca", "sign", "andess")
    assert done.exit_code == 2
    assert "There are: andes" in done.stderr


def test_sign_needs_an_authority_and_host_keys(place: Path) -> None:
    assert "nbfed ca init" in nbfed("ca", "sign", "andes").stderr
    nbfed("ca", "init")
    (place / "andes.pub").write_text("# nothing\n")
    assert "has no host key" in nbfed("ca", "sign", "andes").stderr
    (place / "andes.pub").unlink()
    done = nbfed("ca", "sign", "andes")
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr


def test_rotate_has_two_steps() -> None:
    (old,) = nbfed("ca", "init").stdout.splitlines()
    both = nbfed("ca", "rotate").stdout.splitlines()
    assert both[0] == old
    assert len(both) == 2
    assert nbfed("ca", "rotate", "--complete").stdout.splitlines() == both[1:]
    assert nbfed("ca", "rotate", "--complete").exit_code == 1
