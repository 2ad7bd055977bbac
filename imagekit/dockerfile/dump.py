"""A stable text form of the statements of a file, for golden tests and for comparing parsers.

One line per statement: ``(name ["--flag"] "arg" "arg")``, ENV and LABEL as key, value and ``"="``
or ``""``, ONBUILD nested. This is the form of the test corpus of BuildKit's parser.
"""

from imagekit.dockerfile.callable_module import make_callable
from imagekit.dockerfile.quoting import go_quote, go_quote_list
from imagekit.dockerfile.source import SourceReader
from imagekit.dockerfile.statements import INSTRUCTION_NAMES, SplitLine, read_statements

make_callable(__name__)


def dump(text: str, *, file_name: str = "Dockerfile") -> str:
    """Return the statements of ``text``, newline-separated.

    An instruction with an unknown name has one empty argument, whatever is behind the name.

    Raises:
        DockerfileSyntaxError: a line cannot be split, or a heredoc does not end.
    """
    statements = read_statements(SourceReader(text, file_name=file_name))
    return "\n".join(dump_line(statement.line) for statement in statements)


def dump_line(line: SplitLine) -> str:
    """Return one statement in parentheses."""
    pieces = [line.keyword.lower()]
    if line.flags:
        pieces.append(go_quote_list(line.flags))
    if line.trigger is not None:
        pieces.append(dump_line(line.trigger))
    words = line.words if line.name in INSTRUCTION_NAMES else ("",)
    pieces += map(go_quote, words)
    return f"({' '.join(pieces)})"
