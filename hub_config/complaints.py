"""Complaints about a YAML file: from what pydantic says of the values to line, key and the nearest known key.

A complaint is one line, `file:line: key: what is wrong`.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

__all__ = ["Location", "Misfit", "about_doubled_keys", "about_values", "nearest"]

Location = tuple[int | str, ...]
"""The keys and the numbers of list items that lead to a value."""

_SHOWN_CHARACTERS = 80


class Misfit(ValueError):
    """Values that are each right, but do not fit each other; raised by validators of whole models.

    Parameters
    ----------
    complaints
        For each value its place, and what is wrong with it.
    """

    def __init__(self, complaints: Sequence[tuple[Location, str]]) -> None:
        super().__init__("; ".join(f"{_key(location)}: {wrong}" for location, wrong in complaints))
        self.complaints = complaints


def about_values(name: str, root: yaml.Node | None, model: type[BaseModel], errors: Sequence[Any]) -> list[str]:
    """Pydantic's errors about the content of the file `name`, which should be a `model`, as complaints by line."""
    found = [
        (_line(root, location), f"{_key(location)}: {wrong}")
        for error in _of_tried_members(model, errors)
        for location, wrong in _wrong_values(model, error)
    ]
    return [f"{name}:{line}: {complaint}" for line, complaint in sorted(found, key=lambda one: one[0])]


def about_doubled_keys(name: str, root: yaml.Node | None) -> list[str]:
    """YAML forbids a key to stand twice in a mapping, and its readers take the last one without a word."""
    return [
        f"{name}:{line}: {_key(location)}: this key stands here twice; only one of them would count"
        for location, line in _doubled_keys(root, (), set())
    ]


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a complaint about a name that is not known: which one may be meant."""
    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""


# --- what is wrong --------------------------------------------------------------------------------------------


def _wrong_values(model: type[BaseModel], error: Any) -> Iterator[tuple[Location, str]]:
    location, context = error["loc"], error.get("ctx", {})
    path, _annotation, _is_attempt = _follow(model, location)
    match error["type"]:
        case "value_error" if isinstance(context["error"], Misfit):
            yield from ((path + below, wrong) for below, wrong in context["error"].complaints)
        case "value_error":
            yield path, str(context["error"])
        case "extra_forbidden":
            _path, above, _is_attempt = _follow(model, location[:-1])
            yield path, "unknown key" + nearest(str(path[-1]), sorted(_fields(_members(above)[0])))
        case "union_tag_invalid":
            kind, known = context["discriminator"].strip("'"), context["expected_tags"].replace("'", "").split(", ")
            yield (*path, kind), f"there is no {kind} {context['tag']!r}{nearest(context['tag'], known)}"
        case "union_tag_not_found":
            yield (*path, context["discriminator"].strip("'")), "field required"
        case "missing" | "too_short" as kind:
            yield path, _sentence(error["msg"])
        case "model_type" | "dict_type":
            yield path, "input should be a mapping" + _shown(error["input"])
        case _:
            yield path, _sentence(error["msg"]) + _shown(error["input"])


def _of_tried_members(model: type[BaseModel], errors: Sequence[Any]) -> Iterator[Any]:
    """Without errors that only say that a value is not of one type, where it is of another type that is allowed."""
    followed = [(error, *_follow(model, error["loc"])) for error in errors]
    of_type = [is_attempt and error["type"].endswith("_type") for error, _path, _annotation, is_attempt in followed]
    for (error, path, *_), is_of_type in zip(followed, of_type, strict=True):
        others = (p[: len(path)] for (_error, p, *_), other in zip(followed, of_type, strict=True) if not other)
        if not is_of_type or path not in others:
            yield error


def _sentence(message: str) -> str:
    return message[0].lower() + message[1:]


def _shown(value: object) -> str:
    text = repr(value)
    return f" (it is {text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + '…'})"


# --- where it stands ------------------------------------------------------------------------------------------


def _key(location: Location) -> str:
    return ".".join(map(str, location))


def _line(root: yaml.Node | None, location: Location) -> int:
    """The line of the value, or of the deepest part of the way to it that stands in the file."""
    node, line = root, 1
    for part in location:
        found: tuple[yaml.Node, yaml.Node] | None = None
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _follow(model: type[BaseModel], location: Location) -> tuple[Location, Any, bool]:
    """From a location of pydantic's to the place in the file, what may stand there, and whether it `is_attempt`.

    Pydantic also names the member of a union that it tried, which does not stand in the file; the location is an
    attempt where it ends with one. "[key]" stands for the key itself.
    """
    path: Location = ()
    annotation: Any = model
    is_attempt = False
    for part in location:
        members = _members(annotation)
        is_attempt = len(members) > 1
        if is_attempt:
            annotation = next((member for member in members if part in _tags(member)), Any)
        elif part != "[key]":
            path = (*path, part)
            annotation = _below(members[0], part)
    return path, annotation, is_attempt


def _members(annotation: Any) -> list[Any]:
    """The members of a union, but None; anything else alone."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [m for part in get_args(annotation) if part is not NoneType for m in _members(part)]
    return [annotation]


def _below(annotation: Any, part: int | str) -> Any:
    if get_origin(annotation) in (dict, list):
        return get_args(annotation)[-1]
    field = _fields(annotation).get(str(part))
    return field.annotation if field else Any


def _fields(annotation: Any) -> Mapping[str, Any]:
    return annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}


def _tags(annotation: Any) -> set[Any]:
    """What tells a model from the others of its union."""
    kinds = (f.annotation for f in _fields(annotation).values() if get_origin(f.annotation) is Literal)
    return {tag for kind in kinds for tag in get_args(kind)}


def _doubled_keys(node: yaml.Node | None, location: Location, known: set[int]) -> Iterator[tuple[Location, int]]:
    if node is None or id(node) in known:  # an alias stands for a node that was looked at
        return
    known.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, value in node.value:
            below = (*location, key.value)
            if key.value in seen:
                yield below, key.start_mark.line + 1
            seen.add(key.value)
            yield from _doubled_keys(value, below, known)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _doubled_keys(item, (*location, index), known)
