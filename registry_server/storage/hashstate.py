"""Digests of half-received uploads, kept between the requests of one process.

A session's bytes are only ever appended to, so a state at offset N stays true for the first N
bytes whoever writes on. Another worker process has no state and reads the file again.
"""

import collections
import hashlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

KEPT = 1024


class HashState:
    """A running digest and how many bytes are in it."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.offset = 0
        self._hash: _Hash = hashlib.new(algorithm)

    def update(self, part: bytes | memoryview) -> None:
        """Add the next bytes."""
        self._hash.update(part)
        self.offset += len(part)

    def copy(self) -> "HashState":
        """Return an independent state with the same bytes in it."""
        other = HashState(self.algorithm)
        other._hash = self._hash.copy()
        other.offset = self.offset
        return other

    def hexdigest(self) -> str:
        """Return the digest of the bytes so far."""
        return self._hash.hexdigest()


class HashStates:
    """The states of the most recent sessions; a forgotten one only costs time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: collections.OrderedDict[str, HashState] = collections.OrderedDict()

    def take(self, upload: str, algorithm: str, offset: int) -> HashState | None:
        """Return and forget the session's state when it stands exactly at ``offset``."""
        with self._lock:
            state = self._states.pop(upload, None)
        if state is None or state.algorithm != algorithm or state.offset != offset:
            return HashState(algorithm) if offset == 0 else None
        return state

    def keep(self, upload: str, state: HashState) -> None:
        """Remember a state until the session's next request."""
        with self._lock:
            self._states[upload] = state
            if len(self._states) > KEPT:
                self._states.popitem(last=False)
