"""The texts of mails: each house registers what it says to people, by the kind of message in the outbox.

A letter is made in the reader's language from the figures of the message. It is sent as plain text and as HTML, which
say the same.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import Any

from federation.i18n import current_language, gettext

__all__ = ["Frame", "Letter", "LetterKind", "as_html", "as_text", "letter_kind", "letter_kinds"]

_LINE_CHARACTERS = 76
_kinds: dict[str, "LetterKind"] = {}


def _(message: str) -> str:
    return message


_HELLO = _("Hello {name},")
_HELLO_YOU = _("Hello,")
_CONTACT = _("Questions? Write to {contact}.")
_WHY = _("You get this mail because you use {federation}.")


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What a mail says.

    Parameters
    ----------
    paragraphs
        Of ours, in the reader's language.
    words
        What another person wrote to this one, as they wrote it; "" for nothing.
    path
        The page of the federation that the mail leads to, without a slash at the start.
    """

    subject: str
    paragraphs: tuple[str, ...]
    words: str = ""
    path: str = "hub/home"


@dataclass(frozen=True)
class LetterKind:
    """One kind of mail: who writes it, and figures to show what it looks like."""

    kind: str
    write: Callable[[Mapping[str, Any]], Letter]
    example: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.kind in _kinds:
            raise ValueError(f"there are letters of the kind {self.kind} already")
        _kinds[self.kind] = self


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What stands around every letter: who writes, from where, and whom to ask. `base_url` ends with a slash."""

    federation: str
    base_url: str
    contact: str = ""


def letter_kind(kind: str) -> LetterKind | None:
    """The kind of this name, if a house has registered it."""
    return _kinds.get(kind)


def letter_kinds() -> Iterator[LetterKind]:
    """All kinds, by name."""
    return iter(sorted(_kinds.values(), key=lambda kind: kind.kind))


def as_text(letter: Letter, frame: Frame, name: str) -> str:
    """The letter as plain text; words of others are quoted line by line, so that they cannot pass for ours."""
    quoted = "\n".join(f"> {line}" for line in letter.words.splitlines())
    paragraphs = (fill(text, _LINE_CHARACTERS) for text in letter.paragraphs)
    footer = "-- \n" + "\n".join(_footer(frame))
    parts = [_hello(name), *paragraphs, quoted, frame.base_url + letter.path, footer]
    return "\n\n".join(filter(None, parts)) + "\n"


def as_html(letter: Letter, frame: Frame, name: str) -> str:
    """The letter as HTML, without anything that has to be fetched."""
    quoted = "<br>".join(escape(line) for line in letter.words.splitlines())
    link = escape(frame.base_url + letter.path)
    return "\n".join(
        [
            f'<!DOCTYPE html><html lang="{current_language()}"><head><meta charset="utf-8">',
            f"<title>{escape(letter.subject)}</title></head>",
            '<body style="font-family: sans-serif; line-height: 1.5; max-width: 40em; margin: 1em">',
            *(f"<p>{escape(text)}</p>" for text in (_hello(name), *letter.paragraphs)),
            f'<blockquote style="border-left: 3px solid #888; margin: 0; padding-left: 1em">{quoted}</blockquote>'
            if quoted
            else "",
            f'<p><a href="{link}">{link}</a></p><hr>',
            f'<p style="color: #555; font-size: small">{"<br>".join(map(escape, _footer(frame)))}</p>',
            "</body></html>\n",
        ]
    )


def _hello(name: str) -> str:
    return gettext(_HELLO).format(name=name) if name else gettext(_HELLO_YOU)


def _footer(frame: Frame) -> list[str]:
    why = gettext(_WHY).format(federation=frame.federation)
    return [why, gettext(_CONTACT).format(contact=frame.contact)] if frame.contact else [why]
