"""Reading correct command lines without click.

``read`` understands what click would accept of a declared command, and gives up on everything else
(a wrong value, an unknown option, ``--help``, an abbreviation): click then reads the same words
again and says what is wrong. That both agree is a property test.
"""

from collections.abc import Sequence
from typing import Any

from imagekit.cli.declare import Argument, Command, Option, Parameter


class GiveUp(Exception):  # noqa: N818  no error: click takes over
    """The words are not plainly correct."""


def read(command: Command, words: Sequence[str]) -> dict[str, Any]:
    """Return the values of a command's parameters by name.

    Raises:
        GiveUp: if click should read the words.

    """
    values, rest = read_options(
        command.parameters, words, interspersed=command.interspersed, is_group=False
    )
    arguments = [one for one in command.parameters if isinstance(one, Argument)]
    _give_arguments(arguments, rest, values)
    return values


def read_options(
    parameters: Sequence[Parameter], words: Sequence[str], *, interspersed: bool, is_group: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the options, and the words that are left for arguments.

    For a group these begin with the command's name, and ``--`` is left to click.

    Raises:
        GiveUp: if click should read the words.

    """
    options = [one for one in parameters if isinstance(one, Option)]
    by_spelling = {
        spelling: (option, spelling in option.off)
        for option in options
        for spelling in (*option.spellings, *option.off)
    }
    values: dict[str, Any] = {}
    rest: list[str] = []
    left = list(reversed(words))
    while left:
        word = left.pop()
        if word == "--":
            if is_group:
                raise GiveUp
            rest.extend(reversed(left))
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if not interspersed:
                rest.extend(reversed(left))
                break
            continue
        if word.startswith("--"):
            _take_long(word, left, by_spelling, values)
        else:
            _take_short(word, left, by_spelling, values)
    for option in options:
        values.setdefault(option.name, option.default)
        if option.multiple:
            values[option.name] = tuple(values[option.name])
    return values, rest


_Spellings = dict[str, tuple[Option, bool]]


def _take_long(word: str, left: list[str], by_spelling: _Spellings, values: dict[str, Any]) -> None:
    spelling, equals, text = word.partition("=")
    option, is_off = by_spelling.get(spelling, (None, False))
    if option is None:
        raise GiveUp
    if option.is_flag:
        if equals:
            raise GiveUp
        values[option.name] = not is_off
        return
    if not equals:
        if not left:
            raise GiveUp
        text = left.pop()
    _store(option, text, values)


def _take_short(
    word: str, left: list[str], by_spelling: _Spellings, values: dict[str, Any]
) -> None:
    for place, letter in enumerate(word[1:], start=1):
        option, is_off = by_spelling.get(f"-{letter}", (None, False))
        if option is None:
            raise GiveUp
        if option.is_flag:
            values[option.name] = not is_off
            continue
        text = word[place + 1 :]
        if not text:
            if not left:
                raise GiveUp
            text = left.pop()
        _store(option, text, values)
        return


def _store(option: Option, text: str, values: dict[str, Any]) -> None:
    value = _value(option, text)
    if option.multiple:
        collected = values.setdefault(option.name, [])
        assert isinstance(collected, list)
        collected.append(value)
    else:
        values[option.name] = value


def _value(parameter: Parameter, text: str) -> object:
    try:
        return parameter.kind.parse(text)
    except ValueError as error:
        raise GiveUp from error


def _give_arguments(
    arguments: Sequence[Argument], words: list[str], values: dict[str, Any]
) -> None:
    """Share the words out; one argument at most takes many, and it is the last."""
    position = 0
    for argument in arguments:
        if argument.many:
            taken = words[position:]
            if argument.required and not taken:
                raise GiveUp
            values[argument.name] = tuple(_value(argument, word) for word in taken)
            position = len(words)
        elif position < len(words):
            values[argument.name] = _value(argument, words[position])
            position += 1
        elif argument.required:
            raise GiveUp
        else:
            values[argument.name] = argument.default
    if position < len(words):
        raise GiveUp
