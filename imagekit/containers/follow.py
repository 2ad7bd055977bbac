"""Reading a container's log, and following it until the container ends."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from imagekit.base.clock import rfc3339
from imagekit.containers.logs import LogReader, LogRecord
from imagekit.containers.model import Status
from imagekit.containers.processes import wait_pidfd
from imagekit.containers.records import Container

_POLL_S: Final = 0.05


def read_log(
    container: Container,
    *,
    follow: bool,
    tail: int | None,
    since: datetime | None,
    timestamps: bool,
) -> Iterator[LogRecord]:
    """Yield the records of a container's log; with ``follow`` until its process has ended.

    New records are looked for twenty times a second, and at once when the owner ends.
    """
    reader = LogReader(container.files.log, tail=tail)
    owner_fd = container.state.owner.open() if follow and container.is_running else None
    try:
        running = owner_fd is not None
        while True:
            for record in reader.read():
                if since is None or record.time >= since:
                    yield _stamped(record) if timestamps else record
            if owner_fd is None or not running:
                return
            # What was written before the end was seen is read in one more round.
            running = not wait_pidfd(owner_fd, _POLL_S) and (
                container.files.read_state().status is Status.RUNNING
            )
    finally:
        reader.close()
        if owner_fd is not None:
            os.close(owner_fd)


def _stamped(record: LogRecord) -> LogRecord:
    return record._replace(data=f"{rfc3339(record.time)} ".encode() + record.data)
