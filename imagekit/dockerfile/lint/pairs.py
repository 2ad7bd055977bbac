"""Values for ``key=value`` that mean what another spelling meant."""

from collections.abc import Iterator, Mapping

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.statements import split_words
from imagekit.dockerfile.words import expand


class _EveryName(Mapping[str, str]):
    """An environment in which every variable is set, each to its own value."""

    def __getitem__(self, name: str) -> str:
        return f"<{name}> "

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


_ENVIRONMENTS: tuple[Mapping[str, str], ...] = ({}, _EveryName())


def pair_text(key: str, value: str, *, escape: str) -> str | None:
    """Return ``value`` as it must stand behind ``key=`` to mean what it meant behind ``key ``.

    As it is if it can, else in double quotes, else with its bare blanks escaped. None when none of
    these is the same, whatever the variables in it hold.
    """
    for text in (value, f'"{value}"', _blanks_escaped(value, escape)):
        if split_words(f"{key}={text}", escape) != (f"{key}={text}",):
            continue
        if _meanings(text, escape) == _meanings(value, escape) is not None:
            return text
    return None


def author_label(key: str, author: str, *, escape: str) -> str | None:
    """Return ``key="author"`` in quotes that keep the author as it is, variables and all.

    One pair of double quotes around the author goes: it was meant as quotes.
    """
    if len(author) > 1 and author[0] == author[-1] == '"' and '"' not in author[1:-1]:
        author = author[1:-1]
    escaped = author
    for special in (escape, '"', "$"):
        escaped = escaped.replace(special, escape + special)
    candidates = (f'"{author}"', f"'{author}'", f'"{escaped}"')
    for text in candidates:
        if split_words(f"{key}={text}", escape) == (f"{key}={text}",) and all(
            meaning == author for meaning in _meanings(text, escape) or ("",)
        ):
            return f"{key}={text}"
    return None


def _meanings(text: str, escape: str) -> tuple[str, ...] | None:
    """What the word is with no variable set and with all set; None if it is malformed."""
    try:
        return tuple(expand(text, environment, escape=escape) for environment in _ENVIRONMENTS)
    except DockerfileError:
        return None


def _blanks_escaped(value: str, escape: str) -> str:
    pieces: list[str] = []
    quote = ""
    characters = iter(value)
    for character in characters:
        if character == escape and quote != "'":
            pieces.append(character + next(characters, ""))
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in SPACE:
            pieces.append(escape)
        pieces.append(character)
    return "".join(pieces)
