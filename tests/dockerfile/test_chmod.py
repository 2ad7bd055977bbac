"""--chmod."""

import stat
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.chmod import parse_chmod
from imagekit.dockerfile.errors import ValueFormatError


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("755", 0o644, 0o755),
        ("0", 0o644, 0),
        ("07777", 0o644, 0o7777),
        ("000755", 0o644, 0o755),
        ("u+x", 0o644, 0o744),
        ("+x", 0o644, 0o755),
        ("a+x", 0o644, 0o755),
        ("go-r", 0o644, 0o600),
        ("u=rw,go=r", 0o777, 0o644),
        ("u=rwX,go=rX", 0o755, 0o755),
        ("u=rwX,go=rX", 0o600, 0o644),
        ("a=", 0o777, 0),
        ("g=u", 0o640, 0o660),
        ("go=u-w", 0o750, 0o755),
        ("o+ug", 0o640, 0o646),
        ("u+s", 0o755, 0o4755),
        ("g+s", 0o755, 0o2755),
        ("+s", 0o755, 0o6755),
        ("o+s", 0o755, 0o755),
        ("+t", 0o755, 0o1755),
        ("u+t", 0o755, 0o1755),
        ("o+t", 0o755, 0o755),
        ("-t", 0o1755, 0o755),
        ("a=rx", 0o6777, 0o555),
        ("a=rx", 0o1777, 0o1555),
        ("u-s", 0o4755, 0o755),
        ("u+r-w", 0o200, 0o400),
        ("u+", 0o644, 0o644),
    ],
)
def test_apply(text: str, before: int, after: int) -> None:
    assert oct(parse_chmod(text).apply(before, is_directory=False)) == oct(after)


def test_capital_x_is_for_directories_and_programs() -> None:
    change = parse_chmod("a+X")

    assert change.apply(0o644, is_directory=True) == 0o755
    assert change.apply(0o644, is_directory=False) == 0o644
    assert change.apply(0o744, is_directory=False) == 0o755


def test_file_type_bits_are_ignored() -> None:
    assert parse_chmod("u+x").apply(stat.S_IFREG | 0o644, is_directory=False) == 0o744


def test_form_is_told() -> None:
    assert parse_chmod("0755").octal == 0o755
    assert parse_chmod("u+x").octal is None


@pytest.mark.parametrize(
    "text", ["64a", "888", "10000", "", "u", "u+q", "x", "u+x,", ",u+x", "u++x+", "7\u0667", "-1"]
)
def test_refused(text: str) -> None:
    if text == "u++x+":  # empty lists of permissions are legal
        assert parse_chmod(text).apply(0, is_directory=False) == 0o100
        return
    with pytest.raises(ValueFormatError) as caught:
        parse_chmod(text)

    assert caught.value.reason == (
        f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
    )


@given(st.text(alphabet="ugoa+-=rwxXst,0178", max_size=10), st.integers(0, 0o7777), st.booleans())
def test_result_is_a_mode(text: str, mode: int, is_directory: bool) -> None:
    with suppress(ValueFormatError):
        assert 0 <= parse_chmod(text).apply(mode, is_directory=is_directory) <= 0o7777
