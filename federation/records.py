"""Records for other programs, line by line, however many there are: CSV that no spreadsheet runs, and JSON Lines."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

__all__ = ["Cell", "as_csv", "as_json_lines"]

Cell = str | int | None

_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)  # wide forms, too: East Asian settings take them


def as_csv(columns: Sequence[str], records: Iterable[Mapping[str, Cell]]) -> Iterator[str]:
    """A header and a line for each record (RFC 4180), each with its line end.

    A text that a spreadsheet would take for a formula, or that begins with a control character, gets an apostrophe in
    front (https://owasp.org/www-community/attacks/CSV_Injection). Numbers are as they are.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for cells in chain([columns], ([_harmless(record[column]) for column in columns] for record in records)):
        writer.writerow(cells)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def as_json_lines(records: Iterable[Mapping[str, Cell]]) -> Iterator[str]:
    """An object for each record, each in a line of its own (https://jsonlines.org)."""
    for record in records:
        yield json.dumps(record, ensure_ascii=False) + "\n"


def _harmless(cell: Cell) -> Cell:
    if not isinstance(cell, str) or not cell:
        return cell
    is_formula = cell.lstrip().startswith(_FORMULA) or not cell[0].isprintable()
    return f"'{cell}" if is_formula else cell
