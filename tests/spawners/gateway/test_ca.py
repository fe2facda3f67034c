"""The certificate authority: made once, signs for minutes and little, is replaced in two steps."""

import os
import re
import shutil
import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from federation.clock import system_clock
from federation.settings import BatchSite
from spawners.gateway.ca import AuthorityError, CertificateAuthority, Grant, new_key
from spawners.gateway.credentials import Credentials
from spawners.gateway.link import Link


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    made = CertificateAuthority(tmp_path)
    made.init()
    return made


def grant(**changes: object) -> Grant:
    facts = {"identity": "nbfed/hub/andes", "principal": "nbfed-andes", "command": "/gate", "minutes": 5, "serial": 7}
    return Grant(**(facts | changes))  # type: ignore[arg-type]


def shown(certificate: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-L", "-f", certificate], check=True, capture_output=True, text=True)
    return re.sub(r"\s+", " ", done.stdout)


def test_the_private_key_is_its_owners_alone(authority: CertificateAuthority, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o600
    assert (tmp_path / "ca").stat().st_uid == os.geteuid()


def test_it_is_made_only_once(authority: CertificateAuthority) -> None:
    before = authority.public_keys()
    with pytest.raises(AuthorityError, match="already"):
        authority.init()
    assert authority.public_keys() == before


def test_a_key_is_never_written_over_another_one(authority: CertificateAuthority, tmp_path: Path) -> None:
    before = (tmp_path / "ca").read_bytes()
    with pytest.raises(FileExistsError):
        new_key(tmp_path / "ca", "another")
    assert (tmp_path / "ca").read_bytes() == before


def test_a_certificate_allows_one_command_and_port_forwarding_and_nothing_else(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    new_key(tmp_path / "id", "gateway")
    text = shown(authority.sign(tmp_path / "id.pub", grant(command='/gate --site "a b"')))
    assert "Principals: nbfed-andes Critical Options" in text
    assert 'force-command /gate --site "a b" Extensions: permit-port-forwarding' in text
    assert text.rstrip().endswith("Extensions: permit-port-forwarding")
    assert 'Key ID: "nbfed/hub/andes" Serial: 7' in text
    assert "forever" not in text


def test_a_new_certificate_takes_the_place_of_the_old_one(authority: CertificateAuthority, tmp_path: Path) -> None:
    new_key(tmp_path / "id", "gateway")
    first = authority.sign(tmp_path / "id.pub", grant(serial=1))
    assert authority.sign(tmp_path / "id.pub", grant(serial=2)) == first
    assert "Serial: 2" in shown(first)


def test_without_an_authority_nothing_is_signed(tmp_path: Path) -> None:
    new_key(tmp_path / "id", "gateway")
    with pytest.raises(AuthorityError, match="nbfed ca init"):
        CertificateAuthority(tmp_path).sign(tmp_path / "id.pub", grant())
    assert not (tmp_path / "id-cert.pub").exists()


def test_until_a_rotation_is_complete_the_sites_trust_both_keys_and_the_first_signs(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    new_key(tmp_path / "id", "gateway")
    (old,) = authority.public_keys()
    authority.prepare_rotation()
    both = authority.public_keys()
    authority.prepare_rotation()
    assert authority.public_keys() == both
    assert both[0] == old
    assert len(set(both)) == 2
    assert fingerprint(tmp_path / "ca.pub") in shown(authority.sign(tmp_path / "id.pub", grant()))

    authority.complete_rotation()
    assert authority.public_keys() == both[1:]
    assert fingerprint(tmp_path / "ca.pub") in shown(authority.sign(tmp_path / "id.pub", grant()))


def test_a_rotation_that_was_cut_off_can_be_completed(authority: CertificateAuthority, tmp_path: Path) -> None:
    authority.prepare_rotation()
    next_key = authority.public_keys()[1]
    (tmp_path / "ca.pub").write_text(f"{next_key}\n")  # the first thing that completing does
    authority.complete_rotation()
    assert authority.public_keys() == [next_key]


def test_a_rotation_that_was_not_prepared_changes_nothing(authority: CertificateAuthority) -> None:
    before = authority.public_keys()
    with pytest.raises(AuthorityError, match="No rotation was prepared"):
        authority.complete_rotation()
    assert authority.public_keys() == before


def fingerprint(public_key: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-l", "-f", public_key], check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


def test_two_that_renew_at_once_end_up_with_a_key_and_a_certificate_that_fit(tmp_path: Path) -> None:
    """Both masters of a site are started at the same time."""
    (tmp_path / "host.pub").write_text("ssh-ed25519 AAAA\n")
    authority = CertificateAuthority(tmp_path)
    authority.init()
    settings = BatchSite.model_validate(
        {
            "kind": "batch", "title": "Andes", "flavours": ["node"], "dialect": "slurm", "nodes": ["c1"],
            "ports": "1024-65535", "walltime_hours": 1, "login": {"host": "login", "host_key_file": "host.pub"},
        }
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="nbgw-", dir="/tmp"))
    try:
        link = Link(hub="hub", site="andes", settings=settings, folder=folder)
        own = Credentials(link, authority, minutes=5, host_key_file=tmp_path / "host.pub", clock=system_clock)
        with ThreadPoolExecutor(6) as threads:
            for _ in range(6):
                threads.submit(own.renew)
        private = subprocess.run(["ssh-keygen", "-y", "-f", link.key], check=True, capture_output=True, text=True)
        public = Path(f"{link.key}.pub").read_text()
        assert private.stdout.split()[:2] == public.split()[:2]
        assert fingerprint(Path(f"{link.key}.pub")) in shown(Path(f"{link.key}-cert.pub"))
        assert sorted(each.name for each in link.own_folder.iterdir()) == [
            "id", "id-cert.pub", "id.pub", "known_hosts", "lock",
        ]  # fmt: skip
    finally:
        shutil.rmtree(folder)
