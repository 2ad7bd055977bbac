"""Build-cache records: what a step's key led to, and why the key is what it is."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from imagekit.base.clock import Clock
from imagekit.oci.digest import Digest
from imagekit.store.metadata import Database, Row

UNSET_TIME = datetime.fromtimestamp(0, UTC)


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One finished step.

    ``operation`` digests the step without its parent; ``step`` names its place (file, stage,
    index) from one build to the next; ``inputs`` and ``bill`` are JSON objects of the build room.
    ``created`` and ``used`` are filled in by ``put`` when left out.
    """

    key: str
    operation: str
    step: str
    inputs: Mapping[str, object]
    chain_id: Digest | None = None
    diff_id: Digest | None = None
    created: datetime = UNSET_TIME
    used: datetime = UNSET_TIME
    hits: int = 0
    bill: Mapping[str, object] = msgspec.field(default_factory=dict)


class CachedResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a key led to; a record without the reasons, which may be many megabytes."""

    chain_id: Digest
    diff_id: Digest
    created: datetime


class CacheRecords:
    """The records by key. A record does not keep its snapshot from ``snapshots.remove``."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def get(self, key: str) -> CacheRecord | None:
        """Return the record of exactly this key."""
        row = self._database.row("SELECT * FROM cache_records WHERE key = ?", key)
        return None if row is None else _record(row)

    def result(self, key: str) -> CachedResult | None:
        """Return what the key led to, without the inputs; None also if it led to no snapshot."""
        row = self._database.row(
            "SELECT chain_id, diff_id, created FROM cache_records"
            " WHERE key = ? AND chain_id IS NOT NULL AND diff_id IS NOT NULL",
            key,
        )
        if row is None:
            return None
        chain_id, diff_id, created = row
        return CachedResult(
            chain_id=Digest.parse(str(chain_id)),
            diff_id=Digest.parse(str(diff_id)),
            created=datetime.fromtimestamp(created, UTC),
        )

    def has_operation(self, operation: str) -> bool:
        """Tell whether the operation has ever run, on whatever parent."""
        row = self._database.row(
            "SELECT 1 FROM cache_records WHERE operation = ? LIMIT 1", operation
        )
        return row is not None

    def put(self, record: CacheRecord) -> None:
        """Store the record in place of one with the same key; atomic."""
        now = self._clock.now()
        created = now if record.created == UNSET_TIME else record.created
        used = now if record.used == UNSET_TIME else record.used
        with self._database.write() as transaction:
            transaction.run(
                "INSERT OR REPLACE INTO cache_records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                record.key,
                record.operation,
                record.step,
                msgspec.json.encode(record.inputs),
                None if record.chain_id is None else str(record.chain_id),
                None if record.diff_id is None else str(record.diff_id),
                created.timestamp(),
                used.timestamp(),
                record.hits,
                msgspec.json.encode(record.bill),
            )

    def mark_used(self, *keys: str) -> None:
        """Count a hit for each key, now; one transaction for all."""
        now = self._clock.now().timestamp()
        with self._database.write() as transaction:
            transaction.run_many(
                "UPDATE cache_records SET used = ?, hits = hits + 1 WHERE key = ?",
                [(now, key) for key in keys],
            )

    def latest_for_step(self, step: str) -> CacheRecord | None:
        """Return the newest record of this place in a Dockerfile, to explain a miss."""
        row = self._database.row(
            "SELECT * FROM cache_records WHERE step = ? ORDER BY created DESC LIMIT 1", step
        )
        return None if row is None else _record(row)

    def all(self) -> list[CacheRecord]:
        """Return all records, the most recently used first."""
        rows = self._database.rows("SELECT * FROM cache_records ORDER BY used DESC, key")
        return list(map(_record, rows))

    def delete(self, key: str) -> bool:
        """Remove the record and tell whether it was there."""
        with self._database.write() as transaction:
            return transaction.run("DELETE FROM cache_records WHERE key = ?", key) > 0


def _record(row: Row) -> CacheRecord:
    key, operation, step, inputs, chain_id, diff_id, created, used, hits, bill = row
    return CacheRecord(
        key=str(key),
        operation=str(operation),
        step=str(step),
        inputs=msgspec.json.decode(inputs, type=dict[str, object]),
        chain_id=None if chain_id is None else Digest.parse(str(chain_id)),
        diff_id=None if diff_id is None else Digest.parse(str(diff_id)),
        created=datetime.fromtimestamp(created, UTC),
        used=datetime.fromtimestamp(used, UTC),
        hits=hits,
        bill=msgspec.json.decode(bill, type=dict[str, object]),
    )
