"""The script of a job: runs in a real shell, starts the launcher of this hub, and has nothing of a person in it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Template

from federation.settings import BatchEnvironment, BatchSite
from spawners.backends import batch_script
from spawners.backends.batch_script import TEMPLATE, BadScript, Start, command, complete, preparation
from spawners.gateway.protocol import Submit

ATTEMPT = "01234567-89ab-cdef-0123-456789abcdef"


def site(**changes: Any) -> BatchSite:
    content = {
        "kind": "batch", "title": "HPC", "flavours": ["node"], "dialect": "slurm", "nodes": ["c1"],
        "login": {"host": "x", "host_key_file": "x"}, "ports": "20000-20009", "walltime_hours": 12,
    }  # fmt: skip
    return BatchSite.model_validate({**content, **changes})


def start(**changes: Any) -> Start:
    return Start(**{"attempt": ATTEMPT, "exchange_url": "http://h:1/hub/x", "patience_seconds": 60, **changes})


def rendered(cmd: str, prologue: str = "", epilogue: str = "", srun: str = "") -> str:
    """By our template; a command that is none of the launcher says so behind a #."""
    if "launcher.py" not in cmd:
        cmd += f" # $HOME/.nbfed/sessions/{ATTEMPT}/launcher.py"
    return complete(Template(TEMPLATE).render(cmd=cmd, prologue=prologue, epilogue=epilogue, srun=srun), ATTEMPT)


def run(script: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (home / ".nbfed" / "sessions" / ATTEMPT).mkdir(parents=True)
    return subprocess.run(
        ["/bin/bash", "-s"], input=script, env={"HOME": str(home), "PATH": "/usr/bin:/bin", **environment}, text=True,
        capture_output=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An environment whose Python only says how it was called."""
    python = tmp_path / "env with space" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv, os.environ["PATH"]]))\n')
    python.chmod(0o755)
    return python.parent.parent


def test_the_launcher_of_this_hub_is_started_with_folder_address_and_node(tmp_path: Path, prefix: Path) -> None:
    environment = BatchEnvironment(path=str(prefix))
    arguments = ["--debug", "it's; $(touch /tmp/x) `id`", "--x=\n"]
    script = rendered(command(start(arguments=arguments), site(), environment), preparation(environment))
    done = run(script, tmp_path / "home", SLURMD_NODENAME="c001")
    assert done.returncode == 0, done.stderr
    argv, path = json.loads(done.stdout)
    folder = tmp_path / "home" / ".nbfed" / "sessions" / ATTEMPT
    assert argv[1:] == [
        str(folder / "launcher.py"), str(folder), "http://h:1/hub/x", "--patience", "60", "--ports", "20000-20009",
        "--node", "c001", "--host", "c001", "--", *arguments,
    ]  # fmt: skip
    assert path.startswith(f"{prefix}/bin:")
    assert (folder / "launcher.py").read_bytes() == batch_script.LAUNCHER.read_bytes()


def test_a_module_is_loaded_first(tmp_path: Path) -> None:
    environment = BatchEnvironment(module="notebooks/2026.11; id")
    shell = 'module() { echo "$@"; }; python3() { :; }\n'
    done = run(shell + rendered("true", preparation(environment)), tmp_path / "home")
    assert done.stdout == "load notebooks/2026.11; id\n"


def test_without_module_and_path_there_is_no_script() -> None:
    with pytest.raises(BadScript):
        preparation(BatchEnvironment())


def test_an_epilogue_runs_after_the_session_and_without_one_the_launcher_takes_the_shell_s_place(
    tmp_path: Path, prefix: Path
) -> None:
    done = run(rendered("echo session", epilogue="echo after"), tmp_path / "home")
    assert done.stdout == "session\nafter\n"
    assert "\nexec echo session" in rendered("echo session")


@pytest.mark.parametrize("dialect", ["pbs", "gridengine"])
def test_where_the_scheduler_does_not_name_the_node_it_names_itself(dialect: str) -> None:
    assert '--node "$(hostname)"' in command(start(), site(dialect=dialect), BatchEnvironment(path="/x"))


def test_a_site_whose_nodes_names_lead_to_loopback_listens_everywhere() -> None:
    line = command(start(), site(listen="any"), BatchEnvironment(path="/x"))
    assert '--node "${SLURMD_NODENAME:-$(hostname)}" --host 0.0.0.0' in line


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/bash\n#SBATCH --uid=0\ntrue\n",
        "#!/bin/bash\n  #SBATCH --time=99\n",
        "#!/bin/sh\n#PBS -l walltime=99\n",
        "#!/bin/bash\n#$ -l h_rt=99\n",
        "true\n",
        "#!/usr/bin/python3\n",
        "",
    ],
)
def test_a_script_with_directives_or_without_a_shell_is_refused(script: str) -> None:
    line = command(start(), site(), BatchEnvironment(path="/x"))
    with pytest.raises(BadScript):
        complete(f"{script}{line}\n", ATTEMPT)


def test_a_script_that_starts_no_session_is_refused() -> None:
    with pytest.raises(BadScript, match="cmd"):
        complete("#!/bin/bash\ntrue\n", ATTEMPT)


def test_a_script_is_one_that_the_gate_takes() -> None:
    environment = BatchEnvironment(path="/opt/nb")
    Submit.model_validate(
        {
            "id": "1", "attempt": ATTEMPT, "account": "ana", "secret": "s" * 43,
            "script": rendered(command(start(), site(), environment), preparation(environment)),
            "resources": {"cpus": 1, "memory_mib": 1, "minutes": 1},
        }
    )  # fmt: skip


@given(url=st.text(min_size=1), arguments=st.lists(st.text(), max_size=3))
def test_whatever_is_passed_stays_one_word_each(url: str, arguments: list[str]) -> None:
    line = command(start(exchange_url=url, arguments=arguments), site(), BatchEnvironment(path="/x"))
    words = shlex.split(line)
    assert words[3] == url
    assert words[words.index("--") + 1 :][-len(arguments) or len(words) :] == arguments
