"""Texts in the reader's language: gettext catalogues, and which language a request is read in.

Message ids are the English texts. Catalogues are kept as .po files and compiled in memory when first used, so there is
no build step to forget. The language is a context variable: a task that a request starts speaks that request's language.
"""

import gettext as _gettext
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.dates import format_date, format_datetime, format_skeleton
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

__all__ = [
    "LANGUAGES",
    "LANGUAGE_COOKIE",
    "country_name",
    "current_language",
    "day",
    "decimal",
    "gettext",
    "language_name",
    "last_day",
    "moment",
    "negotiate",
    "ngettext",
    "use_language",
]

LANGUAGES = ("en", "es", "pt")
"""The languages that every text exists in."""

LANGUAGE_COOKIE = "nbfed-language"
"""The cookie that remembers which language a person chose."""

_WISH = re.compile(r"\s*(?P<language>[A-Za-z]{1,8})(-[A-Za-z0-9-]+)?\s*(;\s*[qQ]=(?P<quality>[01](\.\d{0,3})?))?\s*")
"""One language range of an Accept-Language header with its weight (RFC 9110, 12.4.2 and 12.5.4)."""

_LOCALE_FOLDER = Path(__file__).parent / "locale"
_language: ContextVar[str] = ContextVar("language", default="en")


def use_language(language: str) -> None:
    """Speak this language for the rest of the present context; an unknown one is English."""
    _language.set(language if language in LANGUAGES else "en")


def current_language() -> str:
    """The two-letter code of the language in use."""
    return _language.get()


def language_name(language: str) -> str:
    """What a language calls itself."""
    return (Locale(language).display_name or language).capitalize()


def country_name(code: str | None) -> str:
    """What the present language calls a country (ISO 3166-1 alpha-2); one that it does not know keeps its code."""
    territories: Mapping[str, str] = Locale(_language.get()).territories
    return territories.get(code, code) if code else ""


def negotiate(chosen: str | None, accept_language: str, offered: Sequence[str]) -> str:
    """The language for a request: what was chosen, else the browser's best (RFC 9110, 12.5.4), else the first offered."""
    if chosen in offered and chosen:
        return chosen
    wishes: list[tuple[float, str]] = []
    for position, part in enumerate(accept_language.split(",")):
        wish = _WISH.fullmatch(part)
        quality = float(wish["quality"] or 1) if wish else 0.0
        if wish and quality > 0:
            wishes.append((-quality + position * 1e-6, wish["language"].lower()))
    for _quality, language in sorted(wishes):
        if language in offered:
            return language
    return offered[0]


def gettext(message: str) -> str:
    """The text in the present language."""
    return _catalogue(_language.get()).gettext(message) if message else ""


def ngettext(singular: str, plural: str, count: int) -> str:
    """The text for `count` things in the present language."""
    return _catalogue(_language.get()).ngettext(singular, plural, count)


def decimal(number: float, digits: int = 2) -> str:
    """A number as people of the present language write it, with at most `digits` decimals."""
    return format_decimal(number, format="#,##0." + "#" * digits, locale=_language.get())


def moment(value: datetime) -> str:
    """A moment in UTC, with the zone named; pages turn it into the reader's own zone where JavaScript runs."""
    return format_datetime(value, "medium", tzinfo=None, locale=_language.get()) + " UTC"


def day(value: datetime) -> str:
    """The day and the month of a moment in UTC, as short as people of the present language write them."""
    return str(format_skeleton("MMMd", value, tzinfo=None, locale=_language.get()))


def last_day(ends_at: datetime) -> str:
    """The last day, in UTC, on which something is there that ends at a moment."""
    return str(format_date(ends_at - timedelta(microseconds=1), "medium", locale=_language.get()))


@cache
def _catalogue(language: str) -> _gettext.NullTranslations:
    source = _LOCALE_FOLDER / language / "LC_MESSAGES" / "nbfed.po"
    if not source.is_file():
        return _gettext.NullTranslations()
    with source.open("rb") as lines:
        catalogue = read_po(lines, locale=language)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return _gettext.GNUTranslations(compiled)
