"""`nbfed rates`: the versions of the flavours' weights, and whether federation.yaml says otherwise."""

import json
from collections.abc import Iterator, Mapping, Sequence

import click

from federation.commands import table, when
from federation.i18n import decimal
from quota.commands.shared import BookShop, exact
from quota.rates import Version, versions

__all__ = ["rates"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="for programs; weights in thousandths")
@click.pass_obj
def rates(shop: BookShop, as_json: bool) -> None:
    """Show all versions of the flavours' weights, the one in force first, and what federation.yaml says otherwise.

    A session costs what the version says that it was admitted with.
    """
    with shop.database.read() as connection:
        found = versions(connection)
    wanted = shop.weights_milli
    differs = list(_differences(found[0].weights_milli if found else {}, wanted))
    if as_json:
        said = {
            "versions": [
                {"version": v.number, "valid_from": exact(v.valid_from), "weights_milli": dict(v.weights_milli)}
                for v in found
            ],
            "in_force": found[0].number if found else None,
            "federation_yaml": dict(wanted),
            "differs": bool(differs),
        }
        click.echo(json.dumps(said, indent=2))
        return
    click.echo(_as_text(found, differs))


def _as_text(found: Sequence[Version], differs: Sequence[str]) -> str:
    if not found:
        return "There are no weights yet: `nbfed up` takes them from federation.yaml when it starts."
    rows = [
        (
            str(version.number), when(version.valid_from), "in force" if version is found[0] else "earlier",
            ", ".join(f"{flavour} {_weight(milli)}" for flavour, milli in version.weights_milli.items()),
        )
        for version in found
    ]  # fmt: skip
    parts = [table(("VERSION", "SINCE", "STATE", "WEIGHTS"), rows), ""]
    if not differs:
        return "\n".join([*parts, f"federation.yaml says the same as version {found[0].number}."])
    return "\n".join(
        [
            *parts,
            f"federation.yaml says otherwise: {'; '.join(differs)}.",
            f"The next start of `nbfed up` makes it version {found[0].number + 1}; sessions that run keep their price.",
        ]
    )


def _differences(in_force: Mapping[str, int], wanted: Mapping[str, int]) -> Iterator[str]:
    for flavour in sorted({*in_force, *wanted}):
        before, after = in_force.get(flavour), wanted.get(flavour)
        if before is None and after is not None:
            yield f"{flavour} {_weight(after)} is new"
        elif before is not None and after is None:
            yield f"{flavour} is gone"
        elif before is not None and after is not None and before != after:
            yield f"{flavour} {_weight(after)} instead of {_weight(before)}"


def _weight(milli: int) -> str:
    return decimal(milli / 1000, 3)
