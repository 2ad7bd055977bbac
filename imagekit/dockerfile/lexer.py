"""The state machine behind ``words``: it walks over one text once.

Source: BuildKit frontend/dockerfile/shell/lex.go.
"""

import re
from collections.abc import Mapping
from functools import cache

from imagekit.dockerfile.errors import ExpansionError
from imagekit.dockerfile.expansion import Expansion, Words
from imagekit.dockerfile.quoting import go_quote

MAX_RESULT = 1 << 24
"""The longest result, in characters: thirty lines of ``ENV A=$A$A`` would fill memory."""

_SPECIAL_PARAMETERS = "@*#?-$!0"
_HEREDOC_BLANKS = " \t\r\n"


@cache
def _plain_run(escape: str, stop: str | None) -> re.Pattern[str]:
    """A run of characters without a meaning of their own; one of at most six patterns."""
    return re.compile("[^$'\"<" + re.escape(escape + (stop or "")) + "]+")


class Lexer:
    """Walks over one text once. ``quotes`` tells whether they mean anything at all."""

    __slots__ = (
        "_environment",
        "_escape",
        "_keep_escapes",
        "_keep_quotes",
        "_keep_unset",
        "_length",
        "_position",
        "_quotes",
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
        keep_quotes: bool = False,
        keep_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self._text = text
        self._environment = environment
        self._escape = escape
        self._quotes = quotes
        self._keep_quotes = keep_quotes
        self._keep_escapes = keep_escapes
        self._keep_unset = keep_unset
        self._length = len(text)
        self._position = 0
        self._used: dict[str, None] = {}
        self._undefined: dict[str, None] = {}

    def run(self) -> Expansion:
        """Return everything there is to know; for the text alone ``text`` is faster.

        Raises:
            ExpansionError: the text is malformed, or a ``${name:?}`` fails.
        """
        words = Words()
        text = self.text(words)
        return Expansion(
            text=text,
            words=words.finish(),
            used=tuple(self._used),
            undefined=tuple(self._undefined),
        )

    def text(self, words: Words | None = None) -> str:
        """Return the expanded text, and collect its words in ``words``.

        Raises:
            ExpansionError: as in ``run``.
        """
        try:
            return self._until(None, words=words)
        except ExpansionError as error:
            raise ExpansionError(
                f"failed to process {go_quote(self._text)}: {error.reason}"
            ) from error
        except RecursionError as error:
            raise ExpansionError("failed to process a word: substitutions nest too deep") from error

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

    def _until(self, stop: str | None, *, words: Words | None = None) -> str:
        """Process up to and including ``stop``, or to the end of the text when that is None."""
        pieces: list[str] = []
        plain = _plain_run(self._escape, stop)
        while not self._at_end:
            if (run := plain.match(self._text, self._position)) is not None:
                self._position = run.end()
                piece = run[0]
                is_bare = True
            else:
                character = self._text[self._position]
                if character == stop:
                    self._position += 1
                    return "".join(pieces)
                is_bare = character == "$"
                piece = self._dollar() if is_bare else self._special(character)
            pieces.append(piece)
            if words is not None:
                (words.add_bare if is_bare else words.add_quoted)(piece)
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
        return (escape if self._keep_escapes else "") + self._take()

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
        return self._text[start : end + 1] if self._keep_quotes else self._text[start + 1 : end]

    def _double_quoted(self) -> str:
        quote = self._take()
        pieces = [quote] if self._keep_quotes else []
        while not self._at_end:
            character = self._peek()
            if character == '"':
                self._position += 1
                if self._keep_quotes:
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
        kept = escape if self._keep_escapes else ""
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
            return "$" + name if self._keep_unset else ""
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
        if value is None:
            self._undefined[name] = None
            return None
        self._used[name] = None
        self._check_length(name, len(value))
        return value

    def _check_length(self, name: str, more: int) -> None:
        self._length += more
        if self._length > MAX_RESULT:
            raise ExpansionError(f"{name}: the result is longer than {MAX_RESULT} characters")

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
                return f"${{{name}}}" if self._keep_unset else ""
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
        is_trim = modifier in ("#", "%")
        if is_trim and empty_is_unset:
            raise ExpansionError(f"unsupported modifier (:{modifier}) in substitution")
        operand = self._operand("}", keep_escapes=is_trim)
        return self._modified(name, modifier, operand, empty_is_unset=empty_is_unset)

    def _operand(
        self, stop: str, *, keep_escapes: bool, missing: str = "syntax error: missing '}'"
    ) -> str:
        outer = self._keep_escapes
        self._keep_escapes = keep_escapes
        try:
            return self._until(stop)
        except ExpansionError as error:
            if self._at_end:
                raise ExpansionError(missing) from error
            raise
        finally:
            self._keep_escapes = outer

    def _modified(self, name: str, modifier: str, operand: str, *, empty_is_unset: bool) -> str:
        value = self._value_of(name)
        colon = ":" if empty_is_unset else ""
        if value is None and self._keep_unset:
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
            case "#" | "%":
                from imagekit.dockerfile.substitution import trim_prefix, trim_suffix

                longest = operand.startswith(modifier)
                trim = trim_prefix if modifier == "#" else trim_suffix
                return trim(present, operand[1:] if longest else operand, longest=longest)
            case _:
                raise ExpansionError(f"unsupported modifier ({colon}{modifier}) in substitution")

    def _replacement(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._position += 1
        pattern = self._operand("/", keep_escapes=True, missing="syntax error: missing '/' in ${}")
        text = self._operand("}", keep_escapes=True)
        value = self._value_of(name)
        if value is None and self._keep_unset:
            return f"${{{name}/{pattern}/{text}}}"
        from imagekit.dockerfile.substitution import replace

        result = replace(value or "", pattern, text, every=every)
        self._check_length(name, len(result))
        return result
