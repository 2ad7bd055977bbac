r"""Patterns of .dockerignore, ``--exclude`` and ``--parents``.

``*`` and ``?`` stop at ``/``, ``**`` does not, a trailing slash means nothing, ``!`` re-includes.
A pattern that hits a directory hits all that is in it. The patterns are asked in order and the last
hit decides, but a pattern is asked only when it could change the answer so far, and what it said
about the directory is what counts below it. So ``**/tmp`` with ``!src`` still excludes ``src/tmp``:
nobody asked ``!src`` about ``src``, which was not excluded.

Source: Dockerfile reference, ".dockerignore file"; moby/patternmatcher, MatchesUsingParentResults.
"""

import posixpath
import re
from collections.abc import Iterable
from typing import Self

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.errors import PatternError, Span
from imagekit.dockerfile.globs import compile_glob, read_class

_META = frozenset("*?[]\\")
_ANY_DIRECTORIES = "(?:.*/)?"
_ANYTHING = r"[\s\S]*"
_NO_STARS = "[^/]*"


class IgnorePattern(msgspec.Struct, frozen=True, kw_only=True):
    """One cleaned pattern without its ``!``; ``expression`` is None for a plain path."""

    text: str
    negated: bool
    expression: re.Pattern[str] | None

    def matches(self, path: str) -> bool:
        """Return whether the pattern matches ``path`` itself, its parents not considered."""
        if self.expression is None:
            return path == self.text
        return self.expression.fullmatch(path) is not None

    def may_match_below(self, directory: str) -> bool:
        """Return whether a path inside ``directory`` could match. False is certain."""
        parts = directory.split("/")
        wanted = self.text.split("/")
        for part, pattern in zip(parts, wanted, strict=False):
            if "**" in pattern:
                return True
            if not _component_may_match(pattern, part):
                return False
        return len(wanted) > len(parts)


class IgnoreMatcher:
    """Decides for paths like ``a/b``: relative, ``/`` between parts, no leading or trailing slash.

    What patterns say about a directory is remembered, so that a walk asks each pattern once per
    path. Sharing a matcher between threads is safe.
    """

    __slots__ = ("_any_of_them", "_directories", "has_negations", "patterns")

    def __init__(self, patterns: Iterable[IgnorePattern]) -> None:
        self.patterns = tuple(patterns)
        self.has_negations = any(pattern.negated for pattern in self.patterns)
        self._directories: dict[str, int] = {"": 0}
        self._any_of_them: re.Pattern[str] | None = None
        if self.patterns and not self.has_negations:
            self._any_of_them = re.compile("|".join(map(_source_of, self.patterns)))

    @classmethod
    def parse(cls, text: str | bytes, *, file_name: str = ".dockerignore") -> Self:
        """Return the matcher for the text of an ignore file.

        Raises:
            PatternError: a pattern is malformed; its span says where.
        """
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        patterns: list[IgnorePattern] = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            if line.startswith("#") or not (stripped := line.strip(SPACE)):
                continue
            negated = stripped.startswith("!")
            cleaned = stripped[negated:].strip(SPACE)
            try:
                path = _relative(_clean(cleaned)) if cleaned else ""
                patterns.append(_compiled(path, negated=negated))
            except PatternError as error:
                span = Span(file_name=file_name, first_line=number, last_line=number)
                raise error.located(span) from None
        return cls(patterns)

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        """Return the matcher for patterns that are already apart, as in ``--exclude``.

        Unlike in a file, a leading slash is part of the pattern, which then matches nothing.

        Raises:
            PatternError: a pattern is malformed.
        """
        compiled: list[IgnorePattern] = []
        for pattern in patterns:
            stripped = pattern.strip(SPACE)
            if stripped:
                cleaned = _clean(stripped)
                negated = cleaned.startswith("!")
                compiled.append(_compiled(cleaned[negated:], negated=negated))
        return cls(compiled)

    def excludes(self, path: str) -> bool:
        """Return whether ``path`` is excluded. The root, "", never is."""
        if not self.patterns or not path:
            return False
        return self._is_excluded(self._hits(path))

    def may_contain_included(self, directory: str) -> bool:
        """Return whether a walker has to enter ``directory``. False is certain."""
        hits = self._hits_of_directory(directory)
        if not self._is_excluded(hits):
            return True
        return any(
            pattern.negated and pattern.may_match_below(directory)
            for pattern in self.patterns[hits.bit_length() :]
        )

    def may_contain_excluded(self, directory: str) -> bool:
        """Return whether something in ``directory`` could match: the walk of ``--parents``."""
        hits = self._hits_of_directory(directory)
        if self._is_excluded(hits) or not directory:
            return bool(self.patterns)
        return any(
            not pattern.negated and pattern.may_match_below(directory)
            for pattern in self.patterns[hits.bit_length() :]
        )

    def _is_excluded(self, hits: int) -> bool:
        """Whether the last pattern that hit, the highest bit, is one that excludes."""
        return hits != 0 and not self.patterns[hits.bit_length() - 1].negated

    def _hits(self, path: str) -> int:
        """The patterns that hit ``path``, one bit each, as far as they were asked."""
        parent = path.rpartition("/")[0]
        inherited = self._hits_of_directory(parent)
        if self._any_of_them is not None:
            return inherited or int(self._any_of_them.fullmatch(path) is not None)
        hits = 0
        is_excluded = False
        for index, pattern in enumerate(self.patterns):
            bit = 1 << index
            if inherited & bit or (pattern.negated == is_excluded and pattern.matches(path)):
                hits |= bit
                is_excluded = not pattern.negated
        return hits

    def _hits_of_directory(self, directory: str) -> int:
        known = self._directories.get(directory)
        if known is not None:
            return known
        ancestors = [directory]  # deepest first; a path may be too deep for recursion
        while (parent := ancestors[-1].rpartition("/")[0]) not in self._directories:
            ancestors.append(parent)
        for ancestor in reversed(ancestors):
            self._directories[ancestor] = self._hits(ancestor)
        return self._directories[directory]


def _compiled(text: str, *, negated: bool) -> IgnorePattern:
    if not text:
        raise PatternError(
            'illegal exclusion pattern: "!"', hint="Name what ! is to include again."
        )
    compile_glob(text)  # what is malformed is decided by the rules of a plain wildcard
    expression = None if _META.isdisjoint(text) else re.compile(_expression(text))
    return IgnorePattern(text=text, negated=negated, expression=expression)


def _clean(text: str) -> str:
    """Go's ``filepath.Clean``."""
    cleaned = posixpath.normpath(text)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _relative(text: str) -> str:
    return text[1:] if len(text) > 1 and text.startswith("/") else text


def _source_of(pattern: IgnorePattern) -> str:
    if pattern.expression is None:
        return re.escape(pattern.text)
    return f"(?:{pattern.expression.pattern})"


def _expression(text: str) -> str:
    """Translate a pattern. A lone ``**`` at one end is plain prefix or suffix comparison."""
    if text.endswith("**") and _META.isdisjoint(text[:-2]):
        return re.escape(text[:-2]) + _ANYTHING
    if text.startswith("**") and _META.isdisjoint(text[2:]):
        suffix = text[2:]
        if suffix.startswith("/"):
            return f"(?:{_ANYTHING}/)?{re.escape(suffix[1:])}"
        return _ANYTHING + re.escape(suffix)
    pieces: list[str] = []
    position = 0
    while position < len(text):
        piece, position = _piece(text, position)
        # Repeating these changes nothing but the time that matching takes.
        if not pieces or piece != pieces[-1] or piece not in (_NO_STARS, _ANY_DIRECTORIES):
            pieces.append(piece)
    return "".join(pieces)


def _piece(text: str, position: int) -> tuple[str, int]:
    character = text[position]
    position += 1
    match character:
        case "*" if text.startswith("*", position):
            position += 1
            position += text.startswith("/", position)
            return (".*" if position == len(text) else _ANY_DIRECTORIES), position
        case "*":
            return _NO_STARS, position
        case "?":
            return "[^/]", position
        case "[":
            return read_class(text, position)
        case "\\":
            return re.escape(text[position]), position + 1
        case _:
            return re.escape(character), position


def _component_may_match(pattern: str, part: str) -> bool:
    if "[" in pattern:  # a class may hold a slash, and then this is not the whole of it
        return True
    try:
        return compile_glob(pattern).fullmatch(part) is not None
    except PatternError:  # an escaped slash
        return True
