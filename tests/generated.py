"""What is made from the code: reference pages, the JSON Schema of federation.yaml and the translation template.

    python -m tests.generated            write them
    python -m tests.generated --check    compare them with what is on disk, and look through the translations

The same code gives the same bytes on every machine: nothing depends on the clock, on folders, or on a terminal's width.
"""

import argparse
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import click
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po
from pydantic import TypeAdapter

from federation.errors import catalogue
from federation.settings import Name
from hub_config.cli import main as nbfed
from hub_config.settings import FederationYaml
from tests.desk_api_page import desk_api_page
from tests.ledger_page import ledger_page

__all__ = ["FILES", "check", "main"]

ROOT = Path(__file__).parents[1]
HOUSES = ("federation", "hub_config", "quota", "spawners", "vetting")
LOCALE = ROOT / "federation" / "locale"
KEYWORDS: dict[str, tuple[int, ...] | None] = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None}
HELP_CHARACTERS = 100

Schema = Mapping[str, Any]


# --- federation.yaml ----------------------------------------------------------------------------------------------


class SettingsPage:
    """One table for each model in the JSON Schema of federation.yaml, headed by where it stands in the file."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._models: Mapping[str, Schema] = schema["$defs"]
        self._headings: dict[str, str] = {}
        self._name_pattern = TypeAdapter(Name).json_schema()["pattern"]

    def text(self) -> str:
        """The page in Markdown."""
        sections = list(self._sections("", self._schema, 2))  # first all headings, so that links can point ahead
        parts = [SETTINGS_INTRODUCTION, self._table(self._schema)]
        for heading, level, model in sections:
            parts.append(f"{'#' * level} {heading}")
            if "description" in model:
                parts.append(model["description"])
            parts.append(self._table(model))
        return "\n\n".join(parts) + "\n"

    def _sections(self, place: str, model: Schema, level: int) -> Iterator[tuple[str, int, Schema]]:
        for key, value in model["properties"].items():
            for name, rest in self._models_in(value):
                if name not in self._headings:
                    self._headings[name] = heading = f"{place}{key}{rest}"
                    yield heading, min(level, 4), self._models[name]
                    yield from self._sections(heading + ".", self._models[name], level + 1)

    def _models_in(self, value: Schema, rest: str = "") -> Iterator[tuple[str, str]]:
        """The names of the models in a value's schema, each with the way to it from the key."""
        if name := _model_name(value):
            yield name, rest
        for option in value.get("anyOf", ()):
            yield from self._models_in(option, rest)
        tag = value.get("discriminator", {}).get("propertyName")
        for option in value.get("oneOf", ()):
            for name, way in self._models_in(option, rest):
                yield name, f"{way} ({tag}: {self._models[name]['properties'][tag]['const']})"
        if isinstance(value.get("items"), dict):
            yield from self._models_in(value["items"], rest + "[]")
        for entry in _entries_of_map(value):
            yield from self._models_in(entry, rest + ".NAME")

    def _table(self, model: Schema) -> str:
        rows = ["| key | type | default | description |", "|---|---|---|---|"]
        for key, value in model["properties"].items():
            default = "**needed**" if key in model.get("required", ()) else self._default(value)
            rows.append(f"| `{key}` | {_cell(self._type(value))} | {_cell(default)} | {_cell(self._about(value))} |")
        return "\n".join(rows)

    def _about(self, value: Schema) -> str:
        if "description" in value:
            return str(value["description"])
        names = [name for name, rest in self._models_in(value) if not rest]
        return str(self._models[names[0]].get("description", "")) if len(names) == 1 else ""

    def _default(self, value: Schema) -> str:
        if "default" in value:
            return f"`{json.dumps(value['default'], ensure_ascii=False)}`"
        if _model_name(value):
            return "see there"
        return "`[]`" if value.get("type") == "array" else "`{}`"

    def _type(self, value: Schema) -> str:
        if name := _model_name(value):
            heading = self._headings[name]
            return f"[{heading}](#{_anchor(heading)})"
        if options := [*value.get("anyOf", ()), *value.get("oneOf", ())]:
            return self._one_of(options)
        if "const" in value:
            return f"`{value['const']}`"
        if "enum" in value:
            return " or ".join(f"`{one}`" for one in value["enum"])
        match value.get("type"):
            case "array":
                least = ", at least one" if value.get("minItems") else ""
                return f"list: {self._type(value['items'])}{least}"
            case "object":
                return " or ".join(f"map: name → {self._type(entry)}" for entry in _entries_of_map(value))
            case "string":
                return self._kind_of_text(value)
            case kind:
                words = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
                return words[str(kind)] + _bounds(value)

    def _one_of(self, options: list[Schema]) -> str:
        kinds = [option.get("type") for option in options]
        if kinds == ["string", "object"]:
            return "text, or one for each language"
        if "number" in kinds:  # an exact decimal may also be written in quotation marks
            options = [option for option in options if option.get("type") != "string"]
        words = [self._type(option) for option in options if option.get("type") != "null"]
        return " or ".join([*words, *(["`null`"] if "null" in kinds else [])])

    def _kind_of_text(self, value: Schema) -> str:
        if "pattern" not in value:
            return "text"
        return "name" if value["pattern"] == self._name_pattern else f"text like `{value['pattern']}`"


SETTINGS_INTRODUCTION = """\
# federation.yaml

<!-- Made from the code by `make generated`; changes by hand are lost. -->

One file says how the whole federation is set up. `nbfed up --config FILE` runs with it; without that option
`NBFED_CONFIG` names it, and without both the demonstration's own file is used (`hub_config/demo/federation.yaml`, a
good one to copy). A key that is not listed here stops the start, with the file, the line and the nearest known key.

- A *name* has lower case letters, digits and hyphens, at most 40 characters. `NAME` below stands for one of yours.
- *One for each language* looks like `{en: Small, es: Pequeña, pt: Pequena}`.
- **needed** means that there is no default.
- Secrets never stand in this file: keys that end in `_file` name a file that holds one, relative to the folder of
  federation.yaml.
- Editors check and complete the file with [federation.schema.json](federation.schema.json).

The settings know more than this version can run; the [README](../../README.md#status) lists what works."""


def _model_name(value: Schema) -> str:
    return str(value.get("$ref", "")).removeprefix("#/$defs/")


def _entries_of_map(value: Schema) -> list[Schema]:
    found = [value.get("additionalProperties"), *value.get("patternProperties", {}).values()]
    return [entry for entry in found if isinstance(entry, dict)]


def _bounds(value: Schema) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    found = [f"{sign} {value[key]:.15g}" for key, sign in signs.items() if key in value]
    return " " + ", ".join(found) if found else ""


def _anchor(heading: str) -> str:
    """The anchor that Markdown renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def settings_page() -> str:
    return SettingsPage(FederationYaml.model_json_schema()).text()


def settings_schema() -> str:
    return json.dumps(FederationYaml.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


# --- errors and commands ------------------------------------------------------------------------------------------


ERRORS_INTRODUCTION = """\
# Errors and refusals

<!-- Made from the code by `make generated`; changes by hand are lost. -->

Everything that can be refused or go wrong for a person. The code is stable: programs and metrics may rely on it. Over
REST it is the HTTP reason phrase; on pages the link "Where to ask" carries it. `{…}` stands for a figure of the case.

| status | says |
|---|---|
| 400 | the input cannot be used |
| 403 | the person may not do this, or has no quota for it |
| 404 | there is no such thing |
| 429 | it frees itself: try again later |
| 502, 503, 504 | an outage or a failure on our side |
"""


def errors_page() -> str:
    importlib.import_module("hub_config.configure")
    for house in HOUSES:
        for file in sorted((ROOT / house).rglob("errors.py")):
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    rows = ["| code | status | text | what to do |", "|---|---|---|---|"]
    rows += [f"| `{p.code}` | {p.status} | {_cell(p.text)} | {_cell(p.advice)} |" for p in catalogue()]
    return ERRORS_INTRODUCTION + "\n" + "\n".join(rows) + "\n"


COMMANDS_INTRODUCTION = """\
# Commands

<!-- Made from the code by `make generated`; changes by hand are lost. -->

`nbfed` is in `.venv/bin` after `make setup`. It looks at the same installation as `nbfed up` when `NBFED_HOME` and
`NBFED_CONFIG` are the same. Exit codes: 0 done, 1 it cannot be done and the message says why, 2 the command line is
wrong."""


def commands_page() -> str:
    parts = [COMMANDS_INTRODUCTION]
    for context in _commands(nbfed, "nbfed", None):
        level = "#" * min(context.command_path.count(" ") + 2, 4)
        help_text = click.unstyle(context.get_help()).rstrip()
        parts.append(f"{level} {context.command_path}\n\n```text\n{help_text}\n```")
    return "\n\n".join(parts) + "\n"


def _commands(command: click.Command, name: str, parent: click.Context | None) -> Iterator[click.Context]:
    """A context for a command and for each that is below it, in the order of the help."""
    settings = {"terminal_width": HELP_CHARACTERS, **command.context_settings}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None and not found.hidden:
                yield from _commands(found, below, context)


# --- texts --------------------------------------------------------------------------------------------------------


TEMPLATE_HEADER = """\
# Texts of notebooks-federation, made from the code by `make generated`.
#
msgid ""
msgstr ""
"Project-Id-Version: notebooks-federation\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


def texts() -> Catalog:
    """Every text that people read: of Python modules and of templates."""
    found = Catalog(charset="utf-8")
    for house in HOUSES:
        for file in sorted((ROOT / house).rglob("*")):
            method = _extraction(file)
            if method is None:
                continue
            name = file.relative_to(ROOT).as_posix()
            # Not silent: a template that cannot be read would lose its texts without a word.
            options = {"silent": "false"} if file.suffix == ".html" else {}
            lines = extract(method, BytesIO(file.read_bytes()), KEYWORDS, options=options)
            for message in sorted({message for _line, message, _comments, _context in lines}, key=str):
                found.add(message, locations=[(name, 1)])
    return found


def _extraction(file: Path) -> str | None:
    if file.suffix == ".py":
        return "python"
    return "jinja2.ext:babel_extract" if file.suffix == ".html" and "templates" in file.parts else None


def template() -> str:
    content = BytesIO()
    write_po(content, texts(), width=120, omit_header=True, sort_output=True, include_lineno=False)
    return TEMPLATE_HEADER + content.getvalue().decode()


def gaps_in_translations() -> list[str]:
    """What is missing or wrong in the .po files that there are."""
    wanted = texts()
    complaints = []
    for file in sorted(LOCALE.glob("*/LC_MESSAGES/*.po")):
        with file.open("rb") as lines:
            translated = read_po(lines, locale=file.parts[-3])
        complaints += [
            f"{file.relative_to(ROOT)}: {complaint}: {message.id!r}"
            for message in sorted(wanted)
            if message.id and (complaint := _complaint(message, translated.get(message.id)))
        ]
    return complaints


def _complaint(message: Message, translated: Message | None) -> str:
    forms = _forms(translated.string) if translated else []
    if translated is None or not forms or not all(forms):
        return "not translated"
    if translated.fuzzy:
        return "marked as fuzzy"
    allowed = [_placeholders(one) for one in _forms(message.id)]
    wrong = [form for form in forms if _placeholders(form) not in allowed]
    return f"the placeholders of {wrong[0]!r} are others" if wrong else ""


def _forms(text: Any) -> list[str]:
    """A text alone, or its singular and plural forms."""
    return [str(one or "") for one in (text if isinstance(text, list | tuple) else [text])]


def _placeholders(text: str) -> frozenset[str]:
    """`{name}` and `%(name)s`, each as it is written."""
    return frozenset(re.findall(r"\{[^{}]*\}|%\(\w+\)[a-z]", text))


# --- all of them --------------------------------------------------------------------------------------------------


FILES: dict[str, Callable[[], str]] = {
    "docs/reference/federation-yaml.md": settings_page,
    "docs/reference/federation.schema.json": settings_schema,
    "docs/reference/errors.md": errors_page,
    "docs/reference/commands.md": commands_page,
    "docs/reference/ledger.md": ledger_page,
    "docs/reference/desk-api.md": desk_api_page,
    "federation/locale/nbfed.pot": template,
}


def check() -> list[str]:
    """One line for each file that is not what the code says, and for each gap in a translation."""
    complaints = []
    for name, make in FILES.items():
        path = ROOT / name
        if not path.is_file():
            complaints.append(f"{name} is missing: run `make generated`")
        elif path.read_text(encoding="utf-8") != make():
            complaints.append(f"{name} is not what the code says: run `make generated`")
    return complaints + gaps_in_translations()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.generated", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something differs")
    only_check: bool = parser.parse_args(arguments).check
    if not only_check:
        for name, make in FILES.items():
            path = ROOT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(make(), encoding="utf-8")
    complaints = check()
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints and only_check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
