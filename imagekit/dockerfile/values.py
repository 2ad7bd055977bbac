"""The small value languages: durations, signals, sizes, booleans."""

from imagekit.dockerfile.errors import ValueFormatError
from imagekit.dockerfile.quoting import go_quote

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MAX_NS = (1 << 63) - 1
_DIGITS = "0123456789"
_SIZE_LETTERS = "kmgtp"
_REAL_TIME_SIGNALS = range(34, 65)
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def parse_duration(text: str) -> int:
    """Return nanoseconds of a Go duration: ``1h30m``, ``1.5s``, ``-2ms``, ``0``.

    Raises:
        ValueFormatError: it is malformed or does not fit 64 bits.
    """
    rest = text
    is_negative = rest.startswith("-")
    if rest[:1] in ("-", "+"):
        rest = rest[1:]
    if rest == "0":
        return 0
    total = 0
    if not rest:
        raise ValueFormatError(f"time: invalid duration {go_quote(text)}")
    while rest:
        amount, rest = _take(rest, _DIGITS + ".")
        unit, rest = _take_until(rest, _DIGITS + ".")
        if amount.count(".") > 1 or not amount.strip("."):
            raise ValueFormatError(f"time: invalid duration {go_quote(text)}")
        if not unit:
            raise ValueFormatError(f"time: missing unit in duration {go_quote(text)}")
        if unit not in _UNITS_NS:
            raise ValueFormatError(
                f"time: unknown unit {go_quote(unit)} in duration {go_quote(text)}"
            )
        total += _scaled(amount, _UNITS_NS[unit])
        if total > _MAX_NS + is_negative:
            raise ValueFormatError(f"time: invalid duration {go_quote(text)}")
    return -total if is_negative else total


def format_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: ``5m0s``, ``1.5s``, ``300ms``, ``0s``."""
    sign = "-" if nanoseconds < 0 else ""
    value = abs(nanoseconds)
    if value == 0:
        return "0s"
    if value < 1_000:
        return f"{sign}{value}ns"
    if value < 1_000_000:
        return f"{sign}{_decimal(value, 1_000)}\u00b5s"
    if value < 1_000_000_000:
        return f"{sign}{_decimal(value, 1_000_000)}ms"
    minutes, rest = divmod(value, 60_000_000_000)
    seconds = f"{_decimal(rest, 1_000_000_000)}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def parse_signal(text: str) -> int:
    """Return the number of a signal: ``9``, ``KILL``, ``SIGKILL``, ``rtmin+3``, ``RTMAX-1``.

    Raises:
        ValueFormatError: there is no such signal.
    """
    if text.isascii() and text.isdecimal() and len(text) < 10:
        number = int(text)
        if number == 0:
            raise ValueFormatError(f"invalid signal: {text}")
        return number
    name = text.upper().removeprefix("SIG")
    found = _real_time_signal(name)
    if found is None and not name.startswith("RT"):
        import signal

        member = signal.Signals.__members__.get("SIG" + name)
        found = None if member is None else int(member)
    if found is None or not text.isascii():
        raise ValueFormatError(f"invalid signal: {text}")
    return found


def parse_size(text: str) -> int:
    """Return bytes of a size with a binary suffix: ``64m``, ``1.5GiB``, ``100``.

    Raises:
        ValueFormatError: it is malformed.
    """
    amount, unit = _take(text, _DIGITS + ".")
    unit = unit.removeprefix(" ").lower()
    letter = unit[:1] if unit[:1] in tuple(_SIZE_LETTERS) else ""
    is_unit = unit[len(letter) :] in (("", "b", "ib") if letter else ("", "b"))
    if not is_unit or amount.count(".") > 1 or not amount.strip(".") or len(amount) > 30:
        raise ValueFormatError(f"invalid size: {go_quote(text)}")
    return _scaled(amount, 1 << (10 * (1 + _SIZE_LETTERS.index(letter)) if letter else 0))


def parse_boolean(text: str) -> bool:
    """Return the truth of what Go's ``strconv.ParseBool`` accepts.

    Raises:
        ValueFormatError: it is none of the dozen spellings.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueFormatError(f"invalid boolean: {go_quote(text)}")


def _real_time_signal(name: str) -> int | None:
    for base, origin, sign in (
        ("RTMIN", _REAL_TIME_SIGNALS[0], "+"),
        ("RTMAX", _REAL_TIME_SIGNALS[-1], "-"),
    ):
        if name == base:
            return origin
        offset = name.removeprefix(base + sign)
        if offset != name and offset.isdecimal() and len(offset) < 3:
            number = origin + int(sign + offset)
            return number if number in _REAL_TIME_SIGNALS else None
    return None


def _scaled(amount: str, unit: int) -> int:
    whole, _, fraction = amount.partition(".")
    if len(whole) > 30:
        return _MAX_NS * 2
    fraction = fraction[:30]
    power: int = 10 ** len(fraction)
    return int(whole or "0") * unit + int(fraction or "0") * unit // power


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    width = len(str(unit)) - 1
    return f"{whole}.{rest:0{width}d}".rstrip("0")


def _take(text: str, characters: str) -> tuple[str, str]:
    rest = text.lstrip(characters)
    return text[: len(text) - len(rest)], rest


def _take_until(text: str, characters: str) -> tuple[str, str]:
    end = next((index for index, char in enumerate(text) if char in characters), len(text))
    return text[:end], text[end:]
