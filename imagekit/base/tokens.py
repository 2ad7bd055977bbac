"""Names that nobody else has."""

import os
from collections.abc import Sequence


def token_hex(size_bytes: int) -> str:
    """Return random hex digits, two for each byte.

    As ``secrets.token_hex``, whose module loads ``random``, ``hmac`` and ``hashlib`` first.
    """
    return os.urandom(size_bytes).hex()


def choice(words: Sequence[str]) -> str:
    """Return one of at most some thousand words, each as likely as the others."""
    return words[int.from_bytes(os.urandom(8), "big") % len(words)]
