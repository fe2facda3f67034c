"""Tests of this folder run on both kinds of database."""

import pytest

from tests.support.databases import KINDS


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which kind of database the test gets."""
    return str(request.param)
