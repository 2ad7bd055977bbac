"""What the expansion of a word comes to: a text, words, and the variables it asked for."""

import msgspec

from imagekit.dockerfile.characters import SPACE


class Expansion(msgspec.Struct, frozen=True, kw_only=True):
    """A word after expansion: as one ``text``, as ``words``, and the variables it asked for.

    ``words`` is split at blanks that were not quoted, those in values of bare variables included.
    ``used`` were set, ``undefined`` were not; both in order of first use.
    """

    text: str
    words: tuple[str, ...]
    used: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()


class Words:
    """Collects the characters of a text into words."""

    __slots__ = ("_characters", "_words")

    def __init__(self) -> None:
        self._words: list[str] = []
        self._characters: list[str] = []

    def add_bare(self, text: str) -> None:
        """Add text whose blanks end words."""
        if text.isalnum():
            self._characters.append(text)
            return
        for character in text:
            if character in SPACE:
                self._end_word()
            else:
                self._characters.append(character)

    def add_quoted(self, text: str) -> None:
        """Add text whose blanks belong to the word."""
        if text:
            self._characters.append(text)

    def finish(self) -> tuple[str, ...]:
        """Return the words."""
        self._end_word()
        return tuple(self._words)

    def _end_word(self) -> None:
        if self._characters:
            self._words.append("".join(self._characters))
            self._characters.clear()
