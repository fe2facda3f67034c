"""With which words ssh is called: no configuration, key, agent or host key but ours, and nothing that is an option."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from federation.settings import BatchSite, Login
from spawners.gateway.link import Link, MasterKind


def link(**login: object) -> Link:
    settings = BatchSite.model_validate(
        {
            "kind": "batch",
            "title": "Andes",
            "flavours": ["node"],
            "dialect": "slurm",
            "login": {"host": "login.example.org", "host_key_file": "x"} | login,
            "nodes": ["c1"],
            "ports": "20000-29999",
            "walltime_hours": 1,
        }
    )
    return Link(hub="hub", site="andes", settings=settings, folder=Path("/state/gateway"))


def options(words: list[str]) -> dict[str, str]:
    return dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "-o")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(link().start_words(MasterKind.DATA), id="start"),
        pytest.param(link().control_words(MasterKind.DATA, "-O", "check"), id="control"),
        pytest.param(link().command_words(MasterKind.COMMAND), id="command"),
        pytest.param(link().reach_words(MasterKind.DATA, "c1", 20000), id="reach"),
    ],
)
def test_every_call_asks_nobody_and_reads_no_configuration(words: list[str]) -> None:
    assert words[:3] == ["ssh", "-F", "none"]
    found = options(words)
    assert found["BatchMode"] == "yes"
    assert found["IdentitiesOnly"] == "yes"
    assert found["IdentityAgent"] == "none"
    assert found["StrictHostKeyChecking"] == "yes"
    assert found["GlobalKnownHostsFile"] == "/dev/null"
    assert found["UpdateHostKeys"] == "no"
    assert found["ServerAliveInterval"] == "5"
    assert found["ServerAliveCountMax"] == "3"
    assert words[words.index("--") + 1] == "login.example.org"


@pytest.mark.parametrize("kind", MasterKind)
def test_only_the_start_of_a_master_makes_a_connection(kind: MasterKind) -> None:
    assert "ProxyCommand" not in options(link().start_words(kind))
    for words in (link().command_words(kind), link().control_words(kind, "-O", "check")):
        assert options(words)["ProxyCommand"] == "/bin/false"
        assert options(words)["ControlMaster"] == "no"


def test_the_two_masters_of_a_site_and_those_of_other_sites_have_sockets_of_their_own() -> None:
    other = Link(hub="hub", site="pampas", settings=link().settings, folder=link().folder)
    assert len({each.control(kind) for each in (link(), other) for kind in MasterKind}) == 4


def test_each_account_of_a_site_has_certificate_files_and_sockets_of_its_own() -> None:
    ana, ben = (replace(link(), account=account) for account in ("ana", "ben"))
    assert len({each.control(kind) for each in (link(), ana, ben) for kind in MasterKind}) == 6
    assert len({each.key for each in (link(), ana, ben)}) == 3
    grants = [each.grant(minutes=5, serial=1) for each in (link(), ana, ben)]
    assert [grant.principal for grant in grants] == ["nbfed-andes", "nbfed-andes:ana", "nbfed-andes:ben"]
    assert [grant.identity for grant in grants] == ["nbfed/hub/andes", "nbfed/hub/andes/ana", "nbfed/hub/andes/ben"]
    for words in (ana.start_words(MasterKind.DATA), ana.command_words(MasterKind.COMMAND)):
        assert options(words)["User"] == "ana"


@pytest.mark.parametrize(
    ("login", "keys", "pinned"),
    [
        pytest.param({}, "ssh-ed25519 AAAA", "login.example.org ssh-ed25519 AAAA\n", id="port-22"),
        pytest.param({"port": 2222}, "ssh-ed25519 AAAA", "[login.example.org]:2222 ssh-ed25519 AAAA\n", id="port"),
        pytest.param(
            {}, "@cert-authority ssh-rsa AAAA", "@cert-authority login.example.org ssh-rsa AAAA\n", id="host-ca"
        ),
        pytest.param(
            {}, "# old\n\nssh-rsa A\n ssh-ed25519 B\n", "login.example.org ssh-rsa A\nlogin.example.org ssh-ed25519 B\n",
            id="several",
        ),
        pytest.param({}, "# none\n", "", id="none"),
    ],
)  # fmt: skip
def test_host_keys_are_pinned_for_this_host_alone(login: dict[str, object], keys: str, pinned: str) -> None:
    assert link(**login).known_host_lines(keys) == pinned


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"host": "-oProxyCommand=x"}, id="host-that-is-an-option"),
        pytest.param({"host": "a b"}, id="host-with-a-blank"),
        pytest.param({"user": "-l"}, id="user-that-is-an-option"),
        pytest.param({"user": "a@b"}, id="user-with-a-host"),
        pytest.param({"gate": "site-gate"}, id="gate-without-a-path"),
        pytest.param({"gate": "/gate\nx"}, id="gate-of-two-lines"),
        pytest.param({"cluster_address": "*"}, id="reverse-listening-everywhere"),
    ],
)
def test_words_that_ssh_could_misunderstand_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Login.model_validate({"host": "login.example.org", "host_key_file": "x"} | wrong)
