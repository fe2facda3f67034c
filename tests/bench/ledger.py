"""`nbfed bench ledger` on SQLite and on a scratch PostgreSQL server of its own."""

import tempfile

from quota.bench.measure import Plan
from quota.bench.measure import measure as measured
from tests.bench.report import progress
from tests.support.postgres import running_postgres, why_not


def measure(runs: int, seed: int) -> str:
    """Both databases in one run."""
    plan = Plan(runs=runs, seed=seed)
    with tempfile.TemporaryDirectory(prefix="nbfed-bench-") as folder:
        reports = [str(measured(f"sqlite:///{folder}/bench.sqlite", plan, progress))]
    reason = why_not()
    if reason:
        return "\n".join([*reports, reason])
    with running_postgres() as server:
        return "\n".join([*reports, str(measured(server.url(server.create()), plan, progress))])
