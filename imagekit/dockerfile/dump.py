"""A stable text form of the statements of a file, for golden tests and for comparing parsers.

One line per statement: ``(name ["--flag"] "arg" "arg")``, ENV and LABEL as key, value and ``"="``
or ``""``, ONBUILD nested. This is the form of the test corpus of BuildKit's parser.
"""

from imagekit.dockerfile.quoting import go_quote, go_quote_list
from imagekit.dockerfile.source import SourceReader
from imagekit.dockerfile.statements import Statement, read_statements


def dump(text: str, *, file_name: str = "Dockerfile") -> str:
    """Return the statements of ``text``, newline-separated; unknown names come without arguments.

    Raises:
        DockerfileSyntaxError: a line cannot be split, or a heredoc does not end.
    """
    return "\n".join(map(dump_statement, read_statements(SourceReader(text, file_name=file_name))))


def dump_statement(statement: Statement) -> str:
    """Return one statement in parentheses."""
    pieces = [statement.keyword.lower()]
    if statement.flags:
        pieces.append(go_quote_list(statement.flags))
    if statement.arguments.trigger is not None:
        pieces.append(dump_statement(statement.arguments.trigger))
    pieces += map(go_quote, statement.arguments.words)
    return f"({' '.join(pieces)})"
