"""From the words of an instruction back to the characters of the file.

An instruction is one logical line; in the file it may be spread over several, with comments and
blank lines in between. Corrections are made to the file, so each character has to be found again.
"""

from collections.abc import Sequence

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.statements import Statement

_BOM = "\ufeff"
_BLANKS = "\t\v\f\r "


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """The text of an instruction, and where each of its characters stands in the file.

    ``offsets`` has one number per character of ``text``, counted in characters from the beginning
    of the file. ``blank_lines`` are the (start, end) of the blank lines in between, newlines
    included.
    """

    text: str
    offsets: tuple[int, ...]
    blank_lines: tuple[tuple[int, int], ...] = ()

    def range(self, start: int, end: int) -> tuple[int, int] | None:
        """Return where ``text[start:end]`` stands; None when something is in between, or nothing.

        Both are positions in the file, the second behind the last character.
        """
        if not 0 <= start < end <= len(self.text):
            return None
        first, last = self.offsets[start], self.offsets[end - 1]
        return (first, last + 1) if last - first == end - 1 - start else None

    @property
    def arguments(self) -> int:
        """The index in ``text`` of the first character behind the keyword and blanks."""
        begin = len(self.text) - len(self.text.lstrip(SPACE))
        end = begin
        while end < len(self.text) and self.text[end] not in _BLANKS:
            end += 1
        while end < len(self.text) and self.text[end] in _BLANKS:
            end += 1
        return end


class Places:
    """The lines of a file."""

    def __init__(self, text: str, *, escape: str) -> None:
        self._text = text
        self._escape = escape
        self._lines = text.removeprefix(_BOM).split("\n")
        self._starts: list[int] = []
        start = len(text) - len(text.removeprefix(_BOM))
        for line in self._lines:
            self._starts.append(start)
            start += len(line) + 1

    def locate(self, statement: Statement) -> Located | None:
        """Return where the characters of ``statement`` stand; None if that is not certain."""
        span, wanted = statement.origin.span, statement.origin.text
        characters: list[str] = []
        offsets: list[int] = []
        blank_lines: list[tuple[int, int]] = []
        for number in range(span.first_line, span.last_line + 1):
            line, start = self._lines[number - 1].rstrip("\r"), self._starts[number - 1]
            is_first = number == span.first_line
            stripped = line.lstrip(SPACE)
            if not is_first and stripped.startswith("#"):
                continue
            if not stripped:
                end = min(start + len(self._lines[number - 1]) + 1, len(self._text))
                blank_lines.append((start, end))
                continue
            piece, continues = self._piece(stripped if is_first else line)
            begin = start + (len(line) - len(stripped) if is_first else 0)
            characters.append(piece)
            offsets.extend(range(begin, begin + len(piece)))
            if not continues:
                break
        if "".join(characters) != wanted:
            return None
        return Located(text=wanted, offsets=tuple(offsets), blank_lines=tuple(blank_lines))

    def _piece(self, line: str) -> tuple[str, bool]:
        bare = line.rstrip(" \t")
        if bare.endswith(self._escape) and not bare.endswith(self._escape * 2):
            return bare[:-1], True
        return line, False


def find_word(words: Sequence[str], index: int, located: Located) -> tuple[int, int] | None:
    """Return (start, end) in ``located.text`` of the word number ``index`` behind the keyword.

    None when the words of the instruction do not stand there one after the other, as they are.
    """
    position = located.arguments
    for number, word in enumerate(words):
        while position < len(located.text) and located.text[position] in _BLANKS:
            position += 1
        if not located.text.startswith(word, position):
            return None
        if number == index:
            return position, position + len(word)
        position += len(word)
    return None
