"""`nbfed bench ledger`."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy.exc import ArgumentError

from federation.database import DatabaseUnavailable
from quota.bench.measure import Plan, measure
from quota.bench.scratch import NotEmpty, check_empty

__all__ = ["bench"]


@click.group()
def bench() -> None:
    """Measure this machine. The installation's own data is never touched."""


@bench.command()
@click.option("--postgres", metavar="URL", help="an empty scratch database, postgresql+psycopg://…; it is left full")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="where the scratch SQLite file is made and removed: on the disk that is to be measured; default: that of "
    "temporary files",
)
@click.option("--runs", type=click.IntRange(1, 1000), default=Plan.runs, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=Plan.seconds, show_default=True)
@click.option("--processes", type=click.IntRange(1, 64), default=Plan.processes, show_default=True)
@click.option(
    "--closed",
    type=click.IntRange(1),
    multiple=True,
    default=Plan.closed,
    show_default=True,
    help="how many closed sessions people have; once for each",
)
def ledger(
    postgres: str | None, folder: Path | None, runs: int, seconds: float, processes: int, closed: tuple[int, ...]
) -> None:
    """Reservations and settlements against plain inserts: on SQLite, and on PostgreSQL where a URL is given.

    A password is better in ~/.pgpass than in the URL, where everybody on the machine can read it.
    """
    plan = Plan(runs=runs, seconds=seconds, processes=processes, closed=closed)
    with _complaints():
        if postgres:
            check_empty(postgres)
        load = "/".join(f"{one:.1f}" for one in os.getloadavg())
        click.echo(
            f"{len(os.sched_getaffinity(0))} cores, load {load} before; {runs} runs of {seconds:g} s of each kind"
        )
        with tempfile.TemporaryDirectory(prefix="nbfed-bench-", dir=folder) as scratch:
            for url in [f"sqlite:///{scratch}/bench.sqlite", *([postgres] if postgres else [])]:
                click.echo(str(measure(url, plan, lambda line: click.echo(line, err=True))))


@contextmanager
def _complaints() -> Iterator[None]:
    try:
        yield
    except ArgumentError as error:
        raise click.ClickException(
            "What --postgres names is no URL of a database that this program can use, such as "
            "postgresql+psycopg://name@host/database."
        ) from error
    except NotEmpty as error:
        raise click.ClickException(
            f"{error}. Nothing was measured or changed. Make an empty database for it: createdb nbfed_bench"
        ) from error
    except DatabaseUnavailable as error:
        raise click.ClickException(f"The scratch database cannot be used: {error}.") from error
