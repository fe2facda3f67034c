"""Addresses that people may be sent to: those of this installation, and no others. Pure."""

from vetting.desk.parts import PREFIX

__all__ = ["own_page"]


def own_page(target: str) -> str:
    """A page of the desk; anything else, another host for instance, becomes its first page."""
    path = target.partition("?")[0].partition("#")[0]
    # Browsers take a backslash for a slash, and drop what cannot be printed: both could lead elsewhere.
    plain = target.isprintable() and "\\" not in target
    inside = path.startswith(PREFIX) and "//" not in path and ".." not in path.split("/")
    return target if plain and inside else PREFIX
