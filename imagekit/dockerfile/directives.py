"""Parser directives: the ``# name=value`` lines at the very top of a Dockerfile.

Source: Dockerfile reference, "Parser directives"; BuildKit parser/directives.go.
"""

import re

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.errors import DockerfileSyntaxError

_DIRECTIVE = re.compile(
    r"#[\t\n\f\r ]*([A-Za-z][A-Za-z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*\Z"
)
_SLASH_DIRECTIVE = re.compile(
    r"//[\t\n\f\r ]*([A-Za-z][A-Za-z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*\Z"
)
_KNOWN = ("syntax", "escape", "check")


class Directives(msgspec.Struct, frozen=True, kw_only=True):
    """What the top of the file asks for. ``syntax`` and ``check`` are None when not given."""

    escape: str = "\\"
    syntax: str | None = None
    check: str | None = None


class DirectiveReader:
    """Takes the lines of a file in order until one of them is not a directive.

    ``escape`` is the escape character as far as it is known.
    """

    def __init__(self) -> None:
        self.escape = "\\"
        self._values: dict[str, str] = {}
        self._is_done = False

    def accept(self, line: str) -> bool:
        """Return whether ``line``, without outer blanks, is one of the directives of the file.

        Raises:
            DockerfileSyntaxError: a directive is repeated, or the escape character is unusable.
        """
        if self._is_done:
            return False
        match = _DIRECTIVE.match(line)
        name = match[1].lower() if match else ""
        if match is None or name not in _KNOWN:
            self._is_done = True
            return False
        if name in self._values:
            raise DockerfileSyntaxError(f"only one {name} parser directive can be used")
        if name == "escape" and match[2] not in ("\\", "`"):
            raise DockerfileSyntaxError(
                f"invalid escape token '{match[2]}' does not match ` or \\",
                hint="Use '# escape=`' or leave the directive out.",
            )
        if name == "escape":
            self.escape = match[2]
        self._values[name] = match[2]
        return True

    def directives(self) -> Directives:
        """Return what was read."""
        return Directives(
            escape=self.escape,
            syntax=self._values.get("syntax"),
            check=self._values.get("check"),
        )


def detect_syntax(text: str) -> str | None:
    """Return the frontend image that a file asks for, up to the first blank; None if none.

    This looks further than ``Directives.syntax``: past a ``#!`` line, at ``//`` comments and at a
    whole file that is a JSON object, because the file need not be a Dockerfile at all.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[0].startswith("#!"):
        del lines[0]
    value = (
        _syntax_in_block(lines, _DIRECTIVE)
        or _syntax_in_block(lines, _SLASH_DIRECTIVE)
        or _syntax_in_json("\n".join(lines))
    )
    return value.split(" ", 1)[0] if value else None


def _syntax_in_block(lines: list[str], pattern: re.Pattern[str]) -> str | None:
    for line in lines:
        match = pattern.match(line.strip(SPACE))
        if match is None or match[1].lower() not in _KNOWN:
            return None
        if match[1].lower() == "syntax":
            return match[2]
    return None


def _syntax_in_json(text: str) -> str | None:
    if not text.lstrip(SPACE).startswith("{"):
        return None
    import json

    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = document.get("syntax") if isinstance(document, dict) else None
    return value if isinstance(value, str) else None
