"""Which nodes and ports are a site's own. Forwards lead there and nowhere else, whatever the site's gate says. Pure.

Nodes are written as schedulers write them: `c1`, `c[001-064]`, `gpu[1-3,7]`, with one pair of brackets at most. The
numbers keep their leading zeros. What is meant is the list, never a prefix: `c1` does not stand for `c10`.
"""

import re
from collections.abc import Iterable, Iterator

__all__ = ["expanded"]

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")
_PATTERN = re.compile(r"([A-Za-z0-9.-]*)\[([0-9,-]+)\]([A-Za-z0-9.-]*)\Z")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?\Z")
_MOST_NODES = 100_000


def expanded(patterns: Iterable[str]) -> frozenset[str]:
    """The names of all nodes.

    Raises
    ------
    ValueError
        If one is no name and no pattern, or they stand for more than 100,000 nodes.
    """
    found = set[str]()
    for pattern in patterns:
        for name in _names(pattern):
            if not _NAME.match(name):
                raise ValueError(f"{pattern!r} is no name of a node; write c1 or c[001-064]")
            found.add(name)
            if len(found) > _MOST_NODES:
                raise ValueError(f"more than {_MOST_NODES} nodes")
    return frozenset(found)


def _names(pattern: str) -> Iterator[str]:
    parts = _PATTERN.match(pattern)
    if parts is None:
        yield pattern
        return
    before, ranges, after = parts.groups()
    for each in ranges.split(","):
        numbers = _RANGE.match(each)
        if numbers is None:
            raise ValueError(f"{pattern!r} is no name of a node; write c1 or c[001-064]")
        first, last = numbers.group(1), numbers.group(2) or numbers.group(1)
        if int(last) < int(first):
            raise ValueError(f"{pattern!r} counts backwards")
        width = len(first) if len(first) == len(last) or first.startswith("0") else 0
        for number in range(int(first), int(last) + 1):
            yield f"{before}{number:0{width}d}{after}"
