"""Numbers of bytes as people write and read them."""

import re

_SIZE = r"(\d+(?:\.\d+)?)\s*([bkmgtp]?)(i?b)?\Z"
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def parse_size(text: str) -> int:
    """Return the bytes of ``512m``, ``1.5g``, ``64k``, ``100``; units are powers of 1024.

    Raises:
        ValueError: for any other text.

    """
    match = re.match(_SIZE, text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write it like 512m, 1.5g or 1073741824")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def size_text(size_bytes: int) -> str:
    """Return a size as docker prints it: decimal units, three significant digits."""
    value = float(size_bytes)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.3g}{unit}"
