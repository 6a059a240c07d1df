"""Text from data on its way to a terminal or a log: what could command the terminal or fake a line is escaped."""

from typing import Any


def printable(text: Any) -> str:
    r"""Return a text as one line that can be shown anywhere.

    Whatever ``repr`` would escape is written that way: control characters and escape sequences, marks that turn the
    direction of writing, line breaks, characters that no encoding has (``\x1b``, ``\u202e``, ``\n``, ``\udcff``).
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, each of them printable."""
    return "\n".join(printable(line) for line in str(text).split("\n"))
