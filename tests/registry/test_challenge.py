import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.registry.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ('Basic realm="a b"', (Challenge(scheme="basic", parameters={"realm": "a b"}),)),
        (
            'Bearer realm="https://t/x",service="s",scope="repository:a:pull,push"',
            (
                Challenge(
                    scheme="bearer",
                    parameters={
                        "realm": "https://t/x",
                        "service": "s",
                        "scope": "repository:a:pull,push",
                    },
                ),
            ),
        ),
        (
            'Negotiate, Basic realm=plain , BEARER Realm = "a\\"b", error=insufficient_scope',
            (
                Challenge(scheme="negotiate"),
                Challenge(scheme="basic", parameters={"realm": "plain"}),
                Challenge(
                    scheme="bearer", parameters={"realm": 'a"b', "error": "insufficient_scope"}
                ),
            ),
        ),
        (
            'Negotiate YWJj==, Basic realm="x"',
            (Challenge(scheme="negotiate"), Challenge(scheme="basic", parameters={"realm": "x"})),
        ),
        (
            "Bearer realm=https://t/x,scope=repository:a:pull",
            (
                Challenge(
                    scheme="bearer",
                    parameters={"realm": "https://t/x", "scope": "repository:a:pull"},
                ),
            ),
        ),
    ],
)
def test_challenges_are_read_in_every_spelling(
    header: str, expected: tuple[Challenge, ...]
) -> None:
    assert parse_challenges(header) == expected


@given(st.text())
def test_any_header_is_read_without_an_error(header: str) -> None:
    parse_challenges(header)
