"""What a person may choose for a session: one typed schema for the form, REST and stored options. Pure.

Unknown keys and values are refused; nothing falls back to something that was not asked for.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from federation.errors import Failure
from federation.settings import Environment, Flavour, Site
from spawners.errors import OPTION_INVALID, OPTION_UNKNOWN
from vetting.placement import Wish
from vetting.resources import Resources

__all__ = ["ANY_SITE", "from_form", "resources_in", "to_options", "to_wish"]

ANY_SITE = "auto"
"""The site to name when the federation may choose."""

_NUMBERS = ("cores", "memory_gib", "gpus", "walltime_minutes")
_NAMES = ("partition", "account", "reservation")
_KNOWN = ("flavour", "environment", "site", *_NUMBERS, *_NAMES)
_OF_THE_PAGE = ("_xsrf", "server")
_SHOWN_CHARACTERS = 60
_MOST = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def from_form(form: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Only reshapes: one value for each field of the form. What it means is checked by `to_wish`."""
    return {
        name: values[0] if len(values) == 1 else values
        for name, values in form.items()
        if name not in _OF_THE_PAGE and values not in ([""], [])
    }


def to_wish(
    options: Mapping[str, Any],
    *,
    flavours: Mapping[str, Flavour],
    environments: Mapping[str, Environment],
    sites: Mapping[str, Site],
) -> Wish:
    """Check options and fill in what was left out: the first flavour, the first environment, any site. Whether a site
    gives the cores, walltime and so on that were chosen is placement's question.

    Raises
    ------
    Failure
        For a key or a value that is not known.
    """
    for key in options:
        if key not in _KNOWN:
            raise Failure(OPTION_UNKNOWN, {"option": _shown(key), "known": ", ".join(_KNOWN)})
    site = _one_of("site", options.get("site", ANY_SITE), [ANY_SITE, *sites])
    resources: dict[str, Any] = {name: _number(name, options[name]) for name in _NUMBERS if name in options}
    resources |= {name: _name(name, options[name]) for name in _NAMES if name in options}
    return Wish(
        flavour=_one_of("flavour", options.get("flavour", next(iter(flavours))), flavours),
        environment=_one_of("environment", options.get("environment", next(iter(environments))), environments),
        site=None if site == ANY_SITE else site,
        resources=Resources(**resources),
    )


def resources_in(options: Mapping[str, Any]) -> Resources:
    """What options that were checked before ask of a batch system."""
    return Resources(**{name: options[name] for name in (*_NUMBERS, *_NAMES) if name in options})


def to_options(wish: Wish) -> dict[str, Any]:
    """The options that mean this wish: what a session is started with again."""
    chosen = {"flavour": wish.flavour, "environment": wish.environment, "site": wish.site or ANY_SITE}
    return {**chosen, **wish.resources.asked()}


def _number(option: str, value: object) -> int:
    """A whole number; forms send digits. No GPU is a choice, none of the others is."""
    least = 0 if option == "gpus" else 1
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,7}", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST:
        return value
    raise Failure(OPTION_INVALID, {"option": option, "value": _shown(value), "known": f"{least}…{_MOST}"})


def _name(option: str, value: object) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise Failure(OPTION_INVALID, {"option": option, "value": _shown(value), "known": "a-z, A-Z, 0-9, _ . -"})


def _one_of(option: str, value: object, known: Iterable[str]) -> str:
    names = list(known)
    if isinstance(value, str) and value in names:
        return value
    raise Failure(OPTION_INVALID, {"option": option, "value": _shown(value), "known": ", ".join(names)})


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
