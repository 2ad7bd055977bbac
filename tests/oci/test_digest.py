"""Content addresses."""

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.oci.digest import HEX_LENGTH, Digest
from imagekit.oci.errors import InvalidReferenceError

# A busy machine makes a test slow, not wrong.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HEX = "0123456789abcdef" * 4


@CALM
@given(st.binary(max_size=100), st.sampled_from(sorted(HEX_LENGTH)))
def test_str_is_read_back(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)

    assert digest.hex == hashlib.new(algorithm, data).hexdigest()
    assert Digest.parse(str(digest)) == digest


@CALM
@given(st.text(max_size=100) | st.text("sha256:0af/.\n", max_size=80))
def test_any_text_is_a_digest_or_its_own_error(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidReferenceError:
        return
    assert str(digest) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        "sha256",
        "sha256:",
        f"sha256:{HEX[1:]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha512:{HEX}",
        f"md5:{HEX[:32]}",
        "sha256:../" + HEX[3:],
        "sha256:" + "\u0660" * 64,
    ],
)
def test_loose_spellings_are_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="invalid digest") as caught:
        Digest.parse(text)

    assert caught.value.hint is not None


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Digest.parse("x" * 100_000)

    assert len(caught.value.message) < 300


def test_digests_are_values() -> None:
    one, other = Digest.of(b"a"), Digest.of(b"b")

    assert {one: 1}[Digest.of(b"a")] == 1
    assert sorted([one, other]) == sorted([other, one])
    assert len(one.short) == 12
    assert one.hex.startswith(one.short)
