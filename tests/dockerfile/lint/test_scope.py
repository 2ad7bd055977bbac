"""Expansion that tells which variables it asked for."""

from imagekit.dockerfile.lint.scope import (
    _Watched,
    expand_document_watched,
    expand_watched,
)


def test_used_and_undefined_names_are_in_order_of_first_use() -> None:
    found = expand_watched("$b$a$c$b${d:-$a}", {"a": "1", "b": ""}, escape="\\")

    assert found.text == "11"
    assert found.used == ("b", "a")
    assert found.undefined == ("c", "d")
    assert found.error is None


def test_an_error_does_not_lose_the_names() -> None:
    found = expand_watched("$a${b:?}$c", {}, escape="\\")

    assert found.text == ""
    assert found.undefined == ("a", "b")
    assert found.error is not None


def test_documents_keep_their_quotes() -> None:
    found = expand_document_watched("'$a' \\$b", {})

    assert found.text == "'' $b"
    assert found.undefined == ("a",)


def test_a_watched_scope_has_the_names_of_the_scope() -> None:
    watched = _Watched({"a": "1", "b": "2"})

    assert list(watched) == ["a", "b"]
    assert len(watched) == 2
    assert watched.used == {}
