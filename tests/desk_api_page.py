"""The reference page of the access desk's API, made from its OpenAPI description."""

from collections.abc import Iterator, Mapping
from typing import Any

from vetting.desk.api.app import PATH, api_application
from vetting.desk.parts import PREFIX

__all__ = ["desk_api_page"]

Schema = Mapping[str, Any]
_REF = "#/components/schemas/"

_INTRODUCTION = """\
# The access desk's API

<!-- Made from the code by `make generated`; changes by hand are lost. -->

Below `{place}` of the public address. `{place}/openapi.json` is the same as this page, for programs; it needs no token.
Examples are in [Use the access desk's API](../how-to/use-the-desk-api.md).

{about}"""


def desk_api_page() -> str:
    """The page in Markdown."""
    description = api_application().openapi()
    schemas: Mapping[str, Schema] = description["components"]["schemas"]
    parts = [_INTRODUCTION.format(place=PREFIX + PATH, about=description["info"]["description"].strip())]
    for tag in description["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag['description']}")
        parts += [
            _operation(method, path, one)
            for path, methods in description["paths"].items()
            for method, one in methods.items()
            if tag["name"] in one["tags"]
        ]
    parts.append("## Shapes")
    parts += [_shape(name, schemas[name]) for name in sorted(schemas) if "properties" in schemas[name]]
    return "\n\n".join(parts) + "\n"


def _operation(method: str, path: str, operation: Schema) -> str:
    lines = [f"### `{method.upper()} {path}`", operation["description"].strip()]
    rows = list(_parameters(operation))
    if rows:
        lines.append("\n".join(["| parameter | type | default | description |", "|---|---|---|---|", *rows]))
    sent = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answers = [(code, one) for code, one in operation["responses"].items() if code.startswith("2")]
    told = [f"Sent: {_type(sent)}."] if sent else []
    told += [f"Answered, {code}: {_type(one['content']['application/json']['schema'])}." for code, one in answers]
    return "\n\n".join([*lines, " ".join(told)])


def _parameters(operation: Schema) -> Iterator[str]:
    for one in operation.get("parameters", ()):
        schema = one["schema"]
        default = "**needed**" if one["required"] else f"`{schema['default']}`" if schema.get("default") else ""
        about = one.get("description") or schema.get("description", "")
        yield f"| `{one['name']}` | {_type(schema)} | {default} | {about} |"


def _shape(name: str, schema: Schema) -> str:
    rows = ["| key | type | default | description |", "|---|---|---|---|"]
    for key, value in schema["properties"].items():
        default = "" if key in schema.get("required", ()) else f"`{value.get('default', 'null')}`"
        rows.append(f"| `{key}` | {_type(value)} | {default} | {value.get('description', '')} |")
    about = " ".join(str(schema.get("description", "")).partition("\n\nParameters")[0].split())
    return "\n\n".join(filter(None, [f"### {name}", about, "\n".join(rows)]))


def _type(schema: Schema) -> str:
    """A type in a few words; one that has a table of its own is a link to it."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(_REF)
        return f"[{name}](#{name.lower()})" if name not in _WORDS else _WORDS[name]
    if options := schema.get("anyOf"):
        return " or ".join(_type(option) for option in options)
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema['items'])}"
        case "string" if "enum" in schema:
            return " or ".join(f"`{value}`" for value in schema["enum"])
        case "string" if schema.get("format") == "date-time":
            return "time"
        case "string":
            most = schema.get("maxLength")
            return f"text, at most {most} characters" if most else "text"
        case "integer":
            bounds = [
                f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema
            ]
            return " ".join(["whole number", *bounds])
        case kind:
            return {"boolean": "`true` or `false`", "number": "number", "null": "`null`"}.get(str(kind), "map")


def _words() -> dict[str, str]:
    schemas = api_application().openapi()["components"]["schemas"]
    return {
        name: " or ".join(f"`{value}`" for value in schema["enum"]) if len(schema["enum"]) <= _MOST_WORDS else "text"
        for name, schema in schemas.items()
        if "enum" in schema
    }


_MOST_WORDS = 12
_WORDS = _words()
"""What stands for each enumeration; of a long one the reference has a page of its own."""
