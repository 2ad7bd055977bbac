"""The descriptors of the caller that an attached process is joined to."""

from typing import NamedTuple


class Stdio(NamedTuple):
    """Three descriptors, which stay the caller's."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2


STANDARD = Stdio()
