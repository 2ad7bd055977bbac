"""Keeping a store within the sizes that its user set."""

import msgspec

from imagekit.base.sizes import size_text
from imagekit.oci.digest import Digest
from imagekit.store.gc import Collector


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on the disk that the whole store, and its build cache, may take; None is any number."""

    max_bytes: int | None = None
    cache_bytes: int | None = None


def keep_within(collector: Collector, limits: Limits, *, spared: tuple[Digest, ...] = ()) -> str:
    """Prune as much as the limits need, least recently used cache first; return a warning or "".

    Nothing goes that tags, containers, leases or ``spared`` manifests need, so ``max_bytes`` may
    not be met; that is the warning. Without need nothing is removed, and only sizes are looked at:
    no document is read.
    """
    sizes = collector.sizes()
    over = limits.max_bytes is not None and sizes.total_bytes > limits.max_bytes
    may_be_over = limits.cache_bytes is not None and sizes.content_bytes > limits.cache_bytes
    if not over and not may_be_over:
        return ""
    rows = {row.kind: row for row in collector.usage().rows}
    total = sum(row.size_bytes for row in rows.values())
    cache = rows["build cache"].size_bytes + rows["cache mounts"].size_bytes
    unused = rows["unused"].size_bytes
    allowed = cache if limits.cache_bytes is None else min(cache, limits.cache_bytes)
    if limits.max_bytes is not None:
        allowed = max(0, min(allowed, limits.max_bytes - (total - cache - unused)))
    if allowed < cache or over:
        total -= collector.prune(keep_cache_bytes=allowed, spared=spared).freed_bytes
    if limits.max_bytes is not None and total - limits.max_bytes > 0 and allowed:
        # Not all that seemed unused could go: it is spared, or somebody is just writing it.
        allowed = max(0, allowed - (total - limits.max_bytes))
        total -= collector.prune(keep_cache_bytes=allowed, spared=spared).freed_bytes
    if limits.max_bytes is None or total <= limits.max_bytes:
        return ""
    return (
        f"the store takes {size_text(total)}, more than its limit of"
        f" {size_text(limits.max_bytes)}, for what images and containers need;"
        " remove some (imagekit system df -v shows their sizes) or raise max_size"
    )
