"""Control groups of builds that were killed: empty directories that nobody else removes.

Source: cgroups(7), "Removing cgroups".
"""

import contextlib
import os

from imagekit.sandbox.cgroups import CgroupHost
from imagekit.store.owner import Owner

_PREFIX = "build-"


def sandbox_id(owner: Owner, step: str) -> str:
    """Return the id of a step's sandbox; it says whose it is, for ``remove_leftovers``."""
    return f"{_PREFIX}{owner}-{step}"


def remove_leftovers(observer: Owner) -> None:
    """Remove the cgroups of steps whose building process has ended; safe at any time."""
    host = CgroupHost.detect()
    places = {directory for _, directory in host.controllers.values()}
    if host.unified is not None:
        places.add(host.unified)
    for place in places:
        try:
            names = os.listdir(place)
        except OSError:  # not there, or not ours to see
            continue
        for name in names:
            if not name.startswith(f"imagekit-{_PREFIX}"):
                continue
            token = name.removeprefix(f"imagekit-{_PREFIX}").rpartition("-")[0]
            owner = Owner.parse(token)
            if owner is not None and not owner.is_alive(observer):
                with contextlib.suppress(OSError):  # a process is still on its way out
                    (place / name).rmdir()
