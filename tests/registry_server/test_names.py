"""The grammar of names, tags, digests and upload names."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_server import names
from registry_server.errors import RegistryError


@pytest.mark.parametrize(
    "name", ["a", "0", "a/b/c", "a.b", "a_b", "a__b", "a-b", "a---b", "library/x", "x" * 255]
)
def test_name_of_the_grammar_passes(name: str) -> None:
    assert names.parse_repository(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "a/", "/a", "a//b", "a..b", "a___b", ".a", "a.", "-a", "a-", "a\n", "a" * 256]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(RegistryError) as caught:
        names.parse_repository(name)

    assert caught.value.row.code == "NAME_INVALID"


@given(st.text(max_size=300) | st.from_regex(r"\A[a-z0-9._/-]{0,40}\Z"))
def test_no_name_that_passes_leaves_its_directory(text: str) -> None:
    for parse in (names.parse_repository, names.parse_tag, names.parse_upload):
        with contextlib.suppress(RegistryError):
            parsed = parse(text)
            parts = parsed.split("/")
            assert not any(part in ("", ".", "..") or part.startswith(".") for part in parts)
            assert re.fullmatch(r"[A-Za-z0-9._/-]+", parsed)


@pytest.mark.parametrize("tag", ["v1", "_", "A.b-c", "1", "x" * 128])
def test_tag_of_the_grammar_passes(tag: str) -> None:
    assert names.parse_tag(tag) == tag


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a b", "a/b", "x" * 129, "a\n", "\u0661"])
def test_other_tags_are_refused(tag: str) -> None:
    assert not names.is_tag(tag)


def test_fresh_upload_names_pass() -> None:
    fresh = {names.new_upload() for _ in range(100)}

    assert len(fresh) == 100
    assert all(names.parse_upload(name) == name for name in fresh)
