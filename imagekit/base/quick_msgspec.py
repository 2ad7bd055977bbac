"""Importing msgspec in half of its time.

msgspec asks typing_extensions for three names that ``typing`` of Python 3.11 has too, and falls
back to ``typing`` where there is none. That import brings ``inspect``, ``ast``, ``dis`` and
``tokenize`` along: more modules than a whole ``imagekit run`` needs otherwise.
"""

import sys
from typing import Final

_ASKED: Final = "typing_extensions"


def load() -> None:
    """Import msgspec, without typing_extensions unless that is there already.

    For an entry point, before its other imports; a program that uses imagekit as a library need
    not care. ``None`` in ``sys.modules`` makes an import fail (Python reference, section 5.3.1).
    """
    if _ASKED in sys.modules:
        return
    sys.modules[_ASKED] = None  # type: ignore[assignment]  # documented, not in the stubs
    try:
        import msgspec  # noqa: F401  for its effect
    finally:
        del sys.modules[_ASKED]
