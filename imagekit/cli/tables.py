"""Tables for people: fitted to the terminal's width, whole where nobody looks at a terminal."""

import unicodedata
from collections.abc import Sequence

from imagekit.base.record import Record

GAP = 2
ELLIPSIS = "…"


class Column(Record):
    """A heading and how its cells behave; ``minimum`` None means the cells are never cut."""

    title: str
    right: bool = False
    minimum: int | None = None


def columns(*specifications: str) -> tuple[Column, ...]:
    """Return columns from texts: ``NAME``, ``NAME>`` (right), ``NAME~12`` (shrinks to 12)."""
    result = []
    for text in specifications:
        title, _, minimum = text.partition("~")
        result.append(
            Column(
                title=title.rstrip(">"),
                right=title.endswith(">"),
                minimum=int(minimum) if minimum else None,
            )
        )
    return tuple(result)


def render_table(
    heads: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None,
    headings: bool = True,
) -> list[str]:
    """Return the lines of a table, without trailing blanks.

    With a ``width`` in terminal columns, cells of shrinkable columns are cut, the widest first,
    until a line fits or every such column is at its minimum; without one nothing is cut. Control
    characters in cells become spaces, so that names cannot steer the terminal.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    if headings:
        cells.insert(0, [column.title for column in heads])
    if not cells:
        return []
    widths = [max(text_width(row[index]) for row in cells) for index in range(len(heads))]
    if width is not None:
        _shrink(widths, heads, width)
    return [_line(row, heads, widths) for row in cells]


def text_width(text: str) -> int:
    """Return how many terminal columns a text takes; wide characters take two, marks none."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def cut(text: str, width: int) -> str:
    """Return ``text``, or its beginning and an ellipsis, in at most ``width`` columns."""
    if text_width(text) <= width:
        return text
    if width < 1:
        return ""
    used, kept = 0, []
    for character in text:
        used += _character_width(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + ELLIPSIS


def clean(text: str) -> str:
    """Return ``text`` with control characters as spaces and lone surrogates as question marks."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_printable(character) for character in text)


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "?"
    return " " if category in ("Cc", "Cf", "Zl", "Zp") else character


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _shrink(widths: list[int], heads: Sequence[Column], width: int) -> None:
    while sum(widths) + GAP * (len(widths) - 1) > width:
        shrinkable = [
            index
            for index, column in enumerate(heads)
            if column.minimum is not None
            and widths[index] > max(column.minimum, text_width(column.title))
        ]
        if not shrinkable:
            return
        widths[max(shrinkable, key=lambda index: widths[index])] -= 1


def _line(row: Sequence[str], heads: Sequence[Column], widths: Sequence[int]) -> str:
    parts = []
    for text, column, width in zip(row, heads, widths, strict=True):
        shown = cut(text, width)
        fill = " " * (width - text_width(shown))
        parts.append(fill + shown if column.right else shown + fill)
    return (" " * GAP).join(parts).rstrip()
