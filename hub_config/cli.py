"""`nbfed`: the commands of all houses.

Exit codes: 0 done, 1 it cannot be done (the message says why), 2 the command line is wrong.
"""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from federation import migrations
from federation.database import DatabaseUnavailable
from federation.worker import run as run_worker
from hub_config.settings import Settings, SettingsError, load
from hub_config.wiring import House, house, upkeep
from spawners.tables import EndReason

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The notebooks federation: run it, check it, give quota, read the books."""


def readable(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what people can mend into one message and exit code 1."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except (SettingsError, migrations.OutdatedSchema) as error:
            raise click.ClickException(str(error)) from error
        except DatabaseUnavailable as error:
            raise click.ClickException(f"The federation database cannot be reached: {error}") from error

    return wrapped


@main.command()
@click.option("--config", type=click.Path(path_type=Path), help="federation.yaml; else NBFED_CONFIG, else the demo's")
@readable
def up(config: Path | None) -> None:
    """Run the whole service in this terminal until Ctrl-C."""
    from hub_config.banner import banner, check_local_sites  # noqa: PLC0415 - only this command needs Jupyter
    from hub_config.supervisor import up as supervise  # noqa: PLC0415

    settings = load(config)
    check_local_sites(settings)
    parts = house(settings, actor="nbfed up")
    migrations.upgrade(parts.database)
    parts.publish_rates()

    def on_stopped() -> None:
        upkeep(parts).end_all(EndReason.SERVICE)

    sys.exit(supervise(settings, on_stopped=on_stopped, banner=lambda: banner(settings)))


@main.command()
@readable
def worker() -> None:
    """Renew leases, settle ended sessions, stop idle ones. `nbfed up` runs it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = load()
    parts = house(settings, actor="worker")
    migrations.check(parts.database)
    run_worker([upkeep(parts).run_once], interval_seconds=settings.yaml.worker.interval_seconds)


@main.command("demo-sign-in")
@readable
def demo_sign_in() -> None:
    """The demo sign-in. `nbfed up` runs it."""
    from hub_config.demo.sign_in import serve  # noqa: PLC0415 - not needed by other commands

    serve(load())


def _house() -> House:
    parts = house(load(), actor="nbfed")
    migrations.check(parts.database)
    return parts


def _settings() -> Settings:
    return load()


if __name__ == "__main__":
    main()
