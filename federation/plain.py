"""Text that others wrote, made safe to show and to keep in one line."""

__all__ = ["plain"]


def plain(text: str) -> str:
    """The text with control characters made visible: it can neither steer a terminal nor look like two lines of a log."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
