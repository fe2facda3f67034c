"""The script of a batch job: it starts the launcher, and has no secret, no limit and nothing that a person typed. Pure.

What is asked of the scheduler is no part of it: the site's gate turns numbers and names into arguments, and refuses a
script with directives. The launcher travels inside, so that it is always that of this hub, and the site has nothing of
ours to install on its nodes. A site's own template (`batchspawner.batch_script`) only decides what comes around it.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from federation.settings import BatchEnvironment, BatchSite
from spawners.gateway.protocol import SESSIONS_FOLDER

__all__ = ["LAUNCHER", "TEMPLATE", "BadScript", "Start", "command", "complete", "preparation"]

LAUNCHER = Path(__file__).resolve().parents[1] / "launcher.py"
"""What a job starts; another program beside it can be started instead."""

TEMPLATE = """#!/bin/bash -l
set -e
{{prologue}}
{% if epilogue %}trap : TERM
{% else %}exec {% endif %}{% if srun %}{{srun}} {% endif %}{{cmd}}
{{epilogue}}
"""
"""A login shell, because that is where sites define `module`. The launcher takes its place, so that it gets the
scheduler's signals itself, unless something is to come after it.
"""

_SHELL = re.compile(r"#! ?/(usr/)?bin/(env )?(ba|da|k|z)?sh( -l)?")
_DIRECTIVE = re.compile(r"^\s*#(SBATCH|PBS|\$|OAR|BSUB|COBALT|MSUB)", re.MULTILINE)
_END_OF_FILE = "NBFED_PROGRAM_ENDS_HERE"
_NODE = {"slurm": '"${SLURMD_NODENAME:-$(hostname)}"'}
_ANY_NODE = '"$(hostname)"'
_LISTEN_AT_ALL = "0.0.0.0"  # noqa: S104 - on the nodes, where a site says so


class BadScript(Exception):
    """The site's settings make no script that its gate would take; says why, to operators."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What one job is to start.

    Parameters
    ----------
    exchange_url
        Where the job reaches the hub's exchange.
    patience_seconds
        How long the launcher goes on asking there.
    arguments
        Of the single-user server.
    """

    attempt: str
    exchange_url: str
    patience_seconds: int
    arguments: Sequence[str] = ()


def command(start: Start, site: BatchSite, environment: BatchEnvironment, program: Path = LAUNCHER) -> str:
    """The command line of the launcher, or of another program that takes its options, for a shell; one line."""
    python = f"{environment.path}/bin/python" if environment.path else "python3"
    node = _NODE.get(site.dialect, _ANY_NODE)
    return " ".join(
        [
            shlex.quote(python),
            f'"{_folder(start.attempt)}/{program.name}"',
            f'"{_folder(start.attempt)}"',
            shlex.quote(start.exchange_url),
            f"--patience {start.patience_seconds}",
            f"--ports {site.ports}",
            f"--node {node}",
            f"--host {node if site.listen == 'node' else _LISTEN_AT_ALL}",
            "--",
            *map(shlex.quote, start.arguments),
        ]
    )


def preparation(environment: BatchEnvironment) -> str:
    """What makes an environment usable, for a shell: comes before the site's own prologue.

    Raises
    ------
    BadScript
        If the environment says neither a module nor a path.
    """
    if environment.module is None and environment.path is None:
        raise BadScript("the environment has neither a module nor a path for batch sites")
    lines = []
    if environment.module is not None:
        lines.append(f"module load {shlex.quote(environment.module)}")
    if environment.path is not None:
        lines.append(f'export PATH={shlex.quote(environment.path)}/bin:"$PATH"')
    return "\n".join(lines)


def complete(script: str, attempt: str, program: Path = LAUNCHER) -> str:
    """A script that was made of a template, with the launcher, and the program if it is another one, put in behind its
    first line.

    Raises
    ------
    BadScript
        If it is no script for a shell, has directives, or does not start the program.
    """
    first, _, rest = script.partition("\n")
    if not _SHELL.fullmatch(first.rstrip()):
        raise BadScript(f"the script begins with {first[:60]!r}, and not with a shell like #!/bin/bash")
    directive = _DIRECTIVE.search(script)
    if directive is not None:
        raise BadScript(
            f"the script has a directive ({directive[0].strip()}); what jobs get is the site's gate's matter"
        )
    if f"{_folder(attempt)}/{program.name}" not in script:
        raise BadScript("the script does not start the session: its template has no {{cmd}}")
    files = dict.fromkeys((LAUNCHER, program))
    return f"{first}\n{''.join(_here(file, attempt) for file in files)}{rest}"


def _here(file: Path, attempt: str) -> str:
    """Lines of a shell script that write a file into the session's folder."""
    text = file.read_text(encoding="utf-8")
    return f"cat > \"{_folder(attempt)}/{file.name}\" <<'{_END_OF_FILE}'\n{text}{_END_OF_FILE}\n"


def _folder(attempt: str) -> str:
    """Of the session, below the account's home; an attempt is a UUID."""
    return f"$HOME/{SESSIONS_FOLDER}/{attempt}"
