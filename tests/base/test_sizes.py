import pytest

from imagekit.base.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100", 100),
        ("64k", 65536),
        ("1.5 GiB", 3 << 29),
        ("50GB", 50 << 30),
        ("2T", 2 << 40),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1x", "g", "1 2", "inf"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1234, "1.23kB"), (999_600, "1MB")],
)
def test_sizes_are_told(size: int, text: str) -> None:
    assert size_text(size) == text
