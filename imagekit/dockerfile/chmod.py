"""The values of ``--chmod``: octal, or symbolic as in BSD's chmod.

Source: Dockerfile reference, "COPY --chmod"; chmod(1) of 4.4BSD; BuildKit's mode parser.
"""

import msgspec

from imagekit.dockerfile.errors import ValueFormatError

_SHIFTS = {"u": 6, "g": 3, "o": 0}
_WHO = "ugoa"
_OPERATORS = "+-="
_PERMISSIONS = "rwxXstugo"
_SETUID, _SETGID, _STICKY = 0o4000, 0o2000, 0o1000


class _Change(msgspec.Struct, frozen=True, kw_only=True):
    """``who operator permissions``; the letters ugo among the permissions copy from there."""

    who: tuple[str, ...]
    operator: str
    permissions: str


class Chmod(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed ``--chmod``: ``octal`` is None for the symbolic form."""

    octal: int | None
    changes: tuple[_Change, ...] = ()

    def apply(self, mode: int, *, is_directory: bool) -> int:
        """Return the new permission bits (0 to 07777) of a file that has ``mode``."""
        if self.octal is not None:
            return self.octal
        mode &= 0o7777
        for change in self.changes:
            mode = _applied(change, mode, is_directory=is_directory)
        return mode


def parse_chmod(text: str) -> Chmod:
    """Return the change that ``text`` asks for, after expansion.

    Raises:
        ValueFormatError: it is neither octal up to 07777 nor symbolic.
    """
    if text[:1].isdecimal():
        if not text.isascii() or text.strip("01234567") or len(text) > 12 or int(text, 8) > 0o7777:
            raise _invalid(text)
        return Chmod(octal=int(text, 8))
    changes: list[_Change] = []
    for clause in text.split(","):
        changes += _clause(clause, text)
    return Chmod(octal=None, changes=tuple(changes))


def _clause(clause: str, text: str) -> list[_Change]:
    rest = clause.lstrip(_WHO)
    named = clause[: len(clause) - len(rest)]
    if not named or "a" in named:
        named = "ugo"
    who = tuple(name for name in _SHIFTS if name in named)
    changes: list[_Change] = []
    if not rest:
        raise _invalid(text)
    while rest:
        operator, rest = rest[0], rest[1:]
        end = next((index for index, char in enumerate(rest) if char in _OPERATORS), len(rest))
        permissions, rest = rest[:end], rest[end:]
        if operator not in _OPERATORS or permissions.strip(_PERMISSIONS):
            raise _invalid(text)
        changes.append(_Change(who=who, operator=operator, permissions=permissions))
    return changes


def _applied(change: _Change, mode: int, *, is_directory: bool) -> int:
    bits = _bits(change, mode, is_directory=is_directory)
    match change.operator:
        case "+":
            return mode | bits
        case "-":
            return mode & ~bits
        case _:
            return (mode & ~_all_bits(change)) | bits


def _bits(change: _Change, mode: int, *, is_directory: bool) -> int:
    letters = change.permissions
    has_execute = "x" in letters or ("X" in letters and (is_directory or mode & 0o111 != 0))
    triplet = ("r" in letters) * 4 | ("w" in letters) * 2 | has_execute
    for source, shift in _SHIFTS.items():
        if source in letters:
            triplet |= (mode >> shift) & 0o7
    bits = 0
    for who in change.who:
        bits |= triplet << _SHIFTS[who]
    if "s" in letters:
        bits |= ("u" in change.who) * _SETUID | ("g" in change.who) * _SETGID
    if "t" in letters and change.who != ("o",):
        bits |= _STICKY
    return bits


def _all_bits(change: _Change) -> int:
    """What ``=`` clears first; the sticky bit is not among it."""
    bits = ("u" in change.who) * _SETUID | ("g" in change.who) * _SETGID
    for who in change.who:
        bits |= 0o7 << _SHIFTS[who]
    return bits


def _invalid(text: str) -> ValueFormatError:
    return ValueFormatError(
        f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
        hint="Write for example 0755 or u=rwX,go=rX.",
    )
