"""Text from strangers, made fit to be shown: names, messages and banners may hold anything."""

from __future__ import annotations

_INSTEAD = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """The text in one line, without control characters: no terminal obeys it, and no line of it
    can pass for one of ours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _INSTEAD for c in text)


def printable_lines(text: str) -> str:
    """The same for text that may have several lines."""
    return "\n".join(map(printable, text.split("\n")))
