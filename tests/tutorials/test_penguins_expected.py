"""What the tutorial's notebook must find, computed without the libraries that the notebook uses.

`tests/data/penguins.json` is what other tests compare the notebook's result with. Here it is computed anew from the
table that the package palmerpenguins brings along: with csv and statistics of Python alone, no numpy, no pandas.
"""

import csv
import json
import os
import statistics
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.missing import skip_or_fail

ROOT = Path(__file__).parents[2]
EXPECTED = ROOT / "tests" / "data" / "penguins.json"
NOTEBOOK = ROOT / "docs" / "tutorials" / "penguins.ipynb"

Row = dict[str, str]


@pytest.fixture(scope="module")
def penguins() -> list[Row]:
    """The penguins with both measurements. Skips where the environment is not installed, but never in CI."""
    prefix = Path(os.environ["NBFED_ENVIRONMENTS"]) / "python"
    table = next(prefix.glob("lib/python3*/site-packages/palmerpenguins/data/penguins.csv"), None)
    if table is None:
        skip_or_fail(f"the environment `python` is not installed at {prefix}: run `make setup`")
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [row for row in rows if "NA" not in (row["flipper_length_mm"], row["body_mass_g"])]


def least_squares(rows: Iterable[Row]) -> dict[str, float]:
    """Body mass on flipper length, rounded as in the notebook."""
    pairs = [(float(row["flipper_length_mm"]), float(row["body_mass_g"])) for row in rows]
    lengths, masses = zip(*pairs, strict=True)
    slope, intercept = statistics.linear_regression(lengths, masses)
    return {
        "n": len(pairs),
        "slope_g_per_mm": round(slope, 4),
        "intercept_g": round(intercept, 2),
        "r_squared": round(statistics.correlation(lengths, masses) ** 2, 4),
    }


def test_the_expected_values_are_those_of_the_table(penguins: list[Row]) -> None:
    species = sorted({row["species"] for row in penguins})
    computed = {
        **least_squares(penguins),
        "species": {name: least_squares(row for row in penguins if row["species"] == name) for name in species},
    }
    assert json.loads(EXPECTED.read_text()) == computed


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in cells] == [([], None)] * len(cells)


def test_the_notebook_has_one_cell_that_names_the_table() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    found = ["".join(cell["source"]).count("DATA = None") for cell in cells]
    assert found == [1] + [0] * (len(cells) - 1)
