"""What nodes are written as, and what they stand for: exactly that list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.nodes import expanded


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        pytest.param(["c1"], {"c1"}, id="one"),
        pytest.param(["c[1-3]"], {"c1", "c2", "c3"}, id="range"),
        pytest.param(["c[08-11]"], {"c08", "c09", "c10", "c11"}, id="leading-zeros"),
        pytest.param(["c[8-11]"], {"c8", "c9", "c10", "c11"}, id="no-leading-zeros"),
        pytest.param(["c[1,3,5-6].hpc"], {"c1.hpc", "c3.hpc", "c5.hpc", "c6.hpc"}, id="list-and-domain"),
        pytest.param(["a", "a", "b"], {"a", "b"}, id="doubled"),
        pytest.param(["127.0.0.[2-3]"], {"127.0.0.2", "127.0.0.3"}, id="addresses"),
    ],
)
def test_a_pattern_stands_for_its_names(patterns: list[str], names: set[str]) -> None:
    assert expanded(patterns) == names


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "-c1",
        "c[",
        "c[]",
        "c[1-",
        "c[a-b]",
        "c[3-1]",
        "c[1]d[2]",
        "c 1",
        "c1;x",
        "c1\n",
        "*",
        "c[1-999999]",
        "c1:22",
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"node|backwards"):
        expanded([pattern])


@given(st.integers(0, 500), st.integers(0, 200), st.integers(1, 5))
def test_a_range_has_as_many_names_as_numbers_and_no_prefix_of_another_list(first: int, more: int, width: int) -> None:
    low, high = f"{first:0{width}d}", f"{first + more:0{width}d}"
    names = expanded([f"c[{low}-{high}]"])
    assert len(names) == more + 1
    assert {f"c{low}", f"c{high}"} <= names
    assert all(first <= int(name[1:]) <= first + more for name in names)
