"""The comma-separated fields of ``RUN --mount``, and what of them matters before expansion.

Source: Go encoding/csv, whose messages are kept; BuildKit instructions/commands_runmount.go.
"""

from imagekit.dockerfile.errors import MountError

TARGET_KEYS = ("target", "dst", "destination")
_HINT = 'Put a field that holds a comma in double quotes, as in "source=a,b".'


def mount_source(value: str) -> str | None:
    """Return what the ``from`` of a mount names, None without one. The rest is not looked at.

    Raises:
        MountError: the value is not comma-separated fields, or ``from`` has a variable.
    """
    found: str | None = None
    for text in csv_fields(value):
        key, equals, name = text.partition("=")
        if equals and key.lower() == "from":
            if "$" in name[:-1]:
                raise MountError(
                    "'from' doesn't support variable expansion, define alias stage instead",
                    hint="Write FROM ${NAME} AS alias with a global ARG, and mount from alias.",
                )
            found = name
    return found or None


def mount_target(value: str) -> str:
    """Return the target of a mount as written, for messages."""
    target = ""
    for text in csv_fields(value):
        key, _, name = text.partition("=")
        if key.lower() in TARGET_KEYS:
            target = name
    return target


def csv_fields(line: str) -> list[str]:
    """Split at commas; a field in double quotes may hold commas, and quotes by doubling them.

    Raises:
        MountError: there is nothing, or a quote is where none can be.
    """
    if not line:
        raise MountError("failed to parse csv mounts: EOF", hint="Write for example type=cache.")
    if '"' not in line:
        return line.split(",")
    fields: list[str] = []
    position = 0
    while True:
        text, position = _csv_field(line, position)
        fields.append(text)
        if position >= len(line):
            return fields
        position += 1


def _csv_field(line: str, start: int) -> tuple[str, int]:
    if not line.startswith('"', start):
        end = line.find(",", start)
        end = len(line) if end < 0 else end
        quote = line.find('"', start, end)
        if quote >= 0:
            raise _malformed(line, quote, 'bare " in non-quoted-field')
        return line[start:end], end
    pieces: list[str] = []
    position = start + 1
    while True:
        end = line.find('"', position)
        if end < 0:
            raise _malformed(line, position, 'extraneous or missing " in quoted-field')
        pieces.append(line[position:end])
        position = end + 1
        if not line.startswith('"', position):
            break
        pieces.append('"')
        position += 1
    if position < len(line) and line[position] != ",":
        raise _malformed(line, end, 'extraneous or missing " in quoted-field')
    return "".join(pieces), position


def _malformed(line: str, position: int, what: str) -> MountError:
    column = len(line[:position].encode("utf-8", "surrogateescape")) + 1
    return MountError(
        f"failed to parse csv mounts: parse error on line 1, column {column}: {what}", hint=_HINT
    )
