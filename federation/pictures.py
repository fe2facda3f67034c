"""Pictures of a few numbers, as the coordinates that an SVG needs. Pure: the templates draw them, without any script.

All are in units of a picture that is `WIDTH` wide; the y axis of SVG points down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor, log10

__all__ = ["HEIGHT", "WIDTH", "Column", "Grid", "Steps", "columns", "round_top", "steps"]

WIDTH, HEIGHT = 360, 120
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 20
"""What is kept free around what is drawn, for its words."""
_GAP = 8
_PARTS = 2


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A line across, at a value."""

    y: float
    value: float


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of several, with where its words stand: below it, and above it."""

    x: float
    y: float
    width: float
    height: float
    middle: float


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A line of steps from one moment to another, the surface under it, and the lines across."""

    line: str
    surface: str
    grid: list[Grid]


def round_top(value: float) -> float:
    """The smallest of 1, 2 and 5 and their tens that is not less; 1 for nothing."""
    if value <= 0:
        return 1.0
    tens = 10.0 ** floor(log10(value))
    return next(tens * factor for factor in (1, 2, 5, 10) if tens * factor >= value * (1 - 1e-9))


def columns(values: Sequence[int]) -> list[Column]:
    """One column for each value, side by side; the highest one fills the picture."""
    most = max([1, *values])
    place = (WIDTH - 2 * _GAP) / max(1, len(values))
    found = []
    for number, value in enumerate(values):
        height = round((HEIGHT - BOTTOM - TOP - _GAP) * value / most, 1)
        x = round(_GAP + number * place + _GAP / 2, 1)
        width = round(place - _GAP, 1)
        y = HEIGHT - BOTTOM - height
        found.append(Column(x=x, y=y, width=width, height=height, middle=round(x + width / 2, 1)))
    return found


def steps(points: Sequence[tuple[datetime, float]], *, begin: datetime, end: datetime, top: float) -> Steps:
    """The value of each point holds until the next one. Of points at one place of the picture the last one counts."""
    placed: dict[int, float] = {}
    for at, value in points:
        placed[x_of(at, begin, end)] = y_of(value, top)
    line, before = [], 0.0
    for number, (x, y) in enumerate(placed.items()):
        line.append(f"M{x} {y}" if not number else f"H{x}" if y == before else f"H{x}V{y}")
        before = y
    path = "".join(line)
    first, last = next(iter(placed)), next(reversed(placed))
    floor_y = HEIGHT - BOTTOM
    return Steps(
        line=path,
        surface=f"{path}V{floor_y}H{first}Z" if last > first else "",
        grid=[Grid(y=y_of(top * part / _PARTS, top), value=top * part / _PARTS) for part in range(_PARTS + 1)],
    )


def x_of(at: datetime, begin: datetime, end: datetime) -> int:
    """Where a moment stands, in whole units: nobody sees less."""
    part = (at - begin) / (end - begin) if end > begin else 0.0
    return LEFT + ceil((WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, part)))


def y_of(value: float, top: float) -> float:
    """Where a value stands."""
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(1.0, value / top), 1)
