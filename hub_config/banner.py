"""What `nbfed up` says once the service answers, and what it checks before it starts anything."""

import os
import pwd
import subprocess
from pathlib import Path

from federation.i18n import gettext
from federation.settings import BatchSite, LocalSite, in_language
from hub_config.demo.personas import PERSONAS
from hub_config.settings import Settings, SettingsError
from hub_config.wiring import environments_folder

__all__ = ["banner", "check_local_sites"]


def banner(settings: Settings) -> str:
    """Address, personas, and how to stop."""
    lines = [f"{settings.yaml.federation.name}: {settings.base_url}"]
    if settings.is_demo_sign_in:
        lines += ["", "Demonstration sign-in: choose a persona on the page, no password is asked."]
        lines += [f"  {persona.name:<24} {gettext(persona.title)}" for persona in PERSONAS]
        lines += ["", _about_hpc_sites(settings)]
    lines += ["", f"State: {settings.state.root}", "Stop with Ctrl-C."]
    return "\n".join(lines)


def _about_hpc_sites(settings: Settings) -> str:
    titles = [in_language(s.title, name) for name, s in settings.yaml.sites.items() if isinstance(s, BatchSite)]
    if titles:
        return f"HPC sites: {', '.join(titles)}."
    return "HPC sites: absent. `make run HPC=1`, on Debian as root, brings two of them."


def check_local_sites(settings: Settings) -> None:
    """See that local sessions can run at all.

    Raises
    ------
    SettingsError
        If an environment is not installed, or the account of local sessions cannot reach what it needs.
    """
    sites = {name: site for name, site in settings.yaml.sites.items() if isinstance(site, LocalSite)}
    if not sites:
        return
    for name, environment in settings.yaml.environments.items():
        if environment.local is None:
            continue
        python = environments_folder() / environment.local.prefix / "bin" / "python"
        if not python.exists():
            raise SettingsError(
                f"{settings.file}: environments.{name}.local.prefix: there is no Python at {python}. "
                "`make setup` installs the environments of the demo; NBFED_ENVIRONMENTS names their folder."
            )
        for site_name, site in sites.items():
            if os.geteuid() == 0:
                _check_reachable(settings, site_name, site.account, python)


def _check_reachable(settings: Settings, site: str, account: str, python: Path) -> None:
    try:
        entry = pwd.getpwnam(account)
    except KeyError as error:
        raise SettingsError(f"{settings.file}: sites.{site}.account: there is no account {account!r}") from error
    for folder in (settings.state.sessions, settings.state.homes):
        if not _runs(["/bin/ls", "-d", f"{folder}/."], entry):
            raise SettingsError(
                f"Sessions run as the account {account!r}, which cannot enter {folder}. Choose a state folder that "
                "it can reach with NBFED_HOME, outside of root's home for instance."
            )
    if not _runs([str(python), "-c", ""], entry):
        raise SettingsError(
            f"Sessions run as the account {account!r}, which cannot run {python}. Its interpreter must be one that "
            "every account can reach (for instance Debian's /usr/bin/python3): PYTHON=/usr/bin/python3 make setup."
        )


def _runs(argv: list[str], entry: pwd.struct_passwd) -> bool:
    """Whether a command succeeds under an account."""
    try:
        answer = subprocess.run(
            argv, user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], capture_output=True, check=False, cwd="/"
        )
    except OSError:
        return False
    return answer.returncode == 0
