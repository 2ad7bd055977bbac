"""Expansion that tells which variables a word asked for, also when it fails.

Source: BuildKit frontend/dockerfile/shell/lex.go (ProcessWordWithMatches).
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.words import expand, expand_document


class _Watched(Mapping[str, str]):
    """The variables of a scope; remembers which names were asked for."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.used: dict[str, None] = {}
        self.undefined: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        value = self._variables.get(name)
        if value is None:
            self.undefined[name] = None
            raise KeyError(name)
        self.used[name] = None
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


class Expanded(msgspec.Struct, frozen=True, kw_only=True):
    """A word after expansion; ``text`` is "" when ``error`` is set.

    ``used`` and ``undefined`` are names in order of first use. A name with a default
    (``${name:-text}``) is undefined too when it is not set.
    """

    text: str
    used: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    error: DockerfileError | None = None


def expand_watched(word: str, variables: Mapping[str, str], *, escape: str) -> Expanded:
    """Return ``word`` expanded, with what it asked for. Errors are in the result, not raised."""
    return _watched(variables, lambda watched: expand(word, watched, escape=escape))


def expand_document_watched(body: str, variables: Mapping[str, str]) -> Expanded:
    """Return a heredoc's text expanded, as ``expand_watched`` does for a word."""
    return _watched(variables, lambda watched: expand_document(body, watched))


def _watched(
    variables: Mapping[str, str], expansion: Callable[[Mapping[str, str]], str]
) -> Expanded:
    watched = _Watched(variables)
    text, error = "", None
    try:
        text = expansion(watched)
    except DockerfileError as caught:
        error = caught
    return Expanded(
        text=text, used=tuple(watched.used), undefined=tuple(watched.undefined), error=error
    )
