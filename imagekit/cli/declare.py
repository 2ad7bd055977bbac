"""Commands as declarations: what each takes, written once, for click and for the direct parser.

The decorators have click's names and words. ``imagekit.cli.click_commands`` makes click commands of
the declarations (help, completion, and every error message come from click);
``imagekit.cli.direct`` reads correct command lines without click, whose import takes longer than
most commands do.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import click

Function = Callable[..., "int | None"]
"""A command's function; it takes the session and its parameters, and may return an exit code."""

Complete = Callable[
    ["click.Context", "click.Parameter", str],
    "list[str] | list[click.shell_completion.CompletionItem]",
]
Decorated = TypeVar("Decorated", bound=Callable[..., object])

_PARAMETERS: Final = "__imagekit_parameters__"


class Kind:
    """How the text of a parameter becomes a value; ``name`` is its place holder in the help."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self.parse = parse
        """Return the value, or raise ValueError whose text says what is wrong."""


class Choice(Kind):
    """One of some words."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__("choice", self._checked)
        self.words = tuple(words)

    def _checked(self, text: str) -> str:
        if text not in self.words:
            raise ValueError(f"{text!r} is not one of {', '.join(self.words)}")
        return text


class IntRange(Kind):
    """A whole number between two others, both included."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__("integer range", self._checked)
        self.least = least
        self.most = most

    def _checked(self, text: str) -> int:
        number = int(text)
        if not self.least <= number <= self.most:
            raise ValueError(f"{number} is not in the range {self.least} to {self.most}")
        return number


def _path(text: str) -> object:
    from pathlib import Path

    return Path(text)


TEXT: Final = Kind("text", str)
INTEGER: Final = Kind("integer", int)
PATH: Final = Kind("path", _path)
"""A path that is not looked at: the room that opens it has a better error."""


class Parameter:
    """An option or an argument of a command; ``name`` is that of the function's parameter."""

    def __init__(
        self,
        name: str,
        *,
        kind: Kind,
        default: object = None,
        metavar: str | None = None,
        complete: Complete | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.metavar = metavar
        self.complete = complete


class Option(Parameter):
    """An option; a flag has no value, and ``off`` are the spellings that unset it."""

    def __init__(
        self,
        name: str,
        *,
        spellings: tuple[str, ...],
        off: tuple[str, ...],
        is_flag: bool,
        multiple: bool,
        help: str | None,  # noqa: A002  click's word
        hidden: bool,
        show_default: bool,
        **shared: Any,  # noqa: ANN401  Parameter's
    ) -> None:
        super().__init__(name, **shared)
        self.spellings = spellings
        self.off = off
        self.is_flag = is_flag
        self.multiple = multiple
        self.help = help
        self.hidden = hidden
        self.show_default = show_default


class Argument(Parameter):
    """An argument; ``many`` takes all that are left."""

    def __init__(self, name: str, *, many: bool, required: bool, **shared: Any) -> None:  # noqa: ANN401  Parameter's
        super().__init__(name, **shared)
        self.many = many
        self.required = required


class Command:
    """A command: its function, its parameters in order, and how it is called.

    ``is_container`` marks one that exits with a container's code, and with 125 to 127 when
    imagekit itself fails. Without ``interspersed`` options end at the first argument.
    """

    def __init__(
        self,
        name: str,
        function: Function,
        *,
        parameters: tuple[Parameter, ...],
        short_help: str,
        is_container: bool,
        interspersed: bool,
    ) -> None:
        self.name = name
        self.function = function
        self.parameters = parameters
        self.short_help = short_help
        self.is_container = is_container
        self.interspersed = interspersed

    @property
    def help(self) -> str | None:
        """The text of the help: the function's."""
        return self.function.__doc__


class Group:
    """Commands under a common word."""

    def __init__(self, name: str, *, help: str | None, short_help: str) -> None:  # noqa: A002  click's word
        self.name = name
        self.help = help
        self.short_help = short_help
        self.commands: dict[str, Command] = {}

    def command(self, name: str, *, short_help: str) -> Callable[[Function], Command]:
        """Declare a command of the group."""

        def declare(function: Function) -> Command:
            made = command(name, short_help=short_help)(function)
            self.commands[name] = made
            return made

        return declare


def command(
    name: str, *, short_help: str, is_container: bool = False, interspersed: bool = True
) -> Callable[[Function], Command]:
    """Declare the function below as a command with the parameters between."""

    def declare(function: Function) -> Command:
        return Command(
            name,
            function,
            parameters=parameters_of(function),
            short_help=short_help,
            is_container=is_container,
            interspersed=interspersed,
        )

    return declare


def group(name: str, *, short_help: str) -> Callable[[Callable[[], None]], Group]:
    """Declare the function below, of which only the text counts, as a group of commands."""

    def declare(function: Callable[[], None]) -> Group:
        return Group(name, help=function.__doc__, short_help=short_help)

    return declare


def option(
    *names: str,
    type: Kind = TEXT,  # noqa: A002  click's word
    is_flag: bool = False,
    multiple: bool = False,
    default: object = None,
    metavar: str | None = None,
    help: str | None = None,  # noqa: A002  click's word
    hidden: bool = False,
    show_default: bool = False,
    shell_complete: Complete | None = None,
) -> Callable[[Decorated], Decorated]:
    """Declare an option: its spellings, and the parameter's name if it is not the long one's.

    ``--on/--off`` is a flag with a spelling that unsets it.
    """
    on: list[str] = []
    off: list[str] = []
    own_name = None
    for spelling in names:
        if not spelling.startswith("-"):
            own_name = spelling
            continue
        first, slash, second = spelling.partition("/")
        on.append(first)
        if slash:
            off.append(second)
    longest = next((one for one in on if one.startswith("--")), on[0])
    if multiple:
        default = ()
    elif (is_flag or off) and default is None:
        default = False
    made = Option(
        own_name or longest.lstrip("-").replace("-", "_"),
        spellings=tuple(on),
        off=tuple(off),
        is_flag=is_flag or bool(off),
        multiple=multiple,
        help=help,
        hidden=hidden,
        show_default=show_default,
        kind=type,
        default=default,
        metavar=metavar,
        complete=shell_complete,
    )
    return _adding(made)


def argument(
    name: str,
    *,
    type: Kind = TEXT,  # noqa: A002  click's word
    nargs: int = 1,
    required: bool | None = None,
    default: object = None,
    metavar: str | None = None,
    shell_complete: Complete | None = None,
) -> Callable[[Decorated], Decorated]:
    """Declare an argument; with ``nargs=-1`` it takes all that are left."""
    many = nargs == -1
    made = Argument(
        name,
        many=many,
        required=(not many and default is None) if required is None else required,
        kind=type,
        default=() if many else default,
        metavar=metavar,
        complete=shell_complete,
    )
    return _adding(made)


def parameters_of(function: Callable[..., object]) -> tuple[Parameter, ...]:
    """Return the parameters that decorators have added to a function, in the order written."""
    return tuple(reversed(getattr(function, _PARAMETERS, ())))


def bad_parameter(text: str, option_name: str) -> "click.BadParameter":
    """Return the error for a value that a command finds wrong; the caller raises it."""
    import click

    return click.BadParameter(text, param_hint=f"'{option_name}'")


def usage_error(text: str) -> "click.UsageError":
    """Return the error for options that do not go together; the caller raises it."""
    import click

    return click.UsageError(text)


def _adding(parameter: Parameter) -> Callable[[Decorated], Decorated]:
    def add(function: Decorated) -> Decorated:
        function.__dict__.setdefault(_PARAMETERS, []).append(parameter)
        return function

    return add
