"""`nbfed site check` against sites where something is wrong: each step says what it saw, and what to mend."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federation.checks import Check, State
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.conformance import Connection, SiteCheck, looked_at
from spawners.gateway.credentials import Credentials
from spawners.gateway.link import Link
from spawners.gateway.protocol import Limits
from spawners.gateway.site import Reverse
from tests.support.gateway_rig import Rig
from tests.support.sshd import free_port

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nbfed-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def check(rig: Rig, folder: Path) -> SiteCheck:
    """The site of a gate that is not ours, but answers; no hub runs."""
    link = replace(rig.link("andes"), folder=folder)
    return SiteCheck(
        link=link,
        stranger=replace(link, site="another-site"),
        credentials=signed_by(rig, rig.authority),
        gate_version="stand-in",
        offered=Limits(minutes=720),
        reverse=Reverse("http://127.0.0.1:1"),
        hub_api=f"http://127.0.0.1:{free_port()}/hub/api",
        clock=lambda: datetime.now(UTC),
    )


def signed_by(
    rig: Rig, authority: CertificateAuthority, host_key_file: Path | None = None
) -> Callable[[Link], Credentials]:
    file = host_key_file or rig.sshd["andes"].host_key_file
    return lambda link: Credentials(link, authority, minutes=5, host_key_file=file, clock=lambda: datetime.now(UTC))


async def found(check: SiteCheck) -> dict[str, Check]:
    """What each step saw, by its name."""
    connection = Connection(check)
    try:
        return {each.name: each async for each in looked_at(check, connection)}
    finally:
        await connection.close()


async def test_what_is_well_is_told_as_such_and_what_is_not_does_not_end_the_check(check: SiteCheck) -> None:
    seen = await found(check)
    well = ["sign-in", "other certificates", "gate", "clock", "policy"]
    assert [name for name, each in seen.items() if each.state is State.OK] == well
    assert "A verb that there is not was not refused" in seen["refusals"].text
    assert "The hub does not answer" in seen["way to the hub"].text
    assert seen["way to the hub"].advice == "Start the service, and check again."


async def test_another_host_key_is_not_to_be_believed(rig: Rig, check: SiteCheck) -> None:
    other = rig.sshd["pampas"].host_key_file
    seen = await found(replace(check, credentials=signed_by(rig, rig.authority, other)))
    assert list(seen) == ["sign-in"], "nothing else is tried"
    assert "Host key verification failed" in seen["sign-in"].text
    assert "by a way that you trust" in seen["sign-in"].advice


async def test_a_site_that_does_not_trust_the_federation_is_told_which_files_it_needs(
    rig: Rig, check: SiteCheck, tmp_path: Path
) -> None:
    stranger = CertificateAuthority(tmp_path)
    stranger.init()
    seen = await found(replace(check, credentials=signed_by(rig, stranger)))
    assert list(seen) == ["sign-in"]
    assert "Permission denied" in seen["sign-in"].text
    assert "principals has to have the line nbfed-andes" in seen["sign-in"].advice


async def test_a_login_node_that_does_not_listen_is_told_by_its_address(check: SiteCheck) -> None:
    settings = check.link.settings
    login = settings.login.model_copy(update={"port": free_port()})
    link = replace(check.link, settings=settings.model_copy(update={"login": login}))
    seen = await found(replace(check, link=link))
    assert "Connection refused" in seen["sign-in"].text
    assert f"Can this machine reach 127.0.0.1, port {login.port}?" in seen["sign-in"].advice


async def test_a_site_that_lets_other_sites_certificates_in_does_not_pass(rig: Rig, check: SiteCheck) -> None:
    principals = rig.sshd["andes"].folder / "principals"
    before = principals.read_text()
    principals.write_text(f"{before}nbfed-another-site\n")
    try:
        seen = await found(check)
    finally:
        principals.write_text(before)
    assert seen["other certificates"].state is State.FAIL
    assert "the one line nbfed-andes" in seen["other certificates"].advice


@pytest.mark.parametrize(("minutes", "told"), [(10, "behind ours"), (-10, "ahead of ours")])
async def test_a_clock_that_is_wrong_is_told_with_the_direction(check: SiteCheck, minutes: int, told: str) -> None:
    shift = timedelta(minutes=minutes)
    # The certificates are signed by the true time; only the comparison is with the other one.
    seen = await found(replace(check, clock=lambda: datetime.now(UTC) + shift))
    assert seen["clock"].state is State.FAIL
    assert told in seen["clock"].text


async def test_another_gate_ends_the_check(check: SiteCheck) -> None:
    seen = await found(replace(check, gate_version="1-abc"))
    assert list(seen)[-1] == "gate"
    assert "The site has gate stand-in; this program would install 1-abc." in seen["gate"].text


async def test_a_site_that_gives_less_than_is_offered_is_told_what(check: SiteCheck) -> None:
    seen = await found(replace(check, offered=Limits(minutes=1440, partitions=["notebooks"])))
    assert seen["policy"].state is State.FAIL
    assert "minutes: 720 at the most, and federation.yaml offers 1440" in seen["policy"].text
    assert "partitions: not notebooks" in seen["policy"].text


async def test_a_gate_that_says_nonsense_is_told_as_one_that_does_not_answer(rig: Rig, check: SiteCheck) -> None:
    rig.gates["andes"].behave("garbage")
    seen = await found(check)
    assert list(seen)[-1] == "gate"
    assert "no answer of a gate" in seen["gate"].text
    assert "Try it" in seen["gate"].advice
