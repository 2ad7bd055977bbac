"""The stat cache: digests of context files that have not changed since they were read.

One row for each context holds the whole table as MessagePack: reading ten thousand entries takes
milliseconds, where ten thousand rows would take a hundred.
"""

from collections.abc import Mapping

import msgspec

from imagekit.base.clock import Clock, is_racy
from imagekit.store.metadata import Database

KEPT_CONTEXTS = 64


class StatEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What stat(2) said when the file was digested; ``digest`` is the caller's text for it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    digest: str

    def is_racy(self, started_ns: int) -> bool:
        """Tell whether a later change could have left the same times.

        ``started_ns`` is the wall time before the first file was read. A file changed at that time
        or later, within the granularity of its file system's clock, must not be cached.
        """
        return is_racy(max(self.mtime_ns, self.ctime_ns), started_ns)


class StatCache:
    """Tables of stat entries by context."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def load(self, context: str) -> dict[str, StatEntry]:
        """Return the table of a context, by path; empty if there is none."""
        row = self._database.row("SELECT entries FROM stat_cache WHERE context = ?", context)
        if row is None:
            return {}
        packed = row[0]
        return msgspec.msgpack.decode(packed, type=dict[str, StatEntry])

    def save(self, context: str, entries: Mapping[str, StatEntry]) -> None:
        """Replace the table of a context; the caller leaves racy entries out.

        The tables of the contexts longest unused go once there are more than 64.
        """
        packed = msgspec.msgpack.encode(entries)
        with self._database.write() as transaction:
            transaction.run(
                "INSERT OR REPLACE INTO stat_cache VALUES (?, ?, ?)",
                context,
                packed,
                self._clock.now().timestamp(),
            )
            transaction.run(
                "DELETE FROM stat_cache WHERE context NOT IN"
                " (SELECT context FROM stat_cache ORDER BY used DESC LIMIT ?)",
                KEPT_CONTEXTS,
            )
