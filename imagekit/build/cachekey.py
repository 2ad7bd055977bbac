"""Cache keys, and the reason when one is new.

A key is ``sha256(parent, operation)``. *parent* is the chain id of the file system below: content,
so an equal result downstream hits again however it came about. *operation* is the digest of the
step's inputs: a flat mapping from a name a user understands ("command", "env FOO", "file src/a.py")
to a value. The inputs are kept beside the key; a miss is explained by comparing them with those of
the same step's last run.
"""

import hashlib
import os
from collections.abc import Mapping

from imagekit.oci.digest import Digest

KEY_VERSION = "2"
_SHOWN = 3
_BATCH = 4096

Inputs = Mapping[str, str]


def operation_digest(inputs: Inputs) -> str:
    """Return the digest of inputs; names and values are framed, so none can pose as another."""
    digest = hashlib.sha256(KEY_VERSION.encode())
    framed: list[str] = []
    for name in sorted(inputs):
        for text in (name, inputs[name]):
            # File names need not be UTF-8.
            size_bytes = len(text) if text.isascii() else len(os.fsencode(text))
            framed.append(f"{size_bytes}:{text}")
        if len(framed) >= _BATCH:
            digest.update(os.fsencode("".join(framed)))
            framed.clear()
    digest.update(os.fsencode("".join(framed)))
    return digest.hexdigest()


def printable(text: str) -> str:
    """Return text for JSON and terminals: bytes that are not UTF-8 become U+FFFD."""
    if text.isascii():
        return text  # the same object: a step may have a million inputs
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def cache_key(parent: Digest | None, operation: str) -> str:
    """Return the key of an operation on top of ``parent``, None being the empty file system."""
    text = f"{KEY_VERSION}\n{parent or 'scratch'}\n{operation}"
    return hashlib.sha256(text.encode()).hexdigest()


def explain_miss(
    inputs: Inputs, parent: Digest | None, last_inputs: Inputs | None, last_parent: str | None
) -> str:
    """Return why a step has to run, compared with its last run; one line."""
    if last_inputs is None:
        return "first build of this step"
    changed = _changes(last_inputs, inputs)
    if not changed:
        if last_parent != str(parent or "scratch"):
            return "the step before it gave another result"
        return "its cached result is gone"
    shown = "; ".join(changed[:_SHOWN])
    more = len(changed) - _SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def _changes(old: Inputs, new: Inputs) -> list[str]:
    lines = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if before is None:
            lines.append(f"{name} is new")
        elif after is None:
            lines.append(f"{name} is gone")
        else:
            lines.append(f"{name} changed ({_short(before)} -> {_short(after)})")
    return lines


def _short(value: str) -> str:
    value = value.rpartition("sha256:")[2] if "sha256:" in value else value
    return value if len(value) <= 24 else f"{value[:12]}..."
