r"""Quotes, escapes and ``$variables`` in the words of a Dockerfile.

    bare        the escape character makes the next one literal and goes; at the end it just goes
    '...'       literal, nothing can be escaped
    "..."       variables expand; the escape character is special before " $ and itself only
    $name ${name} ${name:-word} ${name-word} ${name:+word} ${name+word} ${name:?word} ${name?word}
    ${name#pattern} ${name##pattern} ${name%pattern} ${name%%pattern} ${name/pattern/text}
    ${name//pattern/text}

Special and positional parameters ($1, $@, ...) are names that are never set.

Source: Dockerfile reference, "Environment replacement"; BuildKit frontend/dockerfile/shell/lex.go.
"""

import re
from collections.abc import Mapping
from functools import cache

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.errors import ExpansionError
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.substitution import replace, trim_prefix, trim_suffix

_SPECIAL_PARAMETERS = "@*#?-$!0"
_HEREDOC_BLANKS = " \t\r\n"
_NOTHING: Mapping[str, str] = {}


class Expansion(msgspec.Struct, frozen=True, kw_only=True):
    """A word after expansion: as one ``text``, as ``words``, and the variables it asked for.

    ``words`` is split at blanks that were not quoted, those in values of bare variables included.
    ``used`` were set, ``undefined`` were not; both in order of first use.
    """

    text: str
    words: tuple[str, ...]
    used: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()


def expand(word: str, environment: Mapping[str, str], *, escape: str = "\\") -> str:
    """Return ``word`` without quotes and escapes and with its variables replaced.

    An unset variable is an empty string. ``escape`` is the Dockerfile's escape character.

    Raises:
        ExpansionError: the word is malformed, or a ``${name:?}`` fails. It has no span yet.
    """
    if "$" not in word and "'" not in word and '"' not in word and escape not in word:
        return word
    return expand_word(word, environment, escape=escape).text


def expand_words(
    word: str, environment: Mapping[str, str], *, escape: str = "\\"
) -> tuple[str, ...]:
    """Return ``word`` expanded and then split at its unquoted blanks (EXPOSE only).

    Raises:
        ExpansionError: as in ``expand``.
    """
    return expand_word(word, environment, escape=escape).words


def expand_word(word: str, environment: Mapping[str, str], *, escape: str = "\\") -> Expansion:
    """Return everything there is to know about the expansion of ``word``.

    Raises:
        ExpansionError: as in ``expand``.
    """
    return _Lexer(word, environment, escape=escape).run()


def expand_document(body: str, environment: Mapping[str, str]) -> str:
    r"""Return the text of an unquoted heredoc with its variables replaced.

    Quotes are ordinary characters. The escape character is always ``\``: it goes, and the next
    character is literal, a newline too.

    Raises:
        ExpansionError: as in ``expand``.
    """
    if "$" not in body and "\\" not in body:
        return body
    return _Lexer(body, environment, escape="\\", quotes=False).run().text


def lex_words(line: str) -> tuple[str, ...]:
    r"""Return the words of ``line`` with quotes, escapes and variables left in them.

    This is how heredocs are found: always with ``\`` as the escape character, and with ``<<`` and
    the blanks behind it kept in one word.

    Raises:
        ExpansionError: the line is unbalanced.
    """
    return _Lexer(line, _NOTHING, escape="\\", raw=True).run().words


@cache
def _plain_run(escape: str, stop: str | None) -> re.Pattern[str]:
    """A run of characters without a meaning of their own; one of at most six patterns."""
    return re.compile("[^$'\"<" + re.escape(escape + (stop or "")) + "]+")


class _Words:
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
        self._end_word()
        return tuple(self._words)

    def _end_word(self) -> None:
        if self._characters:
            self._words.append("".join(self._characters))
            self._characters.clear()


class _Lexer:
    """Walks over one text once. ``raw`` keeps quotes, escapes and unset variables as they are."""

    __slots__ = (
        "_environment",
        "_escape",
        "_position",
        "_quotes",
        "_raw",
        "_raw_escapes",
        "_text",
        "_undefined",
        "_used",
    )

    def __init__(
        self,
        text: str,
        environment: Mapping[str, str],
        *,
        escape: str,
        quotes: bool = True,
        raw: bool = False,
    ) -> None:
        self._text = text
        self._environment = environment
        self._escape = escape
        self._quotes = quotes
        self._raw = raw
        self._raw_escapes = raw
        self._position = 0
        self._used: dict[str, None] = {}
        self._undefined: dict[str, None] = {}

    def run(self) -> Expansion:
        words = _Words()
        try:
            text = self._until(None, words=words)
        except ExpansionError as error:
            raise ExpansionError(
                f"failed to process {go_quote(self._text)}: {error.reason}"
            ) from error
        except RecursionError as error:
            raise ExpansionError("failed to process a word: substitutions nest too deep") from error
        return Expansion(
            text=text,
            words=words.finish(),
            used=tuple(self._used),
            undefined=tuple(self._undefined),
        )

    def _peek(self) -> str:
        """The next character, or an empty string at the end."""
        return self._text[self._position : self._position + 1]

    def _take(self) -> str:
        character = self._text[self._position : self._position + 1]
        self._position += 1
        return character

    @property
    def _at_end(self) -> bool:
        return self._position >= len(self._text)

    def _until(self, stop: str | None, *, words: _Words | None = None) -> str:
        """Process up to and including ``stop``, or to the end of the text when that is None."""
        words = words or _Words()
        pieces: list[str] = []
        plain = _plain_run(self._escape, stop)
        while not self._at_end:
            if (run := plain.match(self._text, self._position)) is not None:
                self._position = run.end()
                words.add_bare(run[0])
                pieces.append(run[0])
                continue
            character = self._text[self._position]
            if character == stop:
                self._position += 1
                return "".join(pieces)
            if character == "$":
                piece = self._dollar()
                words.add_bare(piece)
            else:
                piece = self._special(character)
                words.add_quoted(piece)
            pieces.append(piece)
        if stop is not None:
            raise ExpansionError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(pieces)

    def _special(self, character: str) -> str:
        """Process what begins with a quote, an angle or the escape character."""
        if character == self._escape:
            return self._escaped()
        if character == "<":
            return self._angle()
        if not self._quotes:
            return self._take()
        return self._single_quoted() if character == "'" else self._double_quoted()

    def _escaped(self) -> str:
        escape = self._take()
        return (escape if self._raw_escapes else "") + self._take()

    def _angle(self) -> str:
        """``<<`` keeps the blanks behind it, so that ``<< EOF`` stays one word."""
        start = self._position
        self._position += 1
        if self._peek() == "<":
            self._position += 1
            while self._peek() and self._peek() in _HEREDOC_BLANKS:
                self._position += 1
        return self._text[start : self._position]

    def _single_quoted(self) -> str:
        start = self._position
        end = self._text.find("'", start + 1)
        if end < 0:
            self._position = len(self._text)
            raise ExpansionError(
                "unexpected end of statement while looking for matching single-quote"
            )
        self._position = end + 1
        return self._text[start : end + 1] if self._raw else self._text[start + 1 : end]

    def _double_quoted(self) -> str:
        quote = self._take()
        pieces = [quote] if self._raw else []
        while not self._at_end:
            character = self._peek()
            if character == '"':
                self._position += 1
                if self._raw:
                    pieces.append(quote)
                return "".join(pieces)
            if character == "$":
                pieces.append(self._dollar())
            elif character == self._escape:
                pieces.append(self._escaped_in_double_quotes())
            else:
                pieces.append(self._take())
        raise ExpansionError("unexpected end of statement while looking for matching double-quote")

    def _escaped_in_double_quotes(self) -> str:
        escape = self._take()
        kept = escape if self._raw_escapes else ""
        following = self._peek()
        if not following:
            return kept
        if following in ('"', "$", self._escape):
            return kept + self._take()
        return kept + escape

    def _dollar(self) -> str:
        self._position += 1
        if self._peek() == "{":
            self._position += 1
            return self._braced()
        name = self._name()
        if not name:
            return "$"
        value = self._value_of(name)
        if value is None:
            return "$" + name if self._raw else ""
        return value

    def _name(self) -> str:
        text = self._text
        start = self._position
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._position += 1
        elif first and first in _SPECIAL_PARAMETERS:
            self._position += 1
        else:
            while (character := self._peek()) and (
                character.isalpha() or character.isdecimal() or character == "_"
            ):
                self._position += 1
        return text[start : self._position]

    def _value_of(self, name: str) -> str | None:
        value = self._environment.get(name)
        (self._undefined if value is None else self._used)[name] = None
        return value

    def _braced(self) -> str:
        following = self._peek()
        if not following:
            raise ExpansionError("syntax error: missing '}'")
        if following in "{}:":
            raise ExpansionError("syntax error: bad substitution")
        name = self._name()
        modifier = self._take()
        if modifier == "}":
            value = self._value_of(name)
            if value is None:
                return f"${{{name}}}" if self._raw else ""
            return value
        if modifier == "/":
            return self._replacement(name)
        empty_is_unset = modifier == ":"
        if empty_is_unset:
            modifier = self._take()
        elif modifier not in ("+", "-", "?", "#", "%"):
            if not modifier:
                raise ExpansionError("syntax error: missing '}'")
            raise ExpansionError(f"unsupported modifier ({modifier}) in substitution")
        operand = self._operand("}", raw_escapes=modifier in ("#", "%"))
        return self._modified(name, modifier, operand, empty_is_unset=empty_is_unset)

    def _operand(
        self, stop: str, *, raw_escapes: bool, missing: str = "syntax error: missing '}'"
    ) -> str:
        outer = self._raw_escapes
        self._raw_escapes = raw_escapes
        try:
            return self._until(stop)
        except ExpansionError as error:
            if self._at_end:
                raise ExpansionError(missing) from error
            raise
        finally:
            self._raw_escapes = outer

    def _modified(self, name: str, modifier: str, operand: str, *, empty_is_unset: bool) -> str:
        value = self._value_of(name)
        colon = ":" if empty_is_unset else ""
        if value is None and self._raw:
            return f"${{{name}{colon}{modifier}{operand}}}"
        missing = value is None or (empty_is_unset and not value)
        present = value or ""
        match modifier:
            case "-":
                return operand if missing else present
            case "+":
                return "" if missing else operand
            case "?" if missing:
                state = "unset" if value is None else "empty"
                raise ExpansionError(f"{name}: {operand or f'is not allowed to be {state}'}")
            case "?":
                return present
            case "#" | "%" if not empty_is_unset:
                longest = operand.startswith(modifier)
                trim = trim_prefix if modifier == "#" else trim_suffix
                return trim(present, operand[1:] if longest else operand, longest=longest)
            case _:
                raise ExpansionError(f"unsupported modifier ({colon}{modifier}) in substitution")

    def _replacement(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._position += 1
        pattern = self._operand("/", raw_escapes=True, missing="syntax error: missing '/' in ${}")
        text = self._operand("}", raw_escapes=True)
        value = self._value_of(name)
        if value is None and self._raw:
            return f"${{{name}/{pattern}/{text}}}"
        return replace(value or "", pattern, text, every=every)
