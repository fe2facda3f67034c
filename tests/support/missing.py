"""What a test does where something that it needs is missing: it is skipped, and fails where the result counts."""

import os
from typing import NoReturn

import pytest

__all__ = ["skip_or_fail"]


def skip_or_fail(reason: str) -> NoReturn:
    """Skip, with what is missing and how to get it; fail with that where `CI=true`."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
