r"""Patterns of .dockerignore, ``--exclude`` and ``--parents``.

``*`` and ``?`` stop at ``/``, ``**`` does not, a trailing slash means nothing, ``!`` re-includes.
A pattern that hits a directory hits all that is in it, and the last pattern that hits decides.

Source: Dockerfile reference, ".dockerignore file"; moby/patternmatcher, MatchesOrParentMatches.
"""

import posixpath
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Self

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.errors import PatternError, Span
from imagekit.dockerfile.globs import compile_glob
from imagekit.dockerfile.ignore_patterns import META, IgnoreExpression, compile_pattern

_MAX_LINE_BYTES = 65536


class IgnorePattern(msgspec.Struct, frozen=True, kw_only=True):
    """One cleaned pattern without its ``!``; ``expression`` is None for a plain path."""

    text: str
    negated: bool
    expression: IgnoreExpression | None

    def matches(self, path: str) -> bool:
        """Return whether the pattern matches ``path`` itself, its parents not considered."""
        if self.expression is None:
            return path == self.text
        return self.expression.matches(path)

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


class _Run:
    """Neighbouring patterns of one kind: their order does not matter, so they are asked at once."""

    __slots__ = ("_names", "_others", "_paths", "_slow", "negated", "patterns")

    def __init__(self, patterns: Iterable[IgnorePattern]) -> None:
        self.patterns = tuple(patterns)
        self.negated = self.patterns[0].negated
        self._paths = frozenset(one.text for one in self.patterns if one.expression is None)
        expressions = [one.expression for one in self.patterns if one.expression is not None]
        self._names = _any_of(one.of_name for one in expressions)
        self._others = _any_of(one.of_path for one in expressions if one.of_name is None)
        self._slow = tuple(one for one in expressions if one.is_slow)

    def matches(self, path: str, name: str) -> bool:
        """Return whether one of the patterns matches ``path``, whose last part is ``name``."""
        if path in self._paths:
            return True
        # In front of a name may be anything but a newline.
        is_named = self._names is not None and self._names.fullmatch(name) is not None
        if is_named and ("\n" not in path or any(one.matches(path) for one in self.patterns)):
            return True
        if self._others is not None and self._others.fullmatch(path) is not None:
            return True
        return bool(self._slow) and any(one.matches(path) for one in self._slow)


class IgnoreMatcher:
    """Decides for paths like ``a/b``: relative, ``/`` between parts, no leading or trailing slash.

    What patterns say about a directory is remembered, so that a walk asks each pattern once per
    path. Sharing a matcher between threads is safe.
    """

    __slots__ = ("_directories", "_runs", "has_negations", "patterns")

    def __init__(self, patterns: Iterable[IgnorePattern]) -> None:
        self.patterns = tuple(patterns)
        self.has_negations = any(pattern.negated for pattern in self.patterns)
        self._runs = tuple(
            _Run(run) for _, run in groupby(self.patterns, key=lambda one: one.negated)
        )
        self._directories: dict[str, int] = {"": -1}

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
            try:
                cleaned = _cleaned_line(line)
                if cleaned:
                    patterns.append(_compiled(cleaned))
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
        stripped = (pattern.strip(SPACE) for pattern in patterns)
        return cls(_compiled(pattern) for pattern in stripped if pattern)

    def excludes(self, path: str) -> bool:
        """Return whether ``path`` is excluded. The root, "", never is."""
        return bool(self._runs) and path != "" and self._is_excluded(self._last_run(path))

    def may_contain_included(self, directory: str) -> bool:
        """Return whether a walker has to enter ``directory``. False is certain."""
        last = self._last_run_of_directory(directory)
        return not self._is_excluded(last) or self._may_match_below(directory, last, negated=True)

    def may_contain_excluded(self, directory: str) -> bool:
        """Return whether something in ``directory`` could match: the walk of ``--parents``."""
        last = self._last_run_of_directory(directory)
        if self._is_excluded(last) or not directory:
            return bool(self.patterns)
        return self._may_match_below(directory, last, negated=False)

    def _may_match_below(self, directory: str, last: int, *, negated: bool) -> bool:
        return any(
            pattern.may_match_below(directory)
            for run in self._runs[last + 1 :]
            if run.negated is negated
            for pattern in run.patterns
        )

    def _is_excluded(self, last: int) -> bool:
        return last >= 0 and not self._runs[last].negated

    def _last_run(self, path: str) -> int:
        """The last run with a pattern that hits ``path`` or a directory it is in; -1 for none."""
        parent, _, name = path.rpartition("/")
        inherited = self._directories.get(parent)
        if inherited is None:
            inherited = self._last_run_of_directory(parent)
        for index in range(len(self._runs) - 1, inherited, -1):
            if self._runs[index].matches(path, name):
                return index
        return inherited

    def _last_run_of_directory(self, directory: str) -> int:
        known = self._directories.get(directory)
        if known is not None:
            return known
        ancestors = [directory]  # deepest first; a path may be too deep for recursion
        while (parent := ancestors[-1].rpartition("/")[0]) not in self._directories:
            ancestors.append(parent)
        for ancestor in reversed(ancestors):
            self._directories[ancestor] = self._last_run(ancestor)
        return self._directories[directory]


def _cleaned_line(line: str) -> str:
    """Return the pattern in a line of an ignore file, "" when there is none."""
    if len(line) >= _MAX_LINE_BYTES // 4:
        size = len(line.encode("utf-8", "surrogateescape"))
        if size >= _MAX_LINE_BYTES:
            raise PatternError(
                "bufio.Scanner: token too long", hint="A line holds one pattern; break it up."
            )
    if line.startswith("#") or not (stripped := line.strip(SPACE)):
        return ""
    mark = "!" if stripped.startswith("!") else ""
    pattern = stripped[len(mark) :].strip(SPACE)
    if pattern:
        pattern = _clean(pattern)
        if len(pattern) > 1 and pattern.startswith("/"):
            pattern = pattern[1:]
    return mark + pattern


def _compiled(written: str) -> IgnorePattern:
    cleaned = _clean(written)
    negated = cleaned.startswith("!")
    text = cleaned[negated:]
    if not text:
        raise PatternError(
            'illegal exclusion pattern: "!"', hint="Name what ! is to include again."
        )
    compile_glob(text)  # what is malformed is decided by the rules of a plain wildcard
    expression = None if META.isdisjoint(text) else compile_pattern(text)
    return IgnorePattern(text=text, negated=negated, expression=expression)


def _clean(text: str) -> str:
    """Go's ``filepath.Clean``."""
    cleaned = posixpath.normpath(text)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _any_of(sources: Iterable[str | None]) -> re.Pattern[str] | None:
    wanted = [f"(?:{source})" for source in sources if source is not None]
    return re.compile("|".join(wanted)) if wanted else None


def _component_may_match(pattern: str, part: str) -> bool:
    if "[" in pattern:  # a class may hold a slash, and then this is not the whole of it
        return True
    try:
        return compile_glob(pattern).fullmatch(part) is not None
    except PatternError:  # an escaped slash
        return True
