"""A fresh site is brought up by the commands that stand in the how-to pages, and by nothing else: from `nbfed ca init` to
a notebook that runs there, and its end. What a person does by hand at a real site is what a person does here: write
federation.yaml by the page's example, and tell the gate where the scheduler's configuration is.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.test_session import wait_for
from tests.support.person import Person
from tests.support.service import Service, running_service
from tests.support.slurm import SlurmSite
from tests.support.sshd import account_or_skip, free_port, free_range

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
NAME = f"nbfed-how-to-{os.getpid()}"
NODE = "127.0.0.4"
SSHD_LINES = f"/etc/ssh/sshd_config.d/nbfed-{NAME}.conf"
_COMMANDS = re.compile(r"<!-- commands: (\w+) -->\n *```sh\n(.*?)```", re.DOTALL)


def commands(page: str, who: str) -> list[str]:
    """The blocks of a page that are marked as commands of `who`, for our site and account instead of the page's."""
    return [textwrap.dedent(block) for marked, block in _COMMANDS.findall((PAGES / page).read_text()) if marked == who]


class Place:
    """The two machines: the federation's, and the site's login node with an sshd as Debian configures it."""

    def __init__(self, service: Service, account: str, port: int, folder: Path) -> None:
        self.service, self.account, self.port, self.folder = service, account, port, folder
        self.files = service.root / "for-hpc-andes"
        self.left = {
            (page, who): commands(page, who)
            for page in ("run-the-gateway.md", "join-an-hpc-site.md", "look-after-sites.md")
            for who in ("federation", "site")
        }

    def run(self, page: str, who: str) -> str:
        """The next block of a page; what it said."""
        block = self.left[page, who].pop(0).replace("hpc-andes", NAME).replace("alice", self.account)
        block = block.replace(f"for-{NAME}", "for-hpc-andes")
        programs = f"{Path(sys.executable).parent}:{self.folder}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-eu", "-c", block], cwd=self.service.root if who == "federation" else self.files,
            env={**self.service.environment(), "PATH": programs}, capture_output=True, text=True, timeout=180,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, (block, done.stdout, done.stderr, (self.folder / "sshd.log").read_text()[-2000:])
        return done.stdout

    def by_hand(self, **changes: Any) -> None:
        """The administrator changes policy.json."""
        file = self.files / "policy.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@contextmanager
def login_node(folder: Path, port: int) -> Iterator[None]:
    """sshd with the machine's own configuration on a port of ours. `systemctl reload sshd` reaches it."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    reload = folder / "systemctl"
    reload.write_text(f'#!/bin/sh\nexec kill -HUP "$(cat {folder}/pid)"\n')
    reload.chmod(0o755)
    process = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-f", "/etc/ssh/sshd_config", "-E", folder / "sshd.log",
         "-o", f"ListenAddress=127.0.0.1:{port}", "-o", f"PidFile={folder}/pid"]
    )  # fmt: skip
    try:
        wait_for((folder / "pid").exists)
        yield
    finally:
        process.terminate()
        process.wait(10)


def settings(sshd_port: int) -> dict[str, Any]:
    """The site as the page has it, at the addresses of this machine."""
    page = (PAGES / "run-the-gateway.md").read_text()
    example = yaml.safe_load(textwrap.dedent(page.partition("```yaml\n")[2].partition("```")[0]))
    site: dict[str, Any] = example["sites"]["hpc-andes"]
    login = {"host": "127.0.0.1", "port": sshd_port, "cluster_address": "127.0.0.1", "reverse_port": free_port()}
    site["login"] |= {**login, "host_key_file": f"sites/{NAME}.pub"}
    # The names of the scheduler's nodes are no hosts of this machine.
    there = {"nodes": [NODE], "flavours": ["small"], "batchspawner": {"req_prologue": f"export SLURMD_NODENAME={NODE}"}}
    return {**site, **there}


@pytest.fixture
def place(batch_sites: dict[str, SlurmSite], tmp_path: Path) -> Iterator[Place]:
    account_or_skip()
    port, ports = free_port(), free_range(20)
    environment = {"title": "Python", "local": {"prefix": "minimal"},
                   "batch": {"path": f"{os.environ['NBFED_ENVIRONMENTS']}/minimal"}}  # fmt: skip
    with ExitStack() as stack:
        service = stack.enter_context(
            running_service(
                start=False, sites={NAME: settings(port)}, environments={"minimal": environment},
                gateway={"forward_ports": f"{ports[0]}-{ports[-1]}"},
            )
        )  # fmt: skip
        stack.enter_context(login_node(tmp_path, port))
        stack.callback(service.nbfed, "gateway", "disconnect", check=False)
        stack.callback(service.stop)
        stack.callback(
            subprocess.run,
            [
                "rm",
                "-rf",
                f"/etc/nbfed/{NAME}",
                f"/etc/sudoers.d/nbfed-{NAME}",
                f"/etc/ssh/sshd_config.d/nbfed-{NAME}.conf",
            ],
            check=True,
        )
        yield Place(service, batch_sites["costa"].accounts[2], port, tmp_path)


def test_the_commands_of_the_pages_bring_up_a_site_from_nothing_to_a_notebook(
    batch_sites: dict[str, SlurmSite], place: Place
) -> None:
    service = place.service
    for _ in ("make the authority", "make the site's files"):
        place.run("run-the-gateway.md", "federation")
    place.by_hand(history="completion", environment=dict(batch_sites["costa"].environment))
    for _ in ("install", "let the gateway in"):
        place.run("join-an-hpc-site.md", "site")
    (place.files / "host-keys.pub").rename(service.root / "host-keys.pub")
    place.run("join-an-hpc-site.md", "site")  # who may use it
    said = place.run("join-an-hpc-site.md", "site").splitlines()
    assert [json.loads(line)["ok"] for line in said] == [True, True]
    place.run("run-the-gateway.md", "federation")

    service.start()
    ana = Person(service.base_url).sign_in("researcher")
    service.nbfed("mapping", "add", ana.user_name, NAME, place.account)
    service.nbfed("mapping", "accept", ana.user_name, NAME)
    refused = ana.start(flavour="small", environment="minimal", site=NAME)
    assert "it is not certified" in refused.text

    assert f"{NAME} passed, and is uncertified." in place.run("look-after-sites.md", "federation")
    place.run("look-after-sites.md", "federation")
    assert ana.start(flavour="small", environment="minimal", site=NAME, walltime_minutes="15").status_code == 200
    ana.wait_until_ready(seconds=120)
    kernel = ana.kernel()
    assert kernel.run("import getpass; print(getpass.getuser())").strip() == place.account
    kernel.close()
    ana.stop()

    place.run("join-an-hpc-site.md", "site")  # leave
    assert service.nbfed("site", "check", NAME, check=False).returncode == 1
    assert [key for key, blocks in place.left.items() if blocks] == [], "every command of the pages was run"
