"""msgspec without what it does not need."""

import subprocess
import sys

PROGRAM = """
import sys
from imagekit.base import quick_msgspec
quick_msgspec.load()
loaded = set(sys.modules)
assert not {"typing_extensions", "platform", "inspect"} & loaded, loaded

import msgspec, platform, uuid
from typing import Annotated

class Point(msgspec.Struct):
    x: int
    y: Annotated[int, msgspec.Meta(ge=0)] = 3

assert msgspec.json.decode(b'{"x": 1}', type=Point) == Point(1)
assert platform.machine()
assert uuid.uuid4() != uuid.uuid4()
try:
    import typing_extensions
except ModuleNotFoundError:
    pass
quick_msgspec.load()
"""


def test_it_works_and_others_get_the_real_modules() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
