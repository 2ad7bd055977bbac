"""Parser directives: the ``# name=value`` lines at the very top of a Dockerfile.

Source: Dockerfile reference, "Parser directives"; BuildKit parser/directives.go.
"""

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.errors import DockerfileSyntaxError

_KNOWN = ("syntax", "escape", "check")
_BLANKS = "\t\n\f\r "


class Directives(msgspec.Struct, frozen=True, kw_only=True):
    """What the top of the file asks for. ``syntax`` and ``check`` are None when not given.

    ``lines`` has the 1-based line of each directive that stands in the file.
    """

    escape: str = "\\"
    syntax: str | None = None
    check: str | None = None
    lines: tuple[tuple[str, int], ...] = ()

    def line_of(self, name: str) -> int | None:
        """Return the line of the directive ``name``, None when it is not in the file."""
        return dict(self.lines).get(name)


class DirectiveReader:
    """Takes the lines of a file in order until one of them is not a directive.

    ``escape`` is the escape character as far as it is known. ``checks_escape`` is off for who looks
    for another directive and leaves the escape character to others.
    """

    __slots__ = ("_checks_escape", "_is_done", "_lines", "_prefix", "_values", "escape")

    def __init__(self, prefix: str = "#", *, checks_escape: bool = True) -> None:
        self.escape = "\\"
        self._prefix = prefix
        self._checks_escape = checks_escape
        self._values: dict[str, str] = {}
        self._lines: list[tuple[str, int]] = []
        self._is_done = False

    def accept(self, line: str, number: int = 0) -> bool:
        """Return whether ``line``, as it begins, is one of the directives of the file.

        Raises:
            DockerfileSyntaxError: a directive is repeated, or the escape character is unusable.
        """
        if self._is_done:
            return False
        name, value = _split(line, self._prefix)
        if name not in _KNOWN:
            self._is_done = True
            return False
        if name in self._values:
            raise DockerfileSyntaxError(
                f"only one {name} parser directive can be used", hint="Remove one of the two lines."
            )
        if name == "escape" and self._checks_escape and value not in ("\\", "`"):
            raise DockerfileSyntaxError(
                f"invalid escape token '{value}' does not match ` or \\",
                hint="Use '# escape=`' or leave the directive out.",
            )
        if name == "escape":
            self.escape = value
        self._values[name] = value
        self._lines.append((name, number))
        return True

    def directives(self) -> Directives:
        """Return what was read."""
        return Directives(
            escape=self.escape,
            syntax=self._values.get("syntax"),
            check=self._values.get("check"),
            lines=tuple(self._lines),
        )


def _split(line: str, prefix: str) -> tuple[str, str]:
    """Return name in lower case and value of ``# name = value``; empty texts for other lines."""
    if not line.startswith(prefix):
        return "", ""
    name, _, value = line[len(prefix) :].lstrip(SPACE).partition("=")
    name = name.rstrip(_BLANKS)
    value = value.strip(_BLANKS)
    is_name = name.isascii() and name.isalnum() and name[0].isalpha()
    return (name.lower(), value) if value and is_name else ("", "")


def detect_syntax(text: str) -> str | None:
    """Return the frontend image that a file asks for, up to the first blank; None if none.

    This looks further than ``Directives.syntax``: past a ``#!`` line, at ``//`` comments and at a
    whole file that is a JSON object, because the file need not be a Dockerfile at all. Lines are
    taken as they are: one that is indented ends the directives.
    """
    text = text.removeprefix("\ufeff")
    if text.startswith("#!"):
        text = text.partition("\n")[2]
    lines = text.split("\n")
    for prefix in ("#", "//"):
        value = _syntax_in_block(lines, prefix)
        if value is not None:
            return value.split(" ", 1)[0]
    return _syntax_in_json(text)


def _syntax_in_block(lines: list[str], prefix: str) -> str | None:
    reader = DirectiveReader(prefix, checks_escape=False)
    for line in lines:
        try:
            if not reader.accept(line.removesuffix("\r")):
                break
        except DockerfileSyntaxError:  # a repeated directive ends the search
            break
    return reader.directives().syntax


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
