import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import imagekit
from imagekit.linux.idmap import IdRange, parse_map, subordinate_ids


def test_parse_map() -> None:
    assert parse_map("         0       1000          1\n         1     100000      65536\n") == (
        IdRange(inside=0, outside=1000, length=1),
        IdRange(inside=1, outside=100000, length=65536),
    )


def test_subordinate_ids_of_a_name_and_a_number() -> None:
    text = "amy:100:10\nbob:200:20\n1000:300:30\n#x\nbad:1\nbob:x:5\nbob:1:0\n"

    assert subordinate_ids(text, name="bob", number=1000) == (
        IdRange(inside=1, outside=200, length=20),
        IdRange(inside=21, outside=300, length=30),
    )
    assert subordinate_ids(text, name="eve", number=5) == ()


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    for item in subordinate_ids(text, name="a", number=1):
        assert item.length > 0


@pytest.mark.root
def test_entering_makes_a_private_world() -> None:
    code = """
import os
from pathlib import Path
from imagekit.linux.idmap import enter_user_namespace, is_in_user_namespace
from imagekit.linux.features import Features
assert not is_in_user_namespace()
enter_user_namespace("nobody-of-this-name")
print(is_in_user_namespace(), os.getuid(), Path("/proc/self/uid_map").read_text().split())
print(Features.probe().sandbox.works)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(imagekit.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.stdout == "True 0 ['0', '0', '1']\nTrue\n", result.stderr
