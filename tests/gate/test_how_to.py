"""What the pages say of the gate is what it does: the commands of the how-to are run, the reference is compared."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spawners.gate import policy
from spawners.gateway import protocol
from spawners.site_files import site_files
from tests.support.gate import FLAVOURS, batch_site
from tests.support.slurm import SlurmSite

ROOT = Path(__file__).parents[2]
HOW_TO = (ROOT / "docs" / "how-to" / "join-an-hpc-site.md").read_text()
REFERENCE = (ROOT / "docs" / "reference" / "gate.md").read_text()
NAME = "nbfed-how-to"


def commands() -> list[str]:
    """The blocks that the page marks as commands for the administrator of a site that lets a robot in."""
    return re.findall(r"<!-- commands: robot -->\n```sh\n(.*?)```", HOW_TO, re.DOTALL)


@pytest.fixture
def cleared() -> Iterator[None]:
    yield
    shutil.rmtree(f"/etc/nbfed/{NAME}", ignore_errors=True)
    Path(f"/etc/sudoers.d/nbfed-{NAME}").unlink(missing_ok=True)


def test_the_commands_of_the_how_to_bring_up_a_gate(
    batch_sites: dict[str, SlurmSite], tmp_path: Path, cleared: None
) -> None:
    site = batch_sites["andes"]
    for name, file in site_files(NAME, batch_site(NAME), FLAVOURS).items():
        (tmp_path / name).write_text(file.text)
    settings = json.loads((tmp_path / "policy.json").read_text())
    (tmp_path / "policy.json").write_text(json.dumps({**settings, "environment": dict(site.environment)}))
    install, accounts, ask = (
        block.replace("hpc-andes", NAME).replace("echo alice", f"echo {site.accounts[0]}") for block in commands()
    )
    for block in (install, accounts):
        subprocess.run(["sh", "-eu", "-c", block], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run(["sh", "-eu", "-c", ask], cwd="/", check=True, capture_output=True, text=True)
    pong, jobs = done.stdout.encode().splitlines()
    assert protocol.Pong.parse(pong).dialect == "slurm"
    assert protocol.Jobs.parse(jobs).jobs is not None


def test_the_reference_names_every_key_and_every_code() -> None:
    models = (protocol.Submit, protocol.Resources, protocol.Row, protocol.HistoryRow, protocol.Pong, protocol.Submitted,
              protocol.Session, protocol.End, protocol.Cancelled, protocol.Run)  # fmt: skip
    keys = {name for model in models for name in model.model_fields} - {"ok"}
    keys |= set(policy.KEYS) | set(policy.LIMITS)
    keys |= {code.value for code in protocol.ErrorCode} | {source.value for source in protocol.Source}
    assert sorted(key for key in keys if f"`{key}`" not in REFERENCE) == []


def test_the_reference_has_the_defaults_of_the_policy() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", REFERENCE.partition("## policy.json")[2], re.MULTILINE))
    assert set(rows) == set(policy.KEYS)
    for key, default in rows.items():
        known = policy.DEFAULTS.get(key, "**needed**")
        assert default.strip("`") == (known if isinstance(known, str) else json.dumps(known))
