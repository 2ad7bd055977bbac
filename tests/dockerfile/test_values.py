"""Durations, signals, sizes, booleans."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.errors import ValueFormatError
from imagekit.dockerfile.values import (
    format_duration,
    parse_boolean,
    parse_duration,
    parse_signal,
    parse_size,
)

_SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("+0", 0),
        ("5s", 5 * _SECOND),
        ("1m30s", 90 * _SECOND),
        ("1.5h", 5400 * _SECOND),
        (".5s", _SECOND // 2),
        ("5.s", 5 * _SECOND),
        ("-1m", -60 * _SECOND),
        ("100ms", 100_000_000),
        ("2us", 2_000),
        ("2\u00b5s", 2_000),
        ("2\u03bcs", 2_000),
        ("3ns", 3),
        ("1s1s", 2 * _SECOND),
        ("9223372036854775807ns", (1 << 63) - 1),
        ("-9223372036854775808ns", -(1 << 63)),
        ("0.3333333333333333333h", 1_199_999_999_999),
    ],
)
def test_duration(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("3", 'time: missing unit in duration "3"'),
        ("s", 'time: invalid duration "s"'),
        (".s", 'time: invalid duration ".s"'),
        ("1.2.3s", 'time: invalid duration "1.2.3s"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1 s", 'time: unknown unit " s" in duration "1 s"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
        ("9" * 5000 + "h", None),
    ],
)
def test_malformed_duration(text: str, reason: str | None) -> None:
    with pytest.raises(ValueFormatError) as caught:
        parse_duration(text)

    assert reason is None or caught.value.reason == reason


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1\u00b5s"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (300 * _SECOND, "5m0s"),
        (3661 * _SECOND + 1_000_000, "1h1m1.001s"),
        (3600 * _SECOND, "1h0m0s"),
        (-90 * _SECOND, "-1m30s"),
    ],
)
def test_format_duration(nanoseconds: int, expected: str) -> None:
    assert format_duration(nanoseconds) == expected


@given(st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1))
def test_printed_duration_reads_back(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9", 9),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("SIGCHLD", 17),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmax-1", 63),
        ("RTMAX", 64),
        ("200", 200),
    ],
)
def test_signal(text: str, expected: int) -> None:
    assert parse_signal(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0", "00", "-9", "SIG", "NOPE", "RTMIN+31", "RTMIN-1", "RTMAX+1", "SIGSIGKILL", "+9"],
)
def test_unknown_signal(text: str) -> None:
    with pytest.raises(ValueFormatError, match="invalid signal"):
        parse_signal(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("100", 100),
        ("1k", 1024),
        ("1K", 1024),
        ("64m", 64 << 20),
        ("1.5GiB", 3 << 29),
        ("2 gb", 2 << 30),
        ("1t", 1 << 40),
        ("1p", 1 << 50),
        ("7b", 7),
    ],
)
def test_size(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "k", "-1", "1x", "1kk", "1.1.1", "1  k", "."])
def test_malformed_size(text: str) -> None:
    with pytest.raises(ValueFormatError):
        parse_size(text)


def test_booleans_are_those_of_go() -> None:
    assert [parse_boolean(text) for text in ("1", "t", "TRUE", "f", "False")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(ValueFormatError):
        parse_boolean("yes")


@given(st.text(alphabet="0123456789.-+hmsSIGRTkKibug\u00b5\u0661", max_size=12))
def test_only_value_errors(text: str) -> None:
    for parse in (parse_duration, parse_signal, parse_size, parse_boolean):
        with suppress(ValueFormatError):
            parse(text)
