"""The version, in words; nothing else is imported, so that it can be told at once."""

import sys

from imagekit import __version__


def version_text() -> str:
    """Return the version of imagekit and of the Python that runs it, in one line."""
    return f"imagekit {__version__} (Python {python_version()})"


def python_version() -> str:
    """Return Python's version as in ``3.11.2``."""
    return ".".join(map(str, sys.version_info[:3]))
