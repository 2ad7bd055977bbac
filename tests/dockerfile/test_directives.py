"""Which frontend a file asks for."""

import pytest

from imagekit.dockerfile.directives import detect_syntax


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=docker/dockerfile:1\nFROM a", "docker/dockerfile:1"),
        ("#syntax = a/b extra words\n", "a/b"),
        ("# escape=`\n# Syntax=x\n", "x"),
        ("\ufeff# syntax=x", "x"),
        ("#!/usr/bin/env x\n# syntax=x\n", "x"),
        ("#!/usr/bin/env x\n//syntax=x\n", "x"),
        ("// syntax=x\r\ncode", "x"),
        ('{"syntax": "x", "other": 1}', "x"),
        ('{"syntax": 1}', None),
        ("{", None),
        ("[]", None),
        ("\n# syntax=x", None),
        ("# comment\n# syntax=x", None),
        ("# escape=`", None),
        ("FROM a", None),
        ("", None),
    ],
)
def test_detect_syntax(text: str, expected: str | None) -> None:
    assert detect_syntax(text) == expected
