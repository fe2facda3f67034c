"""The ledger broken on purpose, one promise at a time: the tests that are named here must notice, each by a failure of its
own. They are all in `make test`.

A mutant is a copy of the tree with a small change of its text. If the text is not there any more the mutant is out of
date, and that is a failure, too.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.databases import postgres_or_skip

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

_COPIED = ("federation", "hub_config", "quota", "spawners", "tests", "vetting", "images", "pyproject.toml")
_LEDGER, _CONCURRENCY = "tests/quota/test_ledger.py", "tests/quota/test_concurrency.py"

_PROMISES = ("AssertionError", "assert", "Failed: DID NOT RAISE")
"""How the failure of a test begins that looked and found a promise broken."""


@dataclass(frozen=True)
class Change:
    """`old` is in the file exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A broken promise, and the tests that notice. A name without `[...]` stands for both kinds of database."""

    changes: tuple[Change, ...]
    caught_by: tuple[str, ...]


MUTANTS = {
    "generation-check": Mutant(
        (
            Change(
                "quota/writing.py",
                'case((BalanceTable.generation == bindparam("before"), BalanceTable.generation + 1))',
                "BalanceTable.generation + 1",
            ),
        ),
        (f"{_LEDGER}::test_a_page_that_somebody_else_wrote_meanwhile_is_not_saved",),
    ),
    "unique-key-of-terminal-entries": Mutant(
        (
            Change(
                "federation/migrations/versions/v0001_first_tables.py",
                """["hold_id", sa.text("coalesce(grant_id, '')"), "kind"],\n        unique=True,""",
                """["hold_id", sa.text("coalesce(grant_id, '')"), "kind"],\n        unique=False,""",
            ),
        ),
        # On SQLite a trigger refuses it as well.
        tuple(
            f"{_LEDGER}::test_the_database_itself_refuses_a_second_end_of_a_hold[postgresql-{kind}]"
            for kind in ("release", "charge", "overrun")
        ),
    ),
    "rate-version": Mutant(
        (
            Change("quota/ledger.py", "import correcting, granting", "import correcting, granting, rates"),
            Change(
                "quota/ledger.py",
                "            amount = seconds * row.weight_milli\n            set_aside",
                '            amount = seconds * rates.in_force(connection)[1]["small"]\n            set_aside',
            ),
        ),
        (f"{_LEDGER}::test_a_price_that_changes_in_mid_session_does_not_touch_it",),
    ),
    "refund-on-unknown": Mutant(
        (
            Change("quota/ledger.py", "select(HoldTable.id).where(HoldTable.state == HoldState.HELD.value, HoldTable",
                   'select(HoldTable.id).where(HoldTable.state.in_(["held", "unknown"]), HoldTable'),
            Change("quota/ledger.py", "(row.state == HoldState.HELD and row.lease_until <= due)",
                   '(row.state in ("held", "unknown") and row.lease_until <= due)'),
        ),
        tuple(
            f"{_LEDGER}::test_nothing_is_refunded_of_a_session_that_runs_or_cannot_be_asked_about[{kind}-unknown]"
            for kind in ("sqlite", "postgresql")
        ),
    ),
    "lock-order-of-balances": Mutant(
        (
            Change(
                "quota/reserving.py",
                "owners = of_owners([payer.owner for payer in payers], now) if payers else ()",
                "owners = [call for payer in payers for call in of_owners([payer.owner], now)]",
            ),
            Change(
                "quota/reserving.py",
                "pages = pages_by_owner(next(found), next(found), now, actor) if payers else {}",
                "pages = {owner: page for _ in payers "
                "for owner, page in pages_by_owner(next(found), next(found), now, actor).items()}",
            ),
        ),
        (
            f"{_CONCURRENCY}::test_of_several_payers_the_lower_account_is_locked_first_whoever_is_named_first[postgresql]",
            f"{_CONCURRENCY}::test_processes_with_several_payers_and_caps_in_any_order_never_lock_each_other_out[postgresql]",
        ),
    ),
    "lock-order-of-gates": Mutant(
        (
            Change("quota/capping.py", "AS gate ORDER BY 1) g", "AS gate) g"),
            Change("quota/capping.py", "sorted({_gate(cap) for cap in caps})", "[_gate(cap) for cap in caps]"),
        ),
        (f"{_CONCURRENCY}::test_gates_of_caps_are_passed_in_one_order_whichever_cap_is_named_first[postgresql]",),
    ),
    "no-locks": Mutant(
        (Change("quota/shelf.py", "            .with_for_update(of=BalanceTable)\n", ""),),
        (
            f"{_CONCURRENCY}::test_processes_with_several_payers_and_caps_in_any_order_never_lock_each_other_out[postgresql]",
        ),
    ),
    "grants-read-before-the-lock": Mutant(
        (
            Change(
                "quota/reserving.py",
                "    found = iter(run(connection, [*before, *owners, *chain.from_iterable(counts)]))",
                "    early = run(connection, owners[1:])\n"
                "    late = run(connection, [*before, *owners, *chain.from_iterable(counts)])\n"
                "    found = iter([*late[: len(before) + 1], *early, *late[len(before) + 2 :]])",
            ),
        ),
        (f"{_CONCURRENCY}::test_a_start_that_waited_for_a_revocation_is_refused[postgresql]",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, whose own modules are the ones that are imported there."""
    postgres_or_skip()
    tree = tmp_path_factory.mktemp("tree")
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    imported = run(tree, "-c", "import quota, federation; print(quota.__file__, federation.__file__)")
    assert imported.stdout.split() == [str(tree / house / "__init__.py") for house in ("quota", "federation")]
    return tree


@pytest.fixture
def mutated(tree: Path, request: pytest.FixtureRequest) -> Iterator[Mutant]:
    """The tree is broken during the test."""
    mutant = MUTANTS[request.param]
    files = {change.file: (tree / change.file).read_text() for change in mutant.changes}
    try:
        for change in mutant.changes:
            text = (tree / change.file).read_text()
            assert text.count(change.old) == 1, f"{change.file} has {change.old!r} {text.count(change.old)} times"
            (tree / change.file).write_text(text.replace(change.old, change.new))
        yield mutant
    finally:
        for file, text in files.items():
            (tree / file).write_text(text)


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=1100
    )


def outcomes(tree: Path, tests: tuple[str, ...]) -> dict[str, str]:
    """What each of the tests in the tree said when it failed, in its body or when the books were verified at its end; empty
    where it passed. Nothing else may become of them.
    """
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    done = run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests)
    assert report.exists(), done.stdout + done.stderr
    said: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        assert case.find("skipped") is None, f"{case.get('name')} did not run"
        for complaint in (*case.iter("failure"), *case.iter("error")):
            message = str(complaint.get("message")).removeprefix('failed on teardown with "')
            assert message.startswith(_PROMISES), f"{case.get('name')} could not run:\n{done.stdout}"
            said[str(case.get("name"))] = message
        said.setdefault(str(case.get("name")), "")
    return said


def of_test(said: dict[str, str], test: str) -> list[str]:
    """What a test said, for each kind of database that it ran on."""
    name = test.partition("::")[2]
    found = [words for each, words in said.items() if each == name or each.startswith(f"{name}[")]
    assert found, f"{test} did not run"
    return found


def test_the_tree_as_it_is_passes_all_of_them(tree: Path) -> None:
    tests = tuple(sorted({test for mutant in MUTANTS.values() for test in mutant.caught_by}))
    said = outcomes(tree, tests)
    for test in tests:
        assert not any(of_test(said, test)), test


@pytest.mark.parametrize("mutated", MUTANTS, indirect=True)
def test_a_ledger_that_breaks_this_promise_is_caught_by_each_test_that_is_named(tree: Path, mutated: Mutant) -> None:
    said = outcomes(tree, mutated.caught_by)
    for test in mutated.caught_by:
        assert all(of_test(said, test)), f"{test} did not notice"
