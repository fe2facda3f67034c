"""`nbfed demo-hpc`: the demonstration with two batch sites on this machine, so that one machine shows the federation.

It starts the sites, writes a federation.yaml that has them, and runs `nbfed up` with it. While that runs, it checks and
certifies the sites as an operator would, and gives people who sign in accounts there. With it, the sites end, and their
jobs; what is recorded of them is kept in the state folder.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from federation.database import Database, DatabaseUnavailable
from hub_config import gateway_wiring
from hub_config.demo.hpc.pool import give_accounts
from hub_config.demo.hpc.site import DemoSite
from hub_config.demo.hpc.slurm import SITES, SiteBroken, why_not
from hub_config.settings import Settings, SettingsError, load
from hub_config.wiring import environments_folder
from spawners.gateway.ca import AuthorityError
from vetting.placement import Certification
from vetting.sites import site_record

__all__ = ["demo_hpc"]

_NODES = {"andes": "127.0.0.2", "costa": "127.0.0.3"}
_FLAVOURS = ("small", "medium")
_SESSIONS = 3
_REASON = "a site of the demonstration"
_LOOK_SECONDS = 1.0
_NBFED = (sys.executable, "-m", "hub_config.cli")

Say = Callable[[str], None]


def demo_hpc(settings: Settings, say: Say) -> int:
    """Run all of it until an end signal comes; returns the exit code of `nbfed up`.

    Raises
    ------
    SettingsError
        If this machine cannot run the sites, or these settings are none of a demonstration.
    """
    if reason := why_not():
        raise SettingsError(f"The HPC sites of the demonstration cannot run here: {reason}.")
    if not settings.is_demo_sign_in:
        raise SettingsError(f"{settings.file} is not for a demonstration: it names providers.")
    authority = gateway_wiring.authority(settings)
    try:
        if not authority.exists:
            authority.init()
    except AuthorityError as error:
        raise SettingsError(str(error)) from error
    with _running_sites(settings, authority.public_keys(), say) as sites:
        file = settings.state.root / "federation-hpc.yaml"
        file.write_text(yaml.safe_dump(_with_sites(settings, sites), allow_unicode=True))
        return _run(load(file, settings.state), say)


@contextlib.contextmanager
def _running_sites(settings: Settings, authorities: Sequence[str], say: Say) -> Iterator[list[DemoSite]]:
    # Not in the state folder: other accounts have to reach the gate, and may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="nbfed-demo-", dir="/var/tmp"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sites = []
        for name, accounts in SITES.items():
            say(f"Starting the HPC site {name}: Slurm with one node, behind sshd on loopback.")
            (folder / name).mkdir(mode=0o755)
            site = DemoSite(name, folder / name, accounts, _NODES[name], _FLAVOURS)
            stack.callback(site.stop)
            try:
                site.start(settings.yaml.flavours, authorities)
            except (SiteBroken, OSError, subprocess.CalledProcessError) as error:
                raise SettingsError(f"The HPC site {name} did not come up: {error}") from error
            sites.append(site)
        yield sites


def _with_sites(settings: Settings, sites: Sequence[DemoSite]) -> dict[str, Any]:
    """The settings with the sites in them. Names of files start at the folder of the first file."""
    content: dict[str, Any] = yaml.safe_load(settings.file.read_text(encoding="utf-8"))
    files = content.get("federation", {}).get("terms", {}).get("files", {})
    files.update({language: str(settings.file.parent / file) for language, file in files.items()})
    content["sites"] |= {site.name: site.settings for site in sites}
    for environment in content["environments"].values():
        if "local" in environment:
            environment["batch"] = {"path": str(environments_folder() / environment["local"]["prefix"])}
    for default in content.get("defaults", {}).values():
        default["sessions"] = max(_SESSIONS, default.get("sessions") or 0)
    return content


def _run(settings: Settings, say: Say) -> int:
    """`nbfed up` in a process of its own, which gets our end signals; beside it what an operator does."""
    over = threading.Event()
    # In a session of its own: a Ctrl-C of the terminal would reach it twice.
    up = subprocess.Popen([*_NBFED, "up", "--config", str(settings.file)], start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: up.send_signal(number))
    beside = [threading.Thread(target=work, args=(settings, over, say)) for work in (_give_accounts, _certify_all)]
    for thread in beside:
        thread.start()
    try:
        return up.wait()
    finally:
        over.set()
        for thread in beside:
            thread.join()


def _give_accounts(settings: Settings, over: threading.Event, say: Say) -> None:
    """To everybody who signs in."""
    pools = {name: accounts[:-1] for name, accounts in SITES.items()}
    with _database_once_up(settings, over) as database:
        while not over.wait(_LOOK_SECONDS):
            with contextlib.suppress(DatabaseUnavailable):
                for line in give_accounts(database, pools, settings.clock()):
                    say(line)


def _certify_all(settings: Settings, over: threading.Event, say: Say) -> None:
    """Those that are not certified yet."""
    with _database_once_up(settings, over) as database:
        for name in SITES:
            with database.read() as connection:
                known = site_record(connection, name, settings.yaml.sites[name])
            if known.certification is not Certification.CERTIFIED and not over.is_set():
                _certify(settings, name, say)


@contextlib.contextmanager
def _database_once_up(settings: Settings, over: threading.Event) -> Iterator[Database]:
    """The books, once the service answers, or is over."""
    while not _answers(settings) and not over.wait(_LOOK_SECONDS):
        continue
    database = Database(settings.database_url, busy_seconds=settings.yaml.database.busy_seconds)
    try:
        yield database
    finally:
        database.dispose()


def _certify(settings: Settings, name: str, say: Say) -> None:
    """With the last account of its pool, which nobody else gets."""
    checks = ("site", "check", name, "--account", SITES[name][-1]), ("site", "certify", name, "--reason", _REASON)
    for command in checks:
        done = subprocess.run(
            [*_NBFED, *command], env=_environment(settings), capture_output=True, text=True, check=False
        )
        if done.returncode:
            say(f"The HPC site {name} takes no sessions, because its check failed:\n{done.stdout}{done.stderr}")
            return
    say(f"The HPC site {name} passed its check, and takes sessions.")


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "NBFED_CONFIG": str(settings.file), "NBFED_HOME": str(settings.state.root)}


def _answers(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.base_url}hub/api", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False
