"""Amounts of storage as Kubernetes writes them. The volumes themselves: tests/kubernetes/test_homes.py."""

import pytest

from spawners.backends.kubernetes_homes import gib_of


@pytest.mark.parametrize(
    ("quantity", "gib"),
    [("20Gi", 20), ("1.5Gi", 1), ("2Ti", 2048), ("500M", 0), ("5G", 4), ("1073741824", 1), ("1048576Ki", 1), ("2k", 0)],
)
def test_an_amount_in_whole_gib(quantity: str, gib: int) -> None:
    assert gib_of(quantity) == gib


@pytest.mark.parametrize("quantity", ["", "Gi", "5 Gi", "-1Gi", "5GB", "i", "5i"])
def test_what_is_no_amount_is_said(quantity: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        gib_of(quantity)
