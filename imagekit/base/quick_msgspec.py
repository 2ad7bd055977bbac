"""Importing msgspec in half of its time.

msgspec asks typing_extensions for three names that ``typing`` of Python 3.11 has too, and falls
back to ``typing`` where there is none. That import brings ``inspect``, ``ast``, ``dis`` and
``tokenize`` along: more modules than a whole ``imagekit run`` needs otherwise. It also imports
``uuid``, which asks ``platform`` once for the system's name; that module compiles ten patterns.
"""

import os
import sys
from types import ModuleType
from typing import Final

_ABSENT: Final = "typing_extensions"
_STAND_IN: Final = "platform"


def load() -> None:
    """Import msgspec, without those modules unless one of them is there already.

    For an entry point with one thread, before its other imports; a program that uses imagekit as a
    library need not care. ``None`` in ``sys.modules`` makes an import fail (Python reference,
    section 5.3.1). Both are imported as usual by whoever wants them later.
    """
    if {_ABSENT, _STAND_IN, "uuid"} & sys.modules.keys():
        return
    stand_in = ModuleType(_STAND_IN)
    stand_in.__dict__["system"] = lambda: os.uname().sysname
    sys.modules[_ABSENT] = None  # type: ignore[assignment]  # documented, not in the stubs
    sys.modules[_STAND_IN] = stand_in
    try:
        import msgspec  # noqa: F401  for its effect
    finally:
        del sys.modules[_ABSENT], sys.modules[_STAND_IN]
