"""Which rules run: ``skip=all|A,B``, ``experimental=all|A,B``, ``error=true``, divided by ``;``.

They stand in a directive at the top of the file, in a comment above one instruction, or in the
build argument BUILDKIT_DOCKERFILE_CHECK, which replaces the directive.

Source: Dockerfile reference, "check"; BuildKit frontend/dockerfile/linter/linter.go.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Self

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.directives import DirectiveReader
from imagekit.dockerfile.errors import DockerfileSyntaxError, ValueFormatError
from imagekit.dockerfile.lint.rules import Rule
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.values import parse_boolean

CHECK_ARGUMENT: Final = "BUILDKIT_DOCKERFILE_CHECK"
"""The build argument that replaces the directive."""

_ALL = "all"
_MAX_PARTS = 3


class CheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one directive, comment or argument says; names that are no rules do no harm."""

    skip: frozenset[str] = frozenset()
    skip_all: bool = False
    experimental: frozenset[str] = frozenset()
    experimental_all: bool = False
    is_error: bool = False

    def runs(self, rule: Rule) -> bool:
        """Return whether ``rule`` is on. Skipping is for the rules that are not experimental."""
        if rule.is_experimental:
            return self.experimental_all or rule.name in self.experimental
        return not (self.skip_all or rule.name in self.skip)

    def merged(self, other: Self) -> Self:
        """Return both together; ``is_error`` is the file's alone."""
        return type(self)(
            skip=self.skip | other.skip,
            skip_all=self.skip_all or other.skip_all,
            experimental=self.experimental | other.experimental,
            experimental_all=self.experimental_all or other.experimental_all,
            is_error=self.is_error,
        )


def parse_check_options(text: str) -> CheckOptions:
    """Return what ``text`` asks for; an empty one asks for nothing. A later key replaces a former.

    Raises:
        DockerfileSyntaxError: a key is unknown, or ``error`` is no boolean. It has no span.
    """
    text = text.strip(SPACE)
    options = CheckOptions()
    for part in text.split(";", _MAX_PARTS - 1) if text else ():
        key, equals, value = part.partition("=")
        if not equals:
            raise DockerfileSyntaxError(f"invalid check option {go_quote(part)}", hint=_HINT)
        key, value = key.strip(SPACE), value.strip(SPACE)
        names = frozenset(name.strip(SPACE) for name in value.split(","))
        match key:
            case "skip" if value == _ALL:
                options = msgspec.structs.replace(options, skip_all=True)
            case "skip":
                options = msgspec.structs.replace(options, skip=names)
            case "experimental" if value == _ALL:
                options = msgspec.structs.replace(options, experimental_all=True)
            case "experimental":
                options = msgspec.structs.replace(options, experimental=names)
            case "error":
                options = msgspec.structs.replace(options, is_error=_boolean(part, value))
            case _:
                raise DockerfileSyntaxError(f"invalid check option {go_quote(key)}", hint=_HINT)
    return options


_HINT = "Write for example '# check=skip=JSONArgsRecommended;error=true', without blanks."


def _boolean(part: str, value: str) -> bool:
    try:
        return parse_boolean(value)
    except ValueFormatError:
        raise DockerfileSyntaxError(
            f"failed to parse check option {go_quote(part)}: strconv.ParseBool: parsing "
            f"{go_quote(value)}: invalid syntax",
            hint="Write error=true or error=false.",
        ) from None


def check_options(text: str, build_args: Mapping[str, str]) -> CheckOptions:
    """Return the options that count for a file: those of the build argument if it is given.

    Raises:
        DockerfileSyntaxError: the options are malformed. It has no span.
    """
    given = build_args.get(CHECK_ARGUMENT)
    return file_check_options(text) if given is None else argument_check_options(given)


def file_check_options(text: str) -> CheckOptions:
    """Return the options of the directive at the top of a file, as far as its first blank.

    The top is looked at apart from the parser: a ``#!`` line may come first, a line that begins
    with a blank ends it, and so does a repeated directive.

    Raises:
        DockerfileSyntaxError: the options are malformed.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[0].startswith("#!"):
        del lines[0]
    value = _check_directive((line.removesuffix("\r") for line in lines), prefix="#")
    try:
        return parse_check_options(value or "")
    except DockerfileSyntaxError as error:
        reason = f"failed to parse check options: {error.reason}"
        raise DockerfileSyntaxError(reason, hint=error.hint) from None


def argument_check_options(text: str) -> CheckOptions:
    """Return the options of the build argument, as far as its end.

    Raises:
        DockerfileSyntaxError: the options are malformed.
    """
    try:
        return parse_check_options(text)
    except DockerfileSyntaxError as error:
        reason = f"failed to parse build-arg:{CHECK_ARGUMENT}: {error.reason}"
        raise DockerfileSyntaxError(reason, hint=error.hint) from None


def comment_check_options(comments: tuple[str, ...]) -> CheckOptions:
    """Return the options of the first ``check=`` among the comments above an instruction.

    One that is malformed says nothing, as in the reference.
    """
    for comment in comments:
        value = _check_directive((comment,), prefix="")
        if value is not None:
            try:
                return parse_check_options(value)
            except DockerfileSyntaxError:
                return CheckOptions()
    return CheckOptions()


def _check_directive(lines: Iterable[str], *, prefix: str) -> str | None:
    """Return the value of ``check`` up to a blank, None when the lines do not begin with it."""
    reader = DirectiveReader(prefix, checks_escape=False)
    try:
        for line in lines:
            if not reader.accept(line):
                break
    except DockerfileSyntaxError:  # a repeated directive
        pass
    value = reader.directives().check
    return None if value is None else value.partition(" ")[0]
